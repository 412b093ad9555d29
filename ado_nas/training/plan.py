"""A plan of memory: how a network will be trained within a budget, told by its spec alone."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from ado_nas.diffusion.levels import karras_levels
from ado_nas.distillation.student import landing_loss
from ado_nas.errors import OutOfMemory
from ado_nas.measure.footprint import sampling_bytes, training_bytes
from ado_nas.measure.memory import arrays_within, outside_bytes, process_bytes_of
from ado_nas.specs import UNetSpec
from ado_nas.training.step import Way
from ado_nas.training.ways import choose, refusal


@dataclass(frozen=True)
class MemoryPlan:
    """How a network is trained within a budget, and what that and sampling take, in bytes."""

    resolution: int
    batch: int
    rows: int  # at a time
    checkpointing: bool
    budget: int  # of the whole process; on CUDA, of the GPU's memory
    outside: int  # of the budget: the process beside MLX's arrays; 0 on CUDA
    training: int  # predicted peak of MLX's memory
    sampling: int  # likewise
    sampled: int  # images at a time

    @property
    def micro_batches(self) -> int:
        """That an iteration is cut into."""
        return math.ceil(self.batch / self.rows)

    @property
    def process(self) -> int:
        """Predicted footprint of the whole process."""
        return process_bytes_of(max(self.training, self.sampling), self.outside)

    @property
    def way(self) -> Way:
        """As the stepper takes it."""
        return Way(0 if self.rows == self.batch else self.rows, self.checkpointing)


def plan(
    spec: UNetSpec,
    batch: int,
    budget: int,
    resolution: int | None = None,
    outside: int | None = None,
    sampled: int | None = None,
) -> MemoryPlan:
    """Plan a training by the network's spec alone.

    Args:
        spec: the network.
        batch: wanted.
        budget: bytes that the process may take.
        resolution: to train at; None for the network's own.
        outside: bytes of the process beside MLX's arrays; None for this one's, now.
        sampled: images that are sampled at a time; None for as many as are trained on.

    Returns:
        The quickest plan that fits, by a model of time.

    Raises:
        OutOfMemory: not even one image at a time with checkpointing fits; says what would.
        SpecError: the network cannot be trained at this resolution.
    """
    spec = dataclasses.replace(spec, resolution=resolution or spec.resolution).canonical
    outside = outside_bytes() if outside is None else outside

    def measure(way: Way) -> int:
        return training_bytes(spec, batch, landing_loss, way)

    found = choose(measure, batch, arrays_within(budget, outside))
    if found.way is None:
        raise OutOfMemory(refusal(found.predicted, budget, outside) + _smaller(spec, budget))
    rows = found.way.rows or batch
    levels = karras_levels(2, 0.01, 10.0)  # which ones does not matter
    sampled = sampled or rows
    return MemoryPlan(
        *(spec.resolution, batch, rows, found.way.recompute, budget, outside),
        training=found.predicted,
        sampling=sampling_bytes(spec, "ddim", levels, sampled),
        sampled=sampled,
    )


def _smaller(spec: UNetSpec, budget: int) -> str:
    """A lower resolution, where the network has one."""
    stride = spec.patch * 2 ** (len(spec.widths) - 1)
    half = spec.resolution // 2 // stride * stride
    return f", a smaller network, or --resolution {half}" if half else ", or a smaller network"
