"""Policies that look at nothing: what a learned one has to beat."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ado_nas.adaptive.countdown import Countdown, Policy
from ado_nas.errors import SpecError

Made = tuple[np.ndarray, np.ndarray]
"""(N, H, W, C) images and (N,) evaluations spent on each."""


def constant(game: Countdown, nfe: int) -> Policy:
    """The policy that gives every image so many evaluations, by the cheapest schedule."""
    return lambda seen: np.maximum(nfe - game.spent(seen), 0)


def at_random(game: Countdown, mean_nfe: float, seed: int) -> Policy:
    """The policy that looks at nothing: every action is drawn, few evaluations more or less often.

    Args:
        game: what its actions do.
        mean_nfe: evaluations of an image on average, which sets how often.
        seed: of the draws.

    Returns:
        The policy; n evaluations more are drawn with a probability in proportion to exp(-tilt n).

    Raises:
        SpecError: no policy spends so many.
    """
    if not 1 <= mean_nfe <= game.limit:
        raise SpecError(f"a mean of {mean_nfe:g} evaluations: give 1 to {game.limit}")
    low, high = -50.0, 50.0
    for _ in range(60):
        tilt = (low + high) / 2
        spends = _mean_nfe(game.limit, tilt)
        low, high = (tilt, high) if spends > mean_nfe else (low, tilt)
    rng = np.random.default_rng(seed)

    def policy(seen: np.ndarray) -> np.ndarray:
        left = game.limit - game.spent(seen)
        sums = [np.cumsum(_odds(most, high)) for most in range(game.limit)]
        draws = rng.random(len(seen))
        pairs = zip(left, draws, strict=True)
        return np.array([np.searchsorted(sums[m], u) for m, u in pairs], np.int64)

    return policy


def mixed(images_of: Callable[[int], np.ndarray], mean: float, seed: int) -> Made:
    """Images of two neighboring numbers of evaluations, drawn so that their mean is as asked.

    Args:
        images_of: (N, H, W, C) images of a number of evaluations, always from the same noise.
        mean: number of evaluations.
        seed: of the draw.
    """
    low = int(mean)
    first = images_of(low)
    more = np.zeros(len(first), bool)
    order = np.random.default_rng(seed).permutation(len(first))
    more[order[: round((mean - low) * len(first))]] = True
    if not more.any():
        return first, np.full(len(first), low)
    return np.where(more[:, None, None, None], images_of(low + 1), first), low + more


def blended(few: Made, many: Made, mean: float, seed: int) -> Made:
    """Images of two ways of sampling, drawn so that their mean is as asked.

    Args:
        few: images that spend no more than the mean.
        many: the same images, from the same noise, that spend no less.
        mean: number of evaluations.
        seed: of the draw.

    Returns:
        Of each image one or the other; their mean is the one asked for, as near as whole numbers
        of evaluations come to it.
    """
    rng, count = np.random.default_rng(seed), len(few[1])
    apart = many[1] - few[1]
    short, taken = round(mean * count) - int(few[1].sum()), np.zeros(count, bool)
    if apart.sum():
        taken[rng.permutation(count)[: round(count * short / apart.sum())]] = True
    short -= int(apart[taken].sum())
    for i in rng.permutation(count):  # what such a draw leaves over
        change = -apart[i] if taken[i] else apart[i]
        if abs(short - change) < abs(short):
            taken[i], short = not taken[i], short - change
    return np.where(taken[:, None, None, None], many[0], few[0]), np.where(taken, many[1], few[1])


def _mean_nfe(limit: int, tilt: float) -> float:
    """Of the random policy: an image goes on from each evaluation unless 0 more are drawn."""
    going, total = 1.0, 0.0
    for spent in range(1, limit + 1):
        total += going
        going *= 1 - float(_odds(limit - spent, tilt)[0])
    return total


def _odds(most: int, tilt: float) -> np.ndarray:
    logits = -tilt * np.arange(most + 1)
    odds = np.exp(logits - logits.max())
    found: np.ndarray = odds / odds.sum()
    return found
