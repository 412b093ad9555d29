"""Steps by content: probes, statistics and thresholds against their definitions."""

from __future__ import annotations

import dataclasses
import itertools

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.adaptive import complexity
from ado_nas.adaptive.complexity import (
    Complexity,
    budgets,
    errors_by_budget,
    fit,
    fit_to_gap,
    sample,
)
from ado_nas.adaptive.recipe import Recipe
from ado_nas.adaptive.refine import Refinement
from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.sampling import generate, noise
from ado_nas.diffusion.solvers import Point
from ado_nas.distillation.trajectories import Bank
from ado_nas.errors import Diverged, SpecError
from ado_nas.models.unet import UNet
from ado_nas.quality import frechet

pytestmark = pytest.mark.usefixtures("own_lock")


@pytest.fixture
def bank() -> Bank:
    count = 9
    costs = np.full((count, count), np.inf)
    rng = np.random.default_rng(0)
    for i, j in itertools.combinations(range(count), 2):
        costs[i, j] = (j - i) ** 2 * rng.uniform(0.5, 1.5)
    states = np.zeros((count, 4, 8, 8, 1), np.float32)
    return Bank(states, None, karras_levels(8, 0.05, 20.0), costs, "key")


def test_budgets_begin_alike_and_are_cheapest_after_that(bank: Bank) -> None:
    found = budgets(bank, "ddim", (2, 3, 5))
    assert list(found.levels) == [2, 3, 5]
    seconds = {float(levels[1]) for levels in found.levels.values()}
    assert len(seconds) == 1 and found.first == pytest.approx(20.0)
    probe = int(np.argmin(np.abs(bank.levels - seconds.pop())))
    for count, levels in found.levels.items():
        assert len(levels) == count + 1 and levels[-1] == 0
        inner = range(probe + 1, 8)
        every = [(probe, *m, 8) for m in itertools.combinations(inner, count - 2)]
        best = min(every, key=lambda p: sum(bank.costs[a, b] for a, b in itertools.pairwise(p)))
        np.testing.assert_array_equal(levels[1:], bank.levels[list(best)])
    for counts in ((1, 2), (2, 9)):
        with pytest.raises(SpecError, match="2 to 8 evaluations"):
            budgets(bank, "ddim", counts)


def test_statistics_are_those_of_float64() -> None:
    rng = np.random.default_rng(0)
    x, d = rng.standard_normal((2, 2, 3, 4, 4, 2))
    levels = np.array([[5.0, 5.0, 4.0], [2.0, 1.0, 2.0]])
    past = [
        Point(levels[k], mx.array(x[k].astype("f4")), mx.array(d[k].astype("f4"))) for k in (0, 1)
    ]
    found = complexity.statistics(past)
    for i in range(3):
        slopes = [(x[k, i] - d[k, i]) / levels[k, i] for k in (0, 1)]
        old, new = d[0, i], d[1, i]
        expected = [
            np.linalg.norm(slopes[1] - slopes[0]) / np.linalg.norm(slopes[0]),
            np.sqrt(np.mean((new - old) ** 2)),
            new.std(),
            np.abs(np.diff(new, axis=1)).mean() + np.abs(np.diff(new, axis=0)).mean(),
        ]
        np.testing.assert_allclose(found[i], np.log(expected), rtol=1e-4, atol=1e-5)


