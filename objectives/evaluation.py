"""The evaluation of one candidate, from spec to scores, each step able to end it cheaply.

These are the entry points a worker process knows: `prepare`, `surroundings`, `open_evaluator`,
`remeasure`.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from ado_nas.bench import Bench, open_bench, parts
from ado_nas.device import environment, real
from ado_nas.distillation.student import Lessons
from ado_nas.errors import Diverged, OutOfMemory, StudyError
from ado_nas.files import portable, write_json
from ado_nas.images import save_grid
from ado_nas.measure.cost import cost
from ado_nas.measure.speed import sampling_figures
from ado_nas.modelfolder import CARD, Model, load_model, save_model
from ado_nas.models.inherit import inherit
from ado_nas.models.stepped import build_network
from ado_nas.progress import Progress, silent
from ado_nas.quality.figures import compared
from ado_nas.quality.figures import figures as quality_figures
from ado_nas.quality.judge import Quality
from ado_nas.reference import (
    at_resolutions,
    check_teacher,
    fastest_free,
    judged_again,
    measure_reference,
    pictured,
    yardstick,
)
from ado_nas.specs import Candidate, TaskSpec, from_dict, to_dict
from ado_nas.training.budget import Account, accounting
from objectives.adaptation import beginning, course, decisions, resolutions
from objectives.constraints import reason, violations
from objectives.forecast import Forecast, networks
from objectives.scores import Evaluator, Limits, Outcome, Report
from objectives.standing import standing

PARTS = 4  # of a training, after each of which it asks whether to stop


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
        SpecError: the trajectories have too few levels for a sampler of the teacher.
    """
    task.check_samplers()
    with accounting(task.memory_budget_mb):
        return _prepared(open_bench(task, workspace, progress), workspace, progress)


def _prepared(bench: Bench, workspace: Path, progress: Progress) -> dict[str, Any]:
    task, started = bench.task, time.monotonic()
    facts = measure_reference(bench, workspace, progress)
    check_teacher(facts["reference"], task.worst_teacher)
    took = round(time.monotonic() - started, 2)
    seconds = {**bench.seconds, "reference": took}
    found = {"samples": facts["reference"]["samples"], "teacher": bench.teacher.folder}
    if bench.supernet is not None:
        found["supernet"] = bench.supernet.folder
    facts["reference"] |= {n: portable(Path(p), workspace) for n, p in found.items() if p}
    about = {"task": to_dict(task), "hardware": to_dict(real().hardware)}
    places = {name: str(folder) for name, folder in parts(bench, workspace).items()}
    return {**facts, **about, "seconds": seconds, "parts": places}


def surroundings() -> dict[str, Any]:
    """What figures of this machine are recorded with."""
    return environment()


def open_evaluator(
    task: TaskSpec, workspace: Path, facts: dict[str, Any] | None = None, timed: bool = True
) -> Evaluator:
    """Load what `prepare` made; see `Evaluator`.

    Args:
        task: what the search is about.
        workspace: its cache is used.
        facts: of the study; measured, or read from the cache, if left out.
        timed: whether this is the device that latencies are of.

    Raises:
        StudyError: data, teacher, trajectories or features are not those of the facts.
    """
    bench = open_bench(task, workspace)
    if facts is None:
        facts = measure_reference(bench, workspace, silent)
    _check_digests(bench, facts["digests"])
    forecast = Forecast(bench.task.latency_batch, workspace / "cache" / "operators")
    return _Evaluation(bench, facts, forecast, timed)


def _check_digests(bench: Bench, digests: Mapping[str, str]) -> None:
    for name, wanted in digests.items():
        if (found := bench.digests.get(name)) != wanted:
            raise StudyError(
                f"{name} here is {found} and of the study {wanted}; use the version of "
                "the code that the study was made with, and an empty --workspace"
            )


