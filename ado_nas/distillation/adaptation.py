"""A student that is pruned or grown while it learns, each change judged by a gate.

At set points the network takes a step towards its target: the channels and blocks of the lowest
Taylor scores are cut, or it is widened and deepened without changing what it computes. Some
iterations later a measure of quality decides; refused, the network, its optimizer and its average
are what they were before, and the next point tries what is left of the way again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import mlx.core as mx
import numpy as np

from ado_nas.distillation.student import Lessons, landing_loss, taught
from ado_nas.errors import SpecError
from ado_nas.measure import lock
from ado_nas.models.unet import UNet, build_unet
from ado_nas.specs import DistillationSpec, UNetSpec
from ado_nas.stature import towards
from ado_nas.training.step import Stepper, student_stepper
from ado_nas.training.taylor import Taylor
from ado_nas.training.transfer import transfer

Measure = Callable[[UNet], float]
"""How good a network is; lower is better."""


@dataclass(frozen=True)
class Gate:
    """When a network changes, and what a change may cost."""

    quality: Measure
    # By this share the quality may be worse after the recovery than before the change; the
    # training that is left makes up for more than that.
    tolerance: float = 0.25
    points: tuple[float, ...] = (0.1, 0.25, 0.4)  # of the iterations
    recovery: float = 0.1  # of the iterations, between a change and its judgment
    watched: int = 20  # batches before a point that the scores are averaged over

    def __post_init__(self) -> None:
        ends = [*self.points, 1.0]
        if self.recovery <= 0 or any(b - a < self.recovery - 1e-9 for a, b in pairwise(ends)):
            raise SpecError(
                f"points {self.points} with a recovery of {self.recovery}: give rising shares of "
                "the iterations, each with room for the recovery before the next and the end"
            )
        if self.watched < 1 or self.tolerance < 0 or min(self.points, default=1.0) <= 0:
            raise SpecError(
                f"watched {self.watched}, tolerance {self.tolerance}, points {self.points}: "
                "watch at least one batch, tolerate at least 0, begin after 0"
            )


@dataclass(frozen=True)
class Decision:
    """One change and what became of it; qualities are the gate's, lower is better."""

    iteration: int
    judged: int  # the iteration after which it was judged
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    new_widths: tuple[int, ...]
    new_blocks: tuple[int, ...]
    quality: float
    new_quality: float
    accepted: bool


@dataclass(eq=False)
class Adapted:
    """A network that changes while it trains, as it stands, and the decisions so far."""

    unet: UNet
    decisions: list[Decision] = field(default_factory=list)


def adapt(
    student: UNet,
    target: UNetSpec,
    lessons: Lessons,
    spec: DistillationSpec,
    gate: Gate,
    seed: int = 0,
) -> Adapted:
    """Train a student to the end while it is pruned, or grown, towards another size.

    Args:
        student: the network to start with, wider or narrower, deeper or shallower than the
            target and otherwise alike; it is used up.
        target: the architecture to end with.
        lessons: what it learns.
        spec: iterations, batch, learning rate and averaging.
        gate: when it changes, and what may pass.
        seed: of the batches.

    Returns:
        The network with its averaged weights, of the target's size or, where the gate refused, of
        the last one that passed; and every decision with its numbers.

    Raises:
        Diverged: a loss is not finite.
    """
    adapted = Adapted(student)
    for _ in adapting(adapted, target, lessons, spec, gate, seed):
        pass
    return adapted


def adapting(
    adapted: Adapted,
    target: UNetSpec,
    lessons: Lessons,
    spec: DistillationSpec,
    gate: Gate,
    seed: int,
    stops: Collection[int] = (),
) -> Iterator[tuple[int, float]]:
    """The loop of `adapt`, to be watched or stopped; `adapted` follows.

    Yields:
        (iterations done, loss), once an iteration; after the iterations in `stops` the network
        has its averaged weights while the caller looks at it.
    """
    course = _Course(adapted, target, spec, gate)
    rng = np.random.default_rng(seed)
    for iteration in range(1, spec.iterations + 1):
        loss = taught(course.stepper, lessons.batch(rng, spec.batch))
        course.after(iteration)
        with course.stepper.averaged(iteration in stops):
            yield iteration, loss
    course.stepper.load_average()
    mx.eval(adapted.unet.parameters())


