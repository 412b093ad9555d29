"""Solvers against closed forms, float64 and Diffusers' EDM schedulers."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.diffusion import sampling
from ado_nas.diffusion.levels import karras_levels, logsnr_levels
from ado_nas.diffusion.sampling import generate, noise
from ado_nas.diffusion.solvers import SOLVER
from ado_nas.errors import SpecError
from ado_nas.models.unet import build_unet, named_parameters
from ado_nas.specs import FLOW_SOLVERS, SOLVERS, TrajectorySpec, UNetSpec

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


def gaussian_end(x: mx.array, sigma: mx.array) -> mx.array:
    """Where the trajectory through x ends: mean + (C (C + sigma^2)^-1)^1/2 (x - mean)."""
    values, vectors = np.linalg.eigh(COVARIANCE)
    gain = (vectors * np.sqrt(values / (values + float(sigma.item()) ** 2))) @ vectors.T
    mean = mx.array(MEAN.astype(np.float32))
    return mean + (x - mean) @ mx.array(gain.astype(np.float32))


def solve(name: str, levels: np.ndarray, x: np.ndarray) -> np.ndarray:
    *_, (last, _) = SOLVER[name](gaussian_denoiser, mx.array(x.astype(np.float32)), levels)
    return np.array(last)


@pytest.mark.parametrize("name", FLOW_SOLVERS)
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


@pytest.mark.parametrize("name", FLOW_SOLVERS)
def test_solver_agrees_with_the_stored_run_of_diffusers(name: str) -> None:
    stored = mx.load(str(FIXTURE))
    levels = np.array(stored[f"{name}.levels"], dtype=np.float64)
    found = solve(name, levels, np.array(stored["x"]))
    np.testing.assert_allclose(found, stored[f"{name}.result"], atol=1e-5)


@pytest.mark.parametrize("name", FLOW_SOLVERS)
def test_solver_agrees_with_diffusers(name: str) -> None:
    pytest.importorskip("diffusers", reason="needs the extra interop")
    from tests.fixtures.make_diffusers import run

    x = np.random.default_rng(3).standard_normal((8, 1, 1, 3)).astype(np.float32) * 40
    levels, expected = run(name, x, 10)
    np.testing.assert_allclose(solve(name, levels, x), expected, atol=1e-5)


def test_consistency_sampling_recovers_gaussian_data_when_every_step_lands_on_it() -> None:
    start = mx.random.normal((20_000, 1, 1, 3), key=mx.random.key(0)) * 80.0
    states = list(SOLVER["consistency"](gaussian_end, start, np.array([80.0, 2.0, 0.5, 0.0])))
    error = 4 / math.sqrt(len(start))
    for state, sigma in zip(states, (2.0, 0.5, 0.0), strict=True):
        found = np.array(state[0]).reshape(-1, 3).astype(np.float64)
        spread = COVARIANCE + sigma**2 * np.eye(3)
        np.testing.assert_allclose(found.mean(axis=0), MEAN, atol=error * math.hypot(1, sigma))
        np.testing.assert_allclose(np.cov(found.T), spread, atol=2 * error * spread.max())


def test_fresh_noise_is_standard_normal_and_new_at_every_step_and_row() -> None:
    start = np.random.default_rng(0).standard_normal((4000, 2, 2, 1), dtype=np.float32) * 9

    def nothing(x: mx.array, sigma: mx.array) -> mx.array:
        return mx.zeros_like(x)

    run = SOLVER["consistency"](nothing, mx.array(start), np.array([9.0, 3.0, 2.0, 0.0]))
    first, second = np.array(next(run)[0]) / 3, np.array(next(run)[0]) / 2
    columns = [a.reshape(4000, 4) for a in (first, second, np.roll(first, 1, axis=0), start / 9)]
    every = np.concatenate(columns, axis=1).astype(np.float64)
    error = 5 / math.sqrt(4000)
    np.testing.assert_allclose(every.mean(axis=0), 0, atol=error)
    np.testing.assert_allclose(np.cov(every.T), np.eye(16), atol=1.5 * error)
    np.testing.assert_allclose((every**4).mean(axis=0), 3, atol=10 * error)


def test_consistency_noise_is_the_rows_own_in_any_batch_and_split(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unet = build_unet(UNetSpec(resolution=8, widths=(8,), blocks=(1,), attention=("none",)))
    unet.load_weights([(n, v + 0.1) for n, v in named_parameters(unet)])
    levels, start = np.array([40.0, 2.0, 0.0]), noise(3, 12, (8, 8, 1))
    whole = generate(unet, "consistency", levels, start)
    monkeypatch.setattr(sampling, "_WORTH_SPLITTING", 0)
    np.testing.assert_allclose(generate(unet, "consistency", levels, start), whole, atol=1e-4)
    few = generate(unet, "consistency", levels, start[5:], batch=3)
    np.testing.assert_allclose(few, whole[5:], atol=1e-4)


def test_every_solver_has_a_name_and_trajectories_take_no_noise() -> None:
    assert tuple(SOLVER) == SOLVERS
    with pytest.raises(SpecError, match=r"trajectories 'consistency'.*known: ddim"):
        TrajectorySpec(solver="consistency")
