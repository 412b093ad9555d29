"""Students taught without trajectories on disk: their source takes two steps for every batch.

That is progressive distillation as it was published, a student being the source of its next stage.
`benchmark search` compares with it; as the ``evaluator`` of a search it takes the place of
`objectives.evaluation`. Trials are not compared at rungs: before their last stage they take more
steps than they will in the end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from ado_nas.bench import Bench, open_bench
from ado_nas.diffusion.levels import Levels, karras_levels
from ado_nas.distillation.chained import chained
from ado_nas.distillation.student import taught
from ado_nas.errors import StudyError
from ado_nas.measure.cost import cost
from ado_nas.measure.speed import sampling_figures
from ado_nas.modelfolder import Model, save_model
from ado_nas.models.inherit import inherit
from ado_nas.models.unet import UNet, build_unet
from ado_nas.quality.figures import figures as quality_figures
from ado_nas.reference import pictured, yardstick
from ado_nas.specs import Candidate, TaskSpec, to_dict
from ado_nas.training.step import student_stepper
from objectives.constraints import reason, violations
from objectives.evaluation import comparison, prepare, remeasure, surroundings
from objectives.scores import Limits, Outcome, Report

__all__ = ["Online", "learned", "open_evaluator", "prepare", "remeasure", "surroundings"]

BEGIN = 8  # steps of a student's first stage, at least; its source, the teacher, takes twice these
TOLD = 50  # iterations from one report to the next


def open_evaluator(
    task: TaskSpec, workspace: Path, facts: dict[str, Any], timed: bool = True
) -> Online:
    """Load what `prepare` made.

    Args:
        task: what the search is about.
        workspace: its cache is used.
        facts: of the study.
        timed: whether this is the device that latencies are of.

    Raises:
        StudyError: it is another device.
    """
    if not timed:
        raise StudyError("this evaluator times what it trains; join from the study's own device")
    return Online(open_bench(task, workspace), facts)


@dataclass(frozen=True, eq=False)
class Online:
    """An evaluator whose students are taught in stages; see `Evaluator`."""

    bench: Bench
    facts: dict[str, Any]

    def __call__(
        self,
        candidate: Candidate,
        *,
        seed: int,
        folder: Path,
        limits: Limits,
        report: Report,
        rungs: Collection[int] = (),
    ) -> Outcome:
        """Evaluate one candidate; see `Evaluator`."""
        found: dict[str, Any] = {**cost(candidate.unet).figures}
        missed = violations(limits, found)
        if max(missed.values(), default=0.0) > 0:
            return Outcome("infeasible", {}, missed, found, reason(missed))
        model = learned(self.bench, candidate, seed, report)
        yard = yardstick(self.bench, self.facts["reference"])
        found.update(sampling_figures(model, self.bench.task.latency_batch, yard))
        quality = self.bench.judge.score(
            pictured(self.bench, model.unet, model.sampler, model.levels)
        )
        found.update(quality_figures(quality))
        found.update(comparison(self.facts, quality, found))
        save_student(folder, candidate, model, found)
        values = {name: found[name] for name in ("gap", "latency_ms", "size_mb")}
        missed = violations(limits, found)
        return Outcome("complete", values, missed, found, reason(missed))


def learned(bench: Bench, candidate: Candidate, seed: int, report: Report) -> Model:
    """A student after all its stages.

    Args:
        bench: its teacher is the first source; its data is what noise is added to.
        candidate: network, steps and training; the levels are Karras' whatever it says.
        seed: of fresh weights and of the batches.
        report: told the loss now and then; there is nothing in it to stop a trial by.

    Returns:
        The model.

    Raises:
        Diverged: the loss is not finite.
    """
    unet = build_unet(candidate.unet, seed)
    if bench.task.inherit:
        _, source, order = bench.source
        inherit(unet, source, order)
    for iteration, loss in _staged(unet, bench, candidate, seed):
        if iteration % TOLD == 0:
            report(iteration, {"loss": loss})
    sampler = dataclasses.replace(candidate.sampler, solver="ddim", schedule="karras")
    levels = _levels(bench, sampler.nfe)
    return Model(unet, sampler, levels[:: (len(levels) - 1) // sampler.nfe], {})


def save_student(folder: Path, candidate: Candidate, model: Model, found: dict[str, Any]) -> None:
    """Leave the model folder of a trial.

    Args:
        folder: made where missing.
        candidate: what was trained.
        model: what came of it.
        found: its figures.
    """
    card = {"kind": "student", "candidate": to_dict(candidate), "figures": found}
    save_model(folder, model.unet, model.sampler, model.levels, card)


def stages(steps: int) -> tuple[int, ...]:
    """Steps of a student in each stage, halved to its own.

    Args:
        steps: its own.

    Source: Salimans and Ho 2022, algorithm 2.
    """
    found = [steps]
    while found[0] < BEGIN:
        found.insert(0, 2 * found[0])
    return tuple(found)


def lengths(total: int, count: int) -> list[int]:
    """Iterations of each stage: half of them for the first, which begins without knowing anything.

    Args:
        total: of all stages.
        count: of stages.
    """
    if count == 1:
        return [total]
    first = total // 2
    ends = [first + (total - first) * i // (count - 1) for i in range(count)]
    return [b - a for a, b in pairwise([0, *ends])]


def _staged(
    unet: UNet, bench: Bench, candidate: Candidate, seed: int
) -> Iterator[tuple[int, float]]:
    """Train through all stages; yields (iterations done, loss)."""
    spec, plan = candidate.distillation, stages(candidate.sampler.nfe)
    source, levels, done = bench.teacher.unet, _levels(bench, plan[-1]), 0
    for steps, count in zip(plan, lengths(spec.iterations, len(plan)), strict=True):
        course = chained(source, levels, steps, bench.dataset, spec.batch, seed)
        own = dataclasses.replace(spec, iterations=max(1, count))
        stepper = student_stepper(unet, course.loss, own)
        for batch in islice(course.batches(done), count):
            loss, done = taught(stepper, batch), done + 1
            yield done, loss
        stepper.load_average()
        source, levels = build_unet(unet.spec), course.levels
        inherit(source, unet)


def _levels(bench: Bench, steps: int) -> Levels:
    """The levels that the teacher visits when it teaches a student of so many steps."""
    limits = bench.task.trajectories
    return karras_levels(2 * stages(steps)[0], limits.sigma_min, limits.sigma_max)
