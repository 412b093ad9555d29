"""Whether generated images are copies: how near they lie to training images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ado_nas.data.arrays import pieces

Floats = npt.NDArray[np.float32]

COPYING = 0.5  # below this ratio a model is called memorizing
_IMAGES = 256


def nearest_distance(images: Floats, train: Floats) -> float:
    """Median over images of the pixel distance to the nearest training image.

    Args:
        images: (N, H, W, C); the first 256 are looked at.
        train: (M, H, W, C), all of them looked at.
    """
    x = images[:_IMAGES].reshape(min(len(images), _IMAGES), -1)
    nearest = np.full(len(x), np.inf, np.float32)
    for part in pieces(train):
        y = part.reshape(len(part), -1)
        squares = (x**2).sum(1)[:, None] + (y**2).sum(1)[None, :] - 2 * x @ y.T
        nearest = np.minimum(nearest, squares.min(axis=1))
    return float(np.median(np.sqrt(np.maximum(nearest, 0.0))))


def memorizing(ratio: float) -> bool:
    """Whether generated images lie so near to training images that they must be copies.

    Args:
        ratio: `nearest_distance` of generated over that of held-out images; 1 for a model that
            neither copies nor strays.
    """
    return ratio < COPYING
