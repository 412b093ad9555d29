"""Pruning in a study: what is written at rungs, who reads it, and what becomes of the stopped."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.trial import TrialState

from studies.history import study_record
from studies.pruning import rungs
from studies.requeue import requeue
from studies.rungs import Climb, entries
from studies.samplers import SAMPLERS
from studies.session import Session, open_session
from studies.worker import Ended

Make = Callable[..., Session]
Run = Callable[[Session], list[Ended]]
Faults = Callable[..., None]
# Hardswish is slower and attention worse in the made-up figures: three of four are dominated.
SPACE = {
    "widths": ["8-16", "12-24", "16-32"], "blocks": ["1-1"], "attention": ["none", "low"],
    "activation": ["relu", "hardswish"], "patch": [1], "steps": [1, 2], "schedule": ["dp"],
}  # fmt: skip
NOW = {"gap": 9.0, "latency_ms": 1.0, "size_mb": 0.1, "retention": 0.5, "retention_high": 0.6}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_trials_far_behind_stop_whoever_draws(
    make_session: Make, run_worker_here: Run, faults: Faults, sampler: str
) -> None:
    if sampler == "gp":
        pytest.importorskip("torch", reason="the extra gp is not installed")
    faults(climb=2.0)
    startup = 14 if sampler == "gp" else 0  # its draws take seconds
    session = make_session(
        trials=16, sampler=sampler, startup=startup, grace=40, factor=3, space=SPACE
    )
    session.study.enqueue_trial({}, user_attrs={"anchor": True})
    states = Counter(e.state for e in run_worker_here(session))
    assert states["pruned"] + states["complete"] == 16
    assert states["pruned"] >= 3 and states["complete"] >= 4
    for trial in session.study.get_trials(states=[TrialState.PRUNED]):
        assert max(trial.constraints.values()) <= 0  # dull, and no broken limit
    record = study_record(session.study, session.workspace)
    assert record.trained == 16 and record.trial(0).attributes["anchor"]
    for found in (t for t in record.trials if t.state == "pruned"):
        reached = json.loads(found.attributes["rungs"])
        assert found.reason.startswith(f"stopped after {reached[-1]['iteration']} iterations: ")
        assert [r["iteration"] for r in reached] == list(rungs(350, 40, 3))[: len(reached)]
        assert not found.values


def test_none_lets_all_train_to_the_end(
    make_session: Make, run_worker_here: Run, faults: Faults
) -> None:
    faults(climb=2.0)
    session = make_session(trials=8, pruner="none", space=SPACE)
    assert {e.state for e in run_worker_here(session)} == {"complete"}
    assert "rungs" not in session.study.trials[0].user_attrs


def test_rungs_of_other_workers_count_while_they_run(make_session: Make, tmp_path: Path) -> None:
    one = make_session(grace=40)
    other = open_session(one.config, tmp_path, 1)
    for gap in (6.0, 7.0, 8.0):
        trial = other.study.ask()
        assert not Climb(other, trial).stops(40, {**NOW, "gap": gap})
    late = one.study.ask()
    climb = Climb(one, late)
    assert climb.stops(40, {**NOW, "latency_ms": 2.0})
    assert climb.reason == "stopped after 40 iterations: 3 of 3 are ahead, it is on front 4"
    assert len(list(entries(one.trials(), 40, one.floor))) == 4
    assert len(list(entries(one.trials(), 80, one.floor))) == 0
    other.store.close()


def test_what_was_put_back_or_copied_does_not_count(
    make_session: Make, run_worker_here: Run, faults: Faults
) -> None:
    faults(climb=2.0)
    session = make_session(trials=3, grace=40)
    run_worker_here(session)
    session = open_session(dataclasses.replace(session.config, trials=4), session.workspace)
    lost = session.study.ask()
    Climb(session, lost).stops(40, NOW)
    first = session.study.trials[0].params
    session.study.enqueue_trial(first)
    assert len(list(entries(session.trials(), 40, session.floor))) == 4
    requeue(session, lost.number)
    run_worker_here(session)
    states = [t.user_attrs.get("state", "failed") for t in session.trials()]
    assert Counter(states) == {"complete": 4, "failed": 1, "duplicate": 1}
    found = list(entries(session.trials(), 40, session.floor))
    assert len(found) == 4 and all(e.final is not None for e in found)
    session.store.close()


def test_trial_without_a_latency_stops_by_the_least_retention_alone(make_session: Make) -> None:
    session = make_session(grace=40, trials=9, limits={"min_retention": 0.6})
    untimed = {name: value for name, value in NOW.items() if name != "latency_ms"}
    for final in (0.5, 0.6, 0.55, 0.6):  # of 0.5: the rest of the training adds a fifth at most
        trial = session.study.ask()
        assert not Climb(session, trial).stops(40, {**untimed, "retention_high": 0.9})
        ended = len(session.trials(TrialState.COMPLETE))
        assert len(list(entries(session.trials(), 40, session.floor))) == ended
        trial.set_user_attr("latency_ms", 0.1)  # as timed on the study's own device
        trial.set_user_attr("retention", final)
        session.study.tell(trial, [0.0, 0.0, 0.0])
    known = list(entries(session.trials(), 40, session.floor))
    assert [e.final for e in known] == [0.5, 0.6, 0.55, 0.6]
    behind = {**untimed, "gap": 99.0, "retention": 0.4, "retention_high": 0.51}
    assert not Climb(session, session.study.ask()).stops(40, behind)
    climb = Climb(session, session.study.ask())
    assert climb.stops(40, {**behind, "retention_high": 0.49})
    assert "retention 0.40, at most 0.59 in the end where 0.6 is wanted" in climb.reason


def test_climb_leaves_alone_what_is_no_rung(make_session: Make) -> None:
    session = make_session(grace=40)
    trial = session.study.ask()
    climb = Climb(session, trial)
    assert climb.rungs == (40, 80, 160)
    assert not climb.stops(50, NOW) and not climb.stops(40, {"loss": 0.1})
    assert "rungs" not in trial.user_attrs
