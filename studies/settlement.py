"""How a trial ends: everything is written before it is told, for afterwards Optuna refuses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.trial import FrozenTrial, TrialState

from objectives.constraints import NAMES, names
from objectives.scores import Outcome
from studies.axes import VALUES, axes
from studies.claims import Claim
from studies.folders import artifact_folder, trial_folder
from studies.session import Session

ARTIFACTS = ("samples.png", "spec.json", "model.safetensors")


def settle(session: Session, claim: Claim, outcome: Outcome) -> str:
    """End a trial with what its evaluation came to.

    Args:
        session: of this process.
        claim: the trial.
        outcome: of the evaluator.

    Returns:
        The state: complete, pruned or infeasible.

    Raises:
        ValueError: the outcome breaks the rules of `Outcome`.
    """
    outcome = sound(outcome, names(session.config.limits))
    folder = trial_folder(session.workspace, session.config.study, claim.trial.number)
    _attach(session, claim.trial, folder)
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
    copied = {k: v for k, v in known.user_attrs.items() if k not in ("worker", "retry_of")}
    reason = f"the candidate of trial {known.number} again; its scores are reused"
    marks = {"state": "duplicate", "reason": reason, "cached_from": known.number}
    _write(session, trial, {**copied, **marks}, known.constraints)
    if known.state == TrialState.COMPLETE:
        session.study.tell(trial, known.values)
    else:
        session.study.tell(trial, state=TrialState.PRUNED)
    return "duplicate"


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
    session.study.tell(trial, state=TrialState.FAIL)
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
    if state == "complete":
        bad = [n for n in VALUES if not math.isfinite(values[n])]
        bad += [n for n, v in constraints.items() if not math.isfinite(v)]
        if bad:
            state, reason = "pruned", f"{bad[0]} is not finite"
        elif values["gap"] < 0 or min(values["latency_ms"], values["size_mb"]) <= 0:
            raise ValueError(f"values {values}: gap at least 0, latency and size above 0")
    if state != "complete":
        values = {}
        constraints = {n: v if math.isfinite(v) else 1.0 for n, v in constraints.items()}
        if max(constraints.values()) <= 0 and state == "pruned":
            # Without a violation a sampler would take what could not be scored for merely dull.
            constraints["training"] = 1.0
    return Outcome(state, values, constraints, outcome.attributes, reason)


def _write(
    session: Session,
    trial: optuna.Trial,
    attributes: dict[str, Any],
    constraints: dict[str, float],
) -> None:
    for name, value in constraints.items():
        trial.set_constraint(name, value)
    plain = {k: _plain(v) for k, v in attributes.items()}
    session.store.write_attributes(trial._trial_id, plain)


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _attach(session: Session, trial: optuna.Trial, folder: Path) -> None:
    place = artifact_folder(session.workspace)
    place.mkdir(exist_ok=True)
    store = FileSystemArtifactStore(place)
    for name in ARTIFACTS:
        if (folder / name).exists():
            upload_artifact(
                study_or_trial=trial, file_path=str(folder / name), artifact_store=store
            )
