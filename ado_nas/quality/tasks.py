"""What the feature network learns to tell: given classes or found clusters, real from noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ado_nas.data import Split, arrays
from ado_nas.data.pyramid import averaged

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

CLUSTERS = 16
_SAMPLE = 2048  # images that means and covariances are taken from
_SEEN = 4096  # images that clusters are found in
_SIDE = 16  # px that images are averaged to at most, for clusters


@dataclass(frozen=True, eq=False)
class Target:
    """A class for each training image."""

    labels: Ints  # (N,)
    classes: int
    name: str


def targets(train: Split, seed: int) -> Target:
    """The labels of a split, or the clusters of its pixels where it has none."""
    if train.labels is not None:
        classes = int(train.labels.max()) + 1
        return Target(train.labels, classes, f"{classes} classes")
    classes = min(CLUSTERS, len(train))
    centers = clusters(_sample(train.images, seed), classes, seed)
    found = [nearest(_points(piece), centers) for piece in arrays.pieces(train.images)]
    name = f"{classes} clusters of pixels (no labels given)"
    return Target(np.concatenate(found), classes, name)


def clusters(points: Floats, count: int, seed: int, rounds: int = 20) -> Floats:
    """Centers of points, moved to the means of the points nearest to them in turn.

    Args:
        points: (N, D).
        count: number of centers, at most N.
        seed: of the points the centers start at.
        rounds: how often centers move.

    Returns:
        (count, D).

    Source: Lloyd 1982.
    """
    rng = np.random.default_rng(seed)
    centers = points[rng.choice(len(points), count, replace=False)]
    for _ in range(rounds):
        found = nearest(points, centers)
        for k in np.unique(found):
            centers[k] = points[found == k].mean(0)
    return centers


def nearest(points: Floats, centers: Floats) -> Ints:
    """Number of the center that is nearest to each point: (N, D), (K, D) -> (N,)."""
    found: Ints = ((centers**2).sum(1) - points @ (2 * centers.T)).argmin(1).astype(np.int32)
    return found


def moment_noise(images: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Gaussian images with the mean and covariance of the pixels of real ones.

    Args:
        images: (N, H, W, C); at most 2,048 of them are looked at.
        count: number of images wanted.
        rng: source of the noise.

    Returns:
        (count, H, W, C), not clipped, so that the moments hold.
    """
    if len(images) > _SAMPLE:
        images = images[rng.choice(len(images), _SAMPLE, replace=False)]
    flat = images.reshape(len(images), -1)
    mean = flat.mean(0)
    weights = rng.standard_normal((count, len(flat))).astype(np.float32)
    drawn: Floats = mean + weights @ (flat - mean) / np.float32(np.sqrt(max(len(flat) - 1, 1)))
    return drawn.reshape(count, *images.shape[1:])


def _sample(images: Floats, seed: int) -> Floats:
    """Points of at most 4,096 images drawn from a split, in memory or in a file."""
    rows = np.arange(len(images))
    if len(rows) > _SEEN:
        rows = np.sort(np.random.default_rng(seed).choice(rows, _SEEN, replace=False))
    parts = arrays.ranges(len(rows), images[0].nbytes)
    return np.concatenate([_points(arrays.taken(images, rows[i:j])) for i, j in parts])


def _points(images: Floats) -> Floats:
    """Images averaged to at most 16 px a side, as points; edges that are left over do not count.

    Args:
        images: (N, H, H, C).

    Returns:
        (N, D).
    """
    factor = math.ceil(images.shape[1] / _SIDE)
    side = images.shape[1] // factor
    inner = images[:, : side * factor, : side * factor]
    return averaged(inner, side).reshape(len(images), -1)
