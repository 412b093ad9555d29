"""Which way of distilling is best at how many steps, all given the same compute.

One student, of the teacher's architecture and with its weights, is trained by each method for 1,
2 and 4 steps: anchored in the planner's stages, anchored at once, chained, by consistency
(with the teacher's trajectories, and from images alone), and by plain denoising, which a solver
then samples in as few steps.

Trainings take a while, and a shared machine is not the same from one to the next. So iterations
have a price, told by steps of every kind timed in turns, and each student gets as many as the same
time buys; the seconds as they came stand beside that.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
from collections.abc import Callable, Iterator
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
from ado_nas.measure.latency import time_in_turn
from ado_nas.models.inherit import inherit
from ado_nas.models.unet import UNet, build_unet
from ado_nas.optimization import OptimizationSpec
from ado_nas.progress import Progress, silent
from ado_nas.quality.figures import compared
from ado_nas.reference import measure_reference
from ado_nas.specs import DistillationSpec, TaskSpec, digest
from ado_nas.training.step import Stepper
from ado_nas.training.teacher import batches, edm_loss
from studies.config import resolve

METHODS = ("anchored", "at once", "chained", "consistency", "images alone", "plain")
STEPS = (1, 2, 4)
SEEDS = 3
SECONDS = 40.0  # of training, for each student
ROUNDS = 15  # of steps timed in turns
SCHEMA = 3


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
        seconds: of training a student, by the prices of its iterations.
        seeds: how many.

    Returns:
        rows: seed, method, steps, stages, iterations, priced_seconds (of these iterations),
        seconds (as they came), gap, retention with its interval; `median_retention` by method and
        steps; by steps the `best` method; `iteration_ms`, the prices by kind of iteration; the
        reference's gap and the floor.

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
    place = workspace / "benchmarks" / "distillation"
    prices = _kept_prices(bench, training, place)
    about = SCHEMA, bench.digests, training, bench.task.quality, seconds, prices
    rows = []
    chosen = cases if row is None else [cases[row]]
    for case in chosen:
        key = digest("distillation", *about, case)
        kept = place / f"{key}.json"
        found = read_json(kept)
        if found is None:
            found = _row(bench, reference, case, training, seconds, prices)
            write_json(kept, found)
        rows.append(found)
        progress("students by method", len(rows), len(chosen), f"{case[1]}, {case[2]} steps")
    return {
        "rows": rows,
        "iteration_ms": prices,
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
    prices: dict[str, float],
) -> dict[str, Any]:
    seed, method, steps = case
    unet = build_unet(bench.teacher.unet.spec, seed)
    inherit(unet, bench.teacher.unet)
    stages = _stages(bench, method, steps)
    alike = "consistency" if method == "images alone" else method
    settings = learning(alike, training, training.iterations)
    course, spent, priced, done = None, 0.0, 0.0, 0
    for stage in stages:
        price = prices[_kind(method, course)] / 1e3
        count = max(1, round(seconds / len(stages) / price))
        course = _course(bench, method, stage, unet, course, training.batch, seed)
        spent += _trained(unet, course, dataclasses.replace(settings, iterations=count))
        priced, done = priced + count * price, done + count
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
        "priced_seconds": round(priced, 2),
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


def _trained(unet: UNet, course: Course, training: DistillationSpec) -> float:
    """Train to the end; returns the seconds that took."""
    with tempfile.TemporaryDirectory() as folder:
        return follow(unet, course, training, Path(folder), "", silent)


def _kind(method: str, before: Course | None) -> str:
    """What an iteration is one of, by its method and the stage before; a kind has one price."""
    if method == "chained" and before is None:
        return "chained to the teacher"  # which may be guided
    return "anchored" if method == "at once" else method


def _kept_prices(bench: Bench, training: DistillationSpec, place: Path) -> dict[str, float]:
    """The prices; a run that was stopped goes on with those it began with."""
    kept = place / f"{digest('prices', SCHEMA, bench.digests, training, STEPS)}.json"
    found: dict[str, float] | None = read_json(kept)
    if found is None:
        found = _prices(bench, training)
        write_json(kept, found)
    return found


def _prices(bench: Bench, training: DistillationSpec) -> dict[str, float]:
    """Milliseconds of an iteration of each kind, by steps timed in turns."""
    unet, courses = bench.teacher.unet, dict[str, Course]()
    for method in METHODS:
        before = None
        for stage in _stages(bench, method, min(STEPS))[:2]:
            course = _course(bench, method, stage, unet, before, training.batch, 0)
            courses.setdefault(_kind(method, before), course)
            before = course
    steps = [_step(_copy(unet), course, training) for course in courses.values()]
    return dict(zip(courses, time_in_turn(steps, ROUNDS), strict=True))


def _step(unet: UNet, course: Course, training: DistillationSpec) -> Callable[[], mx.array]:
    """An iteration of a training, its batch included."""
    rate = mx.array(0.0)
    stepper = Stepper(course.pupil(unet), course.loss, lambda _: rate, training.ema_decay)
    stream = course.batches(0)

    def step() -> mx.array:
        stepper(*next(stream))
        return stepper.vector

    return step


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
