"""The game against plain solvers, brute force and its own promises."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ado_nas.adaptive.blind import at_random, constant
from ado_nas.adaptive.countdown import WIDTH, countdown, sample
from ado_nas.diffusion.sampling import generate, noise
from ado_nas.diffusion.schedules import cheapest_path, first_jumps
from ado_nas.errors import SpecError
from tests.fakes.fake_practice import random_bank, small_practice, small_unet

START = noise(5, 6, (8, 8, 1))
LABELS = np.arange(6, dtype=np.int32) % 3


@pytest.mark.parametrize("solver", ["dpmpp_2m", "ipndm_2", "unipc"])
@pytest.mark.parametrize("nfe", [1, 2, 5])
def test_counting_down_gives_the_images_of_the_cheapest_schedule(solver: str, nfe: int) -> None:
    bank, unet = random_bank(), small_unet()
    game = countdown(bank, solver, limit=6)
    images, spent = sample(unet, game, constant(game, nfe), START, LABELS, batch=4)
    levels = bank.levels[cheapest_path(bank.costs, nfe)]
    assert np.all(spent == nfe)
    assert np.allclose(images, generate(unet, solver, levels, START, LABELS), atol=1e-5)


def test_first_jumps_begin_the_cheapest_paths_from_everywhere() -> None:
    costs = random_bank(levels=6, seed=2).costs
    jumps = first_jumps(costs, 6)
    for start, count in itertools.product(range(6), range(1, 7)):
        between = itertools.combinations(range(start + 1, 6), min(count, 6 - start) - 1)
        paths = [(start, *middle, 6) for middle in between]
        best = min(paths, key=lambda p: sum(costs[a, b] for a, b in itertools.pairwise(p)))
        assert jumps[count - 1, start] == best[1]


@pytest.mark.parametrize("mean", [1.0, 2.5, 4.5, 6.0])
def test_random_policy_spends_the_mean_that_was_asked_for(mean: float) -> None:
    game = countdown(random_bank(), "ddim", limit=6)
    policy = at_random(game, mean, seed=0)
    count = 4000
    nodes, spent, going = np.zeros(count, int), np.zeros(count), np.ones(count, bool)
    for done in range(1, game.limit + 1):
        spent[going] += 1
        seen = np.zeros((going.sum(), WIDTH))
        seen[:, 1] = done / game.limit
        nodes[going] = game.after(nodes[going], done, policy(seen))
        going &= game.levels[nodes] > 0
    assert not going.any()
    assert spent.mean() == pytest.approx(mean, abs=0.1)


def test_limit_ends_an_episode_whatever_is_asked_for() -> None:
    game = countdown(random_bank(), "dpmpp_2m", limit=4)
    _, spent = sample(small_unet(), game, lambda seen: np.full(len(seen), 99), START, LABELS)
    assert np.all(spent == 4)


def test_observations_are_bounded_and_differ_by_image() -> None:
    played = small_practice()
    seen: list[np.ndarray] = []

    def watching(told: np.ndarray) -> np.ndarray:
        seen.append(told)
        return constant(played.game, 3)(told)

    sample(played.unet, played.game, watching, START, LABELS)
    assert [told.shape for told in seen] == [(6, WIDTH)] * 3
    for told in seen:
        assert told.dtype == np.float32 and np.abs(told).max() <= 1
    assert np.all(np.ptp(seen[0][:, 6:], axis=0) > 0)  # the denoised image
    assert np.ptp(seen[0][:, :6], axis=0).max() == 0  # nothing to compare the first one with
    assert np.ptp(seen[1][:, 2:6], axis=0).max() > 0.1


def test_statistics_are_calibrated_by_evaluations_spent() -> None:
    game = small_practice(count=64).game
    assert np.all(game.scale > 0) and not np.allclose(game.mean[2], game.mean[3])


def test_solver_of_two_evaluations_a_step_is_refused() -> None:
    with pytest.raises(SpecError, match="heun"):
        countdown(random_bank(), "heun")


def test_mean_above_the_limit_is_refused() -> None:
    game = countdown(random_bank(), "ddim", limit=4)
    with pytest.raises(SpecError, match="give 1 to 4"):
        at_random(game, 4.5, seed=0)


@pytest.mark.parametrize("mean", [0.5, 5.0])
def test_mean_that_cannot_be_practiced_is_refused(mean: float) -> None:
    with pytest.raises(SpecError, match="below the limit of 5"):
        small_practice(mean_nfe=mean)
