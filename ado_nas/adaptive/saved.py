"""Whatever was learned for sampling a model, read from where it was saved."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ado_nas.adaptive import countdown
from ado_nas.adaptive.policy import Actor, load_actor
from ado_nas.adaptive.recipe import SCHEDULE, Recipe, load_recipe, own
from ado_nas.adaptive.scheduler import CONTENT, AdaptiveScheduler
from ado_nas.adaptive.slimming import slimmed
from ado_nas.diffusion.sampling import generate
from ado_nas.errors import ConfigError
from ado_nas.files import read_json
from ado_nas.modelfolder import Model
from ado_nas.progress import Progress

BATCH = 100  # images at a time where none were chosen
Sampling = Callable[
    [np.ndarray, np.ndarray | None, Progress],
    tuple[np.ndarray, np.ndarray],
]
"""Noise (N, H, W, C), labels (N,) or None, and whom to tell -> images (N, H, W, C) and network
evaluations (N,)."""


def saved(model: Model, place: Path | None = None, side: int | None = None) -> Sampling:
    """How a model is sampled.

    Args:
        model: as loaded from its folder.
        place: a file of a schedule or of steps by content, or a policy's folder; None for what
            was saved with the model, and its own sampler where nothing was.
        side: of the images, px; None for the model's own, which alone has schedules: at others
            its own sampler is used, at noise levels scaled to them.

    Returns:
        What samples.

    Raises:
        ConfigError: the model was not trained for that side, or a place is given with it.
        ModelError: nothing usable is there, or it was learned for another model or resolution.
    """
    if side is not None and side != model.unet.spec.resolution:
        if place is not None:
            raise ConfigError(
                f"{place} was learned at {model.unet.spec.resolution} px; leave out "
                "--schedule, or --resolution"
            )
        return _by_recipe(model, dataclasses.replace(own(model), levels=model.at(side)))
    if place is None:
        place = model.folder / SCHEDULE if model.folder else None
        if place is None or not place.is_file():
            return _by_recipe(model, own(model))
    if place.is_dir():
        return _by_policy(model, load_actor(place, model))
    facts = read_json(place)
    if isinstance(facts, dict) and facts.get("kind") == CONTENT:
        scheduler = AdaptiveScheduler.load(place)
        scheduler.check(model, str(place))
        return _by_content(model, scheduler)
    return _by_recipe(model, load_recipe(place, model))


def _by_recipe(model: Model, recipe: Recipe) -> Sampling:
    unet, guidance = slimmed(model.unet, recipe.shares), model.sampler.guidance
    batch = recipe.batch or BATCH

    def run(
        start: np.ndarray, labels: np.ndarray | None, progress: Progress
    ) -> tuple[np.ndarray, np.ndarray]:
        about = recipe.run, recipe.levels, start, labels, guidance, batch, progress
        return generate(unet, *about), np.full(len(start), recipe.nfe)

    return run


def _by_content(model: Model, scheduler: AdaptiveScheduler) -> Sampling:
    return lambda start, labels, progress: scheduler.sample(
        model, start, labels, progress=progress
    )


def _by_policy(model: Model, actor: Actor) -> Sampling:
    about = model.unet, actor.game, actor
    return lambda start, labels, progress: countdown.sample(
        *about, start, labels, model.sampler.guidance, progress=progress
    )
