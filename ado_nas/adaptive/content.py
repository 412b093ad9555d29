"""Learning on a bench how many evaluations an image's content asks for, and sampling by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ado_nas.adaptive.complexity import (
    STATISTICS,
    Budgets,
    Complexity,
    budgets,
    errors_by_budget,
    fit,
    refined,
    sample,
)
from ado_nas.adaptive.learning import CHECK_SEED
from ado_nas.adaptive.practice import Truth
from ado_nas.adaptive.refine import Refinement
from ado_nas.bench import Bench
from ado_nas.diffusion.sampling import generate
from ado_nas.distillation.trajectories import Bank
from ado_nas.errors import ConfigError, ModelError, nearest
from ado_nas.files import read_json, write_json
from ado_nas.modelfolder import Model
from ado_nas.progress import Progress, silent
from ado_nas.reference import sampler_levels

COUNTS = (3, 4, 5, 6, 8)
LEARNED = 1024  # images that the thresholds are learned from


@dataclass(frozen=True, eq=False)
class AdaptiveScheduler:
    """How many evaluations each image gets, by its content, and at which levels."""

    schedules: Budgets
    rule: Complexity
    weights_sha256: str  # of the model it was learned for

    def sample(
        self,
        model: Model,
        start: np.ndarray,
        labels: np.ndarray | None = None,
        batch: int = 100,
        progress: Progress = silent,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images from noise; see `complexity.sample`.

        Args:
            model: the one it was learned for.
            start: (N, H, W, C) standard normal noise.
            labels: (N,) int32, or None.
            batch: images at a time.
            progress: told after each batch.

        Returns:
            (N, H, W, C) float32 images, and (N,) evaluations spent on each.

        Raises:
            ModelError: it was learned for another model.
        """
        if model.card.get("weights_sha256") != self.weights_sha256:
            raise ModelError("this scheduler was learned for another model; learn one for this")
        guidance = model.sampler.guidance
        about = self.schedules, self.rule, start, labels, guidance, batch, progress
        return sample(model.unet, *about)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        levels = {str(n): v.tolist() for n, v in self.schedules.levels.items()}
        write_json(
            path,
            {
                "solver": self.schedules.solver,
                "levels": levels,
                "rule": self.rule.facts(),
                "weights_sha256": self.weights_sha256,
            },
        )

    @classmethod
    def load(cls, path: Path) -> AdaptiveScheduler:
        """Read what `save` wrote.

        Raises:
            ModelError: there is no such file, or it holds something else.
        """
        facts = read_json(path)
        try:
            assert isinstance(facts, dict)
            rule = {name: np.array(values) for name, values in facts["rule"].items()}
            levels = {int(n): np.array(v, float) for n, v in facts["levels"].items()}
            schedules = Budgets(facts["solver"], levels)
            return cls(schedules, Complexity(**rule), facts["weights_sha256"])
        except (AssertionError, KeyError, TypeError, ValueError, AttributeError):
            raise ModelError(f"no adaptive scheduler in {path}; learn one and save it") from None


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
    for name in statistics:
        if name not in STATISTICS:
            raise ConfigError(f"no statistic {name!r}; {nearest(name, STATISTICS)}")
    if not min(counts) <= mean_nfe <= max(counts):
        raise ConfigError(f"mean NFE {mean_nfe:g}: give {min(counts)} to {max(counts)}")
    schedules = begun(bench, bank, solver, counts, refinement, progress)
    ends = reference_ends(bench, learned, progress)
    seen, errors = errors_seen(bench, schedules, ends, progress)
    rule = fit(only(seen, statistics), errors, sorted(counts), mean_nfe)
    return AdaptiveScheduler(schedules, rule, bench.teacher.card["weights_sha256"])


def begun(
    bench: Bench,
    bank: Bank,
    solver: str,
    counts: Sequence[int],
    refinement: Refinement | None,
    progress: Progress,
) -> Budgets:
    """The schedules of each count, with common probes, refined where that is asked for."""
    found = budgets(bank, solver, counts)
    if refinement is None:
        return found
    unet, features = bench.teacher.unet, bench.features.lazily
    guidance = bench.task.reference.guidance
    return refined(unet, found, bank, features, refinement, guidance, progress)


def reference_ends(bench: Bench, count: int, progress: Progress) -> Truth:
    """Where the reference ends on noise that nothing is judged on.

    Args:
        bench: the model, its reference and the features.
        count: images, M.
        progress: told after each batch.
    """
    task, start, labels = bench.task, bench.start(CHECK_SEED, count), bench.labels(count)
    sampler, levels = task.reference, sampler_levels(bench, task.reference)
    about = start, labels, sampler.guidance, task.quality.batch
    ends = generate(bench.teacher.unet, sampler.solver, levels, *about, progress, "reference ends")
    return Truth(start, labels, bench.features(np.clip(ends, -1, 1)), bench.features)


def errors_seen(
    bench: Bench, schedules: Budgets, ends: Truth, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """What probes tell of images, and how far each budget leaves them from their true end.

    Args:
        bench: the model.
        schedules: of each budget, K.
        ends: of M images.
        progress: told about each budget.

    Returns:
        (M, S) statistics, and (M, K) squared distances of features.
    """
    seen, errors = np.zeros((0, len(STATISTICS))), []
    about = ends.start, ends.labels, bench.task.reference.guidance, bench.task.quality.batch
    for n, images, found in errors_by_budget(bench.teacher.unet, schedules, *about):
        seen = found
        errors.append(ends.errors(images))
        progress("budgets", len(errors), len(schedules.levels), f"{n} NFE")
    return seen, np.stack(errors, axis=1)


def only(seen: np.ndarray, statistics: Sequence[str]) -> np.ndarray:
    """Statistics (M, S) of which those that are not named tell nothing."""
    kept = np.array([name in statistics for name in STATISTICS])
    found: np.ndarray = np.where(kept, seen, 0.0)
    return found
