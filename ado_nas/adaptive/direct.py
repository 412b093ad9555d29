"""Searching the noise levels of a solver by the gap itself, which needs no gradient."""

from __future__ import annotations

import dataclasses

import numpy as np

from ado_nas.adaptive.recipe import Recipe
from ado_nas.bench import Bench
from ado_nas.diffusion.sampling import generate
from ado_nas.distillation.trajectories import Bank
from ado_nas.progress import Progress, silent
from ado_nas.specs import steps

STEPS = 6  # at most; with more, a search of so many numbers takes more gaps than it is worth
NOISE_SEED = 7000  # of noise that nothing else is learned from, checked or judged on
FOLLOWED = 256  # images at most that begin where the teacher's trajectories do
FRESH = 256  # and others; of 300 in all, too few, half as much was gained (decision 9)
BEGINNING = 0.25  # edge of the first simplex, of the logarithms of strides
BOUND = 1.0  # how far each of them may go
_PENALTY = 8  # power of what images are farther away; 1% farther weighs as 8% of the gap
_LEAST = 0.1  # added to gaps, so that the power weighs something where they are 0
_NOT_FINITE = 1e9  # the gap of what diverges; infinity has no difference to another infinity


def searchable(solver: str, nfe: int) -> bool:
    """Whether levels of so many evaluations are worth the search: more than one step, not many."""
    return 1 < steps(solver, nfe) <= STEPS


def directly(
    bench: Bench,
    bank: Bank,
    recipe: Recipe,
    known: Recipe,
    tries: int,
    progress: Progress = silent,
) -> Recipe:
    """Move the levels of a recipe so that the gap of its images to training images falls.

    Images stay as near as those of a known recipe to where the teacher's own trajectories end, in
    pixels and in their Laplacian: few steps leave grain, by which a gap can fall while images get
    worse. The first level stays. The simplex moves the logarithms of the strides between the
    logarithms of the levels, as `refine` does.

    Args:
        bench: the model and the features that it is judged in.
        bank: the teacher's trajectories; their first and last states are used.
        recipe: where to begin, with 2 steps at least.
        known: of the same number of steps, such as the best closed form.
        tries: gaps that are measured, about.
        progress: told after each.

    Returns:
        The recipe with the best levels that were met; its schedule is called ``direct``.

    Source: Nelder and Mead 1965, as scipy has it.
    """
    from scipy.optimize import minimize  # slow to import, and few processes search

    start, ends, labels = _practice(bench, bank)
    guidance, batch = bench.task.reference.guidance, bench.task.quality.batch
    logs = np.log(recipe.levels[:-1])
    strides = np.log(-np.diff(logs))
    done, least = 0, (float("inf"), np.zeros(len(strides)))
    name = f"searching levels of {recipe.solver}, {recipe.nfe} NFE"

    def moved(by: np.ndarray) -> Recipe:
        below = logs[0] - np.cumsum(np.exp(strides + by))
        levels = np.concatenate([recipe.levels[:1], np.exp(below), [0.0]])
        return dataclasses.replace(recipe, schedule="direct", levels=levels)

    def images_of(one: Recipe) -> np.ndarray:
        about = start, labels, guidance, batch
        return generate(bench.teacher.unet, one.run, one.levels, *about)

    allowed = _away(images_of(known), ends)

    def cost(by: np.ndarray) -> float:
        nonlocal done, least
        images = images_of(moved(by))
        done += 1
        progress(name, done, max(tries, done))
        if not np.isfinite(images).all():
            return _NOT_FINITE
        farther = max(1.0, float((_away(images, ends) / allowed).max()))
        found = (bench.practice_judge.gap(images) + _LEAST) * farther**_PENALTY
        least = min(least, (found, by.copy()), key=lambda one: one[0])
        return found

    here = np.zeros(len(strides))
    simplex = np.vstack([here, BEGINNING * np.eye(len(strides))])
    limits = {"maxfev": tries, "initial_simplex": simplex, "xatol": 0.01, "fatol": 0.01}
    bounds = [(-BOUND, BOUND)] * len(strides)
    minimize(cost, here, method="Nelder-Mead", bounds=bounds, options=limits)
    return moved(least[1])  # scipy forgets a point that a move was cut short at


def _away(images: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Root mean squares (2,) of what is between images and ends, and of its Laplacian."""
    apart = np.clip(np.nan_to_num(images[: len(ends)]), -1, 1) - ends
    edges = 4 * apart[:, 1:-1, 1:-1]
    edges = edges - apart[:, :-2, 1:-1] - apart[:, 2:, 1:-1]
    edges = edges - apart[:, 1:-1, :-2] - apart[:, 1:-1, 2:]
    return np.sqrt([(apart**2).mean(), (edges**2).mean()])


def _practice(bench: Bench, bank: Bank) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Noise, where the teacher takes the first of it, and the classes of all."""
    followed = min(FOLLOWED, bank.states.shape[1])
    begun = np.array(bank.states[0, :followed]) / bank.levels[0]
    start = np.concatenate([begun, bench.start(NOISE_SEED, FRESH)]).astype(np.float32)
    labels, more = bank.labels, bench.labels(FRESH)
    if labels is not None and more is not None:
        labels = np.concatenate([labels[:followed], more])
    return start, np.clip(np.array(bank.states[-1, :followed]), -1, 1), labels
