"""Solvers against closed forms, float64 and Diffusers' EDM schedulers."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.diffusion import sampling
from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.preconditioning import denoise
from ado_nas.diffusion.sampling import generate, noise
from ado_nas.diffusion.solvers import (
    MEMORY,
    RULE,
    SOLVER,
    Point,
    ddim,
    evaluations,
    generalized,
    ipndm,
    multistep,
    timed,
)
from ado_nas.errors import SpecError
from ado_nas.models.unet import build_unet, named_parameters
from ado_nas.specs import FLOW_SOLVERS, SOLVERS, TrajectorySpec, UNetSpec, steps
from tests.fixtures.make_diffusers import NAMES

MEAN = np.array([0.5, -0.3, 0.1], dtype=np.float64)
ROOT = np.array([[0.5, 0.0, 0.0], [0.3, 0.4, 0.0], [-0.1, 0.2, 0.6]])
COVARIANCE = ROOT @ ROOT.T
SMALL = build_unet(UNetSpec(resolution=8, widths=(8,), blocks=(1,), attention=("none",)))
SMALL.load_weights(
    [
        (name, value + 0.02 * mx.random.normal(value.shape, key=mx.random.key(i)))
        for i, (name, value) in enumerate(named_parameters(SMALL))
    ]
)
FIXTURE = Path(__file__).parents[2] / "fixtures" / "diffusers_solvers.safetensors"


VALUES, VECTORS = (mx.array(a.astype(np.float32)) for a in np.linalg.eigh(COVARIANCE))
CENTER = mx.array(MEAN.astype(np.float32))


def gaussian_denoiser(x: mx.array, sigma: mx.array) -> mx.array:
    """E[x0 | x] of Gaussian data: mean + C (C + sigma^2)^-1 (x - mean)."""
    gain = VALUES / (VALUES + sigma[:, None, None, None] ** 2)
    return CENTER + (((x - CENTER) @ VECTORS) * gain) @ VECTORS.T


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


def gaussian_state(start: np.ndarray, begin: float, level: float) -> np.ndarray:
    """Where the trajectory through `start` at level `begin` is at another level."""
    values, vectors = np.linalg.eigh(COVARIANCE)
    shrink = np.sqrt((values + level**2) / (values + begin**2))
    found: np.ndarray = MEAN + (((start - MEAN) @ vectors) * shrink) @ vectors.T
    return found


@pytest.mark.parametrize(
    ("name", "order"), [("ddim", 1), ("dpmpp_2m", 2), ("dpmpp_3m", 3), ("unipc", 3)]
)
def test_solver_converges_at_its_order(name: str, order: int) -> None:
    """Halving the step in log sigma divides the error by 2^order, between two positive levels.

    The first points are exact: a start of lower order would count else. UniPC's corrector adds one
    to the order 2 of its predictor.
    """
    start, errors = np.random.default_rng(1).standard_normal((64, 1, 1, 3)) * 2.0, []

    def point(x: mx.array, level: float) -> Point:
        return Point(level, x, gaussian_denoiser(x, mx.array([level])))

    for count in (8, 16, 32):
        levels = np.geomspace(2.0, 0.5, count + 1)
        states = [gaussian_state(start, 2.0, level).astype(np.float32) for level in levels]
        known = zip(map(mx.array, states[: order - 1]), levels, strict=False)
        past, x = [point(x, level) for x, level in known], mx.array(states[order - 1])
        for now, then in itertools.pairwise(levels[order - 1 :]):
            past = [*past[1 - MEMORY :], point(x, now)]
            x = RULE[name](past, then)
        errors.append(np.abs(np.array(x) - states[-1]).mean())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.35), errors


def test_heun_converges_at_order_two() -> None:
    x, errors = np.random.default_rng(1).standard_normal((64, 1, 1, 3)) * 2.0, []
    for count in (8, 16, 32):
        levels = np.append(np.geomspace(2.0, 0.5, count + 1), 0.0)
        run = SOLVER["heun"](gaussian_denoiser, mx.array(x.astype(np.float32)), levels)
        *_, (last, _) = itertools.islice(run, count)
        errors.append(np.abs(np.array(last) - gaussian_state(x, 2.0, 0.5)).mean())
    assert math.log2(errors[1] / errors[2]) == pytest.approx(2, abs=0.35), errors


def test_one_step_lands_on_the_denoised_image() -> None:
    x = np.random.default_rng(2).standard_normal((4, 1, 1, 3)) * 5
    expected = np.array(gaussian_denoiser(mx.array(x.astype(np.float32)), mx.array([5.0])))
    for name in SOLVER:
        np.testing.assert_allclose(solve(name, np.array([5.0, 0.0]), x), expected, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_solver_agrees_with_the_stored_run_of_diffusers(name: str) -> None:
    stored = mx.load(str(FIXTURE))
    levels = np.array(stored[f"{name}.levels"], dtype=np.float64)
    found = solve(name, levels, np.array(stored["x"]) * levels[0])
    np.testing.assert_allclose(found, stored[f"{name}.result"], atol=1e-5)


def small_network(x: np.ndarray, sigma: float) -> np.ndarray:
    found = denoise(SMALL, mx.array(x.astype(np.float32)), mx.array([sigma]))
    return np.array(found).astype(np.float64)


@pytest.mark.parametrize("name", NAMES)
def test_solver_agrees_with_diffusers(name: str) -> None:
    pytest.importorskip("diffusers", reason="needs the extra interop")
    from tests.fixtures.make_diffusers import run

    x = np.random.default_rng(3).standard_normal((8, 1, 1, 3)).astype(np.float32)
    levels, expected = run(name, x, 10)
    np.testing.assert_allclose(solve(name, levels, x * levels[0]), expected, atol=1e-5)
    x = noise(4, 3, (8, 8, 1))
    levels, expected = run(name, x, 6, small_network)
    found = generate(SMALL, name, levels, x)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def exponential(x: mx.array, sigma: mx.array) -> mx.array:
    """The denoiser whose trajectories are x' = x: x = C e^sigma."""
    return x - sigma[:, None, None, None] * x


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_ipndm_is_adams_bashforth_on_equal_steps(order: int) -> None:
    weights = [[1], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12]]
    weights.append([55 / 24, -59 / 24, 37 / 24, -9 / 24])
    steps, size = 8, 1 / 8
    levels = np.linspace(1, 0, steps + 1)
    values, slopes = [1.0], []
    for t in range(steps):
        slopes.insert(0, values[-1])
        chosen = weights[min(order, t + 1) - 1]
        values.append(values[-1] - size * sum(map(np.multiply, chosen, slopes)))
    run = multistep(ipndm(order))(exponential, mx.ones((1, 1, 1, 1)), levels)
    np.testing.assert_allclose([float(x.item()) for x, _ in run], values[1:], atol=1e-5)
    if order == 1:
        same = SOLVER["ddim"](exponential, mx.ones((1, 1, 1, 1)), levels)
        np.testing.assert_allclose([float(x.item()) for x, _ in same], values[1:], atol=1e-5)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_ipndm_converges_at_its_order_on_equal_steps(order: int) -> None:
    errors = []
    for count in (8, 16, 32):
        levels = np.append(np.linspace(2, 1, count + 1), 0.0)
        # Begun with exact states, so that its low-order start does not count.
        first = [np.exp(level - 2) for level in levels[: order - 1]]
        past = [
            Point(level, mx.full((1, 1, 1, 1), x), mx.full((1, 1, 1, 1), x * (1 - level)))
            for level, x in zip(levels, first, strict=False)
        ]
        x = mx.full((1, 1, 1, 1), np.exp(levels[order - 1] - 2))
        for now, then in itertools.pairwise(levels[order - 1 : -1]):
            past = [*past[-3:], Point(now, x, exponential(x, mx.array([now])))]
            x = ipndm(order)(past, then)
        errors.append(abs(float(x.item()) - math.exp(-1)))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.4)


