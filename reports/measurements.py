"""One trial as reports quote it: re-measured where that was done, else the search's own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from studies.record import StudyRecord, TrialRecord
from studies.selection import corner

VALUES = ("gap", "latency_ms", "size_mb")
Interval = tuple[float, float]


@dataclass(frozen=True)
class Measurements:
    """What one scored trial came to; None where a figure was not measured.

    `gap` and `retention` have 95% intervals, `speedup` the middle half of the timings.
    `speedup_training_free` is over the fastest of the teacher's own settings of no lower
    retention, the reference among them; None where none keeps as much. `repeated` is None until
    it was measured again. `dominated` is a front member whose final figures another one's beat.
    """

    number: int
    gap: float
    gap_interval: Interval | None
    retention: float | None
    retention_interval: Interval | None
    latency_ms: float
    size_mb: float
    compression: float | None
    speedup: float | None
    speedup_interval: Interval | None
    speedup_training_free: float | None
    remeasured: bool
    repeated: bool | None
    dominated: bool = False


def has_scores(trial: TrialRecord) -> bool:
    """Whether the trial has all three scores; one over a limit may have its costs alone."""
    return all(real(trial.values, name) is not None for name in VALUES)


def cost(trial: TrialRecord, name: str) -> float | None:
    """Latency in ms, or size or peak memory in MB, of any trial; None where it has none."""
    return real({**trial.attributes, **trial.values}, name)


def role(record: StudyRecord, trial: TrialRecord) -> str:
    """What a trial is drawn and called as, by name of `reports.palette.ROLES`."""
    if trial.number in record.front:
        return "front"
    if trial.state not in ("complete", "running"):
        return "stopped"
    return "dominated" if trial.feasible else "infeasible"


def searched(record: StudyRecord, trial: TrialRecord) -> Measurements | None:
    """The trial as the search scored it.

    Args:
        record: the study, for its reference.
        trial: any of its trials.

    Returns:
        The figures, or None for a trial without scores.
    """
    return _measurements(record, trial, {}) if has_scores(trial) else None


def final(record: StudyRecord, trial: TrialRecord) -> Measurements | None:
    """The trial as reports quote it: re-measured figures win, and those over several seeds most.

    Args:
        record: the study, for its reference, its re-measured trials and its finalists.
        trial: any of its trials.

    Returns:
        The figures, or None for a trial without scores.
    """
    if not has_scores(trial):
        return None
    found = _measurements(record, trial, record.again(trial.number))
    return dataclasses.replace(found, dominated=trial.number in record.dominated)


def front(record: StudyRecord) -> list[Measurements]:
    """The final figures of the front, by latency."""
    found = [final(record, record.trial(n)) for n in record.front]
    return sorted((f for f in found if f), key=lambda f: f.latency_ms)


def pick(record: StudyRecord) -> Measurements | None:
    """The final figures of the picked trial, or None where nothing was picked."""
    return None if record.best is None else final(record, record.trial(record.best))


def knee(record: StudyRecord) -> Measurements | None:
    """The final figures of the trial at the knee of the front, or None where that is empty."""
    number = corner(record)
    return None if number is None else final(record, record.trial(number))


def retention(record: StudyRecord, gap: float) -> float | None:
    """Share of the reference's quality that a gap keeps.

    Args:
        record: the study with the reference's gap and the floor.
        gap: a quality gap in the same feature network.

    Returns:
        (reference gap + floor) / (gap + floor), or None where the study has no reference.
    """
    own, floor = real(record.reference, "gap"), real(record.reference, "floor")
    if own is None or floor is None or gap + floor <= 0:
        return None
    return (own + floor) / (gap + floor)


def retention_interval(record: StudyRecord, source: Mapping[str, Any]) -> Interval | None:
    """The interval of a retention: given, or what the interval of the gap comes to.

    Args:
        record: the study with the reference's gap and the floor.
        source: figures of a trial or of a training-free point.

    Returns:
        Low and high, or None where neither interval is known.
    """
    given, gaps = bounds(source, "retention"), bounds(source, "gap")
    if given or gaps is None:
        return given
    low, high = retention(record, gaps[1]), retention(record, gaps[0])
    return None if low is None or high is None else (low, high)


def real(source: Mapping[str, Any], name: str) -> float | None:
    """A finite number by name, or None."""
    value = source.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def bounds(source: Mapping[str, Any], name: str) -> Interval | None:
    """An interval by name: ``NAME_interval`` as a pair, or ``NAME_low`` and ``NAME_high``."""
    pair = source.get(f"{name}_interval")
    if isinstance(pair, (list, tuple)) and len(pair) == 2:
        source = {f"{name}_low": pair[0], f"{name}_high": pair[1]}
    low, high = real(source, f"{name}_low"), real(source, f"{name}_high")
    return None if low is None or high is None else (min(low, high), max(low, high))


def spread(source: Mapping[str, Any], name: str) -> Interval | None:
    """The interval of a figure that is known, unless it has no width."""
    found = bounds(source, name)
    return found if found and found[0] < found[1] and real(source, name) is not None else None


def _measurements(
    record: StudyRecord, trial: TrialRecord, again: Mapping[str, Any]
) -> Measurements:
    own = {**trial.attributes, **trial.values}
    source: Mapping[str, Any] = again or own
    gap = _first(real(source, "gap"), trial.values["gap"])
    latency = _first(real(source, "latency_ms"), trial.values["latency_ms"])
    size = trial.values["size_mb"]
    kept = real(source, "retention")
    kept = retention(record, gap) if kept is None else kept
    speedup = real(source, "speedup")
    speedup = _ratio(real(record.reference, "latency_ms"), latency) if speedup is None else speedup
    repeated = again.get("repeated")
    return Measurements(
        number=trial.number,
        gap=gap,
        gap_interval=bounds(source, "gap"),
        retention=kept,
        retention_interval=retention_interval(record, source),
        latency_ms=latency,
        size_mb=size,
        compression=_first_or_none(
            real(trial.attributes, "compression"), _ratio(real(record.reference, "size_mb"), size)
        ),
        speedup=speedup,
        speedup_interval=_timings(record, {**own, **again}, latency),
        speedup_training_free=_training_free(record, kept, latency),
        remeasured=bool(again),
        repeated=repeated if isinstance(repeated, bool) else None,
    )


def _timings(record: StudyRecord, source: Mapping[str, Any], latency: float) -> Interval | None:
    """Speedup at the quartiles of the student's own timings, the reference at its median."""
    spread, own = real(source, "latency_iqr_ms"), real(record.reference, "latency_ms")
    if spread is None or own is None or spread >= 2 * latency:
        return None
    return own / (latency + spread / 2), own / (latency - spread / 2)


def _training_free(record: StudyRecord, kept: float | None, latency: float) -> float | None:
    """Speedup over the fastest teacher setting of no lower retention, the reference among them.

    Never the stored one: older studies have that over the reference even where they keep more.
    """
    if kept is None:
        return None
    points = [*record.training_free, {**record.reference, "retention": 1.0}]
    rivals = [real(p, "latency_ms") for p in points if (real(p, "retention") or 0.0) >= kept]
    return _ratio(min((r for r in rivals if r is not None), default=None), latency)


def _ratio(above: float | None, below: float) -> float | None:
    return above / below if above is not None and below > 0 else None


def _first(value: float | None, fallback: float) -> float:
    return fallback if value is None else value


def _first_or_none(value: float | None, fallback: float | None) -> float | None:
    return fallback if value is None else value
