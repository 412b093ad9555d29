"""The three objectives as Optuna sees them, all minimized, and the corner of hypervolume."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

VALUES = ("gap", "latency_ms", "size_mb")
METRICS = ("log_gap", "log_latency_ms", "log_size_mb")
LOWEST_RETENTION = 0.05  # where a search sets no minimum, worse students add no hypervolume

Point = tuple[float, float, float]


def axes(values: Mapping[str, float], floor: float) -> Point:
    """Natural scores as objective values.

    Args:
        values: gap (not below 0), latency in ms and size in MB (both positive).
        floor: what the measure of quality cannot resolve, above 0.

    Returns:
        (log(gap + floor), log(latency), log(size)).
    """
    gap, latency, size = (values[name] for name in VALUES)
    return math.log(gap + floor), math.log(latency), math.log(size)


def natural(point: Point, floor: float) -> dict[str, float]:
    """The inverse of `axes`."""
    gap, latency, size = (math.exp(v) for v in point)
    return dict(zip(VALUES, (gap - floor, latency, size), strict=True))


def reference_point(reference: Mapping[str, Any], min_retention: float) -> Point:
    """The corner that hypervolume is measured from, fixed by the teacher.

    Args:
        reference: the teacher's ``gap``, ``floor``, ``latency_ms`` and ``size_mb``.
        min_retention: retention at which a student stops counting.

    Returns:
        The gap of that retention, and the teacher's own latency and size, as `axes`.
    """
    gap, latency, size = axes(reference, reference["floor"])
    return gap - math.log(max(min_retention, LOWEST_RETENTION)), latency, size