@pytest.mark.parametrize("name", SOLVERS)
def test_images_may_have_levels_of_their_own(name: str) -> None:
    """Each column of levels gives what it gives alone; an image at 0 rests."""
    x = mx.array(np.random.default_rng(5).standard_normal((2, 1, 1, 3)).astype(np.float32))
    long = karras_levels(5, 0.02, 40.0)
    short = np.array([30.0, 3.0, 0.5, 0.0])
    levels = np.stack([long, np.append(short, [0.0, 0.0])], axis=1)
    start = x * mx.array(levels[0].astype(np.float32))[:, None, None, None]
    *_, (last, _) = SOLVER[name](gaussian_denoiser, start, levels)
    alone = [solve(name, own, np.array(start[i : i + 1])) for i, own in enumerate((long, short))]
    np.testing.assert_allclose(last, np.concatenate(alone), atol=1e-5)


@pytest.mark.parametrize("name", FLOW_SOLVERS)
def test_levels_of_mlx_give_the_same_and_a_gradient(name: str) -> None:
    x = mx.array(np.random.default_rng(6).standard_normal((4, 1, 1, 3)).astype(np.float32)) * 40
    levels = karras_levels(5, 0.02, 40.0)

    def total(given: mx.array) -> mx.array:
        *_, (last, _) = SOLVER[name](gaussian_denoiser, x, given)
        return last.sum()

    given = mx.array(levels.astype(np.float32))
    value, slopes = mx.value_and_grad(total)(given)
    assert float(value) == pytest.approx(float(solve(name, levels, np.array(x)).sum()), abs=1e-4)
    assert np.isfinite(np.array(slopes)).all()
    for i in (1, 3):
        change = np.zeros(6)
        change[i] = 1e-3 * levels[i]
        up, down = (
            solve(name, levels + sign * change, np.array(x)).astype(np.float64).sum()
            for sign in (1, -1)
        )
        expected = (up - down) / (2 * change[i])
        assert float(slopes[i]) == pytest.approx(expected, rel=0.05, abs=2e-2)


