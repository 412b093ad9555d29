"""Images of a model as files, by seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ado_nas.adaptive.saved import saved
from ado_nas.diffusion.sampling import balanced_labels, noise
from ado_nas.errors import ConfigError
from ado_nas.files import check_place
from ado_nas.images import save_grid, save_png, to_bytes
from ado_nas.modelfolder import Model
from ado_nas.progress import Progress, silent

COLUMNS = 10


@dataclass(frozen=True)
class Drawn:
    """The files written, and the mean of the network evaluations of their images."""

    paths: list[Path]
    mean_nfe: float


def draw(
    model: Model,
    count: int,
    seed: int,
    label: int | None,
    out: Path,
    progress: Progress = silent,
    schedule: Path | None = None,
    resolution: int | None = None,
) -> Drawn:
    """Sample images by what was saved with a model, else by its own sampler, and write them.

    Args:
        model: as loaded from its folder.
        count: how many.
        seed: of the noise; a longer set begins with the shorter one.
        label: the one class to draw, or None for all in turn.
        out: ends in ``.png`` for one grid; else a folder that gets one file an image.
        progress: told after each batch.
        schedule: to use instead; see `saved`.
        resolution: of the images, px; one that the model was trained for, its own if left out.

    Returns:
        The files written, and what they took.

    Raises:
        ConfigError: the model has no such class or resolution, or the place cannot be written.
        ModelError: the schedule is not for this model.
    """
    run = saved(model, schedule, resolution)
    labels = _labels(model, count, label)
    grid = out.suffix == ".png"
    check_place("--out", out, folder=not grid)
    spec = model.unet.spec
    side = resolution or spec.resolution
    start = noise(seed, count, (side, side, spec.in_channels))
    images, spent = run(start, labels, progress)
    if grid:
        save_grid(out, images, rows=-(-count // COLUMNS), columns=min(count, COLUMNS))
        return Drawn([out], float(spent.mean()))
    paths = [out / f"{i:05d}.png" for i in range(count)]
    for image, path in zip(to_bytes(images), paths, strict=True):
        save_png(path, image)
    return Drawn(paths, float(spent.mean()))


def _labels(model: Model, count: int, label: int | None) -> np.ndarray | None:
    classes = model.unet.spec.num_classes
    if label is None:
        return balanced_labels(count, classes)
    if label >= classes:
        known = f"0 to {classes - 1}" if classes else "none: it draws without classes"
        raise ConfigError(f"label {label} is unknown to this model; it knows {known}")
    return np.full(count, label, np.int32)
