"""The search of levels by the gap itself, with a judge who knows where the images should end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ado_nas.adaptive import direct
from ado_nas.adaptive.direct import BOUND, IMAGES, NOISE_SEED, directly
from ado_nas.adaptive.recipe import Recipe
from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.sampling import generate, noise
from ado_nas.models.unet import UNet, build_unet, named_parameters
from ado_nas.specs import UNetSpec

SPEC = UNetSpec(resolution=8, widths=(8,), blocks=(1,), attention=("none",), activation="relu")
pytestmark = pytest.mark.usefixtures("own_lock")


@pytest.fixture(scope="module")
def unet() -> UNet:
    found = build_unet(SPEC)
    found.load_weights([(name, value + 0.1) for name, value in named_parameters(found)])
    return found


class Bench:
    """Of so few images that each gap takes milliseconds."""

    def __init__(self, unet: UNet, samples: int = 32):
        self.asked: list[tuple[int, int]] = []
        self.teacher = SimpleNamespace(unet=unet)
        self.task = SimpleNamespace(
            reference=SimpleNamespace(guidance=1.0),
            quality=SimpleNamespace(samples=samples, batch=32),
        )
        self.practice_judge = self
        start = noise(NOISE_SEED, samples, (8, 8, 1))
        self.ends = generate(unet, "dpmpp_2m", karras_levels(40, 0.05, 20.0), start)

    def start(self, seed: int, count: int) -> np.ndarray:
        self.asked.append((seed, count))
        return noise(seed, count, (8, 8, 1))

    def labels(self, count: int) -> None:
        return None

    def gap(self, images: np.ndarray) -> float:
        return float(np.sqrt(((images - self.ends[: len(images)]) ** 2).mean()))

    def of(self, recipe: Recipe) -> float:
        x = noise(NOISE_SEED, len(self.ends), (8, 8, 1))
        return self.gap(generate(self.teacher.unet, recipe.run, recipe.levels, x))


@pytest.mark.parametrize(("solver", "steps"), [("ddim", 4), ("ipndm_3", 3), ("heun", 3)])
def test_levels_of_a_lower_gap_are_found(unet: UNet, solver: str, steps: int) -> None:
    bench: Any = Bench(unet)
    given = Recipe(solver, "karras", karras_levels(steps, 0.05, 20.0), cost="power 1")
    told: list[tuple[int, int]] = []
    found = directly(bench, given, 40, lambda _, done, total, *more: told.append((done, total)))
    assert bench.of(found) < 0.85 * bench.of(given)
    assert (found.solver, found.schedule, found.cost) == (solver, "direct", "power 1")
    assert found.levels[0] == given.levels[0] and found.levels[-1] == 0
    assert len(found.levels) == steps + 1 and np.all(np.diff(found.levels) < 0)
    strides = [np.log(-np.diff(np.log(r.levels[:-1]))) for r in (found, given)]
    assert np.abs(strides[0] - strides[1]).max() <= BOUND + 1e-6
    assert len(told) <= 40 + steps and told == [(i + 1, max(40, i + 1)) for i in range(len(told))]
    assert bench.asked == [(NOISE_SEED, 32)]


def test_search_looks_at_no_more_images_than_it_needs(
    unet: UNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench: Any = Bench(unet, samples=IMAGES + 8)
    directly(bench, Recipe("ddim", "karras", karras_levels(2, 0.05, 20.0)), 2)
    assert bench.asked == [(NOISE_SEED, IMAGES)]


def test_levels_where_images_are_not_finite_are_left(
    unet: UNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench: Any = Bench(unet)
    given = Recipe("ddim", "karras", karras_levels(3, 0.05, 20.0))

    def fragile(unet: UNet, solver: Any, levels: np.ndarray, *rest: Any) -> np.ndarray:
        images = generate(unet, solver, levels, *rest)
        return images * np.nan if levels[1] < given.levels[1] - 1e-9 else images

    monkeypatch.setattr(direct, "generate", fragile)
    found = directly(bench, given, 30)
    assert found.levels[1] >= given.levels[1] - 1e-9 and bench.of(found) < bench.of(given)
    monkeypatch.setattr(direct, "generate", lambda *about: np.full((32, 8, 8, 1), np.inf))
    np.testing.assert_allclose(directly(bench, given, 10).levels, given.levels)
