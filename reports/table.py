"""All trials as one pandas frame and as CSV, one row a trial."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ado_nas.files import replacing
from reports.measurements import searched
from studies.record import StudyRecord, TrialRecord

LEADING = (
    "number",
    "state",
    "feasible",
    "front",
    "best",
    "spec_hash",
    "gap",
    "latency_ms",
    "size_mb",
    "retention",
    "compression",
    "speedup",
    "speedup_training_free",
)
TRAILING = ("started", "seconds", "reason", "folder")


def frame(record: StudyRecord) -> pd.DataFrame:
    """The trials of a study as columns.

    Args:
        record: the study.

    Returns:
        One row a trial in order of number. Settings are ``param_NAME``, violations
        ``constraint_NAME``, the second measurement ``remeasured_NAME``; further attributes keep
        their names. A study without trials has the leading and trailing columns and no row.
    """
    rows = [_row(record, trial) for trial in sorted(record.trials, key=lambda t: t.number)]
    found = dict.fromkeys(key for row in rows for key in row)
    middle = [key for key in found if key not in LEADING + TRAILING]
    return pd.DataFrame(rows, columns=[*LEADING, *middle, *TRAILING])


def write_csv(record: StudyRecord, path: Path) -> Path:
    """Write the frame as CSV, whole or not at all.

    Args:
        record: the study.
        path: the file to write; its folder exists.

    Returns:
        The path written.
    """
    with replacing(path) as partial:
        frame(record).to_csv(partial, index=False)
    return path


def _row(record: StudyRecord, trial: TrialRecord) -> dict[str, Any]:
    own: dict[str, Any] = {
        "number": trial.number,
        "state": trial.state,
        "feasible": trial.feasible,
        "front": trial.number in record.front,
        "best": trial.number == record.best,
        "spec_hash": trial.spec_hash,
        "started": trial.started,
        "seconds": trial.seconds,
        "reason": trial.reason,
        "folder": trial.folder,
    }
    own |= _derived(record, trial) | trial.values
    own |= _named("param_", trial.params) | _named("constraint_", trial.constraints)
    own |= _named("remeasured_", record.remeasured.get(trial.number, {}))
    return own | {k: _cell(v) for k, v in trial.attributes.items() if k not in own}


def _derived(record: StudyRecord, trial: TrialRecord) -> dict[str, Any]:
    """The search's own retention and ratios, so that a row agrees with itself."""
    figures = searched(record, trial)
    names = ("retention", "compression", "speedup", "speedup_training_free")
    return {name: getattr(figures, name) for name in names} if figures else {}


def _named(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{key}": _cell(value) for key, value in values.items()}


def _cell(value: Any) -> Any:
    return " to ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
