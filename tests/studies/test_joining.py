"""Workers of other machines, each with a workspace of its own."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import TrialState

from ado_nas.errors import ConfigError, StudyError
from ado_nas.progress import silent
from ado_nas.specs import to_dict
from studies import gaussian, joining, patience
from studies.claims import Claim, claim
from studies.collection import collect, restore
from studies.config import SearchConfig
from studies.folders import trial_folder
from studies.history import study_record
from studies.joining import Joining, join
from studies.ledger import standing
from studies.parts import mend, publish, pull, pulled_task
from studies.record import load
from studies.requeue import requeue_crashed, requeue_stale
from studies.search import search
from studies.session import Session, open_session
from studies.storage import storage_url
from studies.worker import Ended

Make = Callable[..., Session]
Run = Callable[..., list[Ended]]


def prepared(session: Session) -> Session:
    """The study with its parts published, as a search leaves it before its workers start."""
    module = importlib.import_module("fake_evaluation")
    facts = module.prepare(session.config.task, session.workspace, silent)
    publish(session, facts["parts"])
    return session


def train(opened: Session, count: int) -> list[str]:
    """Be a worker that only trains, and is told to finish after so many trials."""
    fakes, worker = (importlib.import_module(n) for n in ("fake_evaluation", "studies.worker"))
    orders = iter([""] * count + ["finish"])
    evaluator = fakes.FakeEvaluator(opened.workspace, timed=False)
    ended = worker.work(opened, evaluator, "elsewhere/w", lambda: next(orders), timed=False)
    return [e.state for e in ended]


@pytest.fixture
def far(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Session], Session]:
    """The study as a worker of another machine has it open, joined and with its parts."""

    def joined(session: Session) -> Session:
        place = tmp_path_factory.mktemp("far")
        artifacts = str(session.workspace / "artifacts")
        config = dataclasses.replace(
            session.config, storage=session.store.url, artifacts=artifacts
        )
        opened = open_session(config, place, 7, joined=True)
        pull(opened)
        return opened

    return joined


def test_parts_come_by_content_and_the_task_points_at_them(
    make_session: Make, far: Callable[[Session], Session]
) -> None:
    session = prepared(make_session())
    kept = sorted((session.workspace / "artifacts").iterdir())
    publish(session, {})
    prepared(session)
    assert sorted((session.workspace / "artifacts").iterdir()) == kept and len(kept) == 2
    opened = far(session)
    teacher = Path(pulled_task(opened).teacher_folder)
    assert teacher.is_relative_to(opened.workspace)
    assert (teacher / "model.safetensors").read_bytes() == b"a teacher"
    assert (opened.workspace / "cache/trajectories/b/b").read_bytes() == b"a trajectories"


def test_damaged_teacher_comes_back_from_the_artifact_store(
    make_session: Make, caplog: pytest.LogCaptureFixture
) -> None:
    session = prepared(make_session())
    weights = session.workspace / "cache/teachers/t/model.safetensors"
    for harm in (lambda: weights.write_bytes(b"b teacher"), weights.unlink):
        harm()
        mend(session)
        assert weights.read_bytes() == b"a teacher"
    weights.write_bytes(b"b teacher")
    for file in (session.workspace / "artifacts").iterdir():
        file.unlink()
    mend(session)  # the preparation trains it again
    assert "the teacher of this workspace is damaged" in caplog.text


@pytest.mark.parametrize("harm", ["changed", "missing"])
def test_pull_refuses_in_one_line_when_a_part_is_not_what_its_digest_says(
    make_session: Make, far: Callable[[Session], Session], harm: str
) -> None:
    session = prepared(make_session())
    for file in (session.workspace / "artifacts").iterdir():
        file.unlink()
        if harm == "changed":
            file.write_bytes(b"a thing of others")
    with pytest.raises(StudyError, match=r"is damaged|has no") as caught:
        far(session)
    assert "\n" not in str(caught.value)


def test_pull_refuses_when_the_folder_is_not_on_this_machine(make_session: Make) -> None:
    session = prepared(make_session())
    config = dataclasses.replace(session.config, artifacts="/no/such/folder")
    with pytest.raises(StudyError, match=r"/no/such/folder, which is not on this .*--artifacts"):
        pull(dataclasses.replace(session, config=config))


def test_joined_worker_leaves_whole_folders_that_the_search_collects(
    make_session: Make, far: Callable[[Session], Session], run_worker_here: Run
) -> None:
    session = prepared(make_session(trials=3))
    opened = far(session)
    assert [e.state for e in run_worker_here(opened, "elsewhere/w")] == ["complete"] * 3
    folder = trial_folder(session.workspace, "fake", 1)
    assert not folder.exists()
    assert collect(session) == [0, 1, 2]
    assert collect(session) == []
    there = trial_folder(opened.workspace, "fake", 1)
    assert {f.name for f in folder.iterdir()} == {f.name for f in there.iterdir()}
    for harm in ("damaged", "gone"):
        if harm == "gone":
            shutil.rmtree(folder)
        else:
            (folder / "model.safetensors").write_text(harm)
        assert restore(session, 1) and not restore(session, 1)
        assert {f.name: f.read_bytes() for f in folder.iterdir()} == {
            f.name: f.read_bytes() for f in there.iterdir()
        }


def test_collecting_does_not_wait_for_a_store_that_is_away(
    make_session: Make,
    far: Callable[[Session], Session],
    run_worker_here: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = prepared(make_session(trials=2))
    run_worker_here(far(session), "elsewhere/w")
    tried: list[Any] = []

    def refuse(*given: Any) -> None:
        tried.append(given)
        raise TimeoutError("no answer")

    monkeypatch.setattr(patience, "OUTAGE_SECONDS", 2.0)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfileobj", refuse)
        assert collect(session) == [] and len(tried) == 2
    assert collect(session) == [0, 1]


def test_models_of_a_lost_workspace_come_from_the_artifact_store(
    make_session: Make, run_worker_here: Run
) -> None:
    session = prepared(make_session(trials=2))
    run_worker_here(session)
    weights = trial_folder(session.workspace, "fake", 1) / "model.safetensors"
    before = weights.read_bytes()
    shutil.rmtree(session.workspace / "studies")
    assert collect(session) == [0, 1]
    assert weights.read_bytes() == before


def test_search_measures_what_others_ended_while_nobody_searched(
    make_session: Make, far: Callable[[Session], Session], run_worker_here: Run
) -> None:
    session = prepared(make_session(trials=16))
    run_worker_here(far(session), "elsewhere/w")
    record = search(session.config, session.workspace, silent)
    assert set(record.remeasured) == set(record.front)
    assert 0 < len(record.front) < 16
    assert all(Path(t.folder, "samples.png").exists() for t in record.trials)


def test_trial_trained_elsewhere_waits_and_is_timed_by_the_study_itself(
    make_session: Make, far: Callable[[Session], Session], run_worker_here: Run
) -> None:
    session = prepared(make_session(trials=2))
    opened = far(session)
    assert train(opened, 2) == ["trained"] * 2
    waiting = study_record(session.study, session.workspace).trials
    assert [(t.state, t.reason) for t in waiting] == [("running", "trained, to be timed")] * 2
    assert standing(session.trials()).full(2)
    assert requeue_stale(session) == []  # whoever trained them may be gone
    assert claim(opened, "elsewhere/v", timing=False) == "wait"
    assert [e.state for e in run_worker_here(session)] == ["complete"] * 2
    record = study_record(session.study, session.workspace)
    assert record.trained == 2 and record.states["failed"] == 0
    for trial in record.trials:
        module = importlib.import_module("fake_evaluation")
        candidate = session.candidate(trial.params)
        assert trial.values == pytest.approx(module.scores(candidate))
        assert trial.attributes["timed"] and trial.constraints["retention"] <= 0
        assert Path(trial.folder, "card.json").exists()


def test_search_is_not_done_while_a_trial_is_still_to_be_timed(
    make_session: Make, far: Callable[[Session], Session]
) -> None:
    session = prepared(make_session(trials=2))
    assert train(far(session), 1) == ["trained"]
    enough = dataclasses.replace(session.config, trials=1, patience=1)
    trial = session.study.ask()
    for name, value in {"worker": "host/a", "state": "infeasible"}.items():
        trial.set_user_attr(name, value)
    session.study.tell(trial, state=TrialState.PRUNED)
    assert standing(session.trials()).done(1, 1)
    record = search(enough, session.workspace, silent)
    assert [t.state for t in record.trials] == ["complete", "infeasible"]


def test_training_is_kept_when_the_one_who_times_dies(
    make_session: Make, far: Callable[[Session], Session]
) -> None:
    session = prepared(make_session(trials=1))
    assert train(far(session), 1) == ["trained"]
    got = claim(session, "host/a")
    assert isinstance(got, Claim) and got.trained is not None
    assert claim(session, "host/b") == "wait"
    assert requeue_crashed(session, "host/a", "died") == [0]
    again = claim(session, "host/b")
    assert isinstance(again, Claim) and again.trained == got.trained
    requeue_crashed(session, "host/b", "died")
    (trial,) = session.trials()
    assert trial.state == TrialState.PRUNED and trial.user_attrs["reason"] == "died, 2 times"


def lose(session: Session, missing: bool) -> None:
    """Delete or damage the weights of the last trial in the artifact store."""
    trial = session.trials()[-1]
    (found,) = (
        meta.artifact_id
        for meta in get_all_artifact_meta(trial, storage=session.store.storage)
        if meta.filename == "model.safetensors"
    )
    file = session.workspace / "artifacts" / found
    file.unlink()
    if not missing:
        file.write_text("damaged")


@pytest.mark.parametrize("missing", [True, False])
def test_training_that_is_lost_before_it_is_timed_is_done_once_more(
    make_session: Make, far: Callable[[Session], Session], run_worker_here: Run, missing: bool
) -> None:
    session = prepared(make_session(trials=1))
    assert train(far(session), 1) == ["trained"]
    lose(session, missing)
    first, second = run_worker_here(session)
    assert (first.number, first.state, second.state) == (0, "lost", "complete")
    assert first.reason.startswith("what was trained is lost: ")
    assert standing(session.trials()).trained == 1 and len(session.trials()) == 2


def test_training_that_is_lost_twice_is_given_up(
    make_session: Make, far: Callable[[Session], Session]
) -> None:
    session = prepared(make_session(trials=1))
    opened = far(session)
    fakes, worker = (importlib.import_module(n) for n in ("fake_evaluation", "studies.worker"))
    evaluator = fakes.FakeEvaluator(session.workspace)
    for _ in range(2):
        assert train(opened, 1) == ["trained"]
        lose(session, missing=True)
        orders = iter(["", "finish"])
        (ended,) = worker.work(session, evaluator, "host/w", lambda o=orders: next(o))
        assert ended.state == "lost"
    last = session.trials()[-1]
    assert last.state == TrialState.FAIL and last.user_attrs["reason"].endswith(", 2 times")


@pytest.mark.parametrize("train_only", [False, True])
def test_join_refuses_another_device_unless_it_only_trains(
    make_session: Make,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    train_only: bool,
) -> None:
    session = prepared(make_session())
    session.study.set_user_attr("config", to_dict(session.config))
    monkeypatch.setattr(joining, "call", lambda *a, **k: {"device": "another"})
    asked: list[Any] = []
    monkeypatch.setattr(joining, "supervise", lambda *a: asked.append(a))
    wanted = Joining("fake", session.store.url, train_only=train_only)
    place = tmp_path_factory.mktemp("far")
    if train_only:
        join(wanted, place, silent)
        assert asked[0][3] is False
        assert (place / "cache/trajectories/b/b").exists()
    else:
        with pytest.raises(StudyError, match=r"device is 'another', there 'fake'.*--train-only"):
            join(wanted, place, silent)
        assert not asked and not (place / "cache").exists()


def test_join_says_before_anything_what_the_sampler_of_the_study_needs(
    make_session: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = prepared(make_session())
    config = {**to_dict(session.config), "sampler": "gp"}
    session.study.set_user_attr("config", config)
    monkeypatch.setattr(gaussian, "NEEDED", "no_such_module")
    with pytest.raises(ConfigError, match="needs no_such_module, which an extra installs"):
        join(Joining("fake", session.store.url), tmp_path / "far", silent)


def test_join_names_the_nearest_study_and_refuses_one_that_is_not_prepared(
    make_config: Callable[..., SearchConfig], tmp_path: Path
) -> None:
    open_session(make_config(), tmp_path).store.close()
    url = f"sqlite:///{tmp_path}/studies.db"
    with pytest.raises(StudyError, match=r"no study 'fakes' .*did you mean 'fake'"):
        join(Joining("fakes", url), tmp_path / "far", silent)
    with pytest.raises(StudyError, match="is not prepared yet; start it with search"):
        join(Joining("fake", url), tmp_path / "far", silent)
    session = open_session(make_config(), tmp_path)
    session.study.set_user_attr("config", to_dict(session.config))
    session.store.close()
    with pytest.raises(StudyError, match="is not prepared yet; start it with search"):
        join(Joining("fake", url), tmp_path / "far", silent)


SEARCH = """
import sys; sys.path[:0] = sys.argv[3:]
from pathlib import Path
if __name__ == "__main__":
    from objectives.scores import Limits
    from studies.config import SearchConfig
    from studies.search import search
    config = SearchConfig(
        study="fake", preset="fake", evaluator="fake_evaluation", trials=8, workers=1, finalists=0,
        track=False, limits=Limits(min_retention=0.0), storage=sys.argv[2],
    )
    search(config, Path(sys.argv[1]), lambda *a: None)
