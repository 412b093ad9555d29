"""Who is trained again from other seeds, and what all the trainings of one come to together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from studies.record import Finalist, StudyRecord, TrialRecord
from studies.selection import knee, logs, members, pick, spread

CHOSEN = "finalists"  # the study's attribute with their numbers
ENDED = ("complete", "pruned", "failed")


def key(number: int, seed: int) -> str:
    """The study's attribute that holds one training of a finalist."""
    return f"finalist:{number}:{seed}"


def chosen(record: StudyRecord, count: int) -> list[int]:
    """The front members worth training again: the pick, the knee, then far from those before.

    Args:
        record: the study, its front measured again.
        count: how many at most.

    Returns:
        Trial numbers.
    """
    record = dataclasses.replace(record, finalists=())  # the same ones, however they turn out
    found = members(record)
    if not found:
        return []
    points, numbers = logs(record, found), [m.number for m in found]
    best = pick(record)
    first = [knee(points)] if best is None else [numbers.index(best), knee(points)]
    return [numbers[i] for i in spread(points, first)][:count]


def finalists(
    attributes: Mapping[str, Any], front: Iterable[TrialRecord], floor: float
) -> tuple[Finalist, ...]:
    """The finalists of a study whose trainings have all ended and been measured.

    Args:
        attributes: of the study.
        front: its members.
        floor: what the measure of quality cannot resolve, above 0.

    Returns:
        One entry each, in the order in which they were chosen.
    """
    on_front = {t.number: t for t in front}
    plan = attributes.get(CHOSEN, {})
    wanted = [n for n in plan.get("numbers", ()) if n in on_front]
    rows = {n: [attributes.get(key(n, s), {}) for s in plan["seeds"]] for n in wanted}
    whole = {n: found for n, found in rows.items() if all(map(measured, found))}
    marked = {n: [_marked(on_front[n], row) for row in found] for n, found in whole.items()}
    scored = {n: [r for r in found if "retention" in r] for n, found in marked.items()}
    spread_of = deviation([_kept(found) for found in scored.values()])
    return tuple(
        Finalist(
            n,
            tuple(found),
            pooled(scored[n], spread_of, floor),
            _repeated(on_front[n], found),
        )
        for n, found in marked.items()
    )


def measured(row: Mapping[str, Any]) -> bool:
    """Whether a training has ended, and its images were judged if there are any."""
    state = row.get("state")
    return state in ENDED and (state != "complete" or "retention" in row)


def deviation(groups: Iterable[Sequence[float]]) -> tuple[float, int]:
    """The standard deviation within groups, taken as equal in all of them.

    Args:
        groups: values, each group about a mean of its own.

    Returns:
        The deviation and its degrees of freedom; (0, 0) where no group has two values.
    """
    arrays = [np.asarray(g, dtype=np.float64) for g in groups if len(g) > 1]
    freedom = sum(len(a) - 1 for a in arrays)
    squares = sum(float(((a - a.mean()) ** 2).sum()) for a in arrays)
    return (math.sqrt(squares / freedom), freedom) if freedom else (0.0, 0)


def pooled(
    rows: Sequence[Mapping[str, Any]], spread: tuple[float, int], floor: float
) -> dict[str, Any]:
    """What several trainings of one candidate come to.

    The interval adds two parts in quadrature: the luck of training, from the spread between seeds,
    and that of noise and held-out images, which are the same for all seeds and so do not average
    out. Without two trainings of any finalist the first is not known, and the interval unbounded.

    Args:
        rows: a retention with its interval, a latency and a speed each.
        spread: of log retention between seeds, with its degrees of freedom; see `deviation`.
        floor: what the measure of quality cannot resolve.

    Returns:
        gap, retention and latency_ms with 95% intervals of the first two; geometric means (of gap
        plus floor), the median latency. Empty without rows.
    """
    if not rows:
        return {}
    from scipy.special import stdtrit  # slow to import, and few processes have finalists

    center = float(np.mean(_kept(rows)))
    sigma, freedom = spread
    luck = stdtrit(freedom, 0.975) * sigma / math.sqrt(len(rows)) if freedom else math.inf
    half = math.hypot(luck, float(np.mean([_half(row) for row in rows])))
    shifted = math.exp(float(np.mean([math.log(row["gap"] + floor) for row in rows])))
    return {
        "gap": shifted - floor,
        "gap_low": max(shifted * math.exp(-half) - floor, 0.0),
        "gap_high": shifted * math.exp(half) - floor,
        "retention": math.exp(center),
        "retention_low": math.exp(center - half),
        "retention_high": math.exp(center + half),
        "latency_ms": float(np.median([row["latency_ms"] for row in rows])),
    }


def _marked(trial: TrialRecord, row: Mapping[str, Any]) -> dict[str, Any]:
    """A training with whether it reached what the search had found, within its interval."""
    if row["state"] == "failed":  # nobody knows
        return {**row, "repeated": None}
    return {**row, "repeated": float(row.get("retention", 0.0)) >= _claimed(trial)}


def _repeated(trial: TrialRecord, rows: Sequence[Mapping[str, Any]]) -> bool | None:
    """The mean of all seeds reaches it, too, and every training could be scored.

    None where a training came to nothing for reasons of its own.
    """
    scored = [row for row in rows if "retention" in row]
    if any(row["state"] == "pruned" for row in rows):
        return False
    if len(scored) < len(rows):
        return None
    return math.exp(float(np.mean(_kept(scored)))) >= _claimed(trial)


def _claimed(trial: TrialRecord) -> float:
    """The least retention that the search's own interval holds."""
    kept = float(trial.attributes.get("retention", 0.0))
    return float(trial.attributes.get("retention_low", kept))


def _kept(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    return [math.log(row["retention"]) for row in rows]


def _half(row: Mapping[str, Any]) -> float:
    """Half the width of a row's own interval of log retention."""
    low, high = float(row["retention_low"]), float(row["retention_high"])
    return (math.log(high) - math.log(low)) / 2 if low > 0 else math.inf
