"""Density, coverage, precision and recall from balls around real and generated features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Neighbors:
    """How generated features lie among real ones."""

    density: float  # real balls around a generated point over k: 1 for equal distributions
    coverage: float  # share of real balls with a generated point: about 1 - 2^-k
    precision: float  # share of generated points in a real ball
    recall: float  # share of real points in a generated ball


def neighbors(
    real: npt.ArrayLike,
    fake: npt.ArrayLike,
    radii: tuple[F64, F64] | None = None,
    k: int = 5,
    k_support: int = 3,
) -> Neighbors:
    """Count neighbors within the distance to the k-th nearest of the same kind.

    Args:
        real: (N, D) features.
        fake: (M, D) features.
        radii: squared radii (N,) of the real balls for `k` and `k_support`, where known already.
        k: neighbors for density and coverage.
        k_support: neighbors for precision and recall.

    Source: Naeem et al. 2020, eqs. 3 to 5; Kynkaanniemi et al. 2019 for precision and recall.
    """
    x, y = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    wide, narrow = radii or (squared_radii(x, k), squared_radii(x, k_support))
    between = squared_distances(x, y)
    inside = between <= wide[:, None]
    return Neighbors(
        density=float(inside.sum() / (k * len(y))),
        coverage=float(inside.any(axis=1).mean()),
        precision=float((between <= narrow[:, None]).any(axis=0).mean()),
        recall=float((between <= squared_radii(y, k_support)[None, :]).any(axis=1).mean()),
    )


def squared_radii(points: F64, k: int) -> F64:
    """(N,) squared distance of each point to its k-th nearest other one, or the farthest."""
    among = squared_distances(points, points)
    np.fill_diagonal(among, 0.0)
    k = min(k, len(points) - 1)
    radii: F64 = np.partition(among, k, axis=1)[:, k]
    return radii


def squared_distances(x: F64, y: F64) -> F64:
    """(N, M) squared Euclidean distances of rows."""
    lengths = (x**2).sum(1)[:, None] + (y**2).sum(1)[None, :]
    distances: F64 = np.maximum(lengths - 2.0 * x @ y.T, 0.0)
    return distances
