from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ado_nas.adaptive.recipe import (
    SCHEDULE,
    Recipe,
    load_recipe,
    recipe_of,
    save_recipe,
)
from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.sampling import generate, noise
from ado_nas.errors import ModelError
from ado_nas.modelfolder import Model, load_model, save_model
from ado_nas.models.unet import build_unet, named_parameters
from ado_nas.specs import SamplerSpec, UNetSpec

SPEC = UNetSpec(resolution=8, widths=(8,), blocks=(1,), attention=("none",))
LEVELS = karras_levels(3, 0.02, 40.0)
CORRECTIONS = 0.01 * np.random.default_rng(0).standard_normal((2, 3, 3))
RECIPES = [
    Recipe("ipndm_3", "dp", LEVELS),
    Recipe("dpmpp_2m", "refined", LEVELS, np.array([1.0, 0.9, 1.1])),
    Recipe("generalized", "refined", LEVELS, np.ones(3), CORRECTIONS),
    Recipe("ddim", "widths", LEVELS, shares=(0.5, 1.0, 1.0)),
    Recipe("ipndm_2", "dp", LEVELS, batch=3, cost="power 0.5"),
]


@pytest.fixture
def model(tmp_path: Path) -> Model:
    unet = build_unet(SPEC)
    unet.load_weights([(name, value + 0.1) for name, value in named_parameters(unet)])
    save_model(tmp_path / "model", unet, SamplerSpec("ddim", "karras", 3), LEVELS, {})
    return load_model(tmp_path / "model")


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_samples_the_same_after_saving(model: Model, recipe: Recipe) -> None:
    assert model.folder is not None
    save_recipe(model.folder / SCHEDULE, model, recipe, {"from": "a test"})
    found = load_recipe(model.folder / SCHEDULE, load_model(model.folder))
    assert found.facts() == recipe.facts()
    x = noise(0, 4, (8, 8, 1))
    before = generate(model.unet, recipe.run, recipe.levels, x)
    np.testing.assert_array_equal(generate(model.unet, found.run, found.levels, x), before)
    plain = generate(model.unet, "dpmpp_2m", LEVELS, x)
    assert np.abs(before - plain).max() > 1e-4  # what was learned matters


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"model": {"weights_sha256": "other", "resolution": 8}}, "another model"),
        ({"model": {"weights_sha256": "other", "resolution": 32}}, "learned at 32 px.*makes 8"),
        ({"model": None}, "learned at None px"),
        ({"levels": [1.0, 2.0, 0.0]}, "do not fall"),
        ({"levels": [2.0, 1.0, 0.5]}, "do not fall"),
        ({"levels": [0.0]}, "NFE 0"),
        ({"levels": []}, "NFE 0"),
        ({"levels": 5}, "NFE 0"),
        ({"levels": ["a", 0.0]}, "no finite numbers"),
        ({"levels": [float("nan"), 0.0]}, "no finite numbers"),
        ({"solver": "dpm"}, "solver 'dpm' is unknown"),
        ({"times": [1.0]}, "its times"),
        ({"times": [1.0, -1.0, 1.0]}, "its times"),
        ({"solver": "heun", "times": [1.0, 1.0, 1.0]}, "one evaluation a step"),
        ({"shares": [0.5, 1.0]}, "its shares are .*for each of 3 steps"),
        ({"shares": [0.5, 1.0, 1.5]}, "at most 1"),
        ({"shares": [0.0, 1.0, 1.0]}, "above 0"),
        ({"shares": "narrow"}, "no finite numbers"),
        ({"solver": "heun", "shares": [0.5, 1.0, 1.0]}, "one evaluation a step"),
        ({"batch": 0}, "its batch is 0"),
        ({"batch": 2.5}, "its batch is 2.5"),
        ({"batch": "many"}, "its batch is 'many'"),
        ({"solver": "generalized"}, "corrections"),
        ({"solver": "generalized", "corrections": [[0.0]]}, r"\(2, 3, 3\)"),
    ],
)
def test_schedule_that_does_not_fit_is_refused_in_one_line(
    model: Model, change: dict[str, Any], text: str
) -> None:
    assert model.folder is not None
    path = model.folder / SCHEDULE
    save_recipe(path, model, RECIPES[0], {})
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError, match=text) as caught:
        load_recipe(path, model)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_or_broken_file_is_refused(model: Model, tmp_path: Path) -> None:
    for content in (None, "{", "[]"):
        path = tmp_path / "schedule.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(ModelError, match="no schedule in"):
            load_recipe(path, model)


def test_evaluations_are_counted_for_two_a_step() -> None:
    assert recipe_of({"solver": "heun", "schedule": "dp", "levels": [4.0, 2.0, 0.0]}).nfe == 3
