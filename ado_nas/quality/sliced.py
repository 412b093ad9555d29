"""Sliced Wasserstein distance: the exact one-dimensional distance, averaged over directions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


def directions(width: int, count: int = 128, seed: int = 0) -> F64:
    """Fixed unit vectors, uniform on the sphere: (width, count)."""
    drawn = np.random.default_rng(seed).standard_normal((width, count))
    unit: F64 = drawn / np.linalg.norm(drawn, axis=0)
    return unit


def project(features: npt.ArrayLike, along: F64) -> F64:
    """Features (N, D) projected on directions (D, K) and sorted: (N, K)."""
    return np.sort(np.asarray(features, np.float64) @ along, axis=0)


def distance(real: F64, fake: F64, width: int) -> float:
    """Squared 2-Wasserstein distance averaged over directions, times the features' width.

    The factor makes a shift of the mean count with its squared length, as in the Frechet distance.

    Args:
        real: (N, K) sorted projections, from `project`.
        fake: (M, K) sorted projections on the same directions; M may differ from N.
        width: D.

    Source: Bonneel et al. 2015; unequal sizes by integrating over both quantile functions, which
        are steps.
    """
    n, m = len(real), len(fake)
    if n == m:
        return float(width * ((real - fake) ** 2).mean())
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)  # in units of 1 / (n m)
    starts = np.concatenate([[0], ends[:-1]])
    squares = (real[starts // m] - fake[starts // n]) ** 2
    return float(width * ((ends - starts) @ squares).mean() / (n * m))