@dataclass(frozen=True, eq=False)
class _Evaluation:
    bench: Bench
    facts: dict[str, Any]
    forecast: Forecast
    timed: bool = True

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
        figures = _static(candidate)
        with accounting(self.bench.task.memory_budget_mb) as memory:
            try:
                return self._evaluated(
                    candidate, seed, folder, limits, report, rungs, figures, memory
                )
            except (Diverged, OutOfMemory) as error:
                found = {**violations(limits, figures), "training": 1.0}
                figures.update(_memory(memory))
                return Outcome("pruned", {}, found, figures, str(error))

    def _evaluated(
        self,
        candidate: Candidate,
        seed: int,
        folder: Path,
        limits: Limits,
        report: Report,
        rungs: Collection[int],
        figures: dict[str, Any],
        memory: Account,
    ) -> Outcome:
        found = violations(limits, figures)
        if any(v > 0 for v in found.values()):
            return Outcome("infeasible", {}, found, figures, reason(found))
        if self.timed and (over := self._predict(candidate, limits, figures)):
            found = violations(limits, over)
            return Outcome("infeasible", {}, found, figures, f"predicted: {reason(found)}")
        model, lessons, inherited = build_student(self.bench, candidate, seed)
        figures["inherited_fraction"] = inherited
        figures["inherited_from"] = self.bench.source[0] if self.bench.task.inherit else "nothing"
        if self.timed:
            figures.update(self._speed(model))
            self.forecast.learn(candidate, figures["latency_ms"])
        found = violations(limits, figures)
        if any(v > 0 for v in found.values()):
            return Outcome("infeasible", {}, found, figures, reason(found))
        adapted = beginning(model.unet, self.bench, candidate, seed)
        started = time.monotonic()
        teacher = self.bench.teacher.unet
        marks, total = _marks(candidate, rungs)
        training = course(adapted, lessons, candidate, seed, teacher, marks)

        def look() -> dict[str, float]:
            if adapted.unet.spec != candidate.unet:
                return {}  # still on its way to the network that it is to be compared as
            reference, sampler = self.facts["reference"], candidate.sampler
            now = standing(self.bench, reference, adapted.unet, sampler, model.levels)
            costs = ("latency_ms", "size_mb")  # another device cannot tell the latency
            return {**now, **{name: figures[name] for name in costs if name in figures}}

        ended = _train(training, total, look, marks, report, figures)
        figures["training_s"] = round(time.monotonic() - started, 2)
        figures.update({**decisions(adapted), **_memory(memory)})
        if ended:
            return Outcome("pruned", {}, found, figures, ended)
        model = dataclasses.replace(model, unet=adapted.unet)
        if model.unet.spec != candidate.unet:  # the gate refused, and it is as large as it costs
            kept = dataclasses.replace(candidate, unet=model.unet.spec)
            figures.update(_static(kept))
            if self.timed:
                self._predict(kept, limits, figures)
                figures.update(self._speed(model))
        return self._scored(candidate, model, seed, folder, limits, figures, memory)

    def _speed(self, model: Model) -> dict[str, float]:
        yard = yardstick(self.bench, self.facts["reference"])
        return sampling_figures(model, self.bench.task.latency_batch, yard)

    def _predict(
        self, candidate: Candidate, limits: Limits, figures: dict[str, Any]
    ) -> dict[str, float]:
        """Write down what is told of a candidate; returns what will be over a limit."""
        told, over = self.forecast.told(candidate, limits)
        figures.update({f"predicted_{name}": value for name, value in told.items()})
        return over

    def time(self, outcome: Outcome, *, folder: Path, limits: Limits) -> Outcome:
        """Time a model that was trained elsewhere; see `Evaluator`."""
        model = load_model(folder)
        figures = {**outcome.attributes}
        drawn = from_dict(Candidate, model.card["candidate"])
        candidate = dataclasses.replace(drawn, unet=model.unet.spec)
        self._predict(candidate, limits, figures)
        figures.update(self._speed(model))
        self.forecast.learn(candidate, figures["latency_ms"])
        figures.update(gains(self.facts, figures))
        write_json(folder / CARD, {**model.card, "figures": figures})
        return _complete(limits, figures)

    def _scored(
        self,
        candidate: Candidate,
        model: Model,
        seed: int,
        folder: Path,
        limits: Limits,
        figures: dict[str, Any],
        memory: Account,
    ) -> Outcome:
        bench = self.bench
        images = pictured(bench, model.unet, model.sampler, model.levels)
        quality = bench.judge.score(images)
        figures.update(quality_figures(quality))
        if self.timed:
            figures.update(comparison(self.facts, quality, figures))
        else:
            figures.update(compared(self.facts["reference"], quality))
        about = bench, model, self.facts["reference"], bench.task.quality.noise_seed
        figures.update({**at_resolutions(*about), **_memory(memory)})
        save_grid(folder / "samples.png", images)
        card = {
            "kind": "student",
            "candidate": to_dict(candidate),
            "resolutions": candidate.curriculum.sides(candidate.unet.resolution),
            "seed": seed,
            "digests": bench.digests,
            "figures": figures,
            "changes": json.loads(figures.get("changes", "[]")),
            "memory": json.loads(figures["memory_plan"]),
        }
        save_model(folder, model.unet, model.sampler, model.levels, card)
        return _complete(limits, figures) if self.timed else Outcome("trained", {}, {}, figures)


def _complete(limits: Limits, figures: dict[str, Any]) -> Outcome:
    values = {name: figures[name] for name in ("gap", "latency_ms", "size_mb")}
    found = violations(limits, figures)
    return Outcome("complete", values, found, figures, reason(found))


def _memory(account: Account) -> dict[str, Any]:
    """What training was planned for, what it took, and what was changed, as figures of a trial."""
    taken = [plan["measured_mb"] for plan in account.plans.values()]
    return {
        "training_memory_mb": max(taken, default=0.0),
        "memory_plan": json.dumps(account.facts()),
    }


def _static(candidate: Candidate) -> dict[str, Any]:
    every = sum(cost(spec).macs for spec in networks(candidate))
    return {**cost(candidate.unet).figures, "macs_per_image": every}


