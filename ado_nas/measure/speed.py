"""Latency and memory of sampling, end to end from noise to images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ado_nas import runtime
from ado_nas.diffusion.levels import Levels
from ado_nas.diffusion.sampling import balanced_labels, noise, sample_batch
from ado_nas.diffusion.solvers import Solver
from ado_nas.measure import lock
from ado_nas.measure.latency import Beside, time_beside, time_calls, time_in_turn
from ado_nas.measure.memory import peak
from ado_nas.modelfolder import Model
from ado_nas.models.stepped import SteppedUNet, held_bytes
from ado_nas.models.unet import UNet
from ado_nas.specs import SamplerSpec


@dataclass(frozen=True)
class Latency:
    """Milliseconds per image, end to end."""

    median_ms: float
    iqr_ms: float
    evaluations: int
    clock_ms: float  # the median by the clock alone; the same where there is no yardstick


@dataclass(frozen=True, eq=False)
class Yardstick:
    """What others are timed in turns with, so that slow minutes of the machine meet both.

    Timings of one network an hour apart differ by a sixth here, ratios to a yardstick by a
    thirtieth.
    """

    call: Callable[[], mx.array]
    ms: float  # what it took when the reference was timed

    def latency(self, found: Beside, batch: int) -> Latency:
        """What was timed beside it, as if all had been timed in those minutes."""
        scale, timing = self.ms / batch, found.timing
        ours = found.ratio * scale, found.ratio_iqr * scale
        return Latency(*ours, timing.evaluations, timing.median_ms / batch)


def latency(
    model: Model,
    solver: str | Solver,
    levels: Levels,
    guidance: float,
    batch: int,
    evaluations: int = 20,
    yardstick: Yardstick | None = None,
) -> Latency:
    """Time a sampler alone on the device, with all cores.

    Args:
        model: the network.
        solver: its name, or the solver itself.
        levels: (T + 1,), falling, the last 0.
        guidance: weight of classifier-free guidance; 1 is off.
        batch: images at a time.
        evaluations: how many times are taken.
        yardstick: what it is timed in turns with; None for the clock alone.

    Returns:
        Per image: median and interquartile range.
    """
    call = sampling_call(model.unet, solver, levels, guidance, batch)
    if yardstick is not None:
        return yardstick.latency(time_beside(call, yardstick.call, evaluations), batch)
    timing = time_calls(call, evaluations)
    median = timing.median_ms / batch
    return Latency(median, timing.iqr_ms / batch, timing.evaluations, median)


def latencies_in_turn(
    models: Sequence[tuple[UNet, SamplerSpec, Levels]], batch: int
) -> list[float]:
    """Milliseconds per image of several models, side by side.

    Args:
        models: each a network with solver, guidance and levels to sample it by.
        batch: images at a time.
    """
    calls = [
        sampling_call(unet, sampler.solver, levels, sampler.guidance, batch)
        for unet, sampler, levels in models
    ]
    return [ms / batch for ms in time_in_turn(calls)]


def sampling_call(
    unet: UNet, solver: str | Solver, levels: Levels, guidance: float, batch: int
) -> Callable[[], mx.array]:
    """What is timed: one batch of images from noise that is already there.

    Args:
        unet: the network.
        solver: its name, or the solver itself.
        levels: (T + 1,), falling, the last 0.
        guidance: weight of classifier-free guidance; 1 is off.
        batch: images at a time.
    """
    x, labels = _inputs(unet, batch)
    return lambda: sample_batch(unet, solver, levels, x, labels, guidance)


def peak_memory(
    model: Model, solver: str, levels: Levels, guidance: float, batch: int
) -> dict[str, float]:
    """Memory of sampling one batch alone on the device, the weights included.

    It is sampled as it is timed, with all cores: a batch over two streams takes less at a time.

    Args:
        model: the network.
        solver: its name.
        levels: (T + 1,), falling, the last 0.
        guidance: weight of classifier-free guidance; 1 is off.
        batch: images at a time.

    Returns:
        ``peak_memory_mb``, live MLX buffers; ``process_memory_mb``, the whole process.
    """
    x, labels = _inputs(model.unet, batch)
    weights = held_bytes(model.unet)
    # One step needs what every step needs; the reference's fifty would only take longer.
    alike = not isinstance(model.unet, SteppedUNet)
    few = np.append(levels[:2], 0.0) if len(levels) > 3 and alike else levels
    with lock.exclusive(), runtime.all_cores():
        found = peak(lambda: sample_batch(model.unet, solver, few, x, labels, guidance), weights)
    return {"peak_memory_mb": found.peak_mb, "process_memory_mb": found.process_mb}


def sampling_figures(
    model: Model, batch: int, yardstick: Yardstick | None = None
) -> dict[str, float]:
    """Latency and memory of a student by its own sampler, without guidance.

    Args:
        model: the network, its solver and levels.
        batch: images at a time.
        yardstick: what it is timed in turns with.

    Returns:
        ``latency_ms`` per image with ``latency_iqr_ms``, at this ``latency_batch`` and, as
        ``latency_batch1_ms``, one by one; ``latency_clock_ms``, by the clock alone; and what
        `peak_memory` gives.
    """
    solver, levels = model.sampler.solver, model.levels
    many = latency(model, solver, levels, 1.0, batch, yardstick=yardstick)
    one = latency(model, solver, levels, 1.0, 1, yardstick=yardstick)
    return {
        "latency_ms": many.median_ms,
        "latency_iqr_ms": many.iqr_ms,
        "latency_clock_ms": many.clock_ms,
        "latency_batch": batch,
        "latency_batch1_ms": one.median_ms,
        **peak_memory(model, solver, levels, 1.0, batch),
    }


def _inputs(unet: UNet, batch: int) -> tuple[mx.array, mx.array | None]:
    spec = unet.spec
    x = mx.array(noise(0, batch, (spec.resolution, spec.resolution, spec.in_channels)))
    labels = balanced_labels(batch, spec.num_classes)
    chosen = None if labels is None else mx.array(labels)
    mx.eval(x, *([] if chosen is None else [chosen]))
    return x, chosen
