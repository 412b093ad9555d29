"""The dynamic program against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.schedules import (
    cheapest_path,
    deviation_costs,
    jump_costs,
    named_levels,
)
from ado_nas.errors import SpecError


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("growth", [1.0, 1.15])
def test_cheapest_path_agrees_with_brute_force(steps: int, seed: int, growth: float) -> None:
    """Costs of deviation may be below 0; the k-th jump counts growth^k times."""
    count = 7
    costs = np.random.default_rng(seed).random((count, count)) - (0.2 if growth > 1 else 0.0)
    costs[np.tril_indices(count)] = np.inf
    paths = [
        (0, *middle, count - 1)
        for middle in itertools.combinations(range(1, count - 1), steps - 1)
    ]

    def total(path: tuple[int, ...]) -> float:
        jumps = enumerate(itertools.pairwise(path))
        return float(sum(growth**k * costs[a, b] for k, (a, b) in jumps))

    assert tuple(cheapest_path(costs, steps, growth)) == min(paths, key=total)


def test_growth_turns_the_path() -> None:
    """1 + 1.15 * 2 is more than 2 + 1.15 * 1."""
    costs = np.full((4, 4), np.inf)
    costs[0, 1], costs[1, 3], costs[0, 2], costs[2, 3] = 1.0, 2.0, 2.0, 1.0
    assert cheapest_path(costs, 2) == [0, 1, 3] and cheapest_path(costs, 2, 1.15) == [0, 2, 3]
    assert cheapest_path(costs, 2, 0.9) == [0, 1, 3]


def test_jump_costs_agree_with_single_jumps() -> None:
    rng = np.random.default_rng(0)
    levels = karras_levels(4, 0.1, 10.0)
    states, denoised = rng.standard_normal((5, 3, 2, 2, 1)), rng.standard_normal((4, 3, 2, 2, 1))
    costs = jump_costs(states, denoised, levels, 0.5)

    def end(x: np.ndarray, level: float) -> np.ndarray:
        """Where the exact flow of Gaussian data leads."""
        return x * 0.5 / np.sqrt(level**2 + 0.5**2)

    for i, j in itertools.combinations(range(5), 2):
        slope = (states[i] - denoised[i]) / levels[i]
        landed = states[i] + (levels[j] - levels[i]) * slope
        apart = end(landed, levels[j]) - end(states[j], levels[j])
        assert costs[i, j] == pytest.approx(np.mean(apart**2))
        assert costs[j, i] == np.inf


def test_deviation_costs_agree_with_single_jumps() -> None:
    rng = np.random.default_rng(1)
    levels = karras_levels(5, 0.1, 10.0)
    states = rng.standard_normal((6, 4, 2, 2, 1)).astype(np.float32)
    denoised = rng.standard_normal((5, 4, 2, 2, 1)).astype(np.float32)
    costs = deviation_costs(states, denoised, levels)
    x, d = (a.astype(np.float64).reshape(*a.shape[:2], -1) for a in (states, denoised))

    def off(point: np.ndarray, m: int) -> float:
        """From the line through both ends of trajectory m: what a fit along it leaves."""
        way, apart = x[-1, m] - x[0, m], point - x[0, m]
        share = np.linalg.lstsq(way[:, None], apart)[0]
        return float(np.linalg.norm(apart - share * way))

    for i, j in itertools.combinations(range(6), 2):
        more = []
        for m in range(4):
            slope = (x[i, m] - d[i, m]) / levels[i]
            landed = x[i, m] + (levels[j] - levels[i]) * slope
            more.append(off(landed, m) - off(x[j, m], m))
        assert costs[i, j] == pytest.approx(np.mean(more), abs=1e-7)
        assert costs[j, i] == np.inf
    assert np.all(np.isinf(np.diag(costs)))


@pytest.mark.parametrize(
    ("schedule", "nfe", "text"),
    [("cosine", 4, "did you mean|known"), ("dp", 4, "trajectories"), ("karras", 0, "nfe")],
)
def test_bad_schedule_is_refused(schedule: str, nfe: int, text: str) -> None:
    with pytest.raises(SpecError, match=text):
        named_levels(schedule, nfe, 0.1, 10.0, 0.5)


def test_more_steps_than_levels_are_refused() -> None:
    with pytest.raises(SpecError, match="1 to 3"):
        cheapest_path(np.ones((4, 4)), 4)
