"""Learning the noise levels of a solver for one model, and keeping what proves best.

Every schedule that is learned meets the closed forms on noise that none of them has seen; the best
of all is kept, so that what is called learned is never a known form made worse.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ado_nas.adaptive.direct import directly, searchable
from ado_nas.adaptive.recipe import GENERALIZED, Recipe
from ado_nas.adaptive.refine import Refinement, refine
from ado_nas.bench import Bench
from ado_nas.diffusion.sampling import generate
from ado_nas.diffusion.schedules import cheapest_path, closed_form, deviation_costs, jump_costs
from ado_nas.diffusion.solvers import RULE
from ado_nas.distillation.trajectories import Bank, build_bank, implied_denoised
from ado_nas.errors import Diverged
from ado_nas.progress import Progress, silent
from ado_nas.specs import CLOSED_FORMS, TrajectorySpec, steps

FINE = 60  # levels of the trajectories that schedules are learned from
COUNT = 256  # of them
CHECK_SEED = 3000  # noise that is neither learned from nor judged on
CHECKED = 1000  # images at most
GLANCED = 256  # images that the first choice among dynamic programs is made on
KEPT = 2  # of the dynamic programs that are then checked on all
GROWTH = 1.15  # gamma of GITS
CORRECTED = "dpmpp_2m"  # the solver whose levels `generalized` begins with
POWERS = (0.0, 0.5, 1.0)  # 0 is BOSS; see `jump_costs`


@dataclass(frozen=True, eq=False)
class Learned:
    """The best recipe of a solver at one number of evaluations, and what it was compared with."""

    recipe: Recipe
    levels_only: Recipe  # the best in which levels alone were learned
    checks: list[dict[str, Any]]  # schedule, cost and gap of each, on the check noise

    @property
    def gap(self) -> float:
        """Of the best, on the check noise."""
        return min(float(check["gap"]) for check in self.checks)


def fine_bank(bench: Bench, workspace: Path, progress: Progress) -> Bank:
    """Trajectories of the bench's teacher by small steps, for learning schedules.

    They are the bench's own where its task is of so small steps; see `fine`.

    Args:
        bench: the teacher and its range of levels.
        workspace: they are kept in its cache.
        progress: told after each batch.
    """
    spec = fine(bench.task.trajectories)
    if spec == bench.task.trajectories:
        return bench.bank
    return build_bank(spec, bench.teacher, workspace / "cache" / "trajectories", progress)


def fine(spec: TrajectorySpec) -> TrajectorySpec:
    """The trajectories that schedules are learned from, over the same range of levels."""
    return dataclasses.replace(spec, count=COUNT, levels=FINE)


def closed_forms(bench: Bench, solver: str, nfe: int) -> Iterator[Recipe]:
    """The schedules that need no model, over the bench's range of levels."""
    limits, spread = bench.task.trajectories, bench.teacher.unet.spec.sigma_data
    count = steps(solver, nfe)
    for name in CLOSED_FORMS:
        levels = closed_form(name, count, limits.sigma_min, limits.sigma_max, spread)
        yield Recipe(solver, name, levels)


def learned_levels(bank: Bank, solver: str, nfe: int) -> Iterator[Recipe]:
    """The schedules that dynamic programs find on trajectories.

    Args:
        bank: the trajectories.
        solver: its name.
        nfe: network evaluations.

    Yields:
        ``dp`` by the squared distance of landings, with each power of what is left of it at the
        end, which `cost` names, and ``gits`` by their deviation from the straight way.
    """
    count = steps(solver, nfe)
    if count >= len(bank.levels):
        return
    for power, costs in zip(POWERS, path_costs(bank), strict=True):
        levels = bank.levels[cheapest_path(costs, count)]
        yield Recipe(solver, "dp", levels, cost=f"power {power:g}")
    states = np.array(bank.states)
    costs = deviation_costs(states, implied_denoised(states, bank.levels), bank.levels)
    levels = bank.levels[cheapest_path(costs, count, GROWTH)]
    yield Recipe(solver, "gits", levels, cost="deviation")


def path_costs(bank: Bank) -> Iterator[np.ndarray]:
    """What each jump between levels costs, (T + 1, T + 1), with each power of what is left."""
    states = np.array(bank.states)
    denoised = implied_denoised(states, bank.levels)
    for power in POWERS:
        yield jump_costs(states, denoised, bank.levels, bank.sigma_data, power)