"""
WORKER = "import sys; sys.path[:0] = sys.argv.pop().split(':'); import cli; cli.main()"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("storage", "device"),
    [("sqlite", "another"), ("postgresql", "fake")],
    indirect=["storage"],
)
def test_worker_of_another_machine_shares_the_trials_of_a_running_search(
    tmp_path: Path,
    storage: str,
    faults: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    device: str,
) -> None:
    faults(seconds=0.3)
    (tmp_path / "parent.py").write_text(SEARCH)
    own = [sys.executable, str(tmp_path / "parent.py"), str(tmp_path), storage, *sys.path]
    monkeypatch.setenv("FAKE_DEVICE", device)
    joined = ["worker", "fake", "--storage", storage, "--workspace", str(tmp_path / "far")]
    options = ["--workers", "1", "--json", *(["--train-only"] if device == "another" else [])]
    command = [sys.executable, "-c", WORKER, *joined, *options, ":".join(sys.path)]
    with subprocess.Popen(own, stderr=subprocess.DEVNULL) as search:
        until = time.monotonic() + 240
        while not list(tmp_path.glob("studies/fake/trials/*/samples.png")):
            assert time.monotonic() < until and search.poll() is None
            time.sleep(0.05)
        faults(seconds=240)  # until the worker has a trial
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, text=True, **pipes) as worker:
            while not (tmp_path / "far" / "evaluated.log").exists():
                assert time.monotonic() < until and worker.poll() is None
                time.sleep(0.05)
            faults()
            out, err = worker.communicate(timeout=240)
        assert worker.returncode == 0, err
        assert search.wait(240) == 0
    told = json.loads(out)
    assert told["completed"] > 0
    record = load(storage_url(storage, tmp_path), "fake", tmp_path)
    assert record.trained == 8 and record.states["failed"] == 0
    assert len({t.spec_hash for t in record.trials}) == 8
    assert all(Path(t.folder, "spec.json").exists() for t in record.trials)
    timed = [t for t in record.trials if "timed" in t.attributes]
    assert len(timed) == (told["completed"] if device == "another" else 0)
