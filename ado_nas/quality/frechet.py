"""Frechet distance between Gaussians fitted to features, and its finite-sample bias."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ado_nas.errors import DataError

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Gaussian:
    """What the Frechet distance needs to know of N features of width D."""

    mean: F64  # (D,)
    covariance: F64  # (D, D), divided by N - 1
    root: F64  # (D, D) symmetric square root of the covariance
    count: int


def fit(features: npt.ArrayLike) -> Gaussian:
    """Mean, covariance and its root.

    Args:
        features: (N, D), at least two rows.

    Raises:
        DataError: fewer than two rows, or values that are not finite.
    """
    x = np.asarray(features, np.float64)
    if len(x) < 2:
        raise DataError(f"{len(x)} images are too few to judge by; give at least 2")
    if not np.isfinite(x).all():
        raise DataError("features hold values that are not finite; the images do too")
    mean = x.mean(0)
    centered = x - mean
    return gaussian(mean, centered.T @ centered / (len(x) - 1), len(x))


def gaussian(mean: F64, covariance: F64, count: int) -> Gaussian:
    """The Gaussian of known moments, with the root of its covariance."""
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return Gaussian(mean, covariance, root, count)


def distance(real: Gaussian, fake: Gaussian) -> float:
    """Squared Frechet distance of two Gaussians.

    Returns:
        ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))``, not below 0.

    Source: Heusel et al. 2017, eq. 6; the trace of the root from the eigenvalues of
        ``C1^(1/2) C2 C1^(1/2)``, which is symmetric.
    """
    shift = real.mean - fake.mean
    middle = real.root @ fake.covariance @ real.root
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(middle), 0.0)).sum()
    traces = np.trace(real.covariance) + np.trace(fake.covariance)
    return max(float(shift @ shift + traces - 2.0 * roots), 0.0)


def unit_bias(features: npt.ArrayLike) -> float:
    """What N samples of this distribution add to the distance on average, times N.

    Expanding the distance to second order around equal Gaussians, a sampling error E of the
    covariance adds ``1/2 sum_ij E_ij^2 / (l_i + l_j)`` in its eigenbasis with eigenvalues l, and
    an error of the mean its square. The variance of E is taken from the features' own fourth
    moments, so heavy tails count; for Gaussian features it is ``l_i l_j (1 + d_ij)``.

    Args:
        features: (N, D).

    Returns:
        The bias of a distance is ``unit_bias(real) / N_real + unit_bias(fake) / N_fake``.
    """
    x = np.asarray(features, np.float64)
    centered = x - x.mean(0)
    values, vectors = np.linalg.eigh(centered.T @ centered / (len(x) - 1))
    values = np.maximum(values, 0.0)
    squares = (centered @ vectors) ** 2
    fourth = squares.T @ squares / len(x) - np.diag(values**2)
    return _second_order(values, fourth)


def _second_order(values: F64, variances: F64) -> float:
    sums = values[:, None] + values[None, :]
    # Directions without variance in either carry no bias; dividing by their sum would make noise.
    known = sums > 1e-9 * max(float(values.max(initial=0.0)), 1e-300)
    terms = np.divide(variances, sums, out=np.zeros_like(sums), where=known)
    return float(values.sum() + 0.5 * terms.sum())
