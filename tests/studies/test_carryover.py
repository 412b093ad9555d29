from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from ado_nas.errors import ConfigError, StudyError
from ado_nas.progress import silent
from ado_nas.specs import to_dict
from search_spaces.space import Space
from studies import trainers
from studies.carryover import (
    DONE,
    best_first,
    carry_over,
    check_source,
    differences,
    sentence,
    translated,
)
from studies.claims import claim
from studies.collection import collect, restore
from studies.config import SearchConfig
from studies.history import study_record
from studies.ledger import CARRIED, DUPLICATES, SUGGESTED, TRAINED_FROM, standing
from studies.search import search
from studies.session import Session
from studies.worker import Ended

Make = Callable[..., Session]
Run = Callable[..., list[Ended]]


@pytest.fixture
def earlier(make_session: Make, run_worker_here: Run) -> Session:
    session = make_session(study="earlier", trials=6)
    run_worker_here(session)
    session.study.set_user_attr("config", {})  # of `search`; all at its default
    return session


def told(session: Session) -> list[tuple[Any, ...]]:
    said: list[tuple[Any, ...]] = []
    carry_over(session, lambda *words: said.append(words))
    return said


def test_scores_are_carried_where_the_task_is_the_same(
    earlier: Session, make_session: Make, run_worker_here: Run
) -> None:
    session = make_session(
        study="later", warm_start="earlier", trials=4, limits={"max_size_mb": 0.5}
    )
    ((stage, done, total, note),) = told(session)
    assert (stage, done, total) == ("warm start", 6, 6)
    assert note.startswith("of 6 scored trials of earlier, 6 with their scores, 0 to be trained")
    for old, new in zip(best_first(earlier.trials()), session.trials(), strict=True):
        assert new.state == TrialState.COMPLETE
        assert (new.params, new.values) == (old.params, old.values)
        assert new.user_attrs[CARRIED] == f"earlier:{old.number}"
        # Limits are this study's own.
        size = old.user_attrs["size_mb"]
        assert new.constraints["size"] == pytest.approx(size / 0.5 - 1)
    assert standing(session.trials()).trained == 0
    log = (session.workspace / "evaluated.log").read_text().splitlines()
    run_worker_here(session)
    record = study_record(session.study, session.workspace)
    assert record.trained == 4
    assert record.states["carried"] == 6
    hashes = [t.spec_hash for t in record.trials if t.state == "complete"]
    assert len(set(hashes)) == len(hashes)
    again = (session.workspace / "evaluated.log").read_text().splitlines()[len(log) :]
    assert not {line.split()[0] for line in again} & {line.split()[0] for line in log}


def test_space_that_was_carried_over_whole_is_done(
    make_session: Make, run_worker_here: Run
) -> None:
    space = Space(widths=("8-16",), patch=(2,), blocks=("1-1",), activation=("relu",))
    space = dataclasses.replace(space, attention=("none",), schedule=("karras",), steps=(1, 2))
    session = make_session(study="earlier", trials=2, space=to_dict(space))
    run_worker_here(session)
    session.study.set_user_attr("config", to_dict(session.config))
    session = make_session(study="later", warm_start="earlier", trials=3, space=to_dict(space))
    told(session)
    assert [e.state for e in run_worker_here(session)] == ["duplicate"] * DUPLICATES
    states = study_record(session.study, session.workspace).states
    assert (states["carried"], states["duplicate"]) == (2, DUPLICATES)


def test_damaged_model_of_a_carried_trial_is_fetched_again(
    earlier: Session, make_session: Make
) -> None:
    session = make_session(study="later", warm_start="earlier")
    told(session)
    weights = session.workspace / session.trials()[2].user_attrs["folder"] / "model.safetensors"
    before = weights.read_bytes()
    weights.write_bytes(b"damaged")
    assert restore(session, 2) and weights.read_bytes() == before
    assert collect(session) == []


def test_carrying_twice_adds_nothing(earlier: Session, make_session: Make) -> None:
    session = make_session(study="later", warm_start="earlier")
    told(session)
    before = len(session.trials())
    assert told(session) == []
    session.study.set_user_attr(DONE, {})  # killed before this was written
    told(session)
    assert len(session.trials()) == before


def test_choices_are_tried_again_best_first_where_the_task_differs(
    earlier: Session, make_session: Make
) -> None:
    session = make_session(
        study="later", warm_start="earlier", trials=6, task={"data": {"seed": 9}}
    )
    ((_, done, _, note),) = told(session)
    assert done == 0
    assert "(not the others: digest.data, task.data.seed differ)" in note
    assert "2 to be trained again" in note  # a third of six
    assert "4 not, for more than one in 3" in note
    best = best_first(earlier.trials())[:2]
    waiting = session.trials(TrialState.WAITING)
    assert [t.user_attrs[SUGGESTED] for t in waiting] == [f"earlier:{t.number}" for t in best]
    claimed = claim(session, "host/w")
    assert not isinstance(claimed, str)
    assert claimed.trial.params == best[0].params


def test_device_or_digest_that_differs_keeps_scores_apart(
    earlier: Session, make_session: Make, faults: Any
) -> None:
    assert differences(earlier, earlier.study.user_attrs) == []
    faults(device="another")
    session = make_session(study="later", warm_start="earlier")
    assert differences(session, earlier.study.user_attrs) == ["device.device"]
    told(session)
    assert not session.trials(TrialState.COMPLETE)


