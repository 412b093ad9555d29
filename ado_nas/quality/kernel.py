"""Kernel distance: the unbiased squared maximum mean discrepancy with a cubic kernel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


def distance(real: npt.ArrayLike, fake: npt.ArrayLike, real_term: float | None = None) -> float:
    """Squared maximum mean discrepancy without bias; may be below 0.

    Args:
        real: (N, D) features.
        fake: (M, D) features.
        real_term: `within` of the real features, where it is known already.

    Source: Binkowski et al. 2018, eq. 4, kernel ``(x.y / D + 1)^3``.
    """
    x, y = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    between = float(_kernel(x, y).mean())
    own = within(x) if real_term is None else real_term
    return own + within(y) - 2.0 * between


def within(features: npt.ArrayLike) -> float:
    """Mean kernel value over pairs of different rows."""
    x = np.asarray(features, np.float64)
    values = _kernel(x, x)
    n = len(x)
    return float((values.sum() - np.trace(values)) / (n * (n - 1)))


def _kernel(x: F64, y: F64) -> F64:
    base = x @ y.T / x.shape[1] + 1.0
    values: F64 = base * base * base
    return values
