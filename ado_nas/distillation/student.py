"""A student learns to land its solver's steps on its teacher's trajectories."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ado_nas.diffusion.levels import Levels
from ado_nas.diffusion.preconditioning import denoise
from ado_nas.diffusion.solvers import MEMORY, RULE, Point
from ado_nas.distillation.trajectories import Bank
from ado_nas.measure import lock
from ado_nas.models.stepped import SteppedUNet
from ado_nas.models.tree import named_arrays
from ado_nas.models.unet import UNet
from ado_nas.specs import DistillationSpec
from ado_nas.training.budget import held
from ado_nas.training.curriculum import Curriculum
from ado_nas.training.step import Loss, Stepper, shards, student_stepper

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""States (B, H, W, C), levels (B,), targets (B, H, W, C) and labels (B,)."""

_ROUNDING = 1e-8  # keeps the root's slope finite at 0


@dataclass(frozen=True, eq=False)
class Lessons:
    """What a student of S steps learns: for each jump the states before it and where it must land.

    `path` holds S + 1 indices into the bank's levels, `rows` the first trajectory and the one
    after the last, None for all of them; `solver` takes the student's steps, one evaluation each.
    """

    bank: Bank
    path: list[int]
    rows: tuple[int, int] | None = None
    solver: str = "ddim"

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

        Source: Salimans and Ho 2022, eq. 8 of appendix G, in sigma space, for any multistep
        solver: what it remembers of earlier steps are their own targets.
        """
        x, sigma, target, labels = self.drawn(rng, size, parts)
        return mx.array(x), mx.array(sigma), mx.array(target), mx.array(labels)

    def drawn(self, rng: np.random.Generator, size: int, parts: int = 1) -> Arrays:
        """What `batch` gives, as arrays of NumPy."""
        low, high = self.rows or (0, self.bank.states.shape[1])
        rows = rng.integers(low, high, size)
        jumps = np.tile(np.arange(size // parts) % (len(self.path) - 1), parts)
        begin = np.array(self.path)[jumps]
        x = self.bank.states[begin, rows]
        target = np.empty_like(x)
        for jump in range(len(self.path) - 1):
            alike = np.flatnonzero(jumps == jump)
            if len(alike):
                target[alike] = self.targets(jump, rows[alike])
        known = self.bank.labels
        labels = np.zeros(size, np.int32) if known is None else known[rows]
        sigma = self.bank.levels[begin].astype(np.float32)
        return x, sigma, target, labels

    def targets(self, jump: int, rows: np.ndarray) -> np.ndarray:
        """The denoised images that land a jump.

        Args:
            jump: its number, from 0.
            rows: (B,), of which trajectories.

        Returns:
            (B, H, W, C) float32.
        """
        rule, past = RULE[self.solver], list[Point]()
        none, one = mx.zeros((1, 1, 1, 1)), mx.ones((1, 1, 1, 1))
        first = jump if self.solver == "ddim" else 0  # DDIM remembers nothing
        for i, j in pairwise(self.path[first : jump + 2]):
            now, then = float(self.bank.levels[i]), float(self.bank.levels[j])
            x, landing = mx.array(self.bank.states[i, rows]), mx.array(self.bank.states[j, rows])
            # A step is linear in all that it sees, the denoised image among it.
            rest = rule([*past, Point(now, x, mx.zeros_like(x))], then)
            blank = [Point(p.level, none, none) for p in past]
            share = rule([*blank, Point(now, none, one)], then)
            past = [*past[1 - MEMORY :], Point(now, x, (landing - rest) / share)]
            target = past[-1].d
            rule(past, then)  # some correct the state that they remember
        return np.array(target)


def landing_loss(
    model: UNet,
    x: mx.array,
    sigma: mx.array,
    target: mx.array,
    labels: mx.array,
    place: mx.array | None = None,
) -> mx.array:
    """Mean distance of the denoised images from those that land on the trajectory.

    The distance is not squared: pairs that are far off do not blur the rest.

    Args:
        model: the student.
        x: (B, H, W, C), states.
        sigma: (B,), their levels.
        target: (B, H, W, C).
        labels: (B,) int32; ignored by an unconditional network.
        place: (B, 3), of crops; see `UNet`.

    Returns:
        A scalar.

    Source: Geng et al. 2024 (ECT), section 4, the L2 metric.
    """
    error = mx.square(denoise(model, x, sigma, labels, place) - target).mean(axis=(1, 2, 3))
    return mx.mean(mx.sqrt(error + _ROUNDING))


def stepped_loss(model: SteppedUNet, *arrays: mx.array) -> mx.array:
    """`landing_loss` with each jump by the network of its step.

    Args:
        model: the student, of S steps.
        arrays: as `landing_loss` takes them; row i is of step i modulo S.

    Returns:
        A scalar.
    """
    wide = dict(named_arrays(model.trainable_parameters()))
    steps, count = len(model.slices), arrays[0].shape[0]
    total = mx.array(0.0)
    for step, one in enumerate(model.slices[:count]):
        batch = tuple(a[step::steps] for a in arrays)
        total = total + batch[0].shape[0] / count * landing_loss(one.network(wide), *batch)
    return total


def distill(
    student: nn.Module,
    lessons: Lessons,
    spec: DistillationSpec,
    seed: int,
    loss: Loss | None = None,
    stops: Collection[int] = (),
    curriculum: Curriculum | None = None,
) -> Iterator[tuple[int, float]]:
    """Train a student; at each stop, and at the end, it holds its averaged weights.

    Args:
        student: trained in place; a network, or a module that holds it and that the loss takes.
        lessons: what it learns.
        spec: iterations, batch, learning rate and averaging.
        seed: of the batches.
        loss: None for the one that lands on the trajectories.
        stops: iterations after which the caller looks at it.
        curriculum: the resolution of each iteration, and how many there are; None for the
            spec's iterations at its own.

    Yields:
        (iterations done, loss), once an iteration.

    Raises:
        Diverged: the loss is not finite.
    """
    stepped = isinstance(student, SteppedUNet)
    landing = stepped_loss if stepped else landing_loss
    grain = len(student.shares) if isinstance(student, SteppedUNet) else 1
    stepper = student_stepper(
        student, loss or landing, spec, curriculum.rates if curriculum else None, grain
    )
    rng = np.random.default_rng(seed)
    for iteration in range(curriculum.iterations if curriculum else spec.iterations):
        size = curriculum.size(iteration) if curriculum else spec.batch
        drawn = lessons.drawn(rng, size, shards(size) if stepped else 1)
        arrays = curriculum.seen(iteration, *drawn) if curriculum else drawn
        value = taught(stepper, tuple(mx.array(a) for a in arrays))
        with stepper.averaged(stepper.iteration in stops):
            yield stepper.iteration, value
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
        OutOfMemory: the step does not fit the memory budget.
    """
    # Held for one iteration only, so that whoever times gets the device in between.
    with lock.shared():
        return held(stepper, batch)
