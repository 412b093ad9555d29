"""Noise levels in closed form: the schedules that need no model."""

from __future__ import annotations

import numpy as np

from ado_nas.errors import SpecError

Levels = np.ndarray
"""(T + 1,) float64, strictly falling, the last one 0: T network evaluations."""


def karras_levels(nfe: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Levels:
    """Levels evenly spaced in sigma^(1/rho), then 0.

    Args:
        nfe: network evaluations, T.
        sigma_min: last positive level.
        sigma_max: first level.
        rho: exponent.

    Returns:
        (T + 1,).

    Source: Karras et al. 2022, eq. 5.
    """
    _check(nfe, sigma_min, sigma_max)
    ramp = np.linspace(0, 1, nfe) if nfe > 1 else np.zeros(1)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return np.append((high + ramp * (low - high)) ** rho, 0.0)


def logsnr_levels(nfe: int, sigma_min: float, sigma_max: float) -> Levels:
    """Levels evenly spaced in log sigma, then 0.

    Args:
        nfe: network evaluations, T.
        sigma_min: last positive level.
        sigma_max: first level.

    Returns:
        (T + 1,).

    Source: Lu et al. 2022 (DPM-Solver), section 3.3, logSNR spacing.
    """
    _check(nfe, sigma_min, sigma_max)
    return np.append(np.geomspace(sigma_max, sigma_min, nfe), 0.0)


def uniform_levels(nfe: int, sigma_min: float, sigma_max: float) -> Levels:
    """Levels evenly spaced in the time of the variance-preserving process, then 0.

    This is what evenly spaced timesteps of DDPM's linear schedule are in sigma space.

    Args:
        nfe: network evaluations, T.
        sigma_min: last positive level.
        sigma_max: first level.

    Returns:
        (T + 1,).

    Source: Karras et al. 2022, table 1, VP; Song et al. 2021, appendix C, beta 0.1 to 20.
    """
    _check(nfe, sigma_min, sigma_max)
    low, rise = 0.1, 19.9
    first, last = (
        (np.sqrt(low**2 + 2 * rise * np.log1p(sigma**2)) - low) / rise
        for sigma in (sigma_max, sigma_min)
    )
    time = np.linspace(first, last, nfe)
    return np.append(np.sqrt(np.expm1(rise * time**2 / 2 + low * time)), 0.0)


def ays_levels(nfe: int, sigma_min: float, sigma_max: float, sigma_data: float) -> Levels:
    """Levels evenly spaced in arctan(sigma / sigma_data), then 0: the best for Gaussian data.

    Args:
        nfe: network evaluations, T.
        sigma_min: last positive level.
        sigma_max: first level.
        sigma_data: standard deviation of the data.

    Returns:
        (T + 1,).

    Source: Sabour et al. 2024 (Align Your Steps), theorem 3.1.
    """
    _check(nfe, sigma_min, sigma_max)
    first, last = np.arctan(np.array([sigma_max, sigma_min]) / sigma_data)
    return np.append(sigma_data * np.tan(np.linspace(first, last, nfe)), 0.0)


def _check(nfe: int, sigma_min: float, sigma_max: float) -> None:
    if nfe < 1 or not 0 < sigma_min < sigma_max:
        raise SpecError(
            f"nfe {nfe} and levels {sigma_max} to {sigma_min}: want nfe >= 1 and 0 < min < max"
        )
