"""Steps by content against the best fixed schedule, on images of one object to dozens."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from ado_nas.adaptive.comparison import comparison
from ado_nas.adaptive.complexity import Budgets, Complexity, affordable, fit_to_gap, sample
from ado_nas.adaptive.content import COUNTS, Outcomes, begun, outcomes, reference_ends
from ado_nas.adaptive.learning import plain
from ado_nas.adaptive.recipe import Recipe
from ado_nas.adaptive.refine import Refinement
from ado_nas.bench import Bench
from ado_nas.diffusion.sampling import generate, sample_batch
from ado_nas.errors import ConfigError
from ado_nas.measure.latency import time_in_turn
from ado_nas.progress import Progress
from ado_nas.quality.intervals import T_90, Replicates
from ado_nas.quality.judge import retention
from ado_nas.specs import TaskSpec, TeacherSpec
from studies.config import resolve

OBJECTS = 32  # at most; one at least
SOLVER = "ipndm_3"
MEANS = (3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 7.0)
LEARNED = 2048  # images that the thresholds are learned from
TIMED = 128  # images at a time where both are timed


@dataclass(frozen=True, eq=False)
class _Judged:
    """A way of sampling: evaluations and gap, with the gap's interval and replicates."""

    nfe: float
    gap: float
    interval: tuple[float, float]
    replicates: Replicates


def run(
    *,
    seed: int,
    row: int | None,
    workspace: Path,
    progress: Progress,
    task: TaskSpec | None = None,
    counts: Sequence[int] = COUNTS,
    means: Sequence[float] = MEANS,
    learned: int = LEARNED,
    refinement: Refinement | None = None,
) -> dict[str, Any]:
    """Learn the rule for each mean number of evaluations and compare at equal gap.

    Args:
        seed: of the noise that is judged on, above the task's.
        row: one of the means, by its place; None all.
        workspace: its cache keeps the teacher, about ten minutes of training.
        progress: told about each part.
        task: other than shapes of one to dozens of objects.
        counts: evaluations that an image may get, and those of the fixed schedules.
        means: evaluations that may be spent on average.
        learned: images that thresholds are learned from.
        refinement: of all schedules, fixed ones too; by default that of `schedule` without direct
            search, which schedules with common probes have none of.

    Returns:
        rows: mean_nfe, gap with interval, retention, fixed_nfe (at which the fixed schedules have
        this gap, between whole numbers by the logarithm of the gap), saved_nfe and saved_time
        (shares) with 90% intervals of the first, `beyond`, whether no fixed schedule has a gap
        as large or as small, so that the shares are bounds, random_gap (the same budgets given to
        images at random), the share of images by budget; oracle_nfe, oracle_gap and
        oracle_saved_nfe of budgets by each image's true errors, which nobody knows before
        sampling with all of them, and which are not what the gap measures;
        and `foretold`, the rank correlation of the rule's score with what an image truly gains;
        `fixed`: nfe and gap of the fixed schedules.

    Raises:
        ConfigError: no such row.
    """
    if row is not None and not 0 <= row < len(means):
        raise ConfigError(f"row {row}: give 0 to {len(means) - 1}")
    refinement = refinement or plain(Refinement())
    found = comparison(task or _varied(), workspace, refinement, progress)
    bench, reference = found.bench, found.reference
    schedules = begun(bench, found.bank, SOLVER, counts, refinement, progress)
    ends = reference_ends(bench, learned, progress)
    learning = outcomes(bench, schedules, ends, progress)
    fixed = [found.learned(SOLVER, n).levels_only for n in counts]
    noise_seed = bench.task.quality.noise_seed + seed
    judged = [_judged(bench, _plain(bench, r, noise_seed, progress), float(r.nfe)) for r in fixed]
    ends = reference_ends(bench, bench.task.quality.samples, progress, noise_seed)
    held = outcomes(bench, schedules, ends, progress)
    chosen = means if row is None else [means[row]]
    rows = []
    for mean in chosen:
        about = learning.features, bench.practice_judge.real, sorted(counts)
        rule = fit_to_gap(learning.told, *about, mean)
        rows.append(_row(bench, schedules, rule, fixed, judged, held, noise_seed, progress))
        rows[-1] |= _oracle(bench, sorted(counts), held, judged, rows[-1]["mean_nfe"])
        gained = held.errors[:, 0] - held.errors[:, -1]
        rows[-1]["foretold"] = _rank_correlation(rule.score(held.told), gained)
        kept = retention(reference["gap"], reference["floor"], rows[-1]["gap"])
        rows[-1]["retention"] = kept
        progress("steps by content", len(rows), len(chosen))
    return {
        "rows": rows,
        "fixed": [{"nfe": j.nfe, "gap": j.gap} for j in judged],
        "solver": SOLVER,
        "reference_gap": reference["gap"],
        "floor": reference["floor"],
    }


def _varied() -> TaskSpec:
    """Shapes of one object to dozens, and a teacher of ten minutes: what it lacks, all share."""
    task = resolve("shapes16").task
    return dataclasses.replace(
        task,
        data=dataclasses.replace(task.data, difficulty=OBJECTS),
        teacher=dataclasses.replace(
            TeacherSpec(),
            iterations=2500,
            learning_rate=4e-3,
            warmup=100,
            ema_decay=0.998,
            unet=dataclasses.replace(task.teacher.unet, widths=(32, 64)),
        ),
        worst_teacher=0.0,
    )


