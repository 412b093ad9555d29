"""Whether memory can be told before a network is built, and whether plans by it hold.

Networks, resolutions, batches and checkpointing are drawn at random, their peaks predicted and
measured. What activations alone take, the usual stand-in, is beside it. Then one training, too
large for most budgets, is planned for each and run.
"""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from ado_nas.diffusion.levels import karras_levels
from ado_nas.distillation.student import landing_loss
from ado_nas.errors import ConfigError, Untraceable
from ado_nas.measure.cost import cost
from ado_nas.measure.footprint import sampling_bytes, training_bytes
from ado_nas.measure.memory import Peak, outside_bytes, peak, process_bytes_of
from ado_nas.measure.speed import sampling_call
from ado_nas.models.stepped import held_bytes
from ado_nas.models.unet import build_unet
from ado_nas.progress import Progress
from ado_nas.specs import UNetSpec
from ado_nas.training.plan import MemoryPlan, plan
from ado_nas.training.step import Stepper, Way, schedule
from benchmarks.networks import drawn

JUDGED = 30
PIXELS = 32 * 32 * 32  # of a batch, at most
STEPS = 2
TIMES = 10  # each is measured; how far the work runs ahead depends on the moment
LEVELS = karras_levels(STEPS, 0.02, 40.0)
BUDGETS_MB = (1000, 2000, 4000)  # of the whole process
PLANNED = UNetSpec(
    resolution=32,
    in_channels=3,
    widths=(32, 64),
    blocks=(2, 2),
    attention=("none", "full"),
    activation="relu",
)
PLANNED_BATCH = 160  # takes over 4 GB at once


@dataclasses.dataclass(frozen=True)
class Case:
    """What is predicted: a network at its resolution, a batch, and training or sampling."""

    unet: UNetSpec
    batch: int
    work: str
    checkpointing: bool = False


def run(
    *,
    seed: int,
    row: int | None,
    workspace: Path,
    progress: Progress,
    judged: int = JUDGED,
    budgets: tuple[int, ...] = BUDGETS_MB,
) -> dict[str, Any]:
    """Predict, then measure; plan, then train by the plan.

    Args:
        seed: of the cases.
        row: one of them; None all, and the plans.
        workspace: not used.
        progress: told after each.
        judged: how many cases.
        budgets: megabytes that plans are made for.

    Returns:
        rows: spec, resolution, batch, work, checkpointing, predicted_mb, measured_mb, process_mb,
        activations_mb, error; median_error, worst_over and worst_under as fractions of the
        measured peak; within_quarter, the share of cases off by at most a quarter; unpredicted,
        how many could not be traced; plans: budget_mb, batch, rows, micro_batches, checkpointing,
        the peaks of MLX and of the process as predicted and measured, and whether it holds.

    Raises:
        ConfigError: no such row.
    """
    if row is not None and not 0 <= row < judged:
        raise ConfigError(f"row {row}: give 0 to {judged - 1}")
    chosen = cases(seed, judged) if row is None else cases(seed, judged)[row : row + 1]
    rows = []
    for case in chosen:
        rows.append(_row(case))
        progress("memory", len(rows), len(chosen))
    errors = [r["error"] for r in rows if r["error"] is not None]
    plans: list[dict[str, Any]] = []
    for budget in budgets if row is None else ():
        plans.append(_kept(budget))
        progress("plans", len(plans), len(budgets))
    return {
        "rows": rows,
        "unpredicted": len(rows) - len(errors),
        "median_error": round(float(np.median(np.abs(errors or [np.nan]))), 4),
        "worst_over": round(max([0.0, *errors]), 4),
        "worst_under": round(max([0.0, *(-e for e in errors)]), 4),
        "within_quarter": round(float(np.mean(np.abs(errors or [np.nan]) <= 0.25)), 4),
        "plans": plans,
    }


