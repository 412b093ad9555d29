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
from ado_nas.models.unet import UNet
from ado_nas.specs import UNetSpec
from ado_nas.training.step import Loss, Stepper, schedule


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
        Untraceable: the network has attention in chunks.
    """
    unet = UNet(spec)
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


def training_bytes(spec: UNetSpec, batch: int, loss: Loss) -> int:
    """Peak of MLX's memory in one training step, with all that training keeps between steps.

    Args:
        spec: the network.
        batch: B.
        loss: of (model, images (B, H, W, C), levels (B,), images (B, H, W, C), labels (B,)), as
            `edm_loss` and `landing_loss` are.

    Returns:
        Bytes.

    Raises:
        Untraceable: the network has attention in chunks.
    """
    stepper = Stepper(UNet(spec), loss, schedule(1e-3, 0, 1), 0.99)
    names = list(stepper.state())

    def step(*arrays: mx.array) -> Sequence[mx.array]:
        stepper.restore(dict(zip(names, arrays, strict=False)), 0)
        value = stepper.advance(*arrays[len(names) :])
        return [value, *stepper.state().values()]

    x = _images(spec, batch)
    arrays = [x, mx.ones((batch,)), mx.zeros_like(x), mx.zeros((batch,), mx.int32)]
    kept = list(stepper.state().values())
    graph = traced(step, [*kept, *arrays])
    return sum(a.nbytes for a in (*kept, *arrays)) + peak_bytes(graph)


def _images(spec: UNetSpec, batch: int) -> mx.array:
    return mx.zeros((batch, spec.resolution, spec.resolution, spec.in_channels))
