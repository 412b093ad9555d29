"""A student learns to land DDIM steps on its teacher's trajectories."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ado_nas.diffusion.levels import Levels
from ado_nas.diffusion.preconditioning import denoise
from ado_nas.distillation.trajectories import Bank
from ado_nas.measure import lock
from ado_nas.models.stepped import SteppedUNet
from ado_nas.models.tree import named_arrays
from ado_nas.models.unet import UNet
from ado_nas.runtime import batch_streams, blas_threads, cores
from ado_nas.specs import DistillationSpec
from ado_nas.training.step import Loss, Stepper, shards, student_stepper

_ROUNDING = 1e-8  # keeps the root's slope finite at 0


@dataclass(frozen=True, eq=False)
class Lessons:
    """What a student of S steps learns: for each jump the states before it and where it must land.

    `path` holds S + 1 indices into the bank's levels, `rows` the first trajectory and the one
    after the last; None for all of them.
    """

    bank: Bank
    path: list[int]
    rows: tuple[int, int] | None = None

    def parted(self, count: int) -> tuple[Lessons, Lessons]:
        """Lessons without the last trajectories, and lessons of these alone.

        Args:
            count: how many are held back; at least one stays on either side.
        """
        total = self.bank.states.shape[1]
        cut = total - max(1, min(count, total - 1))
        return self._of(0, cut), self._of(cut, total)

    def _of(self, begin: int, end: int) -> Lessons:
        return dataclasses.replace(self, rows=(begin, end))

    @property
    def levels(self) -> Levels:
        """(S + 1,) noise levels the student visits, falling, the last 0."""
        return self.bank.levels[self.path]

    def batch(self, rng: np.random.Generator, size: int, parts: int = 1) -> tuple[mx.array, ...]:
        """Random jumps of random trajectories.

        Args:
            rng: decides which.
            size: B.
            parts: of equal size, in each of which the jumps take turns from the first.

        Returns:
            States (B, H, W, C), their levels (B,), the denoised images that land them
            (B, H, W, C), and labels (B,) int32.

        Source: Salimans and Ho 2022, eq. 8 of appendix G, in sigma space: target = (x_j - r x_i) /
        (1 - r) with r = sigma_j / sigma_i.
        """
        low, high = self.rows or (0, self.bank.states.shape[1])
        rows = rng.integers(low, high, size)
        jumps = np.tile(np.arange(size // parts) % (len(self.path) - 1), parts)
        path = np.array(self.path)
        begin, end = path[jumps], path[jumps + 1]
        x = self.bank.states[begin, rows]
        landing = self.bank.states[end, rows]
        sigma = self.bank.levels[begin]
        ratio = (self.bank.levels[end] / sigma)[:, None, None, None]
        target = ((landing - ratio * x) / (1 - ratio)).astype(np.float32)
        known = self.bank.labels
        labels = np.zeros(size, np.int32) if known is None else known[rows]
        return (
            mx.array(x),
            mx.array(sigma.astype(np.float32)),
            mx.array(target),
            mx.array(labels),
        )


def landing_loss(
    model: UNet, x: mx.array, sigma: mx.array, target: mx.array, labels: mx.array
) -> mx.array:
    """Mean distance of the denoised images from those that land on the trajectory.

    The distance is not squared: pairs that are far off do not blur the rest.

    Args:
        model: the student.
        x: (B, H, W, C), states.
        sigma: (B,), their levels.
        target: (B, H, W, C).
        labels: (B,) int32; ignored by an unconditional network.

    Returns:
        A scalar.

    Source: Geng et al. 2024 (ECT), section 4, the L2 metric.
    """
    error = mx.square(denoise(model, x, sigma, labels) - target).mean(axis=(1, 2, 3))
    return mx.mean(mx.sqrt(error + _ROUNDING))


def stepped_loss(
    model: SteppedUNet, x: mx.array, sigma: mx.array, target: mx.array, labels: mx.array
) -> mx.array:
    """`landing_loss` with each jump by the network of its step.

    Args:
        model: the student, of S steps.
        x: (B, H, W, C), states; row i is of step i modulo S.
        sigma: (B,), their levels.
        target: (B, H, W, C).
        labels: (B,) int32; ignored by an unconditional network.

    Returns:
        A scalar.
    """
    wide = dict(named_arrays(model.trainable_parameters()))
    steps, count = len(model.slices), x.shape[0]
    total = mx.array(0.0)
    for step, one in enumerate(model.slices[:count]):
        rows = slice(step, None, steps)
        batch = x[rows], sigma[rows], target[rows], labels[rows]
        total = total + batch[0].shape[0] / count * landing_loss(one.network(wide), *batch)
    return total


def distill(
    student: nn.Module,
    lessons: Lessons,
    spec: DistillationSpec,
    seed: int,
    loss: Loss | None = None,
) -> Iterator[tuple[int, float]]:
    """Train a student; at each stop, and at the end, it holds its averaged weights.

    Args:
        student: trained in place; a network, or a module that holds it and that the loss takes.
        lessons: what it learns.
        spec: iterations, batch, learning rate and averaging.
        seed: of the batches.
        loss: None for the one that lands on the trajectories.

    Yields:
        (iterations done, loss), once an iteration.

    Raises:
        Diverged: the loss is not finite.
    """
    stepped = isinstance(student, SteppedUNet)
    landing = stepped_loss if stepped else landing_loss
    stepper = student_stepper(student, loss or landing, spec)
    parts = shards(spec.batch) if stepped else 1
    rng = np.random.default_rng(seed)
    for _ in range(spec.iterations):
        yield stepper.iteration + 1, taught(stepper, lessons.batch(rng, spec.batch, parts))
    stepper.load_average()
    mx.eval(student.parameters())


def taught(stepper: Stepper, batch: tuple[mx.array, ...]) -> float:
    """One training step on the shared device.

    Args:
        stepper: of the student.
        batch: as `Lessons.batch` gives it.

    Returns:
        The loss.

    Raises:
        Diverged: it is not finite.
    """
    split = len(batch_streams()) > 1
    # Held for one iteration only, so that whoever times gets the device in between.
    with lock.shared(), blas_threads(1 if split else cores()):
        return stepper(*batch)
