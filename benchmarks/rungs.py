"""Trials recorded rung by rung, for pruners to be replayed on: ``python -m benchmarks.rungs``.

Each candidate is built, timed, distilled and judged by the code that a search evaluates it with,
and at each rung its quality is measured as a search measures it there. Nothing is stopped. Each
trial is kept in the workspace when it ends, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from ado_nas.bench import Bench, open_bench
from ado_nas.diffusion.sampling import generate
from ado_nas.distillation.adaptation import landing
from ado_nas.distillation.student import distill
from ado_nas.errors import Diverged
from ado_nas.files import read_json, replacing, write_json
from ado_nas.measure.cost import cost
from ado_nas.measure.latency import time_calls
from ado_nas.measure.speed import sampling_call
from ado_nas.progress import Progress
from ado_nas.reference import measure_reference
from ado_nas.specs import (
    Candidate,
    DataSpec,
    DistillationSpec,
    QualitySpec,
    SamplerSpec,
    TaskSpec,
    TeacherSpec,
    TrajectorySpec,
    UNetSpec,
    digest,
    to_dict,
)
from benchmarks.pruner import TABLE
from objectives.evaluation import build_student
from objectives.standing import standing
from search_spaces.candidate import draw, params_of
from search_spaces.chooser import RandomChooser
from search_spaces.space import Space

TRIALS = 210
RUNGS = (8, 16, 32)
LEARNING = DistillationSpec(iterations=64, batch=16)
HELD_BACK = 64  # trajectories that only the landing loss is measured on
MIN_RETENTION = 0.1  # so few iterations at 8 pixels leave no student above a half
SPACE = Space(
    widths=("8-8", "8-12", "8-16", "12-12", "12-16", "12-24", "16-16"),
    patch=(1,),
    blocks=("1-1",),
    attention=("none", "low"),
    head_dim=(8,),
    norm=("rms", "group"),
    activation=("relu", "hardswish"),
    resample=("conv-conv", "pool-nearest", "fold-fold"),
    skip=("concat", "add"),
    time_width=(32,),
    steps=(1, 2, 3),
    schedule=("karras", "dp"),
)
TASK = TaskSpec(
    data=DataSpec("shapes", 8, count=8192),
    teacher=TeacherSpec(
        unet=UNetSpec(
            resolution=8,
            in_channels=3,
            widths=(24, 48),
            attention=("none", "none"),
            middle=False,
            activation="relu",
            norm="rms",
            num_classes=5,
        ),
        iterations=500,
        batch=32,
        learning_rate=5e-3,
        warmup=20,
        p_mean=0.25,
        p_std=1.1,
    ),
    trajectories=TrajectorySpec(count=768, levels=12),
    quality=QualitySpec(samples=1024, batch=256, feature_iterations=200),
    reference=SamplerSpec(nfe=20),
    training_free=(("dpmpp_2m", "karras"),),
    training_free_nfe=(4,),
    worst_teacher=0.0,
)


def record(
    workspace: Path,
    progress: Progress,
    trials: int = TRIALS,
    task: TaskSpec = TASK,
    learning: DistillationSpec = LEARNING,
    rungs: tuple[int, ...] = RUNGS,
) -> dict[str, Any]:
    """Evaluate candidates drawn at random to the end, looking at each of them at every rung.

    Args:
        workspace: its cache holds what a search needs; finished trials are kept there too.
        progress: told after each trial.
        trials: how many.
        task: data and teacher.
        learning: iterations, batch and learning rate of all of them.
        rungs: iterations after which quality is measured.

    Returns:
        trials: of each its params, latency_ms, size_mb, its quality at each rung and at the end,
        and the seconds of processor time that each part took; and what it is compared with.
    """
    bench = open_bench(task, workspace, progress)
    reference = measure_reference(bench, workspace, progress)["reference"]
    about = digest("rungs", bench.digests, bench.task, learning, SPACE, rungs)
    rows = []
    for number, candidate in enumerate(_drawn(bench, learning, trials)):
        kept = workspace / "benchmarks" / "rungs" / about / f"{number}.json"
        row = read_json(kept)
        if row is None:
            row = _row(bench, reference, candidate, rungs)
            write_json(kept, row)
        rows.append(row)
        progress("recorded trials", len(rows), trials)
    names = "gap", "floor", "latency_ms", "size_mb", "gaussian_gap"
    return {
        "reference": {name: reference[name] for name in names},
        "min_retention": MIN_RETENTION,
        "iterations": learning.iterations,
        "rungs": list(rungs),
        "task": to_dict(bench.task),
        "trials": rows,
    }


def _drawn(bench: Bench, learning: DistillationSpec, count: int) -> list[Candidate]:
    """Different candidates, the same ones each time."""
    chooser = RandomChooser(0)
    found: dict[str, Candidate] = {}
    while len(found) < count:
        candidate = draw(SPACE, chooser, bench.teacher.unet.spec, learning)
        found.setdefault(candidate.hash, candidate)
    return list(found.values())


class _Clock:
    """Processor seconds since it was last asked: other processes of the machine do not count."""

    def __init__(self) -> None:
        self._last = time.process_time()

    def lap(self) -> float:
        now = time.process_time()
        took, self._last = now - self._last, now
        return round(took, 3)


def _row(
    bench: Bench, reference: dict[str, Any], candidate: Candidate, rungs: tuple[int, ...]
) -> dict[str, Any]:
    clock = _Clock()
    model, lessons, _ = build_student(bench, candidate, 0)
    unet, sampler, levels = model.unet, model.sampler, model.levels
    # Of one core, in processor time: hours of recording meet other loads of the machine.
    batch = bench.task.latency_batch
    call = sampling_call(unet, sampler.solver, levels, 1.0, batch)
    speed = time_calls(call, evaluations=12, clock=time.process_time)
    row: dict[str, Any] = {
        "params": params_of(candidate, SPACE),
        "latency_ms": speed.median_ms / batch,
        "size_mb": cost(candidate.unet).figures["size_mb"],
        "build_s": clock.lap(),
        "rungs": [],
    }
    taught, judged = lessons.parted(HELD_BACK)
    measure = landing(judged)
    try:
        for done, _ in distill(unet, taught, candidate.distillation, 0, stops=rungs):
            if done in rungs:
                rung = {"iteration": done, "train_s": clock.lap()}
                rung |= standing(bench, reference, unet, sampler, levels)
                row["rungs"].append({**rung, "look_s": clock.lap(), "landing": measure(unet)})
                clock.lap()
    except Diverged:
        return row
    row["train_s"] = clock.lap()
    start, labels = bench.start(bench.task.quality.noise_seed), bench.labels()
    size = bench.task.quality.batch
    images = generate(unet, sampler.solver, levels, start, labels, batch=size)
    gap, (low, high) = bench.judge.glance(images)
    return {**row, "gap": gap, "gap_low": low, "gap_high": high, "score_s": clock.lap()}


def _rounded(value: Any) -> Any:
    """Five digits are more than any of these figures has."""
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def main() -> None:
    """Record all trials and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path("ado-runs"))
    parser.add_argument("--trials", type=int, default=TRIALS)
    given = parser.parse_args()
    found = record(given.workspace.resolve(), _told, given.trials)
    with replacing(TABLE) as partial:
        trials = ",\n".join(json.dumps(_rounded(t)) for t in found.pop("trials"))
        head = json.dumps(_rounded(found))[:-1]
        partial.write_text(f'{head}, "trials": [\n{trials}\n]}}\n')


def _told(stage: str, done: int, total: int, note: str = "") -> None:
    print(f"{stage}: {done} of {total} {note}", file=sys.stderr)


if __name__ == "__main__":
    main()