def _row(
    bench: Bench,
    schedules: Budgets,
    rule: Complexity,
    fixed: list[Recipe],
    judged: list[_Judged],
    held: Outcomes,
    noise_seed: int,
    progress: Progress,
) -> dict[str, Any]:
    start, labels = bench.start(noise_seed), bench.labels()
    about = start, labels, bench.task.reference.guidance, bench.task.quality.batch, progress
    images, spent = sample(bench.teacher.unet, schedules, rule, *about)
    own = _judged(bench, images, float(spent.mean()))
    shuffled = np.random.default_rng(noise_seed).permutation(spent)
    mixed = bench.judge.gap(_picked(held, sorted(schedules.levels), shuffled))
    equal = _nfe_at(judged, own.gap)
    saved = [1 - own.nfe / n for n in _replicated(own, judged)]
    half = T_90 * float(np.sqrt((len(saved) - 1) * np.var(saved))) if saved else float("inf")
    value = 1 - own.nfe / equal
    few = min(TIMED, len(start))
    return {
        "mean_nfe": own.nfe,
        "gap": own.gap,
        "gap_interval": own.interval,
        "fixed_nfe": equal,
        "saved_nfe": value,
        "saved_interval": (value - half, value + half),
        "beyond": not min(j.gap for j in judged) <= own.gap <= max(j.gap for j in judged),
        "saved_time": _saved_time(bench, schedules, rule, fixed, equal, start[:few], labels),
        "random_gap": mixed,
        "shares": {str(n): float(np.mean(spent == n)) for n in schedules.levels},
    }


def _plain(bench: Bench, recipe: Recipe, noise_seed: int, progress: Progress) -> np.ndarray:
    start, labels = bench.start(noise_seed), bench.labels()
    about = start, labels, bench.task.reference.guidance, bench.task.quality.batch, progress
    name = f"fixed, {recipe.nfe} NFE"
    return generate(bench.teacher.unet, recipe.run, recipe.levels, *about, name)


def _picked(held: Outcomes, counts: Sequence[int], budgets: np.ndarray) -> np.ndarray:
    """Each image as its budget, one of the counts, has left it."""
    images: np.ndarray = held.images[np.searchsorted(counts, budgets), np.arange(len(budgets))]
    return images


def _oracle(
    bench: Bench,
    counts: Sequence[int],
    held: Outcomes,
    judged: Sequence[_Judged],
    mean_nfe: float,
) -> dict[str, Any]:
    """What budgets by the true errors of the judged images would save."""
    alike = np.full(len(held.errors), 1 / len(held.errors))
    spent = affordable(held.errors, alike, counts, mean_nfe)
    gap = bench.judge.gap(_picked(held, counts, spent))
    nfe = float(spent.mean())
    saved = 1 - nfe / _nfe_at(judged, gap)
    return {"oracle_nfe": nfe, "oracle_gap": gap, "oracle_saved_nfe": saved}


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1])


def _judged(bench: Bench, images: np.ndarray, nfe: float) -> _Judged:
    found = bench.judge.score(images)
    return _Judged(nfe, found.gap, found.gap_interval, found.replicates)


def _nfe_at(judged: Sequence[_Judged], gap: float, gaps: Sequence[float] = ()) -> float:
    """The evaluations at which the fixed schedules have a gap; their ends where none has it."""
    known = np.maximum(gaps or [j.gap for j in judged], 1e-6)
    counts = np.array([j.nfe for j in judged])
    # What more evaluations do not better, fewer are taken for.
    better = np.append(True, known[1:] < np.minimum.accumulate(known)[:-1])
    logs = np.log(known[better][::-1])  # so that they rise
    return float(np.interp(np.log(max(gap, 1e-6)), logs, counts[better][::-1]))


def _replicated(own: _Judged, judged: Sequence[_Judged]) -> list[float]:
    """The evaluations at equal gap with each group of generated images left out in turn."""
    every = [own.replicates.generated, *(j.replicates.generated for j in judged)]
    return [_nfe_at(judged, gaps[0], gaps[1:]) for gaps in zip(*every, strict=True)]


def _saved_time(
    bench: Bench,
    schedules: Budgets,
    rule: Complexity,
    fixed: list[Recipe],
    equal: float,
    start: np.ndarray,
    labels: np.ndarray | None,
) -> float:
    """Share of the time of fixed schedules at equal gap that is saved, timed side by side."""
    unet, guidance = bench.teacher.unet, bench.task.reference.guidance
    chosen = None if labels is None else labels[: len(start)]

    def plain(recipe: Recipe) -> Callable[[], mx.array]:
        x, y = mx.array(start), None if chosen is None else mx.array(chosen)
        return lambda: sample_batch(unet, recipe.run, recipe.levels, x, y, guidance)

    def adapted() -> mx.array:
        about = start, chosen, guidance, len(start)
        return mx.array(sample(unet, schedules, rule, *about)[0])

    own, *others = time_in_turn([adapted, *(plain(r) for r in fixed)])
    return 1 - own / float(np.interp(equal, [r.nfe for r in fixed], others))
