"""Images of a model as files, by seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ado_nas.adaptive.recipe import load_recipe, recipe_for
from ado_nas.diffusion.sampling import balanced_labels, generate, noise
from ado_nas.errors import ConfigError
from ado_nas.images import save_grid, save_png, to_bytes
from ado_nas.modelfolder import Model
from ado_nas.progress import Progress, silent

COLUMNS = 10


def draw(
    model: Model,
    count: int,
    seed: int,
    label: int | None,
    out: Path,
    progress: Progress = silent,
    schedule: Path | None = None,
) -> list[Path]:
    """Sample images by the schedule saved with a model, else by its own sampler, and write them.

    Args:
        model: as loaded from its folder.
        count: how many.
        seed: of the noise; a longer set begins with the shorter one.
        label: the one class to draw, or None for all in turn.
        out: ends in ``.png`` for one grid; else a folder that gets one file an image.
        progress: told after each batch.
        schedule: a schedule file to use instead.

    Returns:
        The files written.

    Raises:
        ConfigError: the model has no such class, or the place cannot be written.
        ModelError: the schedule is not for this model.
    """
    recipe = load_recipe(schedule, model) if schedule else recipe_for(model)
    labels = _labels(model, count, label)
    place = _checked(out)
    spec = model.unet.spec
    start = noise(seed, count, (spec.resolution, spec.resolution, spec.in_channels))
    guidance = model.sampler.guidance
    images = generate(
        model.unet, recipe.run, recipe.levels, start, labels, guidance, progress=progress
    )
    if place.suffix == ".png":
        save_grid(place, images, rows=-(-count // COLUMNS), columns=min(count, COLUMNS))
        return [place]
    paths = [place / f"{i:05d}.png" for i in range(count)]
    for image, path in zip(to_bytes(images), paths, strict=True):
        save_png(path, image)
    return paths


def _labels(model: Model, count: int, label: int | None) -> np.ndarray | None:
    classes = model.unet.spec.num_classes
    if label is None:
        return balanced_labels(count, classes)
    if label >= classes:
        known = f"0 to {classes - 1}" if classes else "none: it draws without classes"
        raise ConfigError(f"label {label} is unknown to this model; it knows {known}")
    return np.full(count, label, np.int32)


def _checked(out: Path) -> Path:
    """Refuse a place that cannot be written, before any sampling."""
    folder = out.parent if out.suffix == ".png" else out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be written ({error.strerror})") from None
    if out.suffix == ".png" and out.is_dir():
        raise ConfigError(f"--out {out} is a folder; leave out the .png, or give a file name")
    return out