def plain(refinement: Refinement) -> Refinement:
    """The part of a refinement that others go on from: of levels, by the gradient."""
    return dataclasses.replace(refinement, told=False, direct=0)


def learn(
    bench: Bench,
    bank: Bank,
    solver: str,
    nfe: int,
    refinement: Refinement | None = None,
    progress: Progress = silent,
    base: Learned | None = None,
) -> Learned:
    """Learn the levels of a solver.

    Args:
        bench: the model as its teacher, and the judge.
        bank: from `fine_bank`.
        solver: its name; `generalized` learns corrections, too, where there is a refinement.
        nfe: network evaluations.
        refinement: of the best found; None for none.
        progress: told of each check.
        base: what was learned before: of DPM++(2M), with whose levels `generalized` begins, and
            of any other solver itself, by `plain`; None to learn it here.

    Returns:
        The best on the check noise, which may be a closed form: all of them are checked on all
        images, and a glance at few drops dynamic programs alone.
    """
    checks = [] if base is None or solver == GENERALIZED else list(base.checks)

    def check(recipe: Recipe) -> tuple[float, Recipe]:
        gap = checked_gap(bench, recipe)
        checks.append({"schedule": recipe.schedule, "cost": recipe.cost, "gap": gap})
        progress(f"checking {solver}, {nfe} NFE", len(checks), len(CLOSED_FORMS) + KEPT + 4)
        return gap, recipe

    def refined(start: Recipe, told: bool) -> list[tuple[float, Recipe]]:
        assert refinement is not None
        spec, unet = dataclasses.replace(refinement, told=told), bench.teacher.unet
        guidance, features = bench.task.reference.guidance, bench.features.lazily
        try:
            return [check(refine(unet, start, bank, features, spec, guidance, progress))]
        except Diverged:
            return []

    if solver == GENERALIZED:
        base = base or learn(bench, bank, CORRECTED, nfe, refinement, progress)
        levels_only = base.levels_only
        found = [check(_correctable(levels_only))]
        if refinement and len(levels_only.levels) > 2:
            found += refined(found[0][1], told=refinement.told)
        return Learned(min(found, key=_gap)[1], levels_only, checks)
    closed = list(closed_forms(bench, solver, nfe))
    moves = refinement is not None and solver in RULE and steps(solver, nfe) > 1
    if base is None:
        paths = _promising(bench, list(learned_levels(bank, solver, nfe)))
        found = [check(recipe) for recipe in (*closed, *paths)]
        if moves:
            found += refined(min(found, key=_gap)[1], told=False)
    else:
        found = [(base.gap, base.levels_only)]
    if refinement and refinement.direct and searchable(solver, nfe):
        known = closed[min(range(len(closed)), key=lambda i: checks[i]["gap"])]
        starts = {recipe.schedule: recipe for recipe in (min(found, key=_gap)[1], known)}
        for begin in starts.values():
            settings = known, refinement.direct, progress
            found.append(check(directly(bench, bank, begin, *settings)))
    levels_only = min(found, key=_gap)[1]
    if moves and refinement and refinement.told:
        found += refined(levels_only, told=True)
    return Learned(min(found, key=_gap)[1], levels_only, checks)


def _correctable(recipe: Recipe) -> Recipe:
    """The same recipe as one of the solver that takes corrections, all of them 0."""
    count = len(recipe.levels) - 1
    return dataclasses.replace(recipe, solver=GENERALIZED, corrections=np.zeros((2, count, count)))


def _promising(bench: Bench, recipes: list[Recipe]) -> list[Recipe]:
    """Those of the lowest gap on a few images; few images tell all gaps too high alike."""
    if len(recipes) <= KEPT:
        return recipes
    return sorted(recipes, key=lambda recipe: checked_gap(bench, recipe, GLANCED))[:KEPT]


def checked_gap(bench: Bench, recipe: Recipe, most: int = CHECKED) -> float:
    """The gap of a recipe on the check noise; infinite where its images are not finite.

    Args:
        bench: the model and the judge.
        recipe: how it is sampled.
        most: images at most.
    """
    count = min(bench.task.quality.samples, most)
    images = generate(
        bench.teacher.unet,
        recipe.run,
        recipe.levels,
        bench.start(CHECK_SEED, count),
        bench.labels(count),
        bench.task.reference.guidance,
        bench.task.quality.batch,
    )
    return bench.judge.gap(images) if np.isfinite(images).all() else float("inf")


def _gap(pair: tuple[float, Recipe]) -> float:
    return pair[0]
