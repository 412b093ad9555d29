"""From one teacher to one student: planned, distilled in stages through gates, and exported."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from ado_nas import reference
from ado_nas.bench import Bench, open_bench
from ado_nas.device import timed_on
from ado_nas.distillation import attempts
from ado_nas.distillation.attempts import Result, Shop
from ado_nas.distillation.planner import Plan, error_curve, halvings, plan
from ado_nas.distillation.progressive import LEAST, Decision, lead, scaled, shrink
from ado_nas.distillation.tradeoff import stage_row, tradeoff
from ado_nas.errors import ConfigError, NegativeVerdict
from ado_nas.files import read_json, write_json
from ado_nas.measure.cost import cost
from ado_nas.measure.speed import latencies_in_turn
from ado_nas.modelfolder import load_model, save_model
from ado_nas.optimization import OptimizationSpec
from ado_nas.progress import Progress, silent
from ado_nas.quality.figures import compared
from ado_nas.reference import (
    check_teacher,
    drawn,
    fastest_free,
    judged_again,
    measure_reference,
    reference_qualities,
    sampler_levels,
)
from ado_nas.specs import SupernetSpec, TaskSpec, UNetSpec, digest, to_dict

SCHEMA = 1  # raise it when what is exported changes, apart from attempts and reference
RESULT, TRADEOFF, MODEL = "result.json", "tradeoff.json", "model"


@dataclass(frozen=True)
class Optimized:
    """What an optimization came to; `reached` says whether all that was asked for passed."""

    original_steps: int
    optimized_steps: int
    quality_score: float  # retention over the gate's noise sets
    quality_low: float  # 90% interval
    quality_high: float
    inference_speedup: float  # over the reference, end to end per image
    # Over the teacher's fastest setting of no lower retention; None where there is none.
    speedup_training_free: float | None
    memory_reduction: float  # 1 - peak over the reference's peak
    compression: float  # reference size over size
    reached: bool
    reason: str  # why not; empty where it was
    stages: list[dict[str, Any]]
    # The student judged again: on noise no gate saw and the other half of the held-out images.
    confirmation: dict[str, float]
    model: str
    tradeoff: str
    plan: dict[str, Any] = field(default_factory=dict)


def check(task: TaskSpec, spec: OptimizationSpec) -> None:
    """Refuse what cannot be done, before any work.

    Args:
        task: data and teacher.
        spec: the goal.

    Raises:
        ConfigError: the target is not below the reference's steps, stages do not lead there, or a
            setting is asked for that only a search follows.
        SpecError: the trajectories have too few levels for a sampler of the teacher.
    """
    task.check_samplers()
    if not task.inherit:
        raise ConfigError(
            "task.inherit false: optimize starts from the teacher's own weights; leave it out"
        )
    if (adaptation := spec.training.adaptation) != "none":
        raise ConfigError(
            f"optimization.training.adaptation {adaptation!r}: optimize narrows stage by stage; "
            "leave it out, or give a size with --compress"
        )
    original = task.reference.nfe
    if spec.target_steps >= original:
        raise ConfigError(
            f"target_steps {spec.target_steps}: the reference takes {original}; give 1 to "
            f"{original - 1}"
        )
    jumps = list(pairwise((original, *spec.stages)))
    if spec.stages and (any(a <= b for a, b in jumps) or spec.stages[-1] != spec.target_steps):
        raise ConfigError(
            f"stages {','.join(map(str, spec.stages))}: give falling numbers below {original}, "
            f"the last one the target of {spec.target_steps}"
        )
    known = task.trajectories.levels
    most = max(spec.target_steps, *spec.stages, 1)
    if spec.method != "chained" and most > known:
        raise ConfigError(
            f"{most} steps: the trajectories hold {known}; give fewer or raise task.trajectories"
        )
    if spec.method == "chained" and any(a % b for a, b in jumps[1:]):
        raise ConfigError(
            f"stages {','.join(map(str, spec.stages))}: chained steps must divide those before"
        )


def optimize(
    task: TaskSpec, spec: OptimizationSpec, workspace: Path, progress: Progress = silent
) -> Optimized:
    """Distill a teacher to few steps, and to a smaller size where that is asked for.

    Everything finished is kept in the workspace, so that the same call goes on where it was
    interrupted.

    Args:
        task: data, teacher, trajectories and measure of quality.
        spec: the goal.
        workspace: its cache is used; the run lies under ``optimized``.
        progress: told about each part.

    Returns:
        The figures; `model` is the folder of the last student that passed or, where none did, of
        the one that came closest.

    Raises:
        ConfigError: the goal cannot be asked for.
        NegativeVerdict: the teacher is not worth imitating, or every training diverged.
    """
    check(task, spec)
    task = dataclasses.replace(task, supernet=SupernetSpec())  # nothing here starts from one
    bench = open_bench(task, workspace, progress)
    facts = measure_reference(bench, workspace, progress)
    check_teacher(facts["reference"], task.worst_teacher)
    chosen = planned(bench, spec)
    progress("plan", 1, 1, " -> ".join(map(str, (chosen.original, *chosen.stages))))
    place = workspace / "optimized"
    about = to_dict(bench.task), bench.digests, to_dict(spec), timed_on()
    schemas = SCHEMA, attempts.SCHEMA, reference.SCHEMA
    folder = place / digest("optimized", *schemas, *about)
    if found := read_json(folder / RESULT):
        places = {"model": str(folder / MODEL), "tradeoff": str(folder / TRADEOFF)}
        return Optimized(**{**found, **places})  # the workspace may have been moved since
    references = reference_qualities(bench, workspace, facts, spec.noise_sets, progress)
    shop = Shop(bench, spec, references, place / "attempts", progress)
    decisions = list(lead(shop, chosen, bench.teacher.unet.spec, spec))
    reached = decisions[-1].action == "passed"
    if reached and spec.compress != "none":
        decisions += shrink(shop, decisions[-1].result, spec, decisions[-1].stage + 1)
    return _exported(bench, spec, facts, chosen, decisions, folder, workspace, progress)


def planned(bench: Bench, spec: OptimizationSpec) -> Plan:
    """The stages of a goal.

    Args:
        bench: its trajectories' costs are used.
        spec: the goal.

    Returns:
        As asked for; else halvings for the chained method, one stage for consistency, and the
        planner's choice for the rest.
    """
    original, target, costs = bench.task.reference.nfe, spec.target_steps, bench.bank.costs
    if spec.method == "chained":
        stages, reason = halvings(original, target), "chained steps halve"
    elif spec.method == "consistency":
        stages, reason = (target,), "a consistency model is trained for any number of steps"
    else:
        return plan(costs, original, target, spec.stages, spec.stage_count)
    if spec.stages:
        stages, reason = spec.stages, "as asked for"
    return Plan(original, stages, error_curve(costs), reason)


def _exported(
    bench: Bench,
    spec: OptimizationSpec,
    facts: dict[str, Any],
    chosen: Plan,
    decisions: list[Decision],
    folder: Path,
    workspace: Path,
    progress: Progress,
) -> Optimized:
    passed = [d.result for d in decisions if d.result.verdict.passed]
    whole = [d.result for d in decisions if d.result.folder]
    if not whole:
        raise NegativeVerdict(
            f"every training diverged ({decisions[-1].result.verdict.reason}); lower "
            "optimization.training.learning_rate"
        )
    best = passed[-1] if passed else max(whole, key=lambda r: r.verdict.retention)
    reason = shortfall(spec, best, bool(passed), bench.teacher.unet.spec)
    found = Optimized(
        original_steps=chosen.original,
        optimized_steps=best.attempt.steps,
        quality_score=best.verdict.retention,
        quality_low=best.verdict.retention_low,
        quality_high=best.verdict.retention_high,
        **_compared(bench, facts, best),
        reached=not reason,
        reason=reason,
        stages=[stage_row(d) for d in decisions],
        confirmation=_confirmed(bench, best, workspace, progress),
        model=str(folder / MODEL),
        tradeoff=str(folder / TRADEOFF),
        plan=dataclasses.asdict(chosen),
    )
    told = dataclasses.asdict(found)
    assert best.folder is not None
    model = load_model(best.folder)
    provenance = {
        "figures": best.figures,
        "optimization": to_dict(spec),
        "plan": told["plan"],
        "stages": found.stages,
        "verdict": dataclasses.asdict(best.verdict),
    }
    save_model(
        folder / MODEL,
        model.unet,
        model.sampler,
        model.levels,
        {**model.card, **provenance, "confirmation": found.confirmation, "reached": found.reached},
    )
    shutil.copyfile(best.folder / "samples.png", folder / MODEL / "samples.png")
    latency_ms = facts["reference"]["latency_ms"] / found.inference_speedup
    points = tradeoff(bench, spec, facts, chosen, decisions, best, folder, latency_ms)
    write_json(folder / TRADEOFF, {**points, "reached": found.reached})
    told |= {"model": MODEL, "tradeoff": TRADEOFF}
    write_json(folder / RESULT, told)
    return found


def shortfall(spec: OptimizationSpec, best: Result, passed: bool, whole: UNetSpec) -> str:
    """What was asked for and not reached; empty where all was.

    Args:
        spec: the goal.
        best: the student that is exported.
        passed: whether the gate let it pass.
        whole: the teacher's network, which is narrowed to a size.
    """
    steps, size = best.attempt.steps, cost(best.attempt.unet).size_mb
    if not passed:
        return f"no student passed the gate: {best.verdict.reason} at best, with {steps} steps"
    if steps > spec.target_steps:
        return f"{spec.target_steps} steps did not pass the gate; {steps} did"
    least = cost(scaled(whole, LEAST)).size_mb
    if spec.size_mb and spec.size_mb < least:
        return (
            f"no network of this shape is as small as {spec.size_mb:g} MB, the smallest has "
            f"{least:.3g}; {size:.3g} MB passed the gate"
        )
    if spec.size_mb and size > spec.size_mb:
        return f"{spec.size_mb:g} MB did not pass the gate; {size:.3g} MB did"
    return ""


def _compared(bench: Bench, facts: dict[str, Any], best: Result) -> dict[str, Any]:
    """The best student beside the reference; the two are timed in turns."""
    assert best.folder is not None
    reference, sampler, model = facts["reference"], bench.task.reference, load_model(best.folder)
    teacher = bench.teacher.unet, sampler, sampler_levels(bench, sampler)
    student = model.unet, model.sampler, model.levels
    slow, fast = latencies_in_turn([teacher, student], bench.task.latency_batch)
    free = fastest_free(facts, best.verdict.retention)
    now = slow / reference["latency_ms"]  # as the reference has changed since
    return {
        "inference_speedup": slow / fast,
        "speedup_training_free": None if free is None else free * now / fast,
        "memory_reduction": 1 - best.figures["peak_memory_mb"] / reference["peak_memory_mb"],
        "compression": reference["size_mb"] / best.figures["size_mb"],
    }


def _confirmed(
    bench: Bench, best: Result, workspace: Path, progress: Progress
) -> dict[str, float]:
    assert best.folder is not None
    judge, reference = judged_again(bench, workspace, progress, "reference, confirmed")
    model, seed = load_model(best.folder), bench.task.quality.report_noise_seed
    images = drawn(
        bench, model.unet, model.sampler, model.levels, seed, progress, "student, confirmed"
    )
    found = judge.score(images)
    return {**compared(reference, found), "gap": found.gap, "reference_gap": reference["gap"]}
