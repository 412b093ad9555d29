"""A study as one JSON document; `assets/report.schema.json` says what every key holds."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from ado_nas.files import replacing, strict
from reports.hypervolume import history
from reports.measurements import searched
from reports.predictions import errors
from reports.summary import entry, summary
from studies.record import StudyRecord, TrialRecord

SCHEMA_VERSION = 1


def document(record: StudyRecord) -> dict[str, Any]:
    """The whole study in strict JSON values.

    Args:
        record: the study.

    Returns:
        The keys of `search --json` without the report's path, then trials, training_free,
        remeasured, predictions, hypervolume_history, reference_point, environment, digests and
        config.
    """
    short = summary(record, None)
    del short["report"]
    whole = {
        "schema_version": SCHEMA_VERSION,
        **short,
        "reference": record.reference,
        "seconds": record.seconds,
        "training_free": record.training_free,
        "trials": [_trial(record, trial) for trial in record.trials],
        "remeasured": record.remeasured,
        "predictions": errors(record),
        "hypervolume_history": [{"number": n, "hypervolume": v} for n, v in history(record)],
        "reference_point": record.reference_point,
        "environment": record.environment,
        "digests": record.digests,
        "config": record.config,
    }
    found: dict[str, Any] = strict(whole)
    return found


def write_json(record: StudyRecord, path: Path) -> Path:
    """Write the document, whole or not at all.

    Args:
        record: the study.
        path: the file to write; its folder exists.

    Returns:
        The path written.
    """
    text = json.dumps(document(record), indent=1, ensure_ascii=False, allow_nan=False)
    with replacing(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")
    return path


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the document."""
    file = resources.files("reports").joinpath("assets", "report.schema.json")
    loaded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return loaded


def _trial(record: StudyRecord, trial: TrialRecord) -> dict[str, Any]:
    found = searched(record, trial)
    scores = entry(record, found) if found else {}
    names = ("retention", "retention_interval", "compression", "speedup", "speedup_training_free")
    return {
        **vars(trial),
        "feasible": trial.feasible,
        "on_front": trial.number in record.front,
        **{name: scores.get(name) for name in names},
    }