@pytest.mark.parametrize("name", RULE)
def test_corrections_of_zero_change_no_rule(name: str) -> None:
    x = np.random.default_rng(8).standard_normal((4, 1, 1, 3)) * 40
    levels = karras_levels(2 * MEMORY, 0.02, 40.0)
    none = np.zeros((2, 2 * MEMORY, 2 * MEMORY))
    run = generalized(none, RULE[name])(gaussian_denoiser, mx.array(x.astype(np.float32)), levels)
    *_, (last, _) = run
    np.testing.assert_allclose(last, solve(name, levels, x), atol=1e-5)


def test_corrections_of_zero_and_true_levels_change_nothing() -> None:
    x = mx.array(np.random.default_rng(7).standard_normal((4, 1, 1, 3)).astype(np.float32)) * 40
    levels = karras_levels(5, 0.02, 40.0)
    plain = solve("dpmpp_2m", levels, np.array(x))
    for solver in (generalized(np.zeros((2, 5, 5))), timed(SOLVER["dpmpp_2m"], np.ones(5))):
        *_, (last, _) = solver(gaussian_denoiser, x, levels)
        np.testing.assert_allclose(last, plain, atol=1e-5)


def test_corrections_and_told_levels_are_used_as_they_say() -> None:
    x = mx.full((1, 1, 1, 1), 8.0)
    corrections = np.zeros((2, 2, 2))
    corrections[0, 1, 0], corrections[1, 0, 0] = 0.25, 0.5
    levels, told = np.array([4.0, 1.0, 0.0]), []

    def quarter(x: mx.array, sigma: mx.array) -> mx.array:
        told.append(float(sigma.item()))
        return x / 4

    solver = timed(generalized(corrections, ddim), np.array([1.0, 0.5]))
    first, second = [float(state.item()) for state, _ in solver(quarter, x, levels)]
    # DDIM lands at 1/4 * 8 + 3/4 * 2 = 3.5; the direction is (8 - 2) / 4, the level 4.
    assert first == pytest.approx(3.5 + 0.5 * 4 * 1.5)
    assert second == pytest.approx(first / 4 + 0.25 * 2)
    assert told == [4.0, 0.5]


def test_heun_evaluates_twice_but_at_the_end() -> None:
    calls: list[float] = []

    def counted(x: mx.array, sigma: mx.array) -> mx.array:
        calls.append(float(sigma.item()))
        return gaussian_denoiser(x, sigma)

    list(SOLVER["heun"](counted, mx.zeros((1, 1, 1, 3)), np.array([4.0, 2.0, 1.0, 0.0])))
    assert calls == [4.0, 2.0, 2.0, 1.0, 1.0]
    assert evaluations("heun", 3) == len(calls) and steps("heun", 5) == steps("heun", 6) == 3


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
