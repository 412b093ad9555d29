"""Which points are not dominated, and the volume they dominate; everything is minimized."""

from __future__ import annotations

import bisect

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
    members: list[int] = []
    for i in np.lexsort(np.transpose(points)[::-1]):  # nobody dominates who comes later
        kept[i] = not _dominated(points[i], points[members])
        if kept[i]:
            members.append(i)
    return kept


def layers(points: Points) -> NDArray[np.int64]:
    """Which front each point lies on when the fronts are peeled off one by one.

    Args:
        points: (n, m).

    Returns:
        (n,), 0 for what no other point dominates, 1 for what only points of front 0 dominate, ...

    Source: Zhang et al. 2015 (efficient non-dominated sort), with binary search.
    """
    found = np.zeros(len(points), dtype=np.int64)
    fronts: list[Points] = []  # (m, k) each, which numpy compares faster than (k, m)
    for i in np.lexsort(np.transpose(points)[::-1]):  # nobody dominates who comes later
        point = points[i][:, None]
        low, high = 0, len(fronts)
        while low < high:
            middle = (low + high) // 2
            above = (fronts[middle] <= point).all(axis=0) & (fronts[middle] < point).any(axis=0)
            low, high = (middle + 1, high) if above.any() else (low, middle)
        if low == len(fronts):
            fronts.append(point[:, :0])
        fronts[low] = np.hstack([fronts[low], point])
        found[i] = low
    return found


def contributions(points: Points, reference: Points) -> Points:
    """The volume that each point alone dominates.

    Args:
        points: (n, 3).
        reference: (3,), the corner.

    Returns:
        (n,), 0 for what lies outside the corner, is dominated, or is there twice.
    """
    found = np.zeros(len(points))
    inside = np.flatnonzero((points < reference).all(axis=1))
    order = inside[np.argsort(points[inside, 2], kind="stable")]
    heights = np.diff(np.append(points[order, 2], reference[2]))
    for i, height in enumerate(heights):
        if height > 0:
            active = order[: i + 1]
            found[active] += height * _own_areas(points[active, :2], reference[:2])
    return found


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
        return _volume(inside, reference)
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
    volumes: list[float] = []
    for point in points:
        # Most points of a long study change nothing, and the volume is what takes time.
        if (point < reference).all() and not _dominated(point, kept):
            kept = np.vstack([kept[(kept < point).any(axis=1)], point])
            volumes.append(hypervolume(kept, reference))
        else:
            volumes.append(volumes[-1] if volumes else 0.0)
    return np.asarray(volumes, dtype=np.float64)


def _dominated(point: Points, others: Points) -> bool:
    return bool(((others <= point).all(axis=1) & (others < point).any(axis=1)).any())


def _area(points: Points, reference: Points) -> float:
    """Sum of the strips between successive points, from left to right."""
    ordered = points[np.lexsort((points[:, 1], points[:, 0]))]
    lowest = np.minimum.accumulate(ordered[:, 1])
    widths = np.diff(np.append(ordered[:, 0], reference[0]))
    return float(np.sum(widths * (reference[1] - lowest)))


def _volume(points: Points, reference: Points) -> float:
    """Sum of the slabs between successive heights, each over the area of the points below it.

    Args:
        points: (n, 3) inside the corner; dominated ones add nothing.
        reference: (3,), the corner.

    Source: Fonseca, Paquete and Lopez-Ibanez 2006, the sweep for three dimensions.
    """
    right, top, end = map(float, reference)
    xs: list[float] = []  # the stairs of the points below: x rises, y falls
    ys: list[float] = []
    volume = area = height = 0.0
    for x, y, z in sorted(points.tolist(), key=lambda point: point[2]):
        volume += area * (z - height)
        height = z
        first = bisect.bisect_left(xs, x)
        last = bisect.bisect_right(xs, x)
        if last and ys[last - 1] <= y:
            continue
        ceiling, left = (ys[first - 1] if first else top), x
        last = first
        while last < len(xs) and ys[last] >= y:
            area += (xs[last] - left) * (ceiling - y)
            left, ceiling = xs[last], ys[last]
            last += 1
        area += ((xs[last] if last < len(xs) else right) - left) * (ceiling - y)
        xs[first:last], ys[first:last] = [x], [y]
    return volume + area * (end - height)


def _own_areas(points: Points, reference: Points) -> Points:
    """The area that each of (n, 2) points alone dominates; all lie inside the corner."""
    order = np.lexsort((points[:, 1], points[:, 0]))
    x, y = points[order].T
    before = np.append(reference[1], np.minimum.accumulate(y)[:-1])
    (stairs,) = np.nonzero(y < before)
    ends = np.append(stairs[1:], len(x))
    right = np.append(x[stairs[1:]], reference[0])
    found = np.zeros(len(points))
    found[order[stairs]] = (right - x[stairs]) * (before[stairs] - y[stairs])
    for stair, end, edge in zip(stairs, ends, right, strict=True):
        # What others dominate too: those that come before the next step down.
        shared = points[order[stair + 1 : end]]
        corner = np.array([edge, before[stair]])
        shared = shared[(shared < corner).all(axis=1)]
        if len(shared):
            found[order[stair]] -= _area(shared, corner)
    return found