def landing(lessons: Lessons, count: int = 256, seed: int = 0) -> Measure:
    """The landing loss on fixed jumps as a measure of quality.

    Args:
        lessons: their trajectories should not be trained on; see `Lessons.parted`.
        count: jumps.
        seed: decides which.

    Returns:
        The measure.
    """
    batch = lessons.batch(np.random.default_rng(seed), count)

    def measured(unet: UNet) -> float:
        with lock.shared():
            return float(np.array(landing_loss(unet, *batch)))

    return measured


@dataclass(frozen=True, eq=False)
class _Before:
    """All that was there before a change, to go back to."""

    unet: UNet
    stepper: Stepper
    taylor: Taylor
    iteration: int
    quality: float


class _Course:
    """The stepper of a changing network, and the change that waits for its judgment."""

    def __init__(
        self, adapted: Adapted, target: UNetSpec, spec: DistillationSpec, gate: Gate
    ) -> None:
        self._adapted = adapted
        self._target = target
        self._spec = spec
        self._gate = gate
        wait = max(1, round(gate.recovery * spec.iterations))
        points = sorted({max(1, round(p * spec.iterations)) for p in gate.points})
        # A change is judged before the next one, and the last one before the end.
        self._points = [p for p in points if p + wait <= spec.iterations]
        self._wait = wait
        self._before: _Before | None = None
        self._taylor = Taylor(adapted.unet.spec)
        self.stepper = self._stepping(adapted.unet)

    def after(self, iteration: int) -> None:
        """Watch an iteration, then change the network or judge a change where it is time to."""
        due = min((p for p in self._points if p >= iteration), default=None)
        if due is not None and due - iteration < self._gate.watched:
            self._watch()
        if self._before is not None and iteration >= self._before.iteration + self._wait:
            self._judge(iteration)
        if iteration == due and self._before is None:
            self._change(iteration)

    def _watch(self) -> None:
        weights, gradient = self.stepper.seen
        products = self.stepper.flat.arrays(weights * gradient)
        mx.eval(products)
        self._taylor.add({name: np.array(value) for name, value in products.items()})

    def _change(self, iteration: int) -> None:
        unet = self._adapted.unet
        left = sum(p >= iteration for p in self._points)
        spec = towards(unet.spec, self._target, left)
        if spec == unet.spec:
            return
        before = _Before(unet, self.stepper, self._taylor, iteration, self._quality())
        after = build_unet(spec, iteration)
        moved = transfer(unet, after, self._taylor.selection(), self._taylor.kept(spec.blocks))
        self._before, self._adapted.unet = before, after
        self._taylor = Taylor(spec)
        self._go_on(moved.state(self.stepper.state()))
        self.stepper.born = iteration  # the average forgets what it was before

    def _judge(self, iteration: int) -> None:
        before, self._before = self._before, None
        assert before is not None
        old, new = before.unet.spec, self._adapted.unet.spec
        quality = self._quality()
        passed = quality <= before.quality * (1 + self._gate.tolerance)
        sizes = (old.widths, old.blocks, new.widths, new.blocks)
        self._adapted.decisions.append(
            Decision(before.iteration, iteration, *sizes, before.quality, quality, passed)
        )
        if not passed:
            self._adapted.unet, self._taylor = before.unet, before.taylor
            self._go_on(before.stepper.state())
            self.stepper.born = before.stepper.born

    def _go_on(self, state: dict[str, mx.array]) -> None:
        """Train the present network from a state, at the learning rate of this iteration."""
        done, step = self.stepper.iteration, self.stepper.state()["optimizer.step"]
        self.stepper = self._stepping(self._adapted.unet)
        self.stepper.restore({**state, "optimizer.step": step}, done)

    def _quality(self) -> float:
        """Of the averaged weights, which are what is kept in the end."""
        with self.stepper.averaged():
            return self._gate.quality(self._adapted.unet)

    def _stepping(self, unet: UNet) -> Stepper:
        return student_stepper(unet, landing_loss, self._spec)
