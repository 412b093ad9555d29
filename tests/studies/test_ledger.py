from __future__ import annotations

from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from studies.ledger import DUPLICATES, RETRY, hashes, original, standing, state


def trials(*states: str) -> list[FrozenTrial]:
    study = optuna.create_study()
    for i, name in enumerate(states):
        kind = {
            "complete": TrialState.COMPLETE, "failed": TrialState.FAIL,
            "requeued": TrialState.FAIL, "running": TrialState.RUNNING,
            "waiting": TrialState.WAITING,
        }.get(name, TrialState.PRUNED)  # fmt: skip
        attributes: dict[str, Any] = {"spec_hash": f"h{i}", "state": name}
        if name == "requeued":
            attributes["requeued"] = True
        value = 1.0 if kind == TrialState.COMPLETE else None
        study.add_trial(create_trial(state=kind, value=value, user_attrs=attributes))
    return study.get_trials()


def test_states_are_told_apart_when_optuna_has_one_name_for_them() -> None:
    names = ["complete", "pruned", "infeasible", "duplicate", "failed", "running", "waiting"]
    names += ["requeued"]
    assert [state(t) for t in trials(*names)] == names


def test_standing_counts_what_trained_once() -> None:
    now = standing(trials("complete", "infeasible", "duplicate", "pruned", "requeued", "running"))
    assert (now.trained, now.running) == (2, 1)
    assert not now.done(3, 60) and now.full(3)
    assert now.done(2, 60)


def test_standing_is_done_when_nothing_fits_or_nothing_is_new() -> None:
    now = standing(trials("complete", *["infeasible"] * 4))
    assert now.infeasible == 4
    assert now.done(9, 4) and not now.done(9, 5)
    assert standing(trials("complete", *["duplicate"] * DUPLICATES)).done(9, 60)
    assert standing(trials(*["failed"] * 2, "requeued")).failed == 2


def test_standing_is_not_done_while_a_candidate_waits_to_be_tried_again() -> None:
    frozen = trials("complete", *["duplicate"] * DUPLICATES, "waiting", "waiting")
    assert standing(frozen).done(9, 60)  # an anchor is no retry
    frozen[-1].user_attrs[RETRY] = 1
    now = standing(frozen)
    assert now.retries == 1 and not now.done(9, 60)
    assert now.done(1, 60)


def test_hashes_leave_out_what_is_tried_again() -> None:
    assert hashes(trials("complete", "requeued", "failed", "running")) == {"h0", "h2", "h3"}
    assert hashes(trials("complete"), but=0) == set()


def test_original_is_the_trial_that_scored() -> None:
    known = trials("duplicate", "failed", "complete")
    assert original(known, "h2", but=9) is known[2]
    assert original(known, "h2", but=2) is None
    assert original(known, "h0", but=9) is None
    assert original(known, "h1", but=9) is None
