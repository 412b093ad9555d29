"""What the gap cannot resolve (its floor) and how sure one value of it is (its interval)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ado_nas.quality import frechet
from ado_nas.quality.frechet import Gaussian

F64 = npt.NDArray[np.float64]
Distance = Callable[[F64, F64], float]

GROUPS = 20
_STUDENT_T = 2.093  # 97.5% quantile at 19 degrees of freedom


@dataclass(frozen=True, eq=False)
class Sample:
    """Features with what every comparison needs of them: whole, and with each group left out."""

    whole: Gaussian
    without: tuple[Gaussian, ...]
    unit_bias: float


@dataclass(frozen=True)
class Null:
    """A distance between real images and others: what chance alone makes of it."""

    bias: float  # mean
    floor: float  # 95th percentile above the mean


def sample(features: npt.ArrayLike) -> Sample:
    """Fit features (N, D) and, for the interval, all of them but every 20th in turn."""
    x = np.asarray(features, np.float64)
    group = np.arange(len(x)) % GROUPS
    without = (x[group != g] for g in range(GROUPS)) if len(x) >= 2 * GROUPS else ()
    fitted = tuple(frechet.fit(part) for part in without)
    return Sample(frechet.fit(x), fitted, frechet.unit_bias(x))


def corrected(real: Gaussian, fake: Gaussian, real_bias: float, fake_bias: float) -> float:
    """Frechet distance less its finite-sample bias; below 0 by chance for equal distributions."""
    bias = real_bias / real.count + fake_bias / fake.count
    return frechet.distance(real, fake) - bias


def interval(real: Sample, fake: Sample, both: bool = True) -> tuple[float, float]:
    """95% interval of the gap by the delete-a-group jackknife.

    Args:
        real: real features.
        fake: generated features.
        both: over both samples; False holds the real one fixed, for comparing models that were
            judged by the same real images.

    Returns:
        (low, high), not below 0; (0, inf) for samples of fewer than 40.

    Source: Shao and Tu 1995, section 5.1; a bootstrap would inflate the distance itself.
    """
    if not (real.without and fake.without):
        return 0.0, float("inf")
    units = real.unit_bias, fake.unit_bias
    center = corrected(real.whole, fake.whole, *units)
    by_real = [corrected(part, fake.whole, *units) for part in real.without if both] or [center]
    by_fake = [corrected(real.whole, part, *units) for part in fake.without]
    half = _STUDENT_T * float(np.sqrt(_jackknife(by_real) + _jackknife(by_fake)))
    return max(center - half, 0.0), max(center + half, 0.0)


def null(
    features: npt.ArrayLike,
    measure: Distance,
    sizes: tuple[int, int],
    draws: int = 50,
    seed: int = 0,
) -> Null:
    """Mean and 95th percentile of a distance between random equal splits of real features.

    The chance part of a squared distance falls with ``1/n + 1/m``, by which the splits' values are
    brought to the sample sizes used.

    Args:
        features: (N, D) real features.
        measure: the distance of two samples.
        sizes: numbers of real and of generated images that will be compared.
        draws: number of random splits.
        seed: of the splits.
    """
    x = np.asarray(features, np.float64)
    half = len(x) // 2
    rng = np.random.default_rng(seed)
    orders = (rng.permutation(len(x)) for _ in range(draws))
    values = np.array([measure(x[o[:half]], x[o[half : 2 * half]]) for o in orders])
    values *= (1 / sizes[0] + 1 / sizes[1]) * half / 2
    bias = float(values.mean())
    return Null(bias, max(float(np.quantile(values, 0.95)) - bias, 0.0))


def gap_measure(real: F64, fake: F64) -> float:
    """`corrected` of two samples of features, for `null`."""
    units = frechet.unit_bias(real), frechet.unit_bias(fake)
    return corrected(frechet.fit(real), frechet.fit(fake), *units)


def _jackknife(values: Sequence[float]) -> float:
    return float((len(values) - 1) * np.var(values))
