"""Which way of distilling is best at how many steps, all given the same wall time.

One student, of the teacher's architecture and with its weights, is trained by each method for 1,
2 and 4 steps: anchored in the planner's stages, anchored at once, chained, by consistency
(with the teacher's trajectories, and from images alone), and by plain denoising, which a solver
then samples in as few steps.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx

from ado_nas.bench import Bench, open_bench
from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.sampling import generate
from ado_nas.distillation.consistency import tuned
from ado_nas.distillation.course import Course, follow
from ado_nas.distillation.methods import course_by, learning
from ado_nas.distillation.optimize import planned
from ado_nas.errors import ConfigError
from ado_nas.files import read_json, write_json
from ado_nas.models.inherit import inherit
from ado_nas.models.unet import UNet, build_unet
from ado_nas.optimization import OptimizationSpec
from ado_nas.progress import Progress, silent
from ado_nas.quality.figures import compared
from ado_nas.reference import measure_reference
from ado_nas.specs import DistillationSpec, TaskSpec, digest
from ado_nas.training.step import Stepper, schedule
from ado_nas.training.teacher import batches, edm_loss
from studies.config import resolve

METHODS = ("anchored", "at once", "chained", "consistency", "images alone", "plain")
STEPS = (1, 2, 4)
SEEDS = 3
SECONDS = 40.0  # of training, for each student
SCHEMA = 2


def run(
    *,
    seed: int,
    row: int | None,
    workspace: Path,
    progress: Progress,
    task: TaskSpec | None = None,
    training: DistillationSpec | None = None,
    seconds: float = SECONDS,
    seeds: int = SEEDS,
) -> dict[str, Any]:
    """Train a student for each seed, method and number of steps.

    Args:
        seed: the first one, of fresh weights and batches.
        row: one of them, seeds first, then methods; None all.
        workspace: its cache keeps the teacher; finished rows are kept too, so that a run that was
            stopped goes on.
        progress: told of each training.
        task: other than the shapes16 preset's.
        training: batch, learning rate and averaging, other than the preset's; its iterations do
            not count.
        seconds: of training a student; what is timed is the training alone.
        seeds: how many.

    Returns:
        rows: seed, method, steps, stages, iterations, seconds, gap, retention with its interval;
        `median_retention` by method and steps; by steps the `best` method; the reference's
        gap and the floor.

    Raises:
        ConfigError: no such row.
    """
    cases = [(seed + i, m, s) for i in range(seeds) for m in METHODS for s in STEPS]
    if row is not None and not 0 <= row < len(cases):
        raise ConfigError(f"row {row}: give 0 to {len(cases) - 1}")
    preset = resolve("shapes16")
    training = training or preset.optimization.training
    bench = open_bench(task or preset.task, workspace, progress)
    reference = measure_reference(bench, workspace, progress)["reference"]
    about = SCHEMA, bench.digests, training, bench.task.quality, seconds
    rows = []
    chosen = cases if row is None else [cases[row]]
    for case in chosen:
        key = digest("distillation", *about, case)
        kept = workspace / "benchmarks" / "distillation" / f"{key}.json"
        found = read_json(kept)
        if found is None:
            found = _row(bench, reference, case, training, seconds)
            write_json(kept, found)
        rows.append(found)
        progress("students by method", len(rows), len(chosen), f"{case[1]}, {case[2]} steps")
    return {
        "rows": rows,
        "reference_gap": reference["gap"],
        "floor": reference["floor"],
        **_verdict(rows),
    }


def _row(
    bench: Bench,
    reference: dict[str, Any],
    case: tuple[int, str, int],
    training: DistillationSpec,
    seconds: float,
) -> dict[str, Any]:
    seed, method, steps = case
    unet = build_unet(bench.teacher.unet.spec, seed)
    inherit(unet, bench.teacher.unet)
    stages = _stages(bench, method, steps)
    alike = "consistency" if method == "images alone" else method
    settings = learning(alike, training, training.iterations)
    course, spent, done = None, 0.0, 0
    for stage in stages:
        course = _course(bench, method, stage, unet, course, training.batch, seed)
        took, count = _trained(unet, course, settings, seconds / len(stages))
        spent, done = spent + took, done + count
    assert course is not None
    quality = bench.task.quality
    start, labels = bench.start(quality.noise_seed), bench.labels()
    images = generate(unet, course.solver, course.levels, start, labels, batch=quality.batch)
    found = bench.judge.score(images)
    return {
        "seed": seed,
        "method": method,
        "steps": steps,
        "stages": "-".join(map(str, stages)),
        "iterations": done,
        "seconds": round(spent, 1),
        "gap": found.gap,
        **compared(reference, found),
    }


def _stages(bench: Bench, method: str, steps: int) -> tuple[int, ...]:
    if method in ("anchored", "chained"):
        return planned(bench, OptimizationSpec(steps, method=method)).stages
    return (steps,)


def _course(
    bench: Bench,
    method: str,
    steps: int,
    unet: UNet,
    before: Course | None,
    batch: int,
    seed: int,
) -> Course:
    if method == "images alone":
        levels = bench.bank.levels[bench.bank.schedule("dp", steps)]
        lowest = bench.task.trajectories.sigma_min
        return tuned(bench.dataset, unet.spec, levels, lowest, batch, seed)
    if method == "plain":
        return _plain(bench, steps, unet, batch, seed)
    source = _copy(unet) if before else bench.teacher.unet
    known = before.levels if before else None
    return course_by(method, bench, steps, source, known, batch, seed)


def _plain(bench: Bench, steps: int, unet: UNet, batch: int, seed: int) -> Course:
    spec = dataclasses.replace(bench.task.teacher, unet=unet.spec, batch=batch, seed=seed)

    def stream(start: int) -> Iterator[tuple[mx.array, ...]]:
        return batches(spec, bench.dataset, start)

    limits = bench.task.trajectories
    levels = karras_levels(steps, limits.sigma_min, limits.sigma_max)
    return Course("dpmpp_2m", levels, stream, edm_loss)


def _copy(unet: UNet) -> UNet:
    twin = build_unet(unet.spec)
    inherit(twin, unet)
    return twin


def _trained(
    unet: UNet, course: Course, training: DistillationSpec, seconds: float
) -> tuple[float, int]:
    """Train for about so long; the iterations are counted from a few that are timed first."""
    count = max(1, round(seconds / _iteration_seconds(_copy(unet), course, training)))
    spec = dataclasses.replace(training, iterations=count)
    with tempfile.TemporaryDirectory() as folder:
        return follow(unet, course, spec, Path(folder), "", silent), count


def _iteration_seconds(unet: UNet, course: Course, training: DistillationSpec) -> float:
    stepper = Stepper(unet, course.loss, schedule(1e-4, 0, 10), training.ema_decay)
    stream, spans = course.batches(0), []
    for _ in range(8):
        begin = time.perf_counter()
        stepper(*next(stream))
        spans.append(time.perf_counter() - begin)
    return statistics.median(spans[2:])


def _verdict(rows: list[dict[str, Any]]) -> dict[str, Any]:
    medians: dict[str, dict[str, float]] = {}
    for method in METHODS:
        for steps in STEPS:
            cases = [r for r in rows if r["method"] == method and r["steps"] == steps]
            if cases:
                middle = statistics.median(r["retention"] for r in cases)
                medians.setdefault(str(steps), {})[method] = round(middle, 4)
    best = {steps: max(found, key=lambda m: found[m]) for steps, found in medians.items()}
    return {"median_retention": medians, "best": best}
