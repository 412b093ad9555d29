"""The gate: whether a student keeps enough of the reference's quality to go on with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ado_nas.quality.intervals import T_90, Replicates, pooled_interval
from ado_nas.quality.judge import retention

SLACK = 0.05  # how far below the threshold the lower bound of a retention may lie
# 95% quantile of Student's t by degrees of freedom, for the spread over noise sets.
_T_95 = {1: 6.314, 2: 2.920, 3: 2.353, 4: 2.132, 5: 2.015, 6: 1.943, 7: 1.895}


@dataclass(frozen=True)
class Verdict:
    """What a gate found, over K noise sets."""

    passed: bool
    retention: float  # (mean reference gap + floor) / (mean gap + floor)
    retention_low: float  # 90% interval
    retention_high: float
    threshold: float
    sliced: float  # mean sliced Wasserstein distance
    sliced_allowed: float  # what the reference's own would be at the threshold
    sliced_half: float  # half of the 90% interval of their difference
    reason: str  # why it failed; empty where it passed


def verdict(
    references: Sequence[Mapping[str, Any]],
    students: Sequence[Mapping[str, Any]],
    threshold: float,
) -> Verdict:
    """Judge a student against the reference on the same noise sets.

    It passes where the retention is at the threshold, its lower 90% bound is not more than `SLACK`
    below, and the sliced Wasserstein distance is not larger than the threshold allows beyond its
    interval over the noise sets.

    Args:
        references: the reference's judgment on each noise set, with the names of `Quality`.
        students: the student's on the same noise sets, by the same judge.
        threshold: the least retention, in (0, 1].

    Returns:
        The verdict with its numbers.
    """
    floor, sliced_floor = students[0]["floor"], students[0]["sliced_floor"]
    reference = float(np.mean([r["gap"] for r in references]))
    kept = retention(reference, floor, float(np.mean([s["gap"] for s in students])))
    above, below = (
        [(q["gap"], Replicates(**q["replicates"])) for q in those]
        for those in (references, students)
    )
    low, high = pooled_interval(above, below, floor, T_90)
    allowed = (np.array([r["sliced"] for r in references]) + sliced_floor) / threshold
    over = np.array([s["sliced"] for s in students]) + sliced_floor - allowed
    half = _half(over)
    reason = ""
    if kept < threshold:
        reason = f"retention {kept:.3f} is below {threshold:g}"
    elif low < threshold - SLACK:
        reason = (
            f"retention {kept:.3f} may be as low as {low:.3f}, under {threshold:g} - {SLACK:g}"
        )
    elif over.mean() - half > 0:
        reason = (
            f"sliced Wasserstein is {over.mean():.3g} +- {half:.2g} over what {threshold:g} "
            "of the reference's quality allows"
        )
    return Verdict(
        not reason,
        kept,
        low,
        high,
        threshold,
        float(np.mean([s["sliced"] for s in students])),
        float(allowed.mean()) - sliced_floor,
        half,
        reason,
    )


def _half(values: np.ndarray) -> float:
    """Half of the 90% interval of the mean of K values; infinite for one."""
    freedom = len(values) - 1
    if freedom < 1:
        return float("inf")
    return float(_T_95.get(freedom, 1.86) * values.std(ddof=1) / np.sqrt(len(values)))


def failed(threshold: float, reason: str) -> Verdict:
    """The verdict on a student that cannot be judged.

    Args:
        threshold: of the gate.
        reason: why.
    """
    return Verdict(False, 0.0, 0.0, 0.0, threshold, 0.0, 0.0, 0.0, reason)