def test_latencies_in_another_unit_keep_scores_apart(earlier: Session, make_session: Make) -> None:
    facts = earlier.study.user_attrs["facts"]
    reference = {**facts["reference"], "step_ms": 12.5}
    earlier.study.set_user_attr("facts", {**facts, "reference": reference})
    session = make_session(study="later", warm_start="earlier")
    assert differences(session, earlier.study.user_attrs) == ["device.step_ms"]


def test_finalists_are_not_trained_again_from_a_seed_that_a_carried_trial_won_by(
    earlier: Session, make_session: Make
) -> None:
    earlier.study.set_user_attr("config", {"seed": 1})
    session = make_session(study="later", warm_start="earlier", finalists=2, finalist_seeds=2)
    told(session)
    carried = session.trials(TrialState.COMPLETE)
    assert {t.user_attrs[TRAINED_FROM] for t in carried} == {1}
    record = study_record(session.study, session.workspace)
    assert all(TRAINED_FROM not in t.attributes for t in record.trials)
    plan = trainers._chosen(session)
    assert len(plan["numbers"]) == 2 and plan["seeds"] == [2, 3]


def test_choices_that_the_space_lacks_are_left_with_the_reason(
    earlier: Session, make_session: Make
) -> None:
    session = make_session(study="later", warm_start="earlier", space={"steps": [1, 2]})
    ((_, done, _, note),) = told(session)
    steps = [t.params["steps"] for t in earlier.trials()]
    assert done == sum(s <= 2 for s in steps)
    assert all(t.params["steps"] <= 2 for t in session.trials())
    for lost in {s for s in steps if s > 2}:
        assert f"{steps.count(lost)} not, for steps {lost}, which this space lacks" in note


def test_trial_whose_model_is_gone_is_trained_again(earlier: Session, make_session: Make) -> None:
    lost = best_first(earlier.trials())[0]
    shutil.rmtree(earlier.workspace / lost.user_attrs["folder"])
    session = make_session(study="later", warm_start="earlier")
    told(session)
    (waiting,) = session.trials(TrialState.WAITING)
    assert waiting.user_attrs[SUGGESTED] == f"earlier:{lost.number}"
    assert len(session.trials(TrialState.COMPLETE)) == 5


def test_translated_takes_fixed_dimensions_as_choices() -> None:
    old = Space(steps=(2,), patch=(1, 2), blocks=("1-1",))
    new = Space(steps=(1, 2), patch=(1,), blocks=("1-1",))
    params = {"widths": "8-16", "patch": 1, "attention": "low", "activation": "relu"}
    found, lacking = translated({**params, "schedule": "dp"}, old, new)
    assert lacking == ""
    assert found == {
        "widths": "8-16",
        "attention": "low",
        "activation": "relu",
        "steps": 2,
        "schedule": "dp",
    }
    assert translated({**params, "patch": 2}, old, new)[1] == "patch 2"


def test_best_first_goes_front_by_front_and_puts_the_infeasible_last() -> None:
    def trial(number: int, values: list[float], violation: float = 0.0) -> Any:
        found = optuna.trial.create_trial(values=values, constraints={"size": violation})
        found.number = number
        return found

    trials = [
        trial(0, [3.0, 3.0, 3.0]),
        trial(1, [0.0, 0.0, 0.0], violation=1.0),
        trial(2, [1.0, 2.0, 2.0]),
        trial(3, [2.0, 1.0, 2.0]),
    ]
    assert [t.number for t in best_first(trials)] == [2, 3, 0, 1]
    assert best_first([]) == []
    points = np.random.default_rng(0).random((20, 3))
    order = best_first([trial(i, list(p)) for i, p in enumerate(points)])
    for i, later in enumerate(order):
        assert not any(
            all(a < b for a, b in zip(later.values, before.values, strict=True))
            for before in order[:i]
        )


def test_source_that_is_not_there_is_refused_before_anything_is_made(
    earlier: Session, make_config: Callable[..., SearchConfig], tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match="no study 'earlyer'; did you mean 'earlier'"):
        search(make_config(study="later", warm_start="earlyer"), tmp_path, silent)
    assert optuna.get_all_study_names(storage=earlier.store.storage) == ["earlier"]
    with pytest.raises(ConfigError, match="the study itself"):
        check_source(make_config(study="later", warm_start="later"), tmp_path)
    check_source(make_config(), tmp_path)


def test_nsga2_breeds_from_what_was_carried(earlier: Session, make_session: Make) -> None:
    session = make_session(
        study="later", warm_start="earlier", sampler="nsga2", startup=4, trials=4
    )
    told(session)
    claim(session, "host/w")
    marks = session.trials()[-1].system_attrs
    assert marks["NSGAIISampler:generation"] == 1


def test_sentence_counts_what_it_does_not_name() -> None:
    found = {"scored": 9, "carried": 0, "suggested": 2, "left": {}}
    said = sentence("s", {**found, "differing": ["a", "b", "c", "d", "e"]})
    assert "a, b, c and 2 more differ" in said


@pytest.mark.slow
def test_search_starts_from_an_earlier_study(
    make_config: Callable[..., SearchConfig], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/elsewhere.db"
    first = search(make_config(study="a", trials=4, storage=url, workers=1), tmp_path, silent)
    config = make_config(study="b", trials=2, storage=url, warm_start="a", workers=1)
    second = search(config, tmp_path, silent)
    assert (second.trained, second.states["carried"]) == (2, 4)
    assert second.hypervolume >= first.hypervolume
    assert search(config, tmp_path, silent).trials == second.trials
