"""Searching the noise levels of a solver by the gap itself, which needs no gradient."""

from __future__ import annotations

import dataclasses

import numpy as np

from ado_nas.adaptive.recipe import Recipe
from ado_nas.bench import Bench
from ado_nas.diffusion.sampling import generate
from ado_nas.progress import Progress, silent

STEPS = 6  # at most; with more, a search of so many numbers takes more gaps than it is worth
NOISE_SEED = 7000  # of noise that nothing else is learned from, checked or judged on
IMAGES = 512  # 300 left twice as much to gain (decision 9)
BEGINNING = 0.25  # edge of the first simplex, of the logarithms of strides
BOUND = 1.0  # how far each of them may go
_NOT_FINITE = 1e9  # the gap of what diverges; infinity has no difference to another infinity


def directly(bench: Bench, recipe: Recipe, tries: int, progress: Progress = silent) -> Recipe:
    """Move the levels of a recipe so that the gap of its images to training images falls.

    The first level stays. The simplex moves the logarithms of the strides between the logarithms
    of the levels, as `refine` does.

    Args:
        bench: the model and the features that it is judged in.
        recipe: where to begin, with 2 steps at least.
        tries: gaps that are measured, about.
        progress: told after each.

    Returns:
        The recipe with the levels of the lowest gap that was met; its schedule is called
        ``direct``.

    Source: Nelder and Mead 1965, as scipy has it.
    """
    from scipy.optimize import minimize  # slow to import, and few processes search

    judge, guidance = bench.practice_judge, bench.task.reference.guidance
    count = min(bench.task.quality.samples, IMAGES)
    start, labels = bench.start(NOISE_SEED, count), bench.labels(count)
    logs = np.log(recipe.levels[:-1])
    strides = np.log(-np.diff(logs))
    done = 0

    def moved(by: np.ndarray) -> Recipe:
        below = logs[0] - np.cumsum(np.exp(strides + by))
        levels = np.concatenate([recipe.levels[:1], np.exp(below), [0.0]])
        return dataclasses.replace(recipe, schedule="direct", levels=levels)

    def gap(by: np.ndarray) -> float:
        nonlocal done
        one, batch = moved(by), bench.task.quality.batch
        images = generate(bench.teacher.unet, one.run, one.levels, start, labels, guidance, batch)
        done += 1
        progress(f"searching levels of {recipe.solver}, {recipe.nfe} NFE", done, max(tries, done))
        return judge.gap(images) if np.isfinite(images).all() else _NOT_FINITE

    here = np.zeros(len(strides))
    simplex = np.vstack([here, BEGINNING * np.eye(len(strides))])
    limits = {"maxfev": tries, "initial_simplex": simplex, "xatol": 0.01, "fatol": 0.01}
    bounds = [(-BOUND, BOUND)] * len(strides)
    found = minimize(gap, here, method="Nelder-Mead", bounds=bounds, options=limits)
    return moved(found.x)
