from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.adaptive.recipe import Recipe
from ado_nas.adaptive.refine import Refinement, Sampler, refine
from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.sampling import generate, noise
from ado_nas.distillation.trajectories import Bank
from ado_nas.models.unet import UNet, named_parameters

pytestmark = pytest.mark.usefixtures("own_lock")


@pytest.fixture(scope="module")
def bank(unet: UNet) -> Bank:
    levels, start = karras_levels(40, 0.05, 20.0), noise(1, 48, (8, 8, 1))
    ends = generate(unet, "dpmpp_2m", levels, start)
    states = np.stack([start * levels[0], ends]).astype(np.float32)
    return Bank(states, None, np.array([20.0, 0.0]), np.zeros((2, 2)), "key")


def pixels(x: mx.array) -> mx.array:
    return x.reshape(x.shape[0], -1) / 8


def recipe(solver: str) -> Recipe:
    corrections = np.zeros((2, 3, 3)) if solver == "generalized" else None
    levels = karras_levels(3, 0.05, 20.0)
    return Recipe(solver, "karras", levels, None, corrections, cost="power 1")


@pytest.mark.parametrize("solver", ["ddim", "ipndm_3", "generalized"])
def test_sampler_begins_as_the_recipe_it_was_given(unet: UNet, solver: str) -> None:
    given = recipe(solver)
    same = Sampler(unet, given, 1.0).recipe("same")
    np.testing.assert_allclose(same.levels, given.levels, rtol=1e-5)
    x = noise(2, 4, (8, 8, 1))
    before = generate(unet, given.run, given.levels, x)
    np.testing.assert_allclose(generate(unet, same.run, same.levels, x), before, atol=1e-4)


@pytest.mark.parametrize(
    ("solver", "told"),
    [("ddim", False), ("ipndm_3", True), ("generalized", True), ("generalized", False)],
)
def test_refined_recipe_ends_nearer_to_the_teacher_on_fresh_noise(
    unet: UNet, bank: Bank, solver: str, told: bool
) -> None:
    given = recipe(solver)
    found = refine(
        unet, given, bank, pixels, Refinement(iterations=30, learning_rate=4e-2, told=told)
    )
    assert found.schedule == ("told" if told else "refined") and found.cost == "power 1"
    assert found.solver == solver and found.nfe == 3 and (found.times is not None) == told
    assert found.levels[0] == pytest.approx(20.0) and np.all(np.diff(found.levels) < 0)
    assert (found.corrections is not None) == (solver == "generalized")
    x = noise(3, 48, (8, 8, 1))
    ends = generate(unet, "dpmpp_2m", karras_levels(40, 0.05, 20.0), x)

    def distance(r: Recipe) -> float:
        apart = generate(unet, r.run, r.levels, x) - ends
        return float(np.sqrt((apart**2).mean(axis=(1, 2, 3))).mean())

    assert distance(found) < 0.9 * distance(given)


def test_network_and_its_weights_stay_as_they_are(unet: UNet, bank: Bank) -> None:
    before = {name: np.array(value) for name, value in named_parameters(unet)}
    refine(unet, recipe("ddim"), bank, pixels, Refinement(iterations=3, batch=4))
    for name, value in named_parameters(unet):
        np.testing.assert_array_equal(value, before[name])


def test_first_levels_stay_where_they_are_fixed(unet: UNet, bank: Bank) -> None:
    given = recipe("ddim")
    spec = Refinement(iterations=5, batch=4, fixed=2, told=False)
    found = refine(unet, given, bank, pixels, spec)
    np.testing.assert_allclose(found.levels[:2], given.levels[:2], rtol=1e-5)
    assert abs(found.levels[2] / given.levels[2] - 1) > 1e-3