def hard_and_easy(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Statistics of which the first one tells how much an image gains from more steps."""
    rng = np.random.default_rng(1)
    seen = rng.standard_normal((count, 4))
    hardness = np.exp(1.5 * seen[:, 0])
    return seen, hardness[:, None] / np.array([2.0, 4.0, 8.0]) ** 2


def test_harder_images_get_more_and_the_mean_is_kept() -> None:
    seen, errors = hard_and_easy(4000)
    rule = fit(seen, errors, (2, 4, 8), 4.0)
    chosen = rule.choose(seen)
    assert 3.2 < chosen.mean() <= 4.0 and set(chosen) == {2, 4, 8}
    means = [seen[chosen == n, 0].mean() for n in (2, 4, 8)]
    assert means == sorted(means)
    assert rule.weights[0] > 10 * np.abs(rule.weights[1:]).max()
    spent = errors[np.arange(4000), np.searchsorted((2, 4, 8), chosen)].mean()
    assert spent < 0.8 * errors[:, 1].mean()  # than four for all


def test_no_other_choice_of_that_mean_leaves_less_error() -> None:
    seen, errors = hard_and_easy(600)
    rule = fit(seen, errors, (2, 4, 8), 5.0)
    bins = np.searchsorted(rule.edges, rule.score(seen))
    table = np.array([errors[bins == b].mean(axis=0) for b in range(12)])
    column = {2: 0, 4: 1, 8: 2}

    def error(choice: tuple[int, ...]) -> float:
        return sum(table[b, column[n]] for b, n in enumerate(choice))

    mean = float(rule.budgets.mean())
    every = itertools.combinations_with_replacement((2, 4, 8), 12)
    best = min(error(c) for c in every if np.mean(c) <= mean + 1e-9)
    assert error(tuple(rule.budgets)) == pytest.approx(best)


def test_budgets_by_the_gap_are_the_best_of_all_and_by_the_statistic_that_tells() -> None:
    rng = np.random.default_rng(0)
    seen = rng.standard_normal((600, 3))
    ideal = rng.standard_normal((600, 5)) + seen[:, 1:2]
    real = frechet.fit(rng.standard_normal((4000, 5)) + rng.standard_normal((4000, 1)))
    # With few evaluations only images of a high second statistic are off, and those by much.
    off = np.where(seen[:, 1] > 0.5, 2.0, 0.2)[:, None]
    features = np.stack([ideal + off * rng.standard_normal((600, 5)) / n for n in (1, 2, 4)])
    rule = fit_to_gap(seen, features, real, (2, 4, 8), 4.0)
    chosen = rule.choose(seen)
    assert rule.weights.tolist() == [0, 1, 0] and chosen.mean() <= 4
    assert chosen[seen[:, 1] > 0.5].mean() > chosen[seen[:, 1] < 0].mean()
    bins = np.searchsorted(rule.edges, rule.score(seen))

    def gap(budgets: np.ndarray) -> float:
        places = np.searchsorted((2, 4, 8), budgets)
        return frechet.distance(real, frechet.fit(features[places, np.arange(600)]))

    every = map(np.array, itertools.product((2, 4, 8), repeat=6))
    least = min(gap(some[bins]) for some in every if some[bins].mean() <= 4)
    assert gap(chosen) == pytest.approx(least)
    assert least < gap(rng.permutation(chosen))


def test_budgets_are_alike_where_nothing_is_told() -> None:
    features = (
        np.random.default_rng(0).standard_normal((3, 200, 4))
        * np.array([3, 2, 1.1])[:, None, None]
    )
    real = frechet.fit(np.random.default_rng(1).standard_normal((500, 4)))
    rule = fit_to_gap(np.zeros((200, 4)), features, real, (3, 4, 6), 5.0)
    assert set(rule.choose(np.zeros((9, 4)))) == {4}


def test_schedule_whose_refinement_diverges_stays_as_it_was(
    unet: UNet, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = budgets(bank, "ddim", (2, 3, 5))

    def moved(unet: UNet, recipe: Recipe, *_: object) -> Recipe:
        if recipe.nfe == 5:
            raise Diverged("the loss is nan")
        return dataclasses.replace(recipe, levels=recipe.levels * 0.9)

    monkeypatch.setattr(complexity, "refine", moved)
    found = complexity.refined(unet, start, bank, lambda x: x, Refinement())
    for count in (2, 5):
        np.testing.assert_array_equal(found.levels[count], start.levels[count])
    assert found.levels[3][:2].tolist() == start.levels[3][:2].tolist()
    assert found.levels[3][2] == pytest.approx(0.9 * start.levels[3][2])


def test_sampling_by_content_is_the_fixed_schedule_of_each_image(unet: UNet, bank: Bank) -> None:
    schedules = budgets(bank, "dpmpp_2m", (2, 3, 5))
    start = noise(0, 10, (8, 8, 1))
    runs = {n: (x, s) for n, x, s in errors_by_budget(unet, schedules, start, None, 1.0, 4)}
    for count, (images, _) in runs.items():
        plain = generate(unet, "dpmpp_2m", schedules.levels[count], start)
        np.testing.assert_allclose(images, plain, rtol=1e-4, atol=1e-4)
    seen = runs[5][1]
    np.testing.assert_allclose(runs[2][1], seen, atol=1e-5)
    score = seen[:, 0]
    rule = Complexity(
        np.zeros(4), np.ones(4), np.array([1.0, 0, 0, 0]), np.quantile(score, [0.3, 0.7]),
        np.array([2, 3, 5]),
    )  # fmt: skip
    images, spent = sample(unet, schedules, rule, start, batch=4)
    np.testing.assert_array_equal(spent, rule.choose(seen))
    assert set(spent) == {2, 3, 5}
    expected = np.stack([runs[n][0][i] for i, n in enumerate(spent)])
    np.testing.assert_allclose(images, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("images", [500, 700, 1000, 4096])
def test_budget_that_all_images_would_have_is_not_refused_for_rounding(images: int) -> None:
    errors = np.tile([5.0, 1.0, 0.9999, 0.9998], (images, 1))
    share = np.full(images, 1 / images)
    found = complexity.affordable(errors, share, (3, 4, 5, 8), 4.0)
    np.testing.assert_array_equal(found, 4)
