"""The search of levels by the gap itself, with a judge who knows where the images should end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ado_nas.adaptive import direct
from ado_nas.adaptive.direct import BOUND, NOISE_SEED, directly
from ado_nas.adaptive.recipe import Recipe
from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.sampling import balanced_labels, generate, noise
from ado_nas.distillation.trajectories import Bank
from ado_nas.models.unet import UNet

pytestmark = pytest.mark.usefixtures("own_lock")


class Bench:
    """Whose judge knows where the images should end; `bank` are trajectories of its own."""

    def __init__(self, unet: UNet, followed: int = 16, classes: int = 0):
        self.asked: list[tuple[int, int]] = []
        self.classes = classes
        self.teacher = SimpleNamespace(unet=unet)
        self.task = SimpleNamespace(
            reference=SimpleNamespace(guidance=1.0), quality=SimpleNamespace(batch=32)
        )
        self.practice_judge = self
        begun = noise(1, followed, (8, 8, 1))
        self.noise = np.concatenate([begun, noise(NOISE_SEED, 16, (8, 8, 1))])
        self.ends = self.images("dpmpp_2m", karras_levels(40, 0.05, 20.0))
        states = np.stack([begun * 20.0, self.ends[:followed]])
        labels = balanced_labels(followed, classes)
        self.bank = Bank(states, labels, np.array([20.0, 0.0]), np.zeros((2, 2)), "key")

    def images(self, solver: Any, levels: np.ndarray) -> np.ndarray:
        return generate(self.teacher.unet, solver, levels, self.noise)

    def start(self, seed: int, count: int) -> np.ndarray:
        self.asked.append((seed, count))
        return noise(seed, count, (8, 8, 1))

    def labels(self, count: int) -> np.ndarray | None:
        return balanced_labels(count, self.classes)

    def gap(self, images: np.ndarray) -> float:
        return float(np.sqrt(((images - self.ends) ** 2).mean()))

    def of(self, recipe: Recipe) -> float:
        return self.gap(self.images(recipe.run, recipe.levels))


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "FRESH", 16)


def karras(solver: str, steps: int) -> Recipe:
    return Recipe(solver, "karras", karras_levels(steps, 0.05, 20.0), cost="power 1")


@pytest.mark.parametrize(("solver", "steps"), [("ddim", 4), ("ipndm_3", 3), ("heun", 3)])
def test_levels_of_a_lower_gap_are_found(unet: UNet, solver: str, steps: int) -> None:
    bench: Any = Bench(unet)
    given = karras(solver, steps)
    told: list[tuple[int, int]] = []
    progress = lambda _, done, total, *more: told.append((done, total))  # noqa: E731
    found = directly(bench, bench.bank, given, given, 40, progress)
    assert bench.of(found) < 0.85 * bench.of(given)
    assert (found.solver, found.schedule, found.cost) == (solver, "direct", "power 1")
    assert found.levels[0] == given.levels[0] and found.levels[-1] == 0
    assert len(found.levels) == steps + 1 and np.all(np.diff(found.levels) < 0)
    strides = [np.log(-np.diff(np.log(r.levels[:-1]))) for r in (found, given)]
    assert np.abs(strides[0] - strides[1]).max() <= BOUND + 1e-6
    assert len(told) <= 40 + steps and told == [(i + 1, max(40, i + 1)) for i in range(len(told))]
    assert bench.asked == [(NOISE_SEED, 16)]


def test_images_stay_as_near_to_where_the_teacher_ends_whatever_the_gap_says(
    unet: UNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench: Any = Bench(unet)
    given = karras("ddim", 4)

    def away(recipe: Recipe) -> np.ndarray:
        images = bench.images(recipe.run, recipe.levels)
        return direct._away(images, np.clip(bench.ends[:16], -1, 1))

    def grain(images: np.ndarray) -> float:
        """A judge that likes nothing better than what the teacher never does."""
        return 1 / (1 + 100 * float(np.abs(images - bench.ends).mean()))

    monkeypatch.setattr(bench, "gap", grain)
    found = directly(bench, bench.bank, given, given, 40)
    assert np.all(away(found) < 1.02 * away(given))
    monkeypatch.setattr(direct, "_PENALTY", 0)
    assert np.all(away(directly(bench, bench.bank, given, given, 40)) > 1.05 * away(given))


def test_best_levels_are_kept_where_the_search_ends_in_the_middle_of_a_move(
    unet: UNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench: Any = Bench(unet)
    given, met = karras("ddim", 4), [0.2, 0.1, 0.3]
    better = directly(bench, bench.bank, given, given, 40)

    def minimize(cost: Any, here: np.ndarray, **_: Any) -> Any:
        moved = np.log(-np.diff(np.log(better.levels[:-1])))
        apart = moved - np.log(-np.diff(np.log(given.levels[:-1])))
        for share in (0.0, 1.0, *met):
            cost(share * apart)
        return SimpleNamespace(x=here)

    monkeypatch.setattr("scipy.optimize.minimize", minimize)
    found = directly(bench, bench.bank, given, given, 5)
    np.testing.assert_allclose(found.levels, better.levels, rtol=1e-6)


def test_distance_counts_grain_more_than_what_is_smooth() -> None:
    ends = np.zeros((2, 8, 8, 1), np.float32)
    smooth = ends + np.linspace(-0.2, 0.2, 8, dtype=np.float32).reshape(1, 8, 1, 1)
    grain = ends + 0.1 * (-1.0) ** np.add.outer(np.arange(8), np.arange(8))[None, :, :, None]
    np.testing.assert_allclose(direct._away(smooth, ends), [smooth.std(), 0.0], atol=1e-6)
    np.testing.assert_allclose(direct._away(grain, ends), [0.1, 0.8], rtol=1e-5)
    more = np.concatenate([grain, grain])  # that begin elsewhere
    np.testing.assert_allclose(direct._away(more, ends), [0.1, 0.8], rtol=1e-5)


def test_classes_of_the_trajectories_come_before_those_of_fresh_noise(
    unet: UNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench: Any = Bench(unet, classes=10)
    seen: list[np.ndarray] = []

    def watched(
        unet: UNet, solver: Any, levels: np.ndarray, x: Any, labels: Any, *rest: Any
    ) -> Any:
        np.testing.assert_allclose(x, bench.noise, atol=1e-5)
        seen.append(labels)
        return generate(unet, solver, levels, x)

    monkeypatch.setattr(direct, "generate", watched)
    directly(bench, bench.bank, karras("ddim", 2), karras("ddim", 2), 2)
    np.testing.assert_array_equal(seen[0], [*(i % 10 for i in range(16))] * 2)


def test_no_more_trajectories_are_followed_than_needed(
    unet: UNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench: Any = Bench(unet, followed=16)
    monkeypatch.setattr(direct, "FOLLOWED", 4)
    counts: list[int] = []
    monkeypatch.setattr(bench, "gap", lambda images: counts.append(len(images)) or 1.0)
    directly(bench, bench.bank, karras("ddim", 2), karras("ddim", 2), 2)
    assert set(counts) == {4 + 16}


def test_levels_where_images_are_not_finite_are_left(
    unet: UNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench: Any = Bench(unet)
    given = karras("ddim", 3)

    def fragile(unet: UNet, solver: Any, levels: np.ndarray, *rest: Any) -> np.ndarray:
        images = generate(unet, solver, levels, *rest)
        return images * np.nan if levels[1] < given.levels[1] - 1e-9 else images

    monkeypatch.setattr(direct, "generate", fragile)
    found = directly(bench, bench.bank, given, given, 30)
    assert found.levels[1] >= given.levels[1] - 1e-9 and bench.of(found) < bench.of(given)
    monkeypatch.setattr(direct, "generate", lambda *about: np.full((32, 8, 8, 1), np.inf))
    found = directly(bench, bench.bank, given, given, 10)
    np.testing.assert_allclose(found.levels, given.levels)
