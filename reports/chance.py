"""What a front would have grown like, had its trials come in another order."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from studies.pareto import hypervolume

Floats = NDArray[np.float64]

EXACT = 200  # points; the work grows with their third power
DARTS = 12  # powers of 2, where there are more points: within some thousandths of the volume
AT_ONCE = 64  # of the darts


def expected(points: Floats, corner: Floats) -> Floats:
    """The mean hypervolume after each trial over all orders of the same trials.

    A place that m of n points dominate is covered after k of them with probability
    1 - C(n - m, k) / C(n, k). Of up to `EXACT` points space is cut into cells at their
    coordinates; of more its volumes are measured with a low-discrepancy sequence, and scaled so
    that the last figure is exact.

    Args:
        points: (n, 3), everything minimized; those not below the corner add nothing.
        corner: (3,).

    Returns:
        (n,), never falling; the last is the hypervolume of all.
    """
    count = len(points)
    inside = points[(points < corner).all(axis=1)]
    volumes = (_volumes if len(inside) <= EXACT else _sampled)(inside, corner, count)
    dominated = np.flatnonzero(volumes)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])  # log k!
    found = np.zeros(count)
    for k in range(1, count + 1):
        m = dominated[dominated <= count - k]  # with more, one of them is among any k
        # C(n - m, k) / C(n, k)
        missed = np.exp(logs[count - m] - logs[count - m - k] - logs[count] + logs[count - k])
        found[k - 1] = float(volumes.sum() - volumes[m] @ missed)
    return found


def _volumes(points: Floats, corner: Floats, count: int) -> Floats:
    """The volume that exactly m points dominate, for m of 0 to `count`; that of none is left 0."""
    volumes = np.zeros(count + 1)
    if not len(points):
        return volumes
    x, y = (np.unique(points[:, axis]) for axis in (0, 1))
    areas = np.outer(np.diff(np.append(x, corner[0])), np.diff(np.append(y, corner[1])))
    ordered = points[np.argsort(points[:, 2], kind="stable")]
    heights = np.diff(np.append(ordered[:, 2], corner[2]))
    over = np.zeros(areas.shape, dtype=np.int64)
    for point, height in zip(ordered, heights, strict=True):
        over[np.searchsorted(x, point[0]) :, np.searchsorted(y, point[1]) :] += 1
        if height > 0 and math.isfinite(height):
            volumes += height * np.bincount(over.ravel(), areas.ravel(), count + 1)
    volumes[0] = 0.0
    return volumes


def _sampled(points: Floats, corner: Floats, count: int) -> Floats:
    """As `_volumes`, by darts thrown between the least coordinates and the corner."""
    low = points.min(axis=0)
    darts = qmc.scale(qmc.Sobol(3, scramble=False).random_base2(DARTS), low, corner)
    volumes = np.zeros(count + 1)
    for part in np.split(darts, len(darts) // AT_ONCE):
        over = (points[:, None] <= part).all(axis=2).sum(axis=0)
        volumes += np.bincount(over, minlength=count + 1)
    volumes[0] = 0.0
    volumes *= hypervolume(points, corner) / volumes.sum()
    return volumes
