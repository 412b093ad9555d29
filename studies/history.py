"""Optuna's trials read back as frozen records."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from ado_nas.errors import StudyError, nearest
from ado_nas.specs import from_dict
from search_spaces.space import Space
from studies.axes import VALUES, Point, axes
from studies.finalists import finalists
from studies.heartbeat import BEAT
from studies.ledger import TRAINED_FROM, state
from studies.pareto import front, hypervolume
from studies.record import StudyRecord, TrialRecord
from studies.selection import overtaken, pick
from studies.session import fitting
from studies.settlement import TRAINED
from studies.storage import open_store, study_names

_OWN = ("state", "reason", "folder", "spec_hash", "worker", BEAT, TRAINED, TRAINED_FROM, *VALUES)


def read_study(storage: str, name: str, workspace: Path) -> StudyRecord:
    """Read a study by name; see `studies.record.load`."""
    names = study_names(storage)
    if name not in names:
        hint = nearest(name, names) if names else "there is none yet; start with: search"
        raise StudyError(f"no study {name!r} in this storage; {hint}")
    with contextlib.closing(open_store(storage)) as store:
        sampler = optuna.samplers.RandomSampler()
        study = optuna.load_study(study_name=name, storage=store.storage, sampler=sampler)
        return study_record(study, workspace)


def study_record(study: optuna.Study, workspace: Path) -> StudyRecord:
    """A study as it stands.

    Args:
        study: of Optuna, made by `studies.session`.
        workspace: where its folders lie.

    Returns:
        All of it; without facts where it was not prepared yet.
    """
    attributes = study.user_attrs
    facts = attributes.get("facts", {})
    reference = facts.get("reference", {})
    corner = tuple(attributes.get("reference_point", (0.0, 0.0, 0.0)))
    frozen = study.get_trials(deepcopy=False)
    trials = tuple(trial_record(t, workspace) for t in frozen if state(t) != "waiting")
    scored = [t for t in trials if t.state == "complete" and t.feasible]
    floor = max(float(reference.get("floor", 0.0)), 1e-9)
    points = _points(scored, floor)
    members = [t for t, kept in zip(scored, front(points), strict=True) if kept]
    members.sort(key=lambda t: (t.values["latency_ms"], t.number))
    remeasured = {int(k): v for k, v in attributes.get("remeasured", {}).items()}
    record = StudyRecord(
        name=study.study_name,
        config=attributes.get("config", {}),
        trials=trials,
        front=tuple(t.number for t in members),
        best=None,
        reference=reference,
        training_free=tuple(facts.get("training_free", ())),
        environment=facts.get("environment", {}),
        digests=facts.get("digests", {}),
        hypervolume=hypervolume(points, np.asarray(corner)),
        reference_point=_point(corner),
        seconds={**facts.get("seconds", {}), **attributes.get("seconds", {})},
        remeasured=remeasured,
        finalists=finalists(attributes, members, floor),
        left_out=left_out(attributes),
        id=str(attributes.get("id", "")),
    )
    return dataclasses.replace(record, best=pick(record), dominated=overtaken(record))


def left_out(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """What the device took from the space of a study with these attributes."""
    if "config" not in attributes:
        return ()
    space = from_dict(Space, attributes["config"].get("space", {}))
    return fitting(space, attributes.get("facts", {}))[1]


def trial_record(trial: FrozenTrial, workspace: Path) -> TrialRecord:
    """One trial as plain data.

    Args:
        trial: started at least.
        workspace: where its folder lies.

    Returns:
        The record; attributes without those that have a field of their own.
    """
    kept = trial.user_attrs
    ended = trial.datetime_complete
    started = trial.datetime_start
    took = (ended - started).total_seconds() if ended and started else 0.0
    took = max(took, 0.0)  # clocks are set back
    folder = kept.get("folder", "")
    return TrialRecord(
        number=trial.number,
        state=state(trial),
        params=dict(trial.params),
        values={k: float(kept[k]) for k in VALUES if kept.get(k) is not None},
        constraints=dict(trial.constraints),
        attributes={k: v for k, v in kept.items() if k not in _OWN},
        spec_hash=str(kept.get("spec_hash", "")),
        folder=str(workspace / folder) if folder else "",
        reason=str(kept.get("reason", "trained, to be timed" if TRAINED in kept else "")),
        started=started.astimezone(UTC).isoformat() if started else "",
        seconds=took,
    )


def _points(trials: Sequence[TrialRecord], floor: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    rows = [axes(t.values, floor) for t in trials]
    return np.asarray(rows, dtype=np.float64).reshape(-1, len(VALUES))


def _point(values: Sequence[float]) -> Point:
    gap, latency, size = (float(v) for v in values)
    return gap, latency, size
