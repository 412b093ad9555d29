"""Slots of different ages against sampling all images side by side."""

from __future__ import annotations

import numpy as np
import pytest

from ado_nas.adaptive.blind import constant
from ado_nas.adaptive.countdown import sample
from ado_nas.adaptive.episodes import Episodes
from ado_nas.adaptive.practice import Practice
from tests.fakes.fake_practice import small_practice


def by_content(played: Practice) -> np.ndarray:
    """The evaluations that each image gets: some fixed ones, by what its first one shows."""
    return np.arange(len(played.truth.start)) % played.game.limit + 1


@pytest.mark.parametrize("solver", ["dpmpp_2m", "ipndm_4", "unipc"])
def test_slots_of_different_ages_end_as_side_by_side(solver: str) -> None:
    played = small_practice(solver=solver)
    totals = by_content(played)
    wanted = np.zeros(len(totals))
    for nfe in np.unique(totals):
        images, _ = sample(
            played.unet,
            played.game,
            constant(played.game, int(nfe)),
            played.truth.start,
            played.truth.labels,
        )
        wanted[totals == nfe] = played.truth.errors(images)[totals == nfe]
    episodes = Episodes(played, 3)
    episodes.price = 0.25
    for _ in range(2):  # the second time the network's answers are looked up
        found, earned = played_through(episodes, totals)
        assert np.allclose(found, wanted, rtol=1e-4)
        due = (played.par - wanted) / played.unit - 0.25 * (totals - 1)
        assert np.allclose(earned, due, rtol=1e-4, atol=1e-4)


def played_through(episodes: Episodes, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Errors and sums of rewards of all images, each put into the first slot that is free."""
    left = list(range(len(totals)))
    errors, earned = np.zeros(len(totals)), np.zeros(len(totals))
    open_slots = np.ones(3, bool)
    episodes.begin([0, 1, 2], [left.pop(0) for _ in range(3)])
    while open_slots.any():
        episodes.look()
        which = episodes.which.copy()
        rewards, ended = episodes.move(totals[which] - episodes.spent)
        earned[which[open_slots]] += rewards[open_slots]
        for slot in np.flatnonzero(ended):
            if open_slots[slot]:
                errors[which[slot]] = episodes.errors[slot]
                assert episodes.spent[slot] == totals[which[slot]]
            open_slots[slot] = bool(left)
            # A slot without work plays the first image again and does not count.
            episodes.begin([slot], [left.pop(0) if left else 0])
    return errors, earned


def test_par_is_the_error_of_the_fixed_schedules() -> None:
    played = small_practice(mean_nfe=2.25)
    errors = []
    for nfe in (2, 3):
        policy = constant(played.game, nfe)
        images, _ = sample(
            played.unet, played.game, policy, played.truth.start, played.truth.labels
        )
        errors.append(played.truth.errors(images))
    assert np.allclose(played.par, 0.75 * errors[0] + 0.25 * errors[1])
    assert played.worth * played.unit == pytest.approx((errors[0] - errors[1]).mean())
