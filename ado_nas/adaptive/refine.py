"""Learning a schedule by its gradient: levels, the levels the network is told, corrections."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ado_nas.adaptive.recipe import GENERALIZED, Recipe
from ado_nas.diffusion.preconditioning import denoiser
from ado_nas.diffusion.solvers import RULE, generalized, multistep, timed
from ado_nas.distillation.trajectories import Bank
from ado_nas.measure import lock
from ado_nas.models.unet import UNet
from ado_nas.progress import Progress, silent
from ado_nas.training.step import Stepper, schedule

_TOLD, _CORRECTED = 0.5, 0.2  # of the learning rate, which suits the levels


Features = Callable[[mx.array], mx.array]


@dataclass(frozen=True)
class Refinement:
    """How a schedule is refined."""

    iterations: int = 120
    batch: int = 16
    learning_rate: float = 2e-2  # of the logarithms of the strides between levels
    ema_decay: float = 0.95
    told: bool = True  # learn the levels that the network is told, too
    direct: int = 60  # gaps that `directly` measures after it; 0 for none
    fixed: int = 1  # levels that stay, of the first ones
    seed: int = 0


class Sampler(nn.Module):
    """A recipe whose numbers are parameters; all of them 0 where it is as it was given."""

    def __init__(
        self, unet: UNet, recipe: Recipe, guidance: float, told: bool = True, fixed: int = 1
    ):
        """Begin at a recipe.

        Args:
            unet: the network; it is not trained.
            recipe: of a multistep solver.
            guidance: weight of classifier-free guidance; 1 is off.
            told: whether the levels that the network is told are learned, too.
            fixed: how many of the first levels stay.
        """
        super().__init__()
        steps = len(recipe.levels) - 1
        self.strides = mx.zeros((steps - fixed,))
        if told:
            self.told = mx.zeros((steps,))
        if recipe.solver == GENERALIZED:
            self.corrections = mx.zeros((2, steps, steps))
        logs = np.log(recipe.levels[:-1])
        self._recipe, self._tells = recipe, told
        self._first = float(logs[0])
        self._strides = mx.array(np.log(-np.diff(logs)).astype(np.float32))
        self._unet = (unet, guidance)  # a tuple, so that its weights are not parameters

    def __call__(self, x: mx.array, labels: mx.array | None) -> mx.array:
        """Images from noise.

        Args:
            x: (B, H, W, C), standard normal.
            labels: (B,) int32, or None.

        Returns:
            (B, H, W, C).
        """
        unet, guidance = self._unet
        levels, recipe = self.levels, self._recipe
        if recipe.solver == GENERALIZED:
            solver = generalized(self._corrections)
        else:
            solver = multistep(RULE[recipe.solver])
        if self._told is not None:
            solver = timed(solver, self._told)
        *_, (last, _) = solver(denoiser(unet, labels, guidance), x * levels[0], levels)
        return last

    @property
    def levels(self) -> mx.array:
        """(T + 1,), falling, the last 0."""
        kept = self._strides.size - self.strides.size
        moved = self._strides + mx.concatenate([mx.zeros((kept,)), self.strides])
        fallen = mx.cumsum(mx.exp(moved))
        logs = self._first - mx.concatenate([mx.zeros((1,)), fallen])
        return mx.concatenate([mx.exp(logs), mx.zeros((1,))])

    def recipe(self, schedule: str) -> Recipe:
        """The recipe as it is now, under the name of a schedule."""
        corrections = None
        if self._recipe.solver == GENERALIZED:
            corrections = np.array(self._corrections).astype(np.float64)
        levels = np.array(self.levels).astype(np.float64)
        told = None if self._told is None else np.array(self._told).astype(np.float64)
        return dataclasses.replace(
            self._recipe, schedule=schedule, levels=levels, times=told, corrections=corrections
        )

    @property
    def _told(self) -> mx.array | None:
        given = self._recipe.times
        known = None if given is None else mx.array(given.astype(np.float32))
        if not self._tells:
            return known
        change = mx.exp(_TOLD * self.told)
        return change if known is None else known * change

    @property
    def _corrections(self) -> mx.array:
        given = self._recipe.corrections
        change = _CORRECTED * self.corrections
        return change if given is None else mx.array(given.astype(np.float32)) + change


def refine(
    unet: UNet,
    recipe: Recipe,
    bank: Bank,
    features: Features,
    spec: Refinement,
    guidance: float = 1.0,
    progress: Progress = silent,
) -> Recipe:
    """Move a recipe so that it ends near where the teacher's own trajectories end, in features.

    Args:
        unet: the network, which stays as it is.
        recipe: where to begin: a multistep solver with more steps than levels that stay.
        bank: the teacher's trajectories; their first and last states are used.
        features: of images, (B, H, W, C) -> (B, D).
        spec: iterations, batch and rate.
        guidance: weight of classifier-free guidance; 1 is off.
        progress: told of the iterations.

    Returns:
        The averaged recipe of the last iterations; its schedule is called ``refined``, or
        ``told`` where the network is told other levels.

    Raises:
        Diverged: the loss is not finite.

    Source: Tong et al. 2024 (LD3), section 3, for levels and decoupled times; GS (ICLR 2026),
    section 3, for additive corrections.
    """
    sampler = Sampler(unet, recipe, guidance, spec.told, spec.fixed)
    rate = schedule(spec.learning_rate, min(10, spec.iterations // 10), spec.iterations)
    stepper = Stepper(sampler, functools.partial(_distance, features), rate, spec.ema_decay)
    rng = np.random.default_rng(spec.seed)
    name = f"refining {recipe.solver}, {recipe.nfe} NFE"
    for i in range(spec.iterations):
        rows = np.sort(rng.choice(bank.states.shape[1], spec.batch, replace=False))
        start = mx.array(bank.states[0, rows] / bank.levels[0])
        arrays = [start, mx.array(bank.states[-1, rows])]
        if bank.labels is not None:
            arrays.append(mx.array(bank.labels[rows]))
        with lock.shared():
            stepper(*arrays)
        if (i + 1) % 10 == 0 or i + 1 == spec.iterations:
            progress(name, i + 1, spec.iterations)
    stepper.load_average()
    return sampler.recipe("told" if spec.told else "refined")


def _distance(
    features: Features,
    sampler: nn.Module,
    x: mx.array,
    end: mx.array,
    labels: mx.array | None = None,
) -> mx.array:
    """Mean over images of the distance to where the teacher ends, in features."""
    apart = features(sampler(x, labels)) - features(end)
    return mx.mean(mx.sqrt(mx.sum(apart * apart, axis=1) + 1e-8))
