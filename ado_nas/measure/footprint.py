"""How much memory sampling and training of a network take, by its spec alone: nothing is run."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from ado_nas.diffusion.levels import Levels
from ado_nas.diffusion.preconditioning import denoiser
from ado_nas.diffusion.sampling import parts
from ado_nas.diffusion.solvers import solver_of
from ado_nas.measure.allocation import peak_bytes
from ado_nas.measure.cost import cost
from ado_nas.measure.graph import traced
from ado_nas.models.tree import named_arrays
from ado_nas.models.unet import unet_of
from ado_nas.specs import UNetSpec
from ado_nas.training.step import WHOLE, Loss, Stepper, Way, pieces, schedule


def sampling_bytes(
    spec: UNetSpec, solver: str, levels: Levels, batch: int, guidance: float = 1.0
) -> int:
    """Peak of MLX's memory while a batch is sampled, the weights included.

    Args:
        spec: the network.
        solver: its name.
        levels: (T + 1,), falling, the last 0; three steps need what more of them need.
        batch: B.
        guidance: weight of classifier-free guidance; 1 is off.

    Returns:
        Bytes.

    Raises:
        Untraceable: MLX has no way to write a primitive down.
    """
    unet = unet_of(spec)
    names = [name for name, _ in named_arrays(unet.parameters())]
    few = levels if len(levels) <= 4 else np.append(levels[:3], 0.0)

    def sample(*arrays: mx.array) -> list[mx.array]:
        unet.load_weights(list(zip(names, arrays, strict=False)))
        x, labels = arrays[len(names)], arrays[len(names) + 1]
        last = []
        for stream, rows in parts(spec, batch):
            chosen = labels[rows] if spec.num_classes else None
            with mx.stream(stream):
                run = solver_of(solver)(denoiser(unet, chosen, guidance), x[rows], few)
                last.append([state for state, _ in run][-1])
        return last

    weights = [value for _, value in named_arrays(unet.parameters())]
    graph = traced(sample, [*weights, _images(spec, batch), mx.zeros((batch,), mx.int32)])
    return cost(spec).bytes + peak_bytes(graph)


def training_bytes(spec: UNetSpec, batch: int, loss: Loss, way: Way = WHOLE) -> int:
    """Peak of MLX's memory in one training step, with all that training keeps between steps.

    Args:
        spec: the network.
        batch: B.
        loss: of (model, images (B, H, W, C), levels (B,), images (B, H, W, C), labels (B,)), as
            `edm_loss` and `landing_loss` are.
        way: how a batch is run.

    Returns:
        Bytes.

    Raises:
        Untraceable: MLX has no way to write a primitive down.
    """
    stepper = Stepper(unet_of(spec), loss, schedule(1e-3, 0, 1), 0.99)
    x = _images(spec, batch)
    arrays = (x, mx.ones((batch,)), mx.zeros_like(x), mx.zeros((batch,), mx.int32))
    return step_bytes(stepper, arrays, way)


def step_bytes(stepper: Stepper, arrays: tuple[mx.array, ...], way: Way = WHOLE) -> int:
    """Peak of MLX's memory in one step of a training, with what is kept between steps.

    Args:
        stepper: is left as it was.
        arrays: a batch.
        way: how the batch is run.

    Returns:
        Bytes, with the weights, their average and the moments; without other arrays that the loss
        holds.

    Raises:
        Untraceable: MLX has no way to write a primitive down.
    """
    before, iteration, seen = stepper.state(), stepper.iteration, stepper.seen
    names, count = list(before), len(arrays)
    kept = [*before.values(), *arrays]

    def restored(given: Sequence[mx.array]) -> tuple[mx.array, ...]:
        stepper.restore(dict(zip(names, given, strict=False)), iteration)
        return tuple(given[len(names) :])

    def whole(*given: mx.array) -> Sequence[mx.array]:
        batch = restored(given)
        value = stepper.advance(*batch, recompute=way.recompute)
        # As a step evaluates them; the gradient is kept until the next one.
        return [*stepper.state().values(), value, stepper.seen[1]]

    def part(*given: mx.array) -> Sequence[mx.array]:
        rest = restored(given)
        shards = pieces(rest[:count], way.rows, stepper.grain)[0]
        total = rest[count], rest[count + 1]
        return stepper.added(total, shards, way.rows / arrays[0].shape[0], way.recompute)

    try:
        if not way.rows:
            return sum(a.nbytes for a in kept) + peak_bytes(traced(whole, kept))
        kept += [mx.array(0.0), mx.zeros_like(stepper.vector)]
        return sum(a.nbytes for a in kept) + peak_bytes(traced(part, kept))
    finally:
        stepper.restore(before, iteration)
        stepper.seen = seen


def _images(spec: UNetSpec, batch: int) -> mx.array:
    return mx.zeros((batch, spec.resolution, spec.resolution, spec.in_channels))
