"""Solvers against closed forms, float64 and Diffusers' EDM schedulers."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.diffusion.levels import karras_levels, logsnr_levels
from ado_nas.diffusion.solvers import SOLVER

MEAN = np.array([0.5, -0.3, 0.1], dtype=np.float64)
ROOT = np.array([[0.5, 0.0, 0.0], [0.3, 0.4, 0.0], [-0.1, 0.2, 0.6]])
COVARIANCE = ROOT @ ROOT.T
FIXTURE = Path(__file__).parents[2] / "fixtures" / "diffusers_solvers.safetensors"


def gaussian_denoiser(x: mx.array, sigma: mx.array) -> mx.array:
    """E[x0 | x] of Gaussian data: mean + C (C + sigma^2)^-1 (x - mean)."""
    s = float(sigma.item())
    gain = COVARIANCE @ np.linalg.inv(COVARIANCE + s * s * np.eye(3))
    centered = x - mx.array(MEAN.astype(np.float32))
    return mx.array(MEAN.astype(np.float32)) + centered @ mx.array(gain.T.astype(np.float32))


def solve(name: str, levels: np.ndarray, x: np.ndarray) -> np.ndarray:
    *_, (last, _) = SOLVER[name](gaussian_denoiser, mx.array(x.astype(np.float32)), levels)
    return np.array(last)


@pytest.mark.parametrize("name", list(SOLVER))
def test_solver_recovers_mean_and_covariance_of_gaussian_data(name: str) -> None:
    levels = karras_levels(200, 0.002, 80.0)
    noise = np.random.default_rng(0).standard_normal((20_000, 1, 1, 3)) * 80.0
    found = solve(name, levels, noise).reshape(-1, 3).astype(np.float64)
    error = 4 / math.sqrt(len(noise))  # four standard errors
    np.testing.assert_allclose(found.mean(axis=0), MEAN, atol=error)
    np.testing.assert_allclose(np.cov(found.T), COVARIANCE, atol=error + 0.01)


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("dpmpp_2m", 2)])
def test_solver_converges_at_its_order(name: str, order: int) -> None:
    """Halving the step in log sigma divides the error by 2^order, between two positive levels."""
    x = np.random.default_rng(1).standard_normal((64, 1, 1, 3)) * 2.0
    start, end = 2.0, 0.5
    values, vectors = np.linalg.eigh(COVARIANCE)
    shrink = np.sqrt((values + end**2) / (values + start**2))
    exact = MEAN + (((x - MEAN) @ vectors) * shrink) @ vectors.T
    errors = []
    for steps in (8, 16, 32):
        levels = np.append(np.geomspace(start, end, steps + 1), 0.0)
        states = itertools.islice(
            SOLVER[name](gaussian_denoiser, mx.array(x.astype(np.float32)), levels), steps
        )
        *_, (last, _) = states
        errors.append(np.abs(np.array(last) - exact).mean())
    rates = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert rates[-1] == pytest.approx(order, abs=0.35)


def test_one_step_lands_on_the_denoised_image() -> None:
    x = np.random.default_rng(2).standard_normal((4, 1, 1, 3)) * 5
    expected = np.array(gaussian_denoiser(mx.array(x.astype(np.float32)), mx.array([5.0])))
    for name in SOLVER:
        np.testing.assert_allclose(solve(name, np.array([5.0, 0.0]), x), expected, atol=1e-6)


@pytest.mark.parametrize("make", [karras_levels, logsnr_levels])
def test_levels_fall_from_end_to_end(make) -> None:  # type: ignore[no-untyped-def]
    levels = make(7, 0.02, 40.0)
    assert levels[0] == pytest.approx(40.0) and levels[-2] == pytest.approx(0.02)
    assert levels[-1] == 0 and np.all(np.diff(levels) < 0) and len(levels) == 8
    assert list(make(1, 0.02, 40.0)) == pytest.approx([40.0, 0.0])


@pytest.mark.parametrize("name", list(SOLVER))
def test_solver_agrees_with_the_stored_run_of_diffusers(name: str) -> None:
    stored = mx.load(str(FIXTURE))
    levels = np.array(stored[f"{name}.levels"], dtype=np.float64)
    found = solve(name, levels, np.array(stored["x"]))
    np.testing.assert_allclose(found, stored[f"{name}.result"], atol=1e-5)


@pytest.mark.parametrize("name", list(SOLVER))
def test_solver_agrees_with_diffusers(name: str) -> None:
    pytest.importorskip("diffusers", reason="needs the extra interop")
    from tests.fixtures.make_diffusers import run

    x = np.random.default_rng(3).standard_normal((8, 1, 1, 3)).astype(np.float32) * 40
    levels, expected = run(name, x, 10)
    np.testing.assert_allclose(solve(name, levels, x), expected, atol=1e-5)
