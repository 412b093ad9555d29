"""Density, coverage, precision and recall from balls around real and generated features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
K = 5  # neighbors for density and coverage
K_SUPPORT = 3  # and for precision and recall


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
) -> Neighbors:
    """Count neighbors within the distance to the k-th nearest of the same kind.

    Args:
        real: (N, D) features.
        fake: (M, D) features.
        radii: of the real balls, as `real_radii` gives them, where known already.

    Source: Naeem et al. 2020, eqs. 3 to 5; Kynkaanniemi et al. 2019 for precision and recall.
    """
    x, y = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    wide, narrow = radii or real_radii(x)
    between = squared_distances(x, y)
    inside = between <= wide[:, None]
    return Neighbors(
        density=float(inside.sum() / (K * len(y))),
        coverage=float(inside.any(axis=1).mean()),
        precision=float((between <= narrow[:, None]).any(axis=0).mean()),
        recall=float((between <= squared_radii(y, K_SUPPORT)[None, :]).any(axis=1).mean()),
    )


def real_radii(points: F64) -> tuple[F64, F64]:
    """(N,) squared radii of the balls for `K` neighbors, and for `K_SUPPORT`."""
    return squared_radii(points, K), squared_radii(points, K_SUPPORT)


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
