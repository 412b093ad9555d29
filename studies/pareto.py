"""Which points are not dominated, and the volume they dominate; everything is minimized."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def front(points: Points) -> NDArray[np.bool_]:
    """Which points no other dominates; equal points stay together.

    Args:
        points: (n, m), finite or infinite.

    Returns:
        (n,), True on the front.
    """
    kept = np.ones(len(points), dtype=bool)
    for i, point in enumerate(points):
        no_worse = (points <= point).all(axis=1)
        better = (points < point).any(axis=1)
        kept[i] = not (no_worse & better).any()
    return kept


def hypervolume(points: Points, reference: Points) -> float:
    """The volume between a corner and the points that lie below it, exact in 1 to 3 dimensions.

    Args:
        points: (n, m) with m up to 3; those not below the corner in every dimension add nothing.
        reference: (m,), the corner.

    Returns:
        The volume, 0 where there is none.

    Raises:
        ValueError: more than three dimensions.
    """
    points = np.asarray(points, dtype=np.float64).reshape(-1, len(reference))
    inside = points[(points < reference).all(axis=1)]
    if len(inside) == 0:
        return 0.0
    if len(reference) == 1:
        return float(reference[0] - inside.min())
    if len(reference) == 2:
        return _area(inside, reference)
    if len(reference) == 3:
        return _volume(inside[front(inside)], reference)
    raise ValueError(f"hypervolume of {len(reference)} dimensions: at most 3 are exact here")


def history(points: Points, reference: Points) -> Points:
    """The hypervolume after each point, in order.

    Args:
        points: (n, m) as they came.
        reference: (m,), the corner.

    Returns:
        (n,), never falling.
    """
    kept = np.empty((0, len(reference)))
    volumes = []
    for point in points:
        kept = np.vstack([kept, point])
        kept = kept[front(kept)]
        volumes.append(hypervolume(kept, reference))
    return np.asarray(volumes, dtype=np.float64)


def _area(points: Points, reference: Points) -> float:
    """Sum of the strips between successive points, from left to right."""
    ordered = points[np.lexsort((points[:, 1], points[:, 0]))]
    lowest = np.minimum.accumulate(ordered[:, 1])
    widths = np.diff(np.append(ordered[:, 0], reference[0]))
    return float(np.sum(widths * (reference[1] - lowest)))


def _volume(points: Points, reference: Points) -> float:
    """Sum of the slabs between successive heights: each the area of the points at or below it."""
    ordered = points[np.argsort(points[:, 2], kind="stable")]
    heights = np.diff(np.append(ordered[:, 2], reference[2]))
    areas = [
        _area(ordered[: i + 1, :2], reference[:2]) if height > 0 else 0.0
        for i, height in enumerate(heights)
    ]
    return float(np.dot(heights, areas))
