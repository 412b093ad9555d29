"""One training step: gradients over the device's batch streams, Adam, and the moving average."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_unflatten

from ado_nas.errors import Diverged
from ado_nas.models.differentiation import value_and_grad
from ado_nas.models.recomputing import recomputing
from ado_nas.models.tree import assign, named_arrays
from ado_nas.runtime import batch_streams, training_threads
from ado_nas.specs import DistillationSpec, SupernetSpec
from ado_nas.training.flat import FlatParameters

Loss = Callable[..., mx.array]
"""(model, *arrays with one row a sample) -> mean loss, a scalar."""


Rate = Callable[[mx.array], mx.array]
"""(iteration) -> learning rate."""

Rates = Mapping[int, Rate]
"""Of each stage, by its first iteration; each rate takes the iteration within its stage."""


@dataclass(frozen=True)
class Way:
    """How a batch is run: so many rows at a time, 0 for all, and what is kept for the gradient."""

    rows: int = 0
    recompute: bool = False  # the inside of blocks, rather than keep it


WHOLE = Way()


def schedule(peak: float, warmup: int, iterations: int) -> Rate:
    """A learning rate that rises linearly, then falls to zero along a cosine.

    Args:
        peak: the highest rate.
        warmup: iterations of rising; 0 for none.
        iterations: the whole length.

    Returns:
        A function of the iteration.
    """
    fall = optim.cosine_decay(peak, max(1, iterations - warmup))
    if warmup == 0:
        return fall
    return optim.join_schedules(
        [optim.linear_schedule(peak / warmup, peak, warmup), fall], [warmup]
    )


def gradients(
    loss: Loss,
    model: nn.Module,
    shards: Sequence[tuple[mx.array, ...]],
    recompute: bool = False,
) -> tuple[mx.array, dict[str, mx.array]]:
    """Mean loss and gradients of a batch that is split over the batch streams.

    Args:
        loss: called as loss(model, *arrays).
        model: the network.
        shards: per stream the arrays of its part of the batch, all parts alike in size.
        recompute: the inside of blocks for the gradient, rather than keep it.

    Returns:
        The loss, and the gradients by parameter name, lazily.
    """

    def of(parameters: dict[str, mx.array], *arrays: mx.array) -> mx.array:
        assign(model, parameters.items())
        return loss(model, *arrays) / len(shards)

    parameters = dict(named_arrays(model.trainable_parameters()))
    values, parts = [], []
    for stream, arrays in zip(batch_streams(), shards, strict=False):
        with mx.stream(stream), recomputing(recompute):
            value, grads = value_and_grad(of)(parameters, *arrays)
        values.append(value)
        parts.append(grads)
    assign(model, parameters.items())
    mean = {name: sum((p[name] for p in parts[1:]), parts[0][name]) for name in parameters}
    return sum(values[1:], values[0]), mean


def shards(rows: int) -> int:
    """Into how many equal parts a batch is split."""
    count = len(batch_streams())
    return 1 if rows % count else count


def split(arrays: tuple[mx.array, ...]) -> list[tuple[mx.array, ...]]:
    """A batch cut into equal parts, one for each batch stream.

    Args:
        arrays: each with B rows.

    Returns:
        One tuple a stream; a single one where B does not divide.
    """
    rows = arrays[0].shape[0]
    count = shards(rows)
    size = rows // count
    return [tuple(a[i * size : (i + 1) * size] for a in arrays) for i in range(count)]


def pieces(
    arrays: tuple[mx.array, ...], rows: int, grain: int = 1
) -> list[list[tuple[mx.array, ...]]]:
    """A batch cut into micro-batches, each split over the batch streams where that is possible.

    Args:
        arrays: each with B rows.
        rows: of a micro-batch, at most.
        grain: parts begin at multiples of so many rows within a stream's share, and are no smaller
            but for the last.

    Returns:
        For each micro-batch one tuple a stream, as `split` gives them.
    """
    shares = split(arrays)
    together = len(shares) if rows >= len(shares) * grain else 1
    size = max(grain, rows // together // grain * grain)
    cut = [
        [tuple(a[i : i + size] for a in share) for i in range(0, share[0].shape[0], size)]
        for share in shares
    ]
    if together > 1:
        return [list(some) for some in zip(*cut, strict=True)]
    return [[one] for some in cut for one in some]


class Stepper:
    """Trains a network in place, one batch at a time, and keeps the average of its weights.

    `seen` holds the weights and the gradient of the latest batch, before it was clipped.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        rate: Rate | Rates,
        ema_decay: float,
        clip: float = 1.0,
        grain: int = 1,
    ):
        """Set up optimizer and average.

        Args:
            model: the network to train.
            loss: called as loss(model, *arrays).
            rate: learning rate by iteration; or those of stages, at each of which the optimizer
                begins anew: of weights that had no gradient before it knows nothing.
            ema_decay: share of the average that survives an iteration, at most.
            clip: bound on the norm of the gradient.
            grain: rows that the loss wants together; see `pieces`.
        """
        self.model = model
        self.flat = FlatParameters(model)
        self.vector = self.flat.vector(model)
        self.average = self.vector
        self._rates = rate if isinstance(rate, Mapping) else {0: rate}
        self.optimizer = self._fresh(0)
        self.iteration = 0
        self.born = 0  # the iteration that the average counts from
        self.seen = (self.vector, mx.zeros_like(self.vector))
        self.ways: dict[tuple[int, ...], Way] = {}  # by the shape of a batch's first array
        self.grain = grain
        self._loss = loss
        self._decay = ema_decay
        self._clip = clip

    def _fresh(self, begin: int) -> optim.Adam:
        optimizer = optim.Adam(self._rates[begin], betas=[0.9, 0.99], bias_correction=True)
        optimizer.init({"w": self.vector})
        return optimizer

    def __call__(self, *arrays: mx.array) -> float:
        """Train on one batch.

        Args:
            arrays: what the loss takes, each with B rows.

        Returns:
            The loss.

        Raises:
            Diverged: the loss is not finite.
        """
        if self.iteration and self.iteration in self._rates:
            self.optimizer = self._fresh(self.iteration)
        way = self.ways.get(arrays[0].shape, WHOLE)
        if way.rows:
            value = self.apply(*self._accumulated(arrays, way))
        else:
            value = self.advance(*arrays, recompute=way.recompute)
        with training_threads(shards(arrays[0].shape[0])):
            mx.eval(self.vector, self.average, self.optimizer.state, value)
        self.iteration += 1
        loss = float(np.array(value))
        if loss != loss or loss in (float("inf"), float("-inf")):
            raise Diverged(f"the loss was {loss} at iteration {self.iteration}")
        return loss

    def advance(self, *arrays: mx.array, recompute: bool = False) -> mx.array:
        """The lazy part of a step: weights, average and optimizer move on, nothing is computed.

        Args:
            arrays: what the loss takes, each with B rows.
            recompute: as `gradients` takes it.

        Returns:
            The loss, a scalar.
        """
        value, grads = gradients(self._loss, self.model, split(arrays), recompute)
        return self.apply(value, self.flat.join(grads))

    def added(
        self,
        total: tuple[mx.array, mx.array],
        shards: Sequence[tuple[mx.array, ...]],
        share: float,
        recompute: bool,
    ) -> tuple[mx.array, mx.array]:
        """Loss and gradient with those of a micro-batch added, lazily.

        Args:
            total: loss and gradient (P,) so far.
            shards: the micro-batch, as `gradients` takes it.
            share: of the whole batch.
            recompute: as `gradients` takes it.
        """
        value, grads = gradients(self._loss, self.model, shards, recompute)
        return total[0] + share * value, total[1] + share * self.flat.join(grads)

    def _accumulated(self, arrays: tuple[mx.array, ...], way: Way) -> tuple[mx.array, mx.array]:
        """Loss and gradient of a batch, one micro-batch computed after the other."""
        total = mx.array(0.0), mx.zeros_like(self.vector)
        for parts in pieces(arrays, way.rows, self.grain):
            share = sum(part[0].shape[0] for part in parts) / arrays[0].shape[0]
            total = self.added(total, parts, share, way.recompute)
            with training_threads(len(parts)):
                mx.eval(total)
        return total

    def apply(self, value: mx.array, gradient: mx.array) -> mx.array:
        """Move weights, average and optimizer on, lazily.

        Args:
            value: the loss.
            gradient: (P,).

        Returns:
            The loss.
        """
        self.seen = (self.vector, gradient)
        norm = mx.sqrt(mx.sum(gradient * gradient))
        gradient = gradient * mx.minimum(1.0, self._clip / (norm + 1e-6))
        self.vector = self.optimizer.apply_gradients({"w": gradient}, {"w": self.vector})["w"]
        # A young average forgets its start faster.
        age = self.iteration - self.born
        decay = min(self._decay, (age + 1) / (age + 10))
        self.average = decay * self.average + (1 - decay) * self.vector
        self.flat.load(self.model, self.vector)
        return value

    def load_average(self) -> None:
        """Put the averaged weights into the network."""
        self.flat.load(self.model, self.average)

    @contextlib.contextmanager
    def averaged(self, wanted: bool = True) -> Iterator[None]:
        """The network has its averaged weights inside the block, if wanted, then its own again."""
        if not wanted:
            yield
            return
        self.load_average()
        try:
            yield
        finally:
            self.flat.load(self.model, self.vector)

    def state(self) -> dict[str, mx.array]:
        """Everything a restart needs, as named arrays."""
        optimizer = {f"optimizer.{k}": v for k, v in named_arrays(self.optimizer.state)}
        return {"vector": self.vector, "average": self.average, **optimizer}

    def restore(self, state: dict[str, mx.array], iteration: int) -> None:
        """Go on from what `state` gave after `iteration` iterations."""
        self.vector, self.average = state["vector"], state["average"]
        tree = [(k.removeprefix("optimizer."), v) for k, v in state.items() if "." in k]
        self.optimizer = self._fresh(max(b for b in self._rates if b <= iteration))
        self.optimizer.state = tree_unflatten(tree)
        self.iteration = iteration
        self.flat.load(self.model, self.vector)


def student_stepper(
    model: nn.Module,
    loss: Loss,
    spec: DistillationSpec | SupernetSpec,
    shape: Callable[[float, int], Rate | Rates] | None = None,
    grain: int = 1,
) -> Stepper:
    """The stepper of a network that learns from a teacher, with its short warm-up.

    Args:
        model: the network to train.
        loss: called as loss(model, *arrays).
        spec: iterations, learning rate and averaging.
        shape: (peak, warm-up) -> learning rates; None for `schedule` over the iterations.
        grain: as `Stepper` takes it.
    """
    peak, warmup = spec.learning_rate, min(20, spec.iterations // 10)
    rate = shape(peak, warmup) if shape else schedule(peak, warmup, spec.iterations)
    return Stepper(model, loss, rate, spec.ema_decay, grain=grain)
