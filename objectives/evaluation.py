"""The evaluation of one candidate, from spec to scores, each step able to end it cheaply.

These are the three entry points a worker process knows: `prepare`, `open_evaluator`, `remeasure`.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from ado_nas.bench import Bench, open_bench
from ado_nas.device import real
from ado_nas.diffusion.sampling import generate
from ado_nas.distillation.student import Lessons
from ado_nas.errors import Diverged
from ado_nas.images import save_grid
from ado_nas.measure.cost import cost
from ado_nas.measure.speed import sampling_figures
from ado_nas.modelfolder import Model, load_model, save_model
from ado_nas.models.inherit import inherit
from ado_nas.models.stepped import build_network
from ado_nas.progress import Progress, silent
from ado_nas.quality.figures import compared
from ado_nas.quality.figures import figures as quality_figures
from ado_nas.quality.judge import Quality
from ado_nas.reference import (
    check_teacher,
    fastest_free,
    judged_again,
    measure_reference,
)
from ado_nas.specs import Candidate, TaskSpec, to_dict
from objectives.adaptation import beginning, course, decisions
from objectives.constraints import reason, violations
from objectives.forecast import Forecast, networks
from objectives.scores import Evaluator, Limits, Outcome, Report

RUNGS = 4  # how often an evaluation says how it stands and asks whether to stop


def prepare(task: TaskSpec, workspace: Path, progress: Progress = silent) -> dict[str, Any]:
    """Build or load teacher, trajectories and judge, and measure the reference.

    Args:
        task: what the search is about.
        workspace: its cache is used.
        progress: told about each part.

    Returns:
        The facts `EvaluationModule.prepare` promises.

    Raises:
        NegativeVerdict: the teacher is not worth imitating.
    """
    bench = open_bench(task, workspace, progress)
    started = time.monotonic()
    facts = measure_reference(bench, workspace, progress)
    check_teacher(facts["reference"], task.worst_teacher)
    took = round(time.monotonic() - started, 2)
    seconds = {**bench.seconds, "reference": took}
    hardware = to_dict(real().hardware)
    return {**facts, "task": to_dict(bench.task), "hardware": hardware, "seconds": seconds}


def open_evaluator(task: TaskSpec, workspace: Path) -> Evaluator:
    """Load what `prepare` made; see `Evaluator`."""
    bench = open_bench(task, workspace)
    facts = measure_reference(bench, workspace, silent)
    forecast = Forecast(bench.task.latency_batch, workspace / "cache" / "operators")
    return _Evaluation(bench, facts, forecast)


@dataclass(frozen=True, eq=False)
class _Evaluation:
    bench: Bench
    facts: dict[str, Any]
    forecast: Forecast

    def __call__(
        self, candidate: Candidate, *, seed: int, folder: Path, limits: Limits, report: Report
    ) -> Outcome:
        """Evaluate one candidate; see `Evaluator`."""
        figures = _static(candidate)
        found = violations(limits, figures)
        if any(v > 0 for v in found.values()):
            return Outcome("infeasible", {}, found, figures, reason(found))
        if early := self.forecast.over(candidate, limits):
            found = violations(limits, early)
            figures.update({f"predicted_{name}": value for name, value in early.items()})
            return Outcome("infeasible", {}, found, figures, f"predicted: {reason(found)}")
        model, lessons, inherited = _build(self.bench, candidate, seed)
        figures["inherited_fraction"] = inherited
        figures["inherited_from"] = self.bench.source[0]
        figures.update(sampling_figures(model, self.bench.task.latency_batch))
        self.forecast.learn(candidate, figures["latency_ms"])
        found = violations(limits, figures)
        if any(v > 0 for v in found.values()):
            return Outcome("infeasible", {}, found, figures, reason(found))
        adapted = beginning(model.unet, self.bench, candidate, seed)
        started = time.monotonic()
        try:
            training = course(adapted, lessons, candidate, seed, self.bench.teacher.unet)
            ended = _train(training, candidate.distillation.iterations, report, figures)
        except Diverged as error:
            return Outcome("pruned", {}, {**found, "training": 1.0}, figures, str(error))
        figures["training_s"] = round(time.monotonic() - started, 2)
        figures.update(decisions(adapted))
        if ended:
            return Outcome("pruned", {}, found, figures, ended)
        model = dataclasses.replace(model, unet=adapted.unet)
        if model.unet.spec != candidate.unet:  # the gate refused, and it is as large as it costs
            figures.update(_static(dataclasses.replace(candidate, unet=model.unet.spec)))
            figures.update(sampling_figures(model, self.bench.task.latency_batch))
        return self._scored(candidate, model, seed, folder, limits, figures)

    def _scored(
        self,
        candidate: Candidate,
        model: Model,
        seed: int,
        folder: Path,
        limits: Limits,
        figures: dict[str, Any],
    ) -> Outcome:
        bench = self.bench
        start, labels = bench.start(bench.task.quality.noise_seed), bench.labels()
        size = bench.task.quality.batch
        images = generate(
            model.unet, model.sampler.solver, model.levels, start, labels, batch=size
        )
        if not np.isfinite(images).all():
            found = {**violations(limits, figures), "training": 1.0}
            return Outcome("pruned", {}, found, figures, "its images are not finite")
        quality = bench.judge.score(images)
        figures.update(quality_figures(quality))
        figures.update(comparison(self.facts, quality, figures))
        save_grid(folder / "samples.png", images)
        card = {
            "kind": "student",
            "candidate": to_dict(candidate),
            "seed": seed,
            "digests": bench.digests,
            "figures": figures,
            "changes": json.loads(figures.get("changes", "[]")),
        }
        save_model(folder, model.unet, model.sampler, model.levels, card)
        values = {name: figures[name] for name in ("gap", "latency_ms", "size_mb")}
        found = violations(limits, figures)
        return Outcome("complete", values, found, figures, reason(found))


def _static(candidate: Candidate) -> dict[str, Any]:
    every = sum(cost(spec).macs for spec in networks(candidate))
    return {**cost(candidate.unet).figures, "macs_per_image": every}


def _build(bench: Bench, candidate: Candidate, seed: int) -> tuple[Model, Lessons, float]:
    unet = build_network(candidate.unet, candidate.step_widths, seed)
    name, source, order = bench.source
    if candidate.step_widths and name == "teacher":
        order = "ranked"  # for the narrow steps use the leading channels
    inherited = inherit(unet, source, order)
    path = bench.bank.schedule(candidate.sampler.schedule, candidate.sampler.nfe)
    lessons = Lessons(bench.bank, path)
    return Model(unet, candidate.sampler, lessons.levels, {}), lessons, inherited.fraction


def _train(
    training: Iterator[tuple[int, float]], total: int, report: Report, figures: dict[str, Any]
) -> str:
    """Distill to the end; returns why it stopped early, or nothing."""
    rungs = {total * i // RUNGS for i in range(1, RUNGS)}
    for iteration, loss in training:
        figures["loss"] = loss
        if iteration in rungs and report(iteration, {"loss": loss}):
            return f"stopped after {iteration} of {total} iterations"
    return ""


def comparison(facts: dict[str, Any], quality: Quality, figures: dict[str, Any]) -> dict[str, Any]:
    """A candidate beside the reference and the training-free points.

    Args:
        facts: as `prepare` returns them.
        quality: of the candidate's images.
        figures: its latency_ms, size_mb and peak_memory_mb.

    Returns:
        retention with its interval, speedup, speedup_training_free, compression, memory_reduction.
    """
    reference = facts["reference"]
    kept = compared(reference, quality)
    free = fastest_free(facts["training_free"], kept["retention"])
    return {
        **kept,
        "speedup": reference["latency_ms"] / figures["latency_ms"],
        "speedup_batch1": reference["latency_batch1_ms"] / figures["latency_batch1_ms"],
        # Where no training-free point keeps as much, the reference itself is the one to beat.
        "speedup_training_free": (free or reference["latency_ms"]) / figures["latency_ms"],
        "compression": reference["size_mb"] / figures["size_mb"],
        "memory_reduction": 1 - figures["peak_memory_mb"] / reference["peak_memory_mb"],
    }


def remeasure(
    task: TaskSpec, workspace: Path, folders: list[Path], progress: Progress = silent
) -> list[dict[str, Any]]:
    """Score model folders on other noise and the other half of the held-out images.

    Args:
        task: what the search is about.
        workspace: its cache is used.
        folders: of finished students.
        progress: told after each.

    Returns:
        One entry a folder, as `EvaluationModule.remeasure` promises.
    """
    bench = open_bench(task, workspace)
    facts = measure_reference(bench, workspace, silent)
    judge, again = judged_again(bench, progress, "measuring the reference again")
    other = {**facts, "reference": {**facts["reference"], **again}}
    start, labels = bench.start(task.quality.report_noise_seed), bench.labels()
    rows = []
    for i, folder in enumerate(folders):
        model = load_model(folder)
        drawn = generate(model.unet, model.sampler.solver, model.levels, start, labels)
        quality = judge.score(drawn)
        found = {**model.card["figures"], **sampling_figures(model, task.latency_batch)}
        row = {**quality_figures(quality), **comparison(other, quality, found)}
        before = model.card["figures"]
        row["latency_ms"] = found["latency_ms"]
        row["latency_iqr_ms"] = found["latency_iqr_ms"]
        row["reference_gap"] = again["gap"]
        row["repeated"] = bool(row["retention_high"] >= before["retention_low"])
        rows.append(row)
        progress("measuring the front again", i + 1, len(folders))
        mx.clear_cache()
    return rows
