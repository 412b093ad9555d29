"""Known damage to real images, each at four severities, to test a metric with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ado_nas.data import Split
from ado_nas.errors import ConfigError, nearest
from ado_nas.quality.tasks import moment_noise

Floats = npt.NDArray[np.float32]

SEVERITIES: dict[str, tuple[float, ...]] = {
    "gaussian": (0.25, 0.5, 0.75, 1.0),  # share of the variance that is Gaussian noise
    "blur": (0.5, 0.8, 1.1, 1.6),  # standard deviation in pixels at 16 px
    "noise": (0.15, 0.25, 0.4, 0.6),  # standard deviation
    "dropped": (0.1, 0.2, 0.35, 0.5),  # share of the images left out, class by class
    "averaged": (0.1, 0.2, 0.35, 0.5),  # weight of the second image
}


def damaged(images: Split, kind: str, severity: float, seed: int = 0) -> Floats:
    """Damage real images.

    Args:
        images: real images (N, H, W, C), not those the metric compares to.
        kind: a key of `SEVERITIES`.
        severity: as there.
        seed: of what is random; equal for all severities, so that they differ in that alone.

    Returns:
        (N, H, W, C), fewer for ``dropped``; not clipped, so that the noise has its moments.

    Raises:
        ConfigError: the kind is unknown.
    """
    if kind not in SEVERITIES:
        raise ConfigError(f"damage {kind!r} is unknown; {nearest(kind, SEVERITIES)}")
    rng, x = np.random.default_rng(seed), images.images
    if kind == "gaussian":
        return _gaussian(x, severity, rng)
    if kind == "blur":
        return blurred(x, severity * x.shape[1] / 16)
    if kind == "noise":
        return (x + severity * rng.standard_normal(x.shape)).astype(np.float32)
    if kind == "dropped":
        return _dropped(images, severity, rng)
    return ((1 - severity) * x + severity * x[rng.permutation(len(x))]).astype(np.float32)


def blurred(images: Floats, sigma: float) -> Floats:
    """Images (N, H, W, C) convolved with a Gaussian of `sigma` pixels, edges repeated."""
    reach = max(1, int(np.ceil(3 * sigma)))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    for axis in (1, 2):
        padding = [(reach, reach) if a == axis else (0, 0) for a in range(4)]
        wide = np.pad(images, padding, mode="edge")
        length = images.shape[axis]
        parts = (np.take(wide, range(i, i + length), axis) * tap for i, tap in enumerate(taps))
        images = np.sum(list(parts), axis=0, dtype=np.float32)
    return images


def _gaussian(x: Floats, share: float, rng: np.random.Generator) -> Floats:
    """Mean and covariance stay at every share."""
    mean = x.mean(0)
    noise = moment_noise(x, len(x), rng) - mean
    mixed: Floats = (mean + np.sqrt(1 - share) * (x - mean) + np.sqrt(share) * noise).astype(
        np.float32
    )
    return mixed


def _dropped(images: Split, share: float, rng: np.random.Generator) -> Floats:
    """Leave out classes whole but for the last; the darkest images where there are no classes."""
    if images.labels is None:
        order = np.argsort(images.images.mean(axis=(1, 2, 3)), kind="stable")
    else:
        ranks = rng.permutation(int(images.labels.max()) + 1)
        order = np.argsort(ranks[images.labels], kind="stable")
    return images.images[order[round(share * len(order)) :]]
