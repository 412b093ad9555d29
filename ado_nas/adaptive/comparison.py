"""Sampling schedules of one model side by side, each learned, judged and timed once."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ado_nas.adaptive.direct import searchable
from ado_nas.adaptive.learning import (
    CORRECTED,
    Learned,
    closed_forms,
    fine_bank,
    learn,
    plain,
)
from ado_nas.adaptive.recipe import GENERALIZED, Recipe, recipe_of
from ado_nas.adaptive.refine import Refinement
from ado_nas.adaptive.slimming import slimmed
from ado_nas.bench import Bench, open_bench
from ado_nas.device import timed_on
from ado_nas.diffusion.sampling import generate
from ado_nas.diffusion.solvers import evaluations
from ado_nas.distillation.trajectories import Bank
from ado_nas.errors import ConfigError
from ado_nas.files import building, read_json, write_json
from ado_nas.measure.speed import Yardstick, latency
from ado_nas.modelfolder import Model
from ado_nas.progress import Progress, silent
from ado_nas.quality.figures import compared
from ado_nas.quality.intervals import Replicates, ratio_interval
from ado_nas.quality.judge import Judge, Quality
from ado_nas.reference import judged_again, measure_reference, yardstick
from ado_nas.specs import CLOSED_FORMS, TaskSpec, digest, steps

SCHEMA = 5  # raise it when learning or judging changes
FILE = "found.json"
KEPT = 0.95  # retention that counts as the reference's own quality


@dataclass(frozen=True, eq=False)
class Comparison:
    """Where schedules are learned and judged; what is found is kept under `folder`.

    The bench's teacher is the model whose schedules they are. `again` gives the judge of the
    report and what the reference came to with it; see `judged_again`. Latencies are timed in
    turns with `yard`.
    """

    bench: Bench
    bank: Bank
    reference: dict[str, Any]
    refinement: Refinement | None
    folder: Path
    progress: Progress
    again: Callable[[], tuple[Judge, dict[str, Any]]]
    yard: Yardstick | None = None  # a step of the teacher

    def learned(self, solver: str, nfe: int) -> Learned:
        """The best recipe of a solver, learned once."""
        about = self.bench.digests, self.bank.key, solver, nfe, self.refinement

        def make() -> dict[str, Any]:
            settings = self.refinement, self.progress, self._base(solver, nfe)
            found = learn(self.bench, self.bank, solver, nfe, *settings)
            return {
                "recipe": found.recipe.facts(),
                "levels_only": found.levels_only.facts(),
                "checks": found.checks,
            }

        facts = self.once(digest("schedule", SCHEMA, *about, self.judging), make)
        both = recipe_of(facts["recipe"]), recipe_of(facts["levels_only"])
        return Learned(*both, facts["checks"])

    def _base(self, solver: str, nfe: int) -> Learned | None:
        if solver == GENERALIZED:
            return self.learned(CORRECTED, nfe)
        if self.refinement is None or self.refinement == plain(self.refinement):
            return None
        return self.by(plain(self.refinement)).learned(solver, nfe)

    def by(self, refinement: Refinement) -> Comparison:
        """The same with another refinement."""
        return dataclasses.replace(self, refinement=refinement)

    def row(self, recipe: Recipe) -> dict[str, Any]:
        """A recipe judged on the bench's noise, and its solver timed alone on the device.

        Levels cost no time: recipes alike in solver, evaluations and widths are timed once.
        """
        around = timed_on()
        about = self.bench.digests, recipe.facts(), self.judging, around
        judged = self.once(digest("recipe", SCHEMA, *about), lambda: self._judged(recipe))
        alike = recipe.solver, recipe.nfe, recipe.shares
        settings = self.bench.task.reference.guidance, self.bench.task.latency_batch, around
        step = None if self.yard is None else self.yard.ms  # the unit that it is converted with
        key = digest("speed beside", SCHEMA, self.bench.digests, alike, *settings, step)
        timed = self.once(key, lambda: self._timed(recipe))
        return {**judged, **timed, "recipe": recipe.facts()}

    def confirmed(self, recipe: Recipe) -> dict[str, Any]:
        """A recipe on the report's noise and the second half of the held-out images.

        The best of many rows owes some of its figures to the noise that it was chosen on; these
        owe it nothing.

        Returns:
            gap, gap_interval, retention, retention_interval, sliced.
        """
        figures: dict[str, Any] = self._again(recipe)["figures"]
        return figures

    def ratio(self, recipe: Recipe, other: Recipe) -> dict[str, Any]:
        """One recipe's gap over another's, as `confirmed` judges them: on common noise and images.

        Returns:
            ratio, of the gaps; ratio_interval (95%), of both with the floor added. None where
            the one is not finite, or the other has no gap to divide by.
        """
        both = [self._again(one) for one in (recipe, other)]
        if any(one["figures"]["gap"] is None for one in both):
            return {"ratio": None, "ratio_interval": None}
        above, below = ((one["figures"]["gap"], Replicates(**one["replicates"])) for one in both)
        return {
            "ratio": above[0] / below[0] if below[0] > 0 else None,
            "ratio_interval": ratio_interval(above, below, both[0]["floor"]),
        }

    def _again(self, recipe: Recipe) -> dict[str, Any]:
        """The `figures` of a recipe by the judge of the report, its `replicates` and `floor`."""

        def make() -> dict[str, Any]:
            judge, reference = self.again()
            images = self._images(recipe, self.bench.task.quality.report_noise_seed)
            found = self.score(images, judge)
            more = {}
            if found is not None:
                more = {"replicates": dataclasses.asdict(found.replicates), "floor": found.floor}
            return {"figures": self.figures(found, reference), **more}

        about = self.bench.digests, recipe.facts(), self.judging
        return self.once(digest("judged again", SCHEMA, *about), make)

    def _images(self, recipe: Recipe, seed: int) -> np.ndarray:
        bench, task = self.bench, self.bench.task
        start, labels = bench.start(seed), bench.labels()
        name = f"{recipe.solver} {recipe.schedule} {recipe.nfe} NFE"
        about = start, labels, task.reference.guidance, task.quality.batch, self.progress, name
        unet = slimmed(bench.teacher.unet, recipe.shares)
        return generate(unet, recipe.run, recipe.levels, *about)

    def _judged(self, recipe: Recipe) -> dict[str, Any]:
        images = self._images(recipe, self.bench.task.quality.noise_seed)
        return {
            "solver": recipe.solver,
            "schedule": recipe.schedule,
            "cost": recipe.cost,
            "learned": recipe.schedule not in CLOSED_FORMS,
            "nfe": recipe.nfe,
            **self.figures(self.score(images)),
        }

    def _timed(self, recipe: Recipe) -> dict[str, Any]:
        bench, task = self.bench, self.bench.task
        run = dataclasses.replace(bench.teacher, unet=slimmed(bench.teacher.unet, recipe.shares))
        guidance, batch = task.reference.guidance, task.latency_batch
        speed = latency(run, recipe.run, recipe.levels, guidance, batch, yardstick=self.yard)
        return {
            "latency_ms": speed.median_ms,
            "latency_iqr_ms": speed.iqr_ms,
            "latency_batch": batch,
        }

    def score(self, images: np.ndarray, judge: Judge | None = None) -> Quality | None:
        """The judgment of images (N, H, W, C), by the bench's judge or another one.

        None where they are not finite.
        """
        return (judge or self.bench.judge).score(images) if np.isfinite(images).all() else None

    def figures(
        self, found: Quality | None, reference: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """A judgment as a row tells it, by the reference of the same judge and noise."""
        if found is None:
            none = {"gap_interval": None, "retention_interval": None, "sliced": None}
            return {"gap": None, "retention": 0.0, **none}
        kept = compared(reference or self.reference, found)
        return {
            "gap": found.gap,
            "gap_interval": found.gap_interval,
            "retention": kept["retention"],
            "retention_interval": (kept["retention_low"], kept["retention_high"]),
            "sliced": found.sliced,
        }

    @property
    def judging(self) -> Any:
        """What figures depend on beside the bench's content."""
        task = self.bench.task
        return task.quality, task.reference, task.trajectories

    def once(self, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Plain values that are made once per cache key."""
        with building(self.folder / key) as place:
            found = read_json(place / FILE)
            if found is None:
                write_json(place / FILE, make())
                found = read_json(place / FILE)
        assert isinstance(found, dict)
        return found


def comparison(
    task: TaskSpec,
    workspace: Path,
    refinement: Refinement | None = None,
    progress: Progress = silent,
    model: Model | None = None,
) -> Comparison:
    """Open a bench and its reference, to compare schedules of its teacher.

    Args:
        task: of the bench; its own training-free points are not measured, as they are compared
            here.
        workspace: its cache is used.
        refinement: of what dynamic programs find; None for none.
        progress: told about each part.
        model: whose schedules they are instead, such as a supernet; it is compared with the
            teacher's reference, and learns from the teacher's trajectories.
    """
    task = dataclasses.replace(task, training_free_nfe=())
    task.check_samplers()
    bench = open_bench(task, workspace, progress)
    reference = measure_reference(bench, workspace, progress)["reference"]
    bank = fine_bank(bench, workspace, progress)
    name = "measuring the reference again"
    again = functools.cache(functools.partial(judged_again, bench, workspace, progress, name))
    yard = yardstick(bench, reference)
    if model is not None:
        bench = dataclasses.replace(bench, teacher=model)
    folder = workspace / "cache" / "schedules"
    return Comparison(bench, bank, reference, refinement, folder, progress, again, yard)


def compare(
    found: Comparison, solvers: Sequence[str], counts: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Rows of every closed form and of the best learned recipe.

    The direct search, which takes longer than all else, is for the solver whose levels are best
    without it, at each number of evaluations.

    Args:
        found: where they are judged.
        solvers: their names.
        counts: numbers of evaluations; a solver that cannot have one takes the next below.

    Yields:
        solver, schedule, cost (what the dynamic program summed, if one was the origin), learned,
        nfe, gap, gap_interval, retention, retention_interval, latency_ms, recipe; a learned row
        whose schedule is a closed form was no better than it.
    """
    cells = [(solver, nfe) for solver in solvers for nfe in possible(solver, counts)]
    learned = _learned(found, cells)
    for solver, nfe in cells:
        if solver != GENERALIZED:
            for recipe in closed_forms(found.bench, solver, nfe):
                yield found.row(recipe)
        own = learned[solver, nfe]
        yield {**found.row(own.recipe), "learned": True, "checks": own.checks}


def _learned(
    found: Comparison, cells: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], Learned]:
    """What is learned of each solver and number of evaluations; see `compare`."""
    refinement = found.refinement
    if refinement is None:
        return {cell: found.learned(*cell) for cell in cells}
    levels, gaps = found.by(plain(refinement)), dict[tuple[str, int], float]()
    for done, cell in enumerate(cells, 1):
        gaps[cell] = levels.learned(*_first(cell)).gap
        found.progress("learning levels", done, len(cells))
    numbers = {nfe for _, nfe in cells}
    best = {min((c for c in cells if c[1] == n), key=lambda c: gaps[c]) for n in numbers}
    best = {_first(cell) for cell in best if searchable(*cell)}
    others = found.by(dataclasses.replace(refinement, direct=0))
    learned = dict[tuple[str, int], Learned]()
    for cell in cells:
        learned[cell] = (found if _first(cell) in best else others).learned(*cell)
        found.progress("learning schedules", len(learned), len(cells))
    return learned


def _first(cell: tuple[str, int]) -> tuple[str, int]:
    """The solver whose levels are learned first; another one where they are then corrected."""
    solver, nfe = cell
    return CORRECTED if solver == GENERALIZED else solver, nfe


def possible(solver: str, counts: Sequence[int]) -> list[int]:
    """The numbers of evaluations that a solver can have, of those asked for or just below."""
    return sorted({evaluations(solver, steps(solver, n)) for n in counts})


def best_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The fastest row that keeps the reference's quality, else the one that keeps most.

    Raises:
        ConfigError: there are no rows.
    """
    if not rows:
        raise ConfigError("no schedules to choose from; name a solver and evaluations")
    good = [row for row in rows if row["retention"] >= KEPT]
    if good:
        return min(good, key=lambda row: (row["nfe"], row["gap"]))
    return max(rows, key=lambda row: row["retention"])
