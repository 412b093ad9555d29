"""What `search --json` prints: the keys that other programs rely on (design, section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reports.measurements import Measurements, bounds, final, front, knee, pick, real
from reports.resolutions import by_resolution
from studies.record import Finalist, StudyRecord
from studies.selection import select

if TYPE_CHECKING:
    from reports.page import ReportPaths

REFERENCE = ("gap", "floor", "gaussian_gap", "latency_ms", "size_mb", "solver", "nfe")
SECONDS = ("teacher", "trajectories", "search", "remeasure", "finalists", "report")


def summary(record: StudyRecord, report_paths: ReportPaths | None) -> dict[str, Any]:
    """A study in one JSON object.

    Args:
        record: the study.
        report_paths: the report's files, or None where none was written.

    Returns:
        study, n_trials (trials that trained), states, front, best and knee (figures re-measured
        where that was done, over several seeds for finalists), finalists, hypervolume, reference,
        report (path of the page) and seconds by stage, of all runs. Strict JSON values only.
    """
    best, corner = pick(record), knee(record)
    return {
        "study": record.name,
        "n_trials": record.trained,
        "states": record.states,
        "front": [entry(record, found) for found in front(record)],
        "best": entry(record, best) if best else None,
        "knee": entry(record, corner) if corner else None,
        "finalists": [finalist_entry(f) for f in record.finalists],
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
        speedup, speedup_training_free, spec_hash, repeated (None until it was measured again),
        dominated (by another member's final figures) and resolutions (see `by_resolution`).
    """
    return {
        "number": found.number,
        "values": {"gap": found.gap, "latency_ms": found.latency_ms, "size_mb": found.size_mb},
        "retention": found.retention,
        "retention_interval": _pair(found.retention_interval),
        "compression": found.compression,
        "speedup": found.speedup,
        "speedup_training_free": found.speedup_training_free,
        "spec_hash": record.trial(found.number).spec_hash,
        "repeated": found.repeated,
        "dominated": found.dominated,
        "resolutions": by_resolution(record, record.trial(found.number)),
    }


def finalist_entry(found: Finalist) -> dict[str, Any]:
    """One finalist as `search --json` and report.json give it.

    Args:
        found: the finalist.

    Returns:
        number, retention and gap over all seeds with their intervals, latency_ms, repeats,
        failures (trainings that did not repeat), repeated, and seeds: seed, state, retention,
        retention_interval, gap, latency_ms, repeated and reason of each training. A training that
        a bug or crash ended counts as neither; its repeated is None, and so is the finalist's.
    """
    names = ("retention", "gap", "latency_ms")
    return {
        "number": found.number,
        **{name: real(found.figures, name) for name in names},
        **{f"{n}_interval": _pair(bounds(found.figures, n)) for n in ("retention", "gap")},
        "repeats": found.repeats,
        "failures": sum(row["repeated"] is False for row in found.seeds),
        "repeated": found.repeated,
        "seeds": [
            {
                **{name: row[name] for name in ("seed", "state", "reason", "repeated")},
                **{name: real(row, name) for name in names},
                "retention_interval": _pair(bounds(row, "retention")),
            }
            for row in found.seeds
        ],
    }


def picked(record: StudyRecord, how: str) -> dict[str, Any]:
    """The front member that a rule takes; what `show --pick --json` prints.

    Args:
        record: the study.
        how: see `studies.selection.select`.

    Returns:
        ``pick``: the member as in ``front``, with the ``rule`` in words and its ``folder``.

    Raises:
        ConfigError: no such rule.
        NegativeVerdict: nobody is within the limits, or the front is empty.
    """
    taken = select(record, how)
    trial = record.trial(taken.number)
    found = final(record, trial)
    assert found is not None  # members of the front are scored
    return {"pick": {**entry(record, found), "rule": taken.rule, "folder": trial.folder}}


def _pair(interval: tuple[float, float] | None) -> list[float] | None:
    return list(interval) if interval else None


def _value(value: Any) -> Any:
    return real({"value": value}, "value") if isinstance(value, float) else value
