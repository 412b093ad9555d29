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
T_90 = 1.729  # 95%: both ends of a 90% interval


@dataclass(frozen=True, eq=False)
class Sample:
    """Features with what every comparison needs of them: whole, and with each group left out."""

    whole: Gaussian
    without: tuple[Gaussian, ...]
    unit_bias: float


@dataclass(frozen=True)
class Replicates:
    """A gap with a 20th of the images left out in turn; empty for samples of fewer than 40."""

    generated: list[float]
    real: list[float]


@dataclass(frozen=True)
class Null:
    """A distance between real images and others: what chance alone makes of it."""

    bias: float  # mean
    floor: float  # 95th percentile above the mean


def sample(features: npt.ArrayLike) -> Sample:
    """Fit features (N, D) and, for the interval, all of them but a 20th in turn.

    Neighbors are left out together, so that classes asked for in turn stay balanced.
    """
    x = np.asarray(features, np.float64)
    group = np.arange(len(x)) * GROUPS // max(len(x), 1)
    without = (x[group != g] for g in range(GROUPS)) if len(x) >= 2 * GROUPS else ()
    fitted = tuple(frechet.fit(part) for part in without)
    return Sample(frechet.fit(x), fitted, frechet.unit_bias(x))


def corrected(real: Gaussian, fake: Gaussian, real_bias: float, fake_bias: float) -> float:
    """Frechet distance less its finite-sample bias; below 0 by chance for equal distributions."""
    bias = real_bias / real.count + fake_bias / fake.count
    return frechet.distance(real, fake) - bias


def replicates(real: Sample, fake: Sample) -> Replicates:
    """The gap with each group of the generated, then of the real images left out."""
    if not (real.without and fake.without):
        return Replicates([], [])
    units = real.unit_bias, fake.unit_bias
    return Replicates(
        [corrected(real.whole, part, *units) for part in fake.without],
        [corrected(part, fake.whole, *units) for part in real.without],
    )


def interval(gap: float, parts: Replicates) -> tuple[float, float]:
    """95% interval of a gap over other noise and other real images, by the jackknife.

    Args:
        gap: of all images, before it is cut at 0.
        parts: its replicates.

    Returns:
        (low, high), not below 0; (0, inf) without replicates.

    Source: Shao and Tu 1995, section 5.1; a bootstrap would inflate the distance itself.
    """
    if not parts.generated:
        return 0.0, float("inf")
    half = _STUDENT_T * float(np.sqrt(_jackknife(parts.generated) + _jackknife(parts.real)))
    return max(gap - half, 0.0), max(gap + half, 0.0)


def ratio_interval(
    above: tuple[float, Replicates], below: tuple[float, Replicates], floor: float
) -> tuple[float, float]:
    """`pooled_interval` of one noise set, with 95% confidence."""
    return pooled_interval([above], [below], floor)


def pooled_interval(
    above: Sequence[tuple[float, Replicates]],
    below: Sequence[tuple[float, Replicates]],
    floor: float,
    quantile: float = _STUDENT_T,
) -> tuple[float, float]:
    """Interval of ``(gap_a + floor) / (gap_b + floor)`` with gaps averaged over K noise sets.

    The same images are left out of both, so that what common noise and common real images do to
    both alike cancels; real images are left out of all noise sets at once. The floor counts as
    exact.

    Args:
        above: gap and replicates of the reference, K times, judged by the same real images.
        below: of the student, on the same noise sets.
        floor: of the judge, positive.
        quantile: of Student's t at 19 degrees of freedom; `T_90` for a 90% interval.

    Returns:
        (low, high); (0, inf) without replicates.
    """
    if not all(part.generated for _, part in (*above, *below)):
        return 0.0, float("inf")

    def log_mean(gaps: npt.ArrayLike) -> F64:
        found: F64 = np.log(np.maximum(gaps, 0.0).mean(axis=0) + floor)
        return found

    def without(sets: Sequence[tuple[float, Replicates]], left_out: int) -> F64:
        """Generated images are left out of one noise set, the others stay whole."""
        rows = [p.generated if k == left_out else [g] * GROUPS for k, (g, p) in enumerate(sets)]
        return log_mean(rows)

    center = float(log_mean([g for g, _ in above]) - log_mean([g for g, _ in below]))
    real = log_mean([p.real for _, p in above]) - log_mean([p.real for _, p in below])
    variance = _jackknife(real)
    for k in range(len(above)):
        variance += _jackknife(without(above, k) - without(below, k))
    half = quantile * float(np.sqrt(variance))
    return float(np.exp(center - half)), float(np.exp(center + half))


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


def _jackknife(values: Sequence[float] | F64) -> float:
    return float((len(values) - 1) * np.var(values))
