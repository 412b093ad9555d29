"""How a trial ends: everything is written before it is told, for afterwards Optuna refuses."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.artifacts import upload_artifact
from optuna.trial import FrozenTrial, TrialState

from objectives.constraints import NAMES, names
from objectives.scores import Outcome
from studies.axes import VALUES, axes
from studies.folders import trial_folder
from studies.heartbeat import BEAT
from studies.ledger import CARRIED, RETRY, SUGGESTED
from studies.session import Session

if TYPE_CHECKING:
    from studies.claims import Claim

ARTIFACTS = ("samples.png", "spec.json", "sampler.json", "model.safetensors", "card.json")
TRAINED = "trained"  # holds the outcome of a trial that was trained and is still to be timed
OWN = ("worker", RETRY, "crashes", "anchor", CARRIED, SUGGESTED, BEAT, TRAINED)
"""Attributes of one trial alone, not of its candidate."""


def attach(session: Session, trial: optuna.Trial) -> None:
    """Put what an evaluation left into the artifact store, before its trial ends.

    Args:
        session: of this process.
        trial: a running one.

    Raises:
        StudyError: the store was away for too long, or refuses.
    """
    folder = trial_folder(session.workspace, session.config.study, trial.number)
    for name in ARTIFACTS:
        if (folder / name).exists():
            upload_artifact(
                study_or_trial=trial,
                file_path=str(folder / name),
                artifact_store=session.artifacts,
            )


def settle(session: Session, claim: Claim, outcome: Outcome) -> str:
    """End a trial with what its evaluation came to.

    Args:
        session: of this process.
        claim: the trial, its files attached.
        outcome: of the evaluator.

    Returns:
        The state: complete, pruned or infeasible.

    Raises:
        ValueError: the outcome breaks the rules of `Outcome`.
    """
    outcome = sound(outcome, names(session.config.limits))
    folder = trial_folder(session.workspace, session.config.study, claim.trial.number)
    attributes = {
        **outcome.attributes,
        **outcome.values,
        "state": outcome.state,
        "reason": outcome.reason,
        "folder": str(folder.relative_to(session.workspace)) if folder.exists() else "",
    }
    _write(session, claim.trial, attributes, outcome.constraints)
    if outcome.state == "complete":
        session.study.tell(claim.trial, axes(outcome.values, session.floor))
    else:
        session.study.tell(claim.trial, state=TrialState.PRUNED)
    return outcome.state


def settle_duplicate(session: Session, trial: optuna.Trial, known: FrozenTrial) -> str:
    """End a trial whose candidate was scored before, with those scores.

    Args:
        session: of this process.
        trial: the later one.
        known: the earlier one.

    Returns:
        ``duplicate``.
    """
    copied = {k: v for k, v in known.user_attrs.items() if k not in OWN}
    reason = f"the candidate of trial {known.number} again; "
    reason += "its scores are reused" if known.state.is_finished() else "it is being tried"
    marks = {"state": "duplicate", "reason": reason, "cached_from": known.number}
    _write(session, trial, {**copied, **marks}, known.constraints)
    if known.state == TrialState.COMPLETE:
        session.study.tell(trial, known.values)
    else:
        session.study.tell(trial, state=TrialState.PRUNED)
    return "duplicate"


def hand_over(session: Session, claim: Claim, outcome: Outcome) -> str:
    """Leave a trained candidate to a worker of the study's own device, which times and ends it.

    Args:
        session: of this process.
        claim: the trial, its files attached; it goes on running, and belongs to nobody.
        outcome: of the evaluator, in state ``trained``.

    Returns:
        ``trained``.
    """
    kept = dataclasses.asdict(outcome)
    kept["attributes"] = {k: _plain(v) for k, v in outcome.attributes.items()}
    claim.trial.set_user_attr(TRAINED, json.dumps(kept))
    claim.trial.set_user_attr("worker", "")
    return "trained"


def settle_crash(session: Session, trial: optuna.Trial, reason: str) -> str:
    """Prune a trial whose candidate ends its process, so that samplers learn to avoid it.

    Args:
        session: of this process.
        trial: the last one that died of it.
        reason: one line.

    Returns:
        ``pruned``.
    """
    outcome = sound(Outcome("pruned", reason=reason), names(session.config.limits))
    attributes = {"state": outcome.state, "reason": reason, "folder": ""}
    _write(session, trial, attributes, outcome.constraints)
    session.study.tell(trial, state=TrialState.PRUNED)
    return outcome.state


def ended_elsewhere(session: Session, trial: optuna.Trial) -> bool:
    """Whether a trial has ended without its worker, which was taken for dead."""
    return session.study._storage.get_trial(trial._trial_id).state.is_finished()


def settle_failure(session: Session, trial: optuna.Trial, reason: str) -> str:
    """End a trial that a bug broke.

    Args:
        session: of this process.
        trial: the broken one.
        reason: one line.

    Returns:
        ``failed``.
    """
    trial.set_user_attr("reason", reason)
    session.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
    return "failed"


def sound(outcome: Outcome, wanted: Sequence[str] = NAMES) -> Outcome:
    """An outcome that can be stored: what is not finite prunes the trial, with the reason.

    Args:
        outcome: as the evaluator gave it.
        wanted: names of the constraints in force.

    Returns:
        The same, or a pruned one; with a value for each constraint wanted.

    Raises:
        ValueError: an unknown state or constraint, or a missing or impossible value.
    """
    if outcome.state not in ("complete", "pruned", "infeasible"):
        raise ValueError(f"outcome {outcome.state!r}: complete, pruned or infeasible is wanted")
    if strange := set(outcome.constraints) - set(NAMES):
        raise ValueError(f"constraints {sorted(strange)}: known are {NAMES}")
    constraints = {n: float(outcome.constraints.get(n, 0.0)) for n in wanted}
    state, reason, values = outcome.state, outcome.reason, dict(outcome.values)
    broken = state == "pruned" and "training" not in outcome.constraints
    if state == "complete":
        bad = [n for n in VALUES if not math.isfinite(values[n])]
        bad += [n for n, v in constraints.items() if not math.isfinite(v)]
        if bad:
            state, reason, broken = "pruned", f"{bad[0]} is not finite", True
        elif values["gap"] < 0 or min(values["latency_ms"], values["size_mb"]) <= 0:
            raise ValueError(f"values {values}: gap at least 0, latency and size above 0")
    if state != "complete":
        values = {}
        constraints = {n: v if math.isfinite(v) else 1.0 for n, v in constraints.items()}
        if broken and max(constraints.values()) <= 0:
            # Without a violation a sampler would take what could not be scored for merely dull.
            constraints["training"] = 1.0
    return Outcome(state, values, constraints, outcome.attributes, reason)


def _write(
    session: Session,
    trial: optuna.Trial,
    attributes: dict[str, Any],
    constraints: dict[str, float],
) -> None:
    written = trial.constraints  # by who died in the middle of this; the first stays
    for name, value in constraints.items():
        if name not in written:
            trial.set_constraint(name, value)
    plain = {k: _plain(v) for k, v in attributes.items()}
    session.store.write_attributes(trial._trial_id, plain)


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
