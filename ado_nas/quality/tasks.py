"""What the feature network learns to tell: given classes or found clusters, real from noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ado_nas.data import Split

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

CLUSTERS = 16
_SAMPLE = 2048  # images that means and covariances are taken from


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
    found = clusters(train.images.reshape(len(train), -1), classes, seed)
    return Target(found, classes, f"{classes} clusters of pixels (no labels given)")


def clusters(points: Floats, count: int, seed: int, rounds: int = 20) -> Ints:
    """Assign points to the nearest of `count` centers, moved to their points' means in turn.

    Args:
        points: (N, D).
        count: number of centers, at most N.
        seed: of the points the centers start at.
        rounds: how often centers move.

    Returns:
        (N,) number of the center of each point.

    Source: Lloyd 1982.
    """
    rng = np.random.default_rng(seed)
    centers = points[rng.choice(len(points), count, replace=False)]
    nearest = _nearest(points, centers)
    for _ in range(rounds):
        for k in np.unique(nearest):
            centers[k] = points[nearest == k].mean(0)
        nearest = _nearest(points, centers)
    return nearest


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


def _nearest(points: Floats, centers: Floats) -> Ints:
    found: Ints = ((centers**2).sum(1) - 2 * points @ centers.T).argmin(1).astype(np.int32)
    return found
