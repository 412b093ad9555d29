"""The loop of a worker, in this process: what becomes of each kind of candidate."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import TrialState

from search_spaces.space import Space
from studies.axes import axes
from studies.claims import Claim, claim
from studies.folders import artifact_folder
from studies.history import study_record
from studies.ledger import standing
from studies.liveness import machine
from studies.record import load
from studies.requeue import requeue_stale
from studies.session import Session
from studies.worker import Ended, work

Make = Callable[..., Session]
Run = Callable[[Session], list[Ended]]
Faults = Callable[..., None]
TINY = {
    "widths": ["8-16", "16-32"], "blocks": ["1-1"], "attention": ["none"],
    "activation": ["relu"], "patch": [1], "steps": [1, 2], "schedule": ["dp"],
}  # fmt: skip


def test_trial_carries_everything_before_it_ends(
    make_session: Make, run_worker_here: Run, tmp_path: Path
) -> None:
    session = make_session(trials=3)
    ended = run_worker_here(session)
    assert [e.state for e in ended] == ["complete"] * 3
    trial = session.study.trials[1]
    assert trial.values == pytest.approx(axes(ended[1].values, session.floor))
    assert set(trial.constraints) == {"retention", "training"}
    assert trial.user_attrs["gap"] == ended[1].values["gap"]
    assert session.study.metric_names == ["log_gap", "log_latency_ms", "log_size_mb"]
    store = artifact_folder(tmp_path)
    names = {m.filename for m in get_all_artifact_meta(trial, storage=session.store.storage)}
    assert names == {"model.safetensors", "samples.png", "spec.json", "card.json"}
    assert len(list(store.iterdir())) == 12


def test_record_reads_back_what_was_written(
    make_session: Make, run_worker_here: Run, tmp_path: Path
) -> None:
    session = make_session(trials=4)
    run_worker_here(session)
    record = load(session.store.url, "fake", tmp_path)
    assert record == study_record(session.study, tmp_path)
    assert record.trained == 4
    trial = record.trial(2)
    assert Path(trial.folder).joinpath("spec.json").exists()
    assert trial.attributes["retention"] > 0
    assert record.best in record.front
    latencies = [record.trial(n).values["latency_ms"] for n in record.front]
    assert latencies == sorted(latencies)
    assert record.hypervolume > 0
    with pytest.raises(KeyError):
        record.trial(99)


def test_draws_over_a_limit_prune_and_do_not_count(
    make_session: Make, run_worker_here: Run
) -> None:
    session = make_session(trials=5, limits={"max_size_mb": 0.1})
    states = Counter(e.state for e in run_worker_here(session))
    assert states["complete"] == 5 and states["infeasible"] > 0
    for trial in session.study.get_trials(states=[TrialState.PRUNED]):
        assert trial.user_attrs["state"] == "infeasible"
        assert trial.constraints["size"] > 0


def test_worker_gives_up_when_nothing_fits(make_session: Make, run_worker_here: Run) -> None:
    session = make_session(trials=5, patience=7, limits={"max_size_mb": 1e-6})
    assert [e.state for e in run_worker_here(session)] == ["infeasible"] * 7


def test_worker_ends_when_the_space_is_exhausted(make_session: Make, run_worker_here: Run) -> None:
    session = make_session(trials=9, space=TINY)
    states = Counter(e.state for e in run_worker_here(session))
    assert states["complete"] == 4 and states["duplicate"] == 5
    assert run_worker_here(session) == []


def test_candidate_that_goes_back_when_the_space_is_exhausted_is_still_evaluated(
    make_session: Make, run_worker_here: Run
) -> None:
    session = make_session(trials=9, space=TINY)
    last = claim(session, f"{machine()}/gone")
    assert isinstance(last, Claim)
    orders = iter([""] * 8)  # three that are new, and five of the known ones
    evaluator = sys.modules["fake_evaluation"].FakeEvaluator(session.workspace, True)
    ended = list(work(session, evaluator, "host/w", lambda: next(orders, "finish")))
    assert Counter(e.state for e in ended) == {"complete": 3, "duplicate": 5}
    assert claim(session, "host/w") == "wait"
    assert requeue_stale(session) == [last.trial.number]
    assert run_worker_here(session)[0].state == "complete"
    assert standing(session.trials()).trained == 4


def test_duplicate_whose_end_was_already_told_ends_no_search(
    make_session: Make, run_worker_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session(trials=2)
    params = {d.name: d.choices[0] for d in Space().dimensions}
    for given in (params, {**params, "schedule": "dp"}):
        session.study.enqueue_trial(given)
    tell = session.study.tell

    def twice(trial: optuna.Trial, *given: Any, **how: Any) -> Any:
        if trial.number == 1:  # the first answer was lost
            tell(trial, *given, **how)
        return tell(trial, *given, **how)

    monkeypatch.setattr(session.study, "tell", twice)
    ended = run_worker_here(session)
    assert [e.state for e in ended] == ["complete", "lost", "complete"]
    assert session.trials()[1].user_attrs["state"] == "duplicate"


def test_duplicate_reuses_the_scores(make_session: Make, run_worker_here: Run) -> None:
    session = make_session(trials=2)
    params = {d.name: d.choices[0] for d in Space().dimensions}
    twin = {**params, "schedule": "dp"}  # at one step the schedule makes no difference
    for given in (params, twin):
        session.study.enqueue_trial(given)
    assert [e.state for e in run_worker_here(session)] == ["complete", "duplicate", "complete"]
    first, second, _ = session.study.trials
    assert second.values == first.values
    assert second.user_attrs["cached_from"] == 0
    assert second.constraints == first.constraints
    record = study_record(session.study, session.workspace)
    assert record.trained == 2
    assert 1 not in record.front


@pytest.mark.parametrize("fault", ["nan", "diverge"])
def test_what_diverges_is_pruned_with_its_reason_and_counts(
    make_session: Make, run_worker_here: Run, faults: Faults, fault: str
) -> None:
    session = make_session(trials=6, space=TINY)
    faults(**{fault: {"steps": 1}})
    states = Counter(e.state for e in run_worker_here(session))
    assert (states["pruned"], states["complete"]) == (2, 2)
    pruned = session.study.get_trials(states=[TrialState.PRUNED])
    scored = [t for t in pruned if t.user_attrs["state"] == "pruned"]
    assert all(max(t.constraints.values()) > 0 for t in scored)
    assert all(
        "nan" in t.user_attrs["reason"] or "finite" in t.user_attrs["reason"] for t in scored
    )


def test_bug_fails_its_trial_and_the_next_goes_on(
    make_session: Make, run_worker_here: Run, faults: Faults
) -> None:
    session = make_session(trials=2, space=TINY)
    faults(fail={"steps": 1})
    ended = run_worker_here(session)
    failed = [e for e in ended if e.state == "failed"]
    assert len(failed) == 2 and len([e for e in ended if e.state == "complete"]) == 2
    assert failed[0].reason == "ZeroDivisionError: a bug, as asked"
    assert "fake_evaluation.py" in failed[0].trace


def test_study_repeats_when_the_cost_clock_is_injected(
    make_session: Make, run_worker_here: Run, tmp_path: Path
) -> None:
    def play(name: str) -> list[tuple[object, object]]:
        session = make_session(study=name, trials=9)
        run_worker_here(session)
        return [(t.params, t.values) for t in session.study.trials]

    assert play("one") == play("two")