def build_student(bench: Bench, candidate: Candidate, seed: int) -> tuple[Model, Lessons, float]:
    """A candidate before it is trained.

    Args:
        bench: it inherits from its teacher or supernet, if the task lets it.
        candidate: what is built.
        seed: of fresh weights.

    Returns:
        The model, what it is to learn, and the share of its weights that is inherited.
    """
    unet = build_network(candidate.unet, candidate.step_widths, seed)
    fraction = 0.0
    if bench.task.inherit:
        name, source, order = bench.source
        if candidate.step_widths and name == "teacher":
            order = "ranked"  # for the narrow steps use the leading channels
        fraction = inherit(unet, source, order).fraction
    path = bench.bank.schedule(candidate.sampler.schedule, candidate.sampler.nfe)
    lessons = Lessons(bench.bank, path, solver=candidate.sampler.solver)
    return Model(unet, candidate.sampler, lessons.levels, {}), lessons, fraction


def _marks(candidate: Candidate, rungs: Collection[int]) -> tuple[dict[int, int], int]:
    """The rung at an iteration, and how many iterations there are.

    Under a curriculum a rung is where as much compute is spent, and none at a lower resolution.
    """
    total = candidate.distillation.iterations
    several = resolutions(candidate)
    if several is None:
        return {rung: rung for rung in rungs}, total
    spent = {several.after(rung / total): rung for rung in rungs}
    first = several.iterations - several.stages[-1].iterations
    return {i: rung for i, rung in spent.items() if i > first}, several.iterations


def _train(
    training: Iterator[tuple[int, float]],
    total: int,
    look: Callable[[], dict[str, float]],
    marks: Mapping[int, int],
    report: Report,
    figures: dict[str, Any],
) -> str:
    """Distill to the end; returns why it stopped early, or nothing."""
    asking = {total * i // PARTS for i in range(1, PARTS)}
    for iteration, loss in training:
        figures["loss"] = loss
        scores = look() if iteration in marks else {}
        rung = marks.get(iteration, iteration)
        if (scores or iteration in asking) and report(rung, {"loss": loss, **scores}):
            return f"stopped after {iteration} of {total} iterations"
    return ""


def comparison(facts: dict[str, Any], quality: Quality, figures: dict[str, Any]) -> dict[str, Any]:
    """A candidate beside the reference and the training-free points.

    Args:
        facts: as `prepare` returns them.
        quality: of the candidate's images.
        figures: its latency_ms, size_mb and peak_memory_mb.

    Returns:
        retention with its interval, and `gains`.
    """
    kept = compared(facts["reference"], quality)
    return {**kept, **gains(facts, {**figures, **kept})}


def gains(facts: dict[str, Any], figures: dict[str, Any]) -> dict[str, float]:
    """How much faster and smaller a candidate is than the reference.

    Args:
        facts: as `prepare` returns them.
        figures: of the candidate, its retention among them.

    Returns:
        speedup, speedup_training_free (over the fastest setting of the teacher, the reference
        among them, of no lower retention; left out where there is none), compression,
        memory_reduction.
    """
    reference = facts["reference"]
    free = fastest_free(facts, figures["retention"])
    over = {} if free is None else {"speedup_training_free": free / figures["latency_ms"]}
    return {
        "speedup": reference["latency_ms"] / figures["latency_ms"],
        "speedup_batch1": reference["latency_batch1_ms"] / figures["latency_batch1_ms"],
        **over,
        "compression": reference["size_mb"] / figures["size_mb"],
        "memory_reduction": 1 - figures["peak_memory_mb"] / reference["peak_memory_mb"],
    }


def remeasure(
    task: TaskSpec,
    workspace: Path,
    folders: list[Path],
    progress: Progress,
    facts: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Score model folders on other noise and the other half of the held-out images.

    Args:
        task: what the search is about.
        workspace: its cache is used.
        folders: of finished students.
        progress: told after each.
        facts: of the study, as `prepare` returned them, by whose reference latencies are timed.

    Returns:
        One entry a folder, as `EvaluationModule.remeasure` promises.

    Raises:
        StudyError: data, teacher, trajectories or features are not those of the facts.
    """
    with accounting(task.memory_budget_mb):
        bench = open_bench(task, workspace)
        _check_digests(bench, facts.get("digests", {}))
        return _measured_again(bench, workspace, dict(facts), folders, progress)


def _measured_again(
    bench: Bench, workspace: Path, facts: dict[str, Any], folders: list[Path], progress: Progress
) -> list[dict[str, Any]]:
    task = bench.task
    judge, again = judged_again(bench, workspace, progress, "measuring the reference again")
    other = {**facts, "reference": {**facts["reference"], **again}}
    yard = yardstick(bench, facts["reference"])
    rows = []
    for i, folder in enumerate(folders):
        model = load_model(folder)
        seed = task.quality.report_noise_seed
        quality = judge.score(pictured(bench, model.unet, model.sampler, model.levels, seed))
        found = {**model.card["figures"], **sampling_figures(model, task.latency_batch, yard)}
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
