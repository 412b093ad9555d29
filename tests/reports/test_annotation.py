from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.trial import TrialState
from optuna_dashboard import get_note, save_note, wsgi

from reports import annotation
from reports.annotation import MARK, Annotator, changes, publish, stored
from reports.notes import study_note
from reports.wording import TIMES as X
from studies.storage import Store, open_store
from studies.view import View

FACTS = {
    "reference": {"gap": 10.0, "floor": 1.0, "latency_ms": 400.0, "size_mb": 2.4},
    "environment": {"device": "fake"},
}
GOOD, SMALL = (
    {"gap": 12.0, "latency_ms": 4.0, "size_mb": 0.6},
    {"gap": 90.0, "latency_ms": 1.0, "size_mb": 0.1},
)


KINDS = {"journal": "journal:///{}/studies.log", "sqlite": "sqlite:///{}/studies.db"}
in_a_database = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A storage with one study: scored, over a limit, stopped, running, waiting."""
    url = KINDS[getattr(request, "param", "journal")]
    with contextlib.closing(open_store(url.format(tmp_path))) as opened:
        study = optuna.create_study(
            storage=opened.storage, study_name="made-up", directions=["minimize"] * 3
        )
        for key, value in {"settings": {}, "config": {}, "facts": FACTS}.items():
            study.set_user_attr(key, value)
        (tmp_path / "samples.png").write_bytes(b"a picture")
        end(study, tmp_path, GOOD, over=-0.1)
        end(study, tmp_path, SMALL, over=0.4)
        stopped = study.ask()
        stopped.set_user_attr("reason", "loss is <b>nan</b>")
        study.tell(stopped, state=TrialState.PRUNED)
        study.ask()
        study.enqueue_trial({})
        yield opened


def end(study: optuna.Study, place: Path, values: dict[str, float], over: float) -> None:
    """Add a trial with scores."""
    trial = study.ask()
    artifacts = FileSystemArtifactStore(str(place))
    upload_artifact(
        study_or_trial=trial, file_path=str(place / "samples.png"), artifact_store=artifacts
    )
    trial.set_constraint("retention", over)
    for key, value in values.items():
        trial.set_user_attr(key, value)
    study.tell(trial, list(values.values()))


def ask(application: Any, path: str) -> dict[str, Any]:
    """The answer of a dashboard, whose server is this function."""
    environment: dict[str, Any] = {}
    setup_testing_defaults(environment)
    environment["PATH_INFO"], _, environment["QUERY_STRING"] = path.partition("?")
    said: list[str] = []
    body = b"".join(application(environment, lambda status, *_: said.append(status)))
    assert said == ["200 OK"], body
    answer: dict[str, Any] = json.loads(body)
    return answer


def dashboard(store: Store) -> Any:
    application = wsgi(store.storage)
    application.install(Annotator(store))
    return application


def number(store: Store) -> int:
    return store.storage.get_study_id_from_name("made-up")


def system(store: Store) -> dict[str, Any]:
    return store.storage.get_study_system_attrs(number(store))


def study(store: Store) -> optuna.Study:
    return optuna.load_study(
        study_name="made-up", storage=store.storage, sampler=optuna.samplers.RandomSampler()
    )


def test_trials_are_told_with_notes_pictures_and_limits(store: Store) -> None:
    url = f"/api/studies/{number(store)}"
    answer = ask(dashboard(store), f"{url}?after=0")
    good, small, stopped, running, waiting = answer["trials"]
    place = f"/artifacts/{good['study_id']}/{good['trial_id']}/"
    assert (
        f"![Samples of trial 0]({place}{good['artifacts'][0]['artifact_id']})"
        in (good["note"]["body"])
    )
    assert (
        f"**Retention 0.85**, 100{X} faster (4.00 ms an image), 4.0{X} smaller"
        in (good["note"]["body"])
    )
    assert "**Over the limit** of retention." in small["note"]["body"]
    assert r"loss is \<b\>nan\</b\>" in stopped["note"]["body"]
    assert running["note"] == waiting["note"] == {"version": 0, "body": ""}
    assert (good["constraints"], small["constraints"]) == ([-0.1], [0.4])
    assert [t["number"] for t in answer["best_trials"]] == [0]
    assert answer["best_trials"][0]["note"] == good["note"]
    assert not [key for key in system(store) if key.startswith("dashboard:1")]  # not kept


def test_trial_that_only_one_over_a_limit_dominates_is_among_the_best(
    store: Store, tmp_path: Path
) -> None:
    end(study(store), tmp_path, {"gap": 11.0, "latency_ms": 3.0, "size_mb": 0.5}, over=0.4)
    end(study(store), tmp_path, {"gap": 13.0, "latency_ms": 5.0, "size_mb": 0.7}, over=-0.1)
    application, url = dashboard(store), f"/api/studies/{number(store)}"
    whole, later = ask(application, url), ask(application, f"{url}?after=6")
    assert len(whole["trials"]) == 6 and not later["trials"]
    for answer in (whole, later):
        (best,) = answer["best_trials"]
        assert best["number"] == 0 and "**Retention 0.85**" in best["note"]["body"]


@in_a_database
def test_study_has_our_note_and_figures_for_any_dashboard(store: Store) -> None:
    ask(dashboard(store), f"/api/studies/{number(store)}")
    plain = ask(wsgi(store.storage), f"/api/studies/{number(store)}")
    record = View(store, number(store)).record()
    assert plain["note"] == {"version": 1, "body": study_note(record)}
    figures = {p["id"]: json.loads(p["graph_object"]) for p in plain["plotly_graph_objects"]}
    assert set(figures) == {"ado-latency", "ado-size"}
    fronts = [t for t in figures["ado-size"]["data"] if t["name"] == "On the front"]
    assert fronts[-1]["x"] == [0.6]


def test_nothing_is_written_when_nothing_has_changed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = (View(store, number(store)) for _ in range(2))
    publish(here)
    before = system(store)
    monkeypatch.setattr(annotation, "SECONDS", 0.0)
    assert publish(there) is there.record()  # another dashboard
    publish(here)
    assert system(store) == before


@in_a_database
def test_figures_follow_the_search_but_not_more_often_than_said(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = (View(store, number(store)) for _ in range(2))
    publish(here)
    before = system(store)
    end(study(store), tmp_path, {**GOOD, "gap": 11.0}, over=-0.2)
    publish(there)
    assert system(store) == before
    monkeypatch.setattr(annotation, "SECONDS", 0.0)
    publish(there)
    after = system(store)
    assert after["dashboard:note_ver"] == 2 and "Trial 4 draws" in get_note(study(store))
    wanted = stored(there.record())
    assert [key for key in wanted if after[key] != wanted[key]] == ["dashboard:note_ver"]
    assert after.keys() == before.keys()


def test_note_of_somebody_stays_while_the_figures_go_on(store: Store, tmp_path: Path) -> None:
    view = View(store, number(store))
    publish(view)
    save_note(study(store), "mine")
    end(study(store), tmp_path, {**GOOD, "gap": 11.0}, over=-0.2)
    present = system(store)
    fresh = changes(present, stored(view.record()))
    assert fresh and not [key for key in fresh if "note" in key]
    assert fresh[MARK]["note"] == present[MARK]["note"]


def test_note_of_somebody_on_a_trial_is_shown_instead_of_ours(store: Store) -> None:
    identity = number(store)
    trial = store.storage.get_trial_id_from_study_id_trial_number(identity, 0)
    store.storage.set_study_system_attr(identity, f"dashboard:{trial}:note_ver", 1)
    store.storage.set_study_system_attr(identity, f"dashboard:{trial}:note_str:0", "mine")
    answer = ask(dashboard(store), f"/api/studies/{identity}")
    assert answer["trials"][0]["note"] == {"version": 1, "body": "mine"}


def test_shorter_figure_leaves_nothing_of_a_longer_one() -> None:
    present = {f"dashboard:plot_data:ado-size:{i}": "abc" for i in range(3)}
    wanted = {"dashboard:plot_data:ado-size:0": "abc", "dashboard:plot_data:ado-size:1": "d"}
    fresh = changes(present, wanted)
    del fresh[MARK]
    assert fresh == {"dashboard:plot_data:ado-size:1": "d", "dashboard:plot_data:ado-size:2": ""}


def test_page_comes_without_additions_when_they_fail(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(View, "record", lambda self: 1 / 0)
    answer = ask(dashboard(store), f"/api/studies/{number(store)}")
    assert len(answer["trials"]) == 5 and not answer["plotly_graph_objects"]
    assert caplog.text.count("without notes and figures") == 1


@in_a_database
def test_study_is_told_anew_when_one_of_its_number_was_deleted(
    store: Store, tmp_path: Path
) -> None:
    application, identity = dashboard(store), number(store)
    ask(application, f"/api/studies/{identity}")
    store.storage.delete_study(identity)
    study = optuna.create_study(
        storage=store.storage, study_name="made-up", directions=["minimize"] * 3
    )
    for key, value in {"id": "b", "settings": {}, "facts": FACTS}.items():
        study.set_user_attr(key, value)
    end(study, tmp_path, {**GOOD, "gap": 21.0}, over=-0.1)
    assert study._study_id == identity
    application._inmemory_cache.clear()  # lasts two seconds
    answer = ask(application, f"/api/studies/{identity}")
    assert "**Retention 0.50**" in answer["trials"][0]["note"]["body"]


def test_study_of_another_program_is_left_alone(store: Store) -> None:
    other = optuna.create_study(storage=store.storage, study_name="other")
    other.tell(other.ask(), 1.0)
    answer = ask(dashboard(store), f"/api/studies/{other._study_id}")
    assert answer["trials"][0]["note"]["body"] == ""
    assert store.storage.get_study_system_attrs(other._study_id) == {}
