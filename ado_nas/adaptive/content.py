"""Learning on a bench how many evaluations an image's content asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ado_nas.adaptive.complexity import (
    STATISTICS,
    Budgets,
    budgets,
    errors_by_budget,
    fit_to_gap,
    refined,
)
from ado_nas.adaptive.learning import CHECK_SEED, CHECKED, GLANCED, checked_gap, path_costs
from ado_nas.adaptive.practice import Truth
from ado_nas.adaptive.recipe import Recipe
from ado_nas.adaptive.refine import Refinement
from ado_nas.adaptive.scheduler import AdaptiveScheduler
from ado_nas.bench import Bench
from ado_nas.diffusion.levels import Levels
from ado_nas.diffusion.sampling import generate
from ado_nas.diffusion.schedules import cheapest_path
from ado_nas.distillation.trajectories import Bank
from ado_nas.errors import ConfigError, nearest
from ado_nas.modelfolder import identity
from ado_nas.progress import Progress, silent
from ado_nas.reference import sampler_levels

COUNTS = (3, 4, 5, 6, 8)
LEARNED = 2048  # images that the thresholds are learned from


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What M images came to with each of K budgets, in the order of the schedules.

    `told` (M, S) are the statistics of the probes, `images` (K, M, H, W, C), `features` (K, M, D)
    theirs, `errors` (M, K) squared distances of these from the images' true ends.
    """

    told: np.ndarray
    images: np.ndarray
    features: np.ndarray
    errors: np.ndarray


def learn_content(
    bench: Bench,
    bank: Bank,
    solver: str,
    mean_nfe: float,
    counts: Sequence[int] = COUNTS,
    statistics: Sequence[str] = STATISTICS,
    refinement: Refinement | None = None,
    learned: int = LEARNED,
    progress: Progress = silent,
) -> AdaptiveScheduler:
    """Learn schedules with common probes, and the rule that chooses among them.

    Args:
        bench: the model as its teacher; its features say how far an image is from its end.
        bank: from `learning.fine_bank`.
        solver: of one evaluation a step.
        mean_nfe: evaluations that may be spent on average.
        counts: evaluations that an image may get.
        statistics: which of `STATISTICS` the rule may look at; with none, all get the same.
        refinement: of the schedules' levels; None for none.
        learned: images that the rule is learned from.
        progress: told about each part.

    Raises:
        ConfigError: an unknown statistic, or a mean outside the counts.
    """
    check_statistics(statistics)
    if not min(counts) <= mean_nfe <= max(counts):
        raise ConfigError(f"mean NFE {mean_nfe:g}: give {min(counts)} to {max(counts)}")
    schedules = begun(bench, bank, solver, counts, refinement, progress)
    ends = reference_ends(bench, learned, progress)
    found = outcomes(bench, schedules, ends, progress)
    told, real = only(found.told, statistics), bench.practice_judge.real
    rule = fit_to_gap(told, found.features, real, sorted(counts), mean_nfe)
    return AdaptiveScheduler(schedules, rule, identity(bench.teacher))


def check_statistics(names: Sequence[str]) -> None:
    """Refuse what a rule cannot look at.

    Raises:
        ConfigError: an unknown statistic.
    """
    for name in names:
        if name not in STATISTICS:
            raise ConfigError(f"no statistic {name!r}; {nearest(name, STATISTICS)}")


def begun(
    bench: Bench,
    bank: Bank,
    solver: str,
    counts: Sequence[int],
    refinement: Refinement | None,
    progress: Progress,
) -> Budgets:
    """The schedules of each count, with common probes, as they proved best on the check noise.

    Dynamic programs of several costs propose the common second level and, for each count, the
    levels after it; what is refined is kept where it proves better.

    Args:
        bench: the model and the judge.
        bank: from `learning.fine_bank`.
        solver: of one evaluation a step.
        counts: evaluations that an image may get.
        refinement: of the levels after the probes; None for none.
        progress: told about each part.
    """
    every = list(path_costs(bank))
    probes = sorted({cheapest_path(costs, n)[1] for costs in every for n in counts})
    families = []
    for done, probe in enumerate(probes, 1):
        proposed = [budgets(bank, solver, counts, costs, probe) for costs in every]
        families.append(_best(bench, proposed, GLANCED))
        progress("common levels", done, len(probes))
    found = min(families, key=lambda pair: pair[0])[1]
    if refinement is None:
        return found
    unet, features = bench.teacher.unet, bench.features.lazily
    guidance = bench.task.reference.guidance
    moved = refined(unet, found, bank, features, refinement, guidance, progress)
    return _best(bench, [found, moved], CHECKED)[1]


def _best(bench: Bench, proposed: Sequence[Budgets], images: int) -> tuple[float, Budgets]:
    """Of each count the schedule of the lowest gap; their mean logarithm, and the schedules."""
    solver, logs, kept = proposed[0].solver, [], {}
    for count in proposed[0].levels:
        known: dict[bytes, tuple[float, Levels]] = {}
        for levels in (some.levels[count] for some in proposed):
            if levels.tobytes() not in known:
                gap = checked_gap(bench, Recipe(solver, "dp", levels), images)
                known[levels.tobytes()] = gap, levels
        gap, kept[count] = min(known.values(), key=lambda pair: pair[0])
        logs.append(np.log(max(gap, 1e-6)))
    return float(np.mean(logs)), Budgets(solver, kept)


def reference_ends(
    bench: Bench, count: int, progress: Progress, noise_seed: int = CHECK_SEED
) -> Truth:
    """Where the reference ends, by default on noise that nothing is judged on.

    Args:
        bench: the model, its reference and the features.
        count: images, M.
        progress: told after each batch.
        noise_seed: of the noise.
    """
    task, start, labels = bench.task, bench.start(noise_seed, count), bench.labels(count)
    sampler, levels = task.reference, sampler_levels(bench, task.reference)
    about = start, labels, sampler.guidance, task.quality.batch
    ends = generate(bench.teacher.unet, sampler.solver, levels, *about, progress, "reference ends")
    return Truth(start, labels, bench.features(np.clip(ends, -1, 1)), bench.features)


def outcomes(bench: Bench, schedules: Budgets, ends: Truth, progress: Progress) -> Outcomes:
    """What probes tell of images, and where each budget leaves them.

    Args:
        bench: the model.
        schedules: of each budget.
        ends: the images' noise and their true ends.
        progress: told about each budget.
    """
    found: list[tuple[np.ndarray, ...]] = []
    about = ends.start, ends.labels, bench.task.reference.guidance, bench.task.quality.batch
    for n, images, told in errors_by_budget(bench.teacher.unet, schedules, *about):
        features = ends.seen(images)
        found.append((told, images, features, ends.apart(features)))
        progress("budgets", len(found), len(schedules.levels), f"{n} NFE")
    probes, every, features, errors = zip(*found, strict=True)
    return Outcomes(probes[-1], np.stack(every), np.stack(features), np.stack(errors, axis=1))


def only(seen: np.ndarray, statistics: Sequence[str]) -> np.ndarray:
    """Statistics (M, S) of which those that are not named tell nothing."""
    kept = np.array([name in statistics for name in STATISTICS])
    found: np.ndarray = np.where(kept, seen, 0.0)
    return found