def cases(seed: int, count: int) -> list[Case]:
    """Networks of the wide space at 8, 16 or 32 pixels a side.

    A third each of them is trained, trained with checkpointing, and sampled.
    """
    rng = random.Random(seed)
    found = []
    for i, spec in enumerate(drawn(seed, count)):
        resolution = rng.choice((8, 16, 32))
        batches = [b for b in (4, 8, 16, 32, 64) if b * resolution**2 <= PIXELS]
        unet = dataclasses.replace(spec, resolution=resolution).canonical
        work = ("training", "training", "sampling")[i % 3]
        found.append(Case(unet, rng.choice(batches), work, i % 3 == 1))
    return found


def _row(case: Case) -> dict[str, Any]:
    outside = outside_bytes()
    predicted, measured = _predicted(case), _measured(case)
    mx.clear_cache()
    return {
        "spec": case.unet.hash,
        "resolution": case.unet.resolution,
        "batch": case.batch,
        "work": case.work,
        "checkpointing": case.checkpointing,
        "predicted_mb": predicted and round(predicted, 3),
        "measured_mb": round(measured.peak_mb, 3),
        "predicted_process_mb": predicted
        and round(process_bytes_of(int(predicted * 1e6), outside) / 1e6, 3),
        "process_mb": round(measured.process_mb, 3),
        "activations_mb": round(cost(case.unet).activation_bytes * case.batch / 1e6, 3),
        "error": predicted and round(predicted / measured.peak_mb - 1, 4),
    }


def _predicted(case: Case) -> float | None:
    """Megabytes, or None where the network cannot be traced."""
    try:
        if case.work == "training":
            way = Way(0, case.checkpointing)
            return training_bytes(case.unet, case.batch, landing_loss, way) / 1e6
        return sampling_bytes(case.unet, "ddim", LEVELS, case.batch) / 1e6
    except Untraceable:
        return None


def _measured(case: Case) -> Peak:
    """The highest of some runs."""
    if case.work == "training":
        return _trained(case.unet, case.batch, Way(0, case.checkpointing))
    unet = build_unet(case.unet)
    call = sampling_call(unet, "ddim", LEVELS, 1.0, case.batch)
    call()
    return _highest([peak(call, held_bytes(unet)) for _ in range(TIMES)])


def _trained(unet: UNetSpec, batch: int, way: Way, times: int = TIMES) -> Peak:
    """The highest of some training steps."""
    stepper = Stepper(build_unet(unet), landing_loss, schedule(1e-3, 0, 10), 0.99)
    shape = (batch, unet.resolution, unet.resolution, unet.in_channels)
    x, target = mx.random.normal(shape), mx.random.normal(shape)
    arrays = (x, mx.ones((batch,)), target, mx.zeros((batch,), mx.int32))
    mx.eval(arrays)
    stepper.ways[shape] = way
    stepper(*arrays)
    own = sum(a.nbytes for a in (*stepper.state().values(), *arrays))
    return _highest([peak(lambda: _stepped(stepper, arrays), own) for _ in range(times)])


def _highest(found: list[Peak]) -> Peak:
    return Peak(max(p.peak_mb for p in found), max(p.process_mb for p in found))


def _stepped(stepper: Stepper, arrays: tuple[mx.array, ...]) -> mx.array:
    before = stepper.state(), stepper.seen  # trainings hold it until a step proved to fit
    stepper(*arrays)
    del before
    return stepper.vector


def _kept(budget: int) -> dict[str, Any]:
    """Plan the large training for a budget of megabytes and run it as planned."""
    made = plan(PLANNED, PLANNED_BATCH, budget * 1_000_000)
    found = _trained(PLANNED, PLANNED_BATCH, made.way, times=1)
    return {
        "budget_mb": budget,
        **_told(made),
        "measured_mb": round(found.peak_mb, 3),
        "process_mb": round(found.process_mb, 3),
        "holds": max(found.peak_mb, found.process_mb) <= budget,
    }


def _told(made: MemoryPlan) -> dict[str, Any]:
    return {
        "batch": made.batch,
        "rows": made.rows,
        "micro_batches": made.micro_batches,
        "checkpointing": made.checkpointing,
        "predicted_mb": round(made.training / 1e6, 3),
        "predicted_sampling_mb": round(made.sampling / 1e6, 3),
        "predicted_process_mb": round(made.process / 1e6, 3),
    }
