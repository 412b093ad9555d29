"""What `search --json` prints: the keys that other programs rely on (design, section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reports.measurements import Measurements, front, pick, real
from studies.record import StudyRecord

if TYPE_CHECKING:
    from reports.page import ReportPaths

TRAINED = ("complete", "pruned")
REFERENCE = ("gap", "floor", "gaussian_gap", "latency_ms", "size_mb", "solver", "nfe")
SECONDS = ("teacher", "trajectories", "search", "report")


def summary(record: StudyRecord, report_paths: ReportPaths | None) -> dict[str, Any]:
    """A study in one JSON object.

    Args:
        record: the study.
        report_paths: the report's files, or None where none was written.

    Returns:
        study, n_trials (trials that trained), states, front and best (figures re-measured where
        that was done), hypervolume, reference, report (path of the page) and seconds. Strict JSON
        values only.
    """
    best = pick(record)
    return {
        "study": record.name,
        "n_trials": sum(record.states[state] for state in TRAINED),
        "states": record.states,
        "front": [entry(record, found) for found in front(record)],
        "best": entry(record, best) if best else None,
        "hypervolume": real({"hypervolume": record.hypervolume}, "hypervolume"),
        "reference": {name: _value(record.reference.get(name)) for name in REFERENCE},
        "report": str(report_paths.html) if report_paths else None,
        "seconds": {name: round(record.seconds.get(name, 0.0), 3) for name in SECONDS},
    }


def entry(record: StudyRecord, found: Measurements) -> dict[str, Any]:
    """One front member as `search --json` and report.json give it.

    Args:
        record: the study.
        found: the member's figures.

    Returns:
        number, values {gap, latency_ms, size_mb}, retention, retention_interval, compression,
        speedup, speedup_training_free, spec_hash and repeated (None until it was measured again).
    """
    return {
        "number": found.number,
        "values": {"gap": found.gap, "latency_ms": found.latency_ms, "size_mb": found.size_mb},
        "retention": found.retention,
        "retention_interval": list(found.retention_interval) if found.retention_interval else None,
        "compression": found.compression,
        "speedup": found.speedup,
        "speedup_training_free": found.speedup_training_free,
        "spec_hash": record.trial(found.number).spec_hash,
        "repeated": found.repeated,
    }


def _value(value: Any) -> Any:
    return real({"value": value}, "value") if isinstance(value, float) else value
