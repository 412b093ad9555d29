"""Each kind of what was learned, read back and sampled by, against sampling by it directly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ado_nas.adaptive import countdown
from ado_nas.adaptive.policy import FACTS, save_actor
from ado_nas.adaptive.recipe import SCHEDULE, Recipe, save_recipe
from ado_nas.adaptive.saved import saved
from ado_nas.adaptive.slimming import slimmed
from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.sampling import generate, noise
from ado_nas.errors import ConfigError, ModelError
from ado_nas.modelfolder import Model, load_model, save_model
from ado_nas.progress import silent
from ado_nas.specs import SamplerSpec
from tests.fakes.fake_practice import small_practice
from tests.fakes.fake_schedules import by_content, untrained_actor

LEVELS = karras_levels(3, 0.02, 40.0)
LABELS = np.array([0, 1, 2, 0, 1], np.int32)
START = noise(0, 5, (8, 8, 1))
PLAYED = small_practice()

pytestmark = pytest.mark.usefixtures("own_lock")


@pytest.fixture
def model(tmp_path: Path) -> Model:
    save_model(tmp_path / "model", PLAYED.unet, SamplerSpec("ddim", "karras", 3), LEVELS, {})
    return load_model(tmp_path / "model")


def fixed(place: Path, model: Model) -> None:
    save_recipe(place, model, Recipe("ddim", "widths", LEVELS, shares=(0.5, 1.0, 1.0)), {})


def content(place: Path, model: Model) -> None:
    by_content(model).save(place)


def policy(place: Path, model: Model) -> None:
    save_actor(place, untrained_actor(PLAYED.game), model, {})


Save = Callable[[Path, Model], None]
KINDS: tuple[Save, ...] = (fixed, content, policy)


def directly(save: Save, model: Model) -> tuple[np.ndarray, np.ndarray]:
    if save is fixed:
        unet = slimmed(model.unet, (0.5, 1.0, 1.0))
        return generate(unet, "ddim", LEVELS, START, LABELS), np.full(5, 3)
    if save is content:
        return by_content(model).sample(model, START, LABELS)
    return countdown.sample(model.unet, PLAYED.game, untrained_actor(PLAYED.game), START, LABELS)


@pytest.mark.parametrize("save", KINDS)
def test_saved_kind_samples_as_what_was_saved(save: Save, model: Model, tmp_path: Path) -> None:
    save(tmp_path / "kept", model)
    images, spent = saved(model, tmp_path / "kept")(START, LABELS, silent)
    wanted, evaluations = directly(save, model)
    np.testing.assert_array_equal(images, wanted)
    np.testing.assert_array_equal(spent, evaluations)
    own, _ = saved(model)(START, LABELS, silent)
    assert np.abs(images - own).max() > 1e-3


@pytest.mark.parametrize(("batch", "told"), [(2, [2, 4, 5]), (None, [5])])
def test_batch_that_was_chosen_is_what_images_are_drawn_in(
    model: Model, tmp_path: Path, batch: int | None, told: list[int]
) -> None:
    save_recipe(tmp_path / "kept", model, Recipe("ddim", "dp", LEVELS, batch=batch), {})
    done: list[int] = []
    run = saved(model, tmp_path / "kept")
    images, _ = run(START, LABELS, lambda stage, now, *_, **__: done.append(now))
    assert done == told
    wanted = generate(model.unet, "ddim", LEVELS, START, LABELS)
    np.testing.assert_allclose(images, wanted, rtol=1e-5, atol=1e-5)


def test_model_samples_by_its_own_until_something_is_saved_with_it(model: Model) -> None:
    images, spent = saved(model)(START, LABELS, silent)
    np.testing.assert_array_equal(images, generate(model.unet, "ddim", LEVELS, START, LABELS))
    assert spent.tolist() == [3] * 5
    assert model.folder is not None
    for save in (fixed, content):  # the last one counts
        save(model.folder / SCHEDULE, model)
        images, _ = saved(model)(START, LABELS, silent)
        np.testing.assert_array_equal(images, directly(save, model)[0])


@pytest.mark.parametrize("save", KINDS)
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"weights_sha256": "other"}, "another model"),
        ({"resolution": 32}, "learned at 32 px, this model makes 8 px"),
    ],
)
def test_saved_for_another_model_is_refused_before_sampling(
    save: Save, model: Model, tmp_path: Path, change: dict[str, object], text: str
) -> None:
    place = tmp_path / "kept"
    save(place, model)
    path = place / FACTS if place.is_dir() else place
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "model": {**facts["model"], **change}}))
    with pytest.raises(ModelError, match=text) as caught:
        saved(model, place)
    assert str(place) in str(caught.value) and "\n" not in str(caught.value)


def test_place_that_holds_nothing_is_refused(model: Model, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="holds no policy"):
        saved(model, tmp_path / "empty")
    with pytest.raises(ModelError, match="no schedule in"):
        saved(model, tmp_path / "none.json")


def test_other_resolution_is_drawn_by_the_models_own_sampler(tmp_path: Path) -> None:
    save_model(
        tmp_path / "several",
        PLAYED.unet,
        SamplerSpec("ddim", "karras", 3),
        LEVELS,
        {"resolutions": [4, 8]},
    )
    model = load_model(tmp_path / "several")
    fixed(tmp_path / "several" / SCHEDULE, model)
    start = noise(0, 5, (4, 4, 1))
    images, spent = saved(model, side=4)(start, LABELS, silent)
    wanted = generate(PLAYED.unet, "ddim", LEVELS / 2, start, LABELS)
    np.testing.assert_array_equal(images, wanted)
    assert images.shape == (5, 4, 4, 1) and set(spent.tolist()) == {3}
    with pytest.raises(ConfigError, match="makes images of 4 px, 8 px"):
        saved(model, side=16)
    with pytest.raises(ConfigError, match="learned at 8 px"):
        saved(model, tmp_path / "several" / SCHEDULE, side=4)
