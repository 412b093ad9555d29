"""The dynamic program against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.schedules import cheapest_path, jump_costs, named_levels
from ado_nas.errors import SpecError


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("seed", range(5))
def test_cheapest_path_agrees_with_brute_force(steps: int, seed: int) -> None:
    count = 7
    costs = np.random.default_rng(seed).random((count, count))
    costs[np.tril_indices(count)] = np.inf
    paths = [
        (0, *middle, count - 1)
        for middle in itertools.combinations(range(1, count - 1), steps - 1)
    ]
    best = min(paths, key=lambda p: sum(costs[a, b] for a, b in itertools.pairwise(p)))
    assert tuple(cheapest_path(costs, steps)) == best


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
