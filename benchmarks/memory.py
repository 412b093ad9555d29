"""Whether memory can be told before a network is built: predicted against measured peaks.

Networks, resolutions and batches are drawn at random. What activations alone take, the usual
stand-in, is beside it.
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
from ado_nas.measure.memory import peak
from ado_nas.measure.speed import peak_memory
from ado_nas.modelfolder import Model
from ado_nas.models.unet import build_unet
from ado_nas.progress import Progress
from ado_nas.specs import SamplerSpec, UNetSpec
from ado_nas.training.step import Stepper, schedule
from benchmarks.networks import drawn

JUDGED = 30
PIXELS = 32 * 32 * 32  # of a batch, at most
STEPS = 2
LEVELS = karras_levels(STEPS, 0.02, 40.0)


@dataclasses.dataclass(frozen=True)
class Case:
    """What is predicted: a network at its resolution, a batch, and training or sampling."""

    unet: UNetSpec
    batch: int
    work: str


def run(
    *, seed: int, row: int | None, workspace: Path, progress: Progress, judged: int = JUDGED
) -> dict[str, Any]:
    """Predict, then measure.

    Args:
        seed: of the cases.
        row: one of them; None all.
        workspace: not used.
        progress: told after each.
        judged: how many cases.

    Returns:
        rows: spec, resolution, batch, work, predicted_mb, measured_mb, activations_mb, error;
        median_error, worst_over and worst_under as fractions of the measured peak; within_quarter,
        the share of cases off by at most a quarter; unpredicted, how many could not be traced.

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
    return {
        "rows": rows,
        "unpredicted": len(rows) - len(errors),
        "median_error": round(float(np.median(np.abs(errors or [np.nan]))), 4),
        "worst_over": round(max([0.0, *errors]), 4),
        "worst_under": round(max([0.0, *(-e for e in errors)]), 4),
        "within_quarter": round(float(np.mean(np.abs(errors or [np.nan]) <= 0.25)), 4),
    }


def cases(seed: int, count: int) -> list[Case]:
    """Networks of the wide space at 8, 16 or 32 pixels a side, half trained and half sampled."""
    rng = random.Random(seed)
    found = []
    for i, spec in enumerate(drawn(seed, count)):
        resolution = rng.choice((8, 16, 32))
        batches = [b for b in (4, 8, 16, 32, 64) if b * resolution**2 <= PIXELS]
        unet = dataclasses.replace(spec, resolution=resolution).canonical
        found.append(Case(unet, rng.choice(batches), ("training", "sampling")[i % 2]))
    return found


def _row(case: Case) -> dict[str, Any]:
    predicted, measured = _predicted(case), _measured(case)
    mx.clear_cache()
    return {
        "spec": case.unet.hash,
        "resolution": case.unet.resolution,
        "batch": case.batch,
        "work": case.work,
        "predicted_mb": predicted and round(predicted, 3),
        "measured_mb": round(measured, 3),
        "activations_mb": round(cost(case.unet).activation_bytes * case.batch / 1e6, 3),
        "error": predicted and round(predicted / measured - 1, 4),
    }


def _predicted(case: Case) -> float | None:
    """Megabytes, or None where the network cannot be traced."""
    try:
        if case.work == "training":
            return training_bytes(case.unet, case.batch, landing_loss) / 1e6
        return sampling_bytes(case.unet, "ddim", LEVELS, case.batch) / 1e6
    except Untraceable:
        return None


def _measured(case: Case) -> float:
    if case.work == "training":
        return _trained(case)
    model = Model(build_unet(case.unet), SamplerSpec("ddim", "karras", STEPS), LEVELS, {})
    return peak_memory(model, "ddim", LEVELS, 1.0, case.batch)["peak_memory_mb"]


def _trained(case: Case) -> float:
    """The highest of three training steps, in megabytes."""
    unet = build_unet(case.unet)
    stepper = Stepper(unet, landing_loss, schedule(1e-3, 0, 10), 0.99)
    shape = (case.batch, unet.spec.resolution, unet.spec.resolution, unet.spec.in_channels)
    x, target = mx.random.normal(shape), mx.random.normal(shape)
    arrays = (x, mx.ones((case.batch,)), target, mx.zeros((case.batch,), mx.int32))
    mx.eval(arrays)
    stepper(*arrays)
    own = sum(a.nbytes for a in (*stepper.state().values(), *arrays))
    return max(peak(lambda: _stepped(stepper, arrays), own).peak_mb for _ in range(3))


def _stepped(stepper: Stepper, arrays: tuple[mx.array, ...]) -> mx.array:
    stepper(*arrays)
    return stepper.vector
