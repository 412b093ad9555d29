"""Training at a small size."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.fakes.fake_practice import small_practice

pytest.importorskip("stable_baselines3", reason="the extra `rl` is not installed")
from ado_nas.adaptive.ppo import PpoSpec, train, updates

SMALL = PpoSpec(updates=2, slots=8, horizon=8, batch=32, epochs=2, hidden=(16,))


def test_price_follows_the_evaluations_spent() -> None:
    first, second = updates(small_practice(mean_nfe=1.5), SMALL)
    assert (first.done, second.done) == (1, 2)
    assert first.nfe > 1.5 and second.price > first.price > 0


def test_equal_seeds_give_equal_policies_and_others_differ() -> None:
    def weights(seed: int) -> np.ndarray:
        spec = PpoSpec(**{**vars(SMALL), "seed": seed, "updates": 1})
        return np.array(train(small_practice(), spec).actor.layers[-1][0])

    assert np.array_equal(weights(0), weights(0)) and not np.array_equal(weights(0), weights(1))


def test_training_stops_where_the_caller_does() -> None:
    told = [u.done for u in itertools.islice(updates(small_practice(), SMALL), 1)]
    assert told == [1]


def test_high_price_teaches_to_stop_early() -> None:
    played = small_practice(mean_nfe=1.2)
    spec = PpoSpec(updates=12, slots=32, horizon=8, hidden=(16,), learning_rate=1e-2)
    first, *_, last = updates(played, spec)
    assert last.nfe < 0.7 * first.nfe
