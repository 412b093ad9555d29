"""What first weights are worth: students from scratch, sliced, and from a supernet.

Each figure comes from a training of its own with its own decay of the learning rate, by which
students from scratch are tuned and the others are not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ado_nas.bench import Bench, open_bench
from ado_nas.diffusion.sampling import generate
from ado_nas.distillation.student import Lessons, distill
from ado_nas.errors import ConfigError, Diverged
from ado_nas.models.inherit import inherit
from ado_nas.models.unet import UNet, build_unet
from ado_nas.progress import Progress
from ado_nas.specs import DistillationSpec, SupernetSpec, TaskSpec
from ado_nas.widths import narrowed

WIDTHS = (0.25, 0.5, 0.75)  # of the teacher's, each rounded to a multiple of 4
ITERATIONS = (50, 150, 400, 800)
SCRATCH_RATES = (3e-3, 1e-2, 3e-2)
SUPERNET = SupernetSpec(iterations=400)
STEPS = 2
JUDGED = 150  # iterations of the summary


def run(
    *,
    seed: int,
    row: int | None,
    workspace: Path,
    progress: Progress,
    task: TaskSpec | None = None,
    iterations: Sequence[int] = ITERATIONS,
) -> dict[str, Any]:
    """Train students of each width for each number of iterations.

    Args:
        seed: of fresh weights and batches.
        row: one of them, widths first; None all.
        workspace: its cache keeps teacher and supernet.
        progress: told of each training.
        task: other than the digits preset's, with a supernet.
        iterations: of the trainings.

    Returns:
        rows: width, widths, iterations, scratch_gap, scratch_rate (that won), inherited_gap,
        supernet_gap; of inherited over scratch at 150 iterations the median (`ratio_at_150`) and
        the largest (`largest_ratio_at_150`), None where no row has them.

    Raises:
        ConfigError: no such row.
    """
    cases = [(w, i) for w in WIDTHS for i in iterations]
    if row is not None and not 0 <= row < len(cases):
        raise ConfigError(f"row {row}: give 0 to {len(cases) - 1}")
    bench = open_bench(task or _task(), workspace, progress)
    rows = []
    chosen = cases if row is None else [cases[row]]
    for share, count in chosen:
        rows.append(_row(bench, share, count, seed))
        progress("students by their first weights", len(rows), len(chosen))
    return {
        "rows": rows,
        "steps": STEPS,
        "rate": _learning().learning_rate,
        "supernet_iterations": bench.task.supernet.iterations,
        "supernet_seconds": bench.supernet.card["seconds"] if bench.supernet else 0.0,
        **_verdict(rows),
    }


def _task() -> TaskSpec:
    from studies.config import resolve

    return dataclasses.replace(resolve("digits").task, supernet=SUPERNET)


def _learning() -> DistillationSpec:
    from studies.config import resolve

    return dataclasses.replace(resolve("digits").distillation, steps=STEPS)


def _row(bench: Bench, share: float, iterations: int, seed: int) -> dict[str, Any]:
    assert bench.supernet is not None
    spec = narrowed(bench.teacher.unet.spec, share)
    learning = dataclasses.replace(_learning(), iterations=iterations)

    def gap(source: UNet | None, order: str, rate: float) -> float:
        student = build_unet(spec, seed)
        if source is not None:
            inherit(student, source, order)
        return _gap(bench, student, dataclasses.replace(learning, learning_rate=rate), seed)

    fresh = {rate: gap(None, "", rate) for rate in SCRATCH_RATES}
    best = min(fresh, key=lambda rate: fresh[rate])
    return {
        "width": share,
        "widths": "-".join(map(str, spec.widths)),
        "iterations": iterations,
        "scratch_gap": round(fresh[best], 4),
        "scratch_rate": best,
        "inherited_gap": round(gap(bench.teacher.unet, "kept", learning.learning_rate), 4),
        "supernet_gap": round(gap(bench.supernet.unet, "leading", learning.learning_rate), 4),
    }


def _gap(bench: Bench, student: UNet, learning: DistillationSpec, seed: int) -> float:
    """The gap after training; infinite where it diverged."""
    lessons = Lessons(bench.bank, bench.bank.schedule("dp", STEPS))
    try:
        for _ in distill(student, lessons, learning, seed):
            pass
    except Diverged:
        return float("inf")
    start = bench.start(bench.task.quality.noise_seed)
    images = generate(student, "ddim", lessons.levels, start, bench.labels())
    return float(bench.judge.score(images).gap) if np.isfinite(images).all() else float("inf")


def _verdict(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    ratios = [
        row["inherited_gap"] / max(row["scratch_gap"], 1e-9)
        for row in rows
        if row["iterations"] == JUDGED
    ]
    return {
        "ratio_at_150": round(float(np.median(ratios)), 4) if ratios else None,
        "largest_ratio_at_150": round(max(ratios), 4) if ratios else None,
    }
