"""Training within a memory budget: planned before, checked after each step, mended where wrong.

MLX's own memory limit does not stop an allocation, so that every step is checked after it was
computed. One that took too much is taken back and repeated in smaller parts.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import mlx.core as mx

from ado_nas.device import real
from ado_nas.errors import OutOfMemory
from ado_nas.measure.cost import cost
from ado_nas.measure.footprint import step_bytes
from ado_nas.measure.memory import arrays_within, outside_bytes
from ado_nas.models.unet import UNet
from ado_nas.runtime import memory_share, metal_limits
from ado_nas.training.step import WHOLE, Stepper, Way
from ado_nas.training.ways import choose, refusal

T = TypeVar("T")

# Of what a network's layers put out: no training took more of MLX's memory.
_ROUGHLY = 16
_FAR = 0.25  # of the budget: a rough figure below needs no prediction
_FAILURES = ("allocate", "out of memory", "Insufficient Memory", "maximum allowed buffer size")


@dataclass
class Account:
    """The memory of a block of work: its budget, the plans made, what was measured and changed.

    `budget` and `outside` are bytes of the process, with and beside MLX's arrays.
    """

    budget: int
    outside: int
    given: bool  # by the user, not by the device
    plans: dict[tuple[int, ...], dict[str, Any]] = field(default_factory=dict)
    changes: list[dict[str, Any]] = field(default_factory=list)

    @property
    def limit(self) -> int:
        """Bytes of MLX's memory."""
        return arrays_within(self.budget, self.outside)

    def facts(self) -> dict[str, Any]:
        """What a card tells: budget, plans with predicted and measured peaks, changes; MB."""
        return {
            "budget_mb": round(self.budget / 1e6, 1),
            "process_mb": round(self.outside / 1e6, 1),
            "plans": list(self.plans.values()),
            "changes": self.changes,
        }

    def planned(self, stepper: Stepper, batch: tuple[mx.array, ...]) -> Way:
        """Choose how batches of this shape are run.

        Args:
            stepper: that trains.
            batch: of it.

        Returns:
            The way.

        Raises:
            OutOfMemory: no way fits.
        """
        way, predicted = self._chosen(stepper, batch)
        rows = batch[0].shape[0]
        before = self.plans.get(batch[0].shape, {})  # of a network that was changed since
        self.plans[batch[0].shape] = {
            "shape": list(batch[0].shape),
            "rows": way.rows or rows,
            "checkpointing": way.recompute,
            "predicted_mb": predicted and round(predicted / 1e6, 3),
            "measured_mb": before.get("measured_mb", 0.0),
        }
        return way

    def _chosen(self, stepper: Stepper, batch: tuple[mx.array, ...]) -> tuple[Way, int | None]:
        mx.eval(stepper.state(), batch)
        own = sum(a.nbytes for a in (*stepper.state().values(), *batch))
        others = max(0, mx.get_active_memory() - own)
        rough = _rough(stepper, batch)
        known = rough is not None and rough + others <= _FAR * self.limit
        if not self.given and known:
            return WHOLE, None
        found = choose(
            lambda way: others + step_bytes(stepper, batch, way),
            batch[0].shape[0],
            self.limit,
            stepper.grain,
        )
        if found.way is None:
            raise OutOfMemory(refusal(found.predicted, self.budget, self.outside))
        return found.way, found.predicted

    def measured(self, shape: tuple[int, ...], peak: int) -> None:
        """Note the peak of a step."""
        plan = self.plans.get(shape)
        if plan is not None:
            plan["measured_mb"] = max(plan["measured_mb"], round(peak / 1e6, 3))

    def mended(self, stepper: Stepper, shape: tuple[int, ...], peak: int) -> None:
        """Let batches of a shape be run in smaller parts from now on.

        Args:
            stepper: that trains, at the state before the step.
            shape: of the batch's first array.
            peak: bytes that the step took.

        Raises:
            OutOfMemory: there is no smaller way.
        """
        before = stepper.ways[shape]
        after = smaller(before, shape[0], stepper.grain)
        if after is None:
            raise OutOfMemory(refusal(peak, self.budget, self.outside))
        stepper.ways[shape] = after
        change = {
            "iteration": stepper.iteration,
            "shape": list(shape),
            "peak_mb": round(peak / 1e6, 3),
            "rows": [before.rows or shape[0], after.rows or shape[0]],
            "checkpointing": [before.recompute, after.recompute],
        }
        self.changes.append(change)


_local = threading.local()


@contextlib.contextmanager
def accounting(megabytes: float = 0.0) -> Iterator[Account]:
    """Keep an account of the memory of a block of work.

    Args:
        megabytes: that the process may take; 0 for what the block around it was given, or else
            this process's share of the device's budget.

    Yields:
        The account, which the trainings of the block write to.
    """
    around: Account | None = getattr(_local, "account", None)
    _local.account = account = _opened(megabytes, around)
    try:
        with metal_limits(account.limit):
            yield account
    finally:
        _local.account = around


def _opened(megabytes: float, around: Account | None) -> Account:
    if around is not None and not megabytes:
        return Account(around.budget, around.outside, around.given)
    outside = outside_bytes()
    device = int(real().memory_budget_bytes * memory_share())
    return Account(int(megabytes * 1e6) or device, outside, megabytes > 0)


def held(stepper: Stepper, batch: tuple[mx.array, ...]) -> float:
    """One training step within the budget of the block it is in.

    Args:
        stepper: that trains.
        batch: as its loss takes it.

    Returns:
        The loss.

    Raises:
        Diverged: it is not finite.
        OutOfMemory: the step does not fit, however it is cut.
    """
    account: Account | None = getattr(_local, "account", None)
    if account is None:
        _local.account = account = _opened(0.0, None)
    shape = batch[0].shape
    if shape not in stepper.ways:
        stepper.ways[shape] = account.planned(stepper, batch)
    while True:
        before, iteration, seen = stepper.state(), stepper.iteration, stepper.seen
        mx.reset_peak_memory()
        peak, loss = 0, 0.0
        try:
            loss = stepper(*batch)
        except RuntimeError as error:
            if not _is_failure(error):
                raise
            peak = account.limit + 1
        peak = max(peak, mx.get_peak_memory())
        if peak <= account.limit:
            account.measured(shape, peak)
            return loss
        stepper.restore(before, iteration)
        stepper.seen = seen
        account.mended(stepper, shape, peak)


def in_parts(what: str, rows: int, work: Callable[[int], T]) -> T:
    """Do work on so many rows at a time, on half as many where that took more than the budget.

    Args:
        what: is done to rows, in words.
        rows: at a time, at first.
        work: takes rows at a time; done again with fewer.

    Returns:
        What `work` returned.

    Raises:
        OutOfMemory: one row at a time takes more.
    """
    account: Account | None = getattr(_local, "account", None)
    if account is None:
        return work(rows)
    while True:
        mx.reset_peak_memory()
        try:
            done, peak = work(rows), mx.get_peak_memory()
        except RuntimeError as error:
            if not _is_failure(error):
                raise
            peak = account.limit + 1
        if peak <= account.limit:
            return done
        if rows == 1:
            raise OutOfMemory(
                f"{what} 1 at a time took {peak / 1e6:.0f} MB for its arrays, and a memory budget "
                f"of {account.budget / 1e6:.0f} MB has room for {account.limit / 1e6:.0f} MB"
            )
        account.changes.append(
            {"what": what, "peak_mb": round(peak / 1e6, 3), "rows": [rows, rows // 2]}
        )
        rows //= 2


def _is_failure(error: RuntimeError) -> bool:
    """Whether memory could not be had."""
    return any(words in str(error) for words in _FAILURES)


def smaller(way: Way, batch: int, grain: int = 1) -> Way | None:
    """Half the rows at a time; with one, checkpointing; None where there is nothing left.

    Args:
        way: that took too much.
        batch: rows, B.
        grain: rows that stay together.
    """
    rows = way.rows or batch
    if rows > grain:
        return Way(max(grain, rows // 2 // grain * grain), way.recompute)
    return None if way.recompute else Way(rows if rows < batch else 0, True)


def _rough(stepper: Stepper, batch: tuple[mx.array, ...]) -> int | None:
    """More bytes than the step can take; None for what is more than one network."""
    if not isinstance(stepper.model, UNet):
        return None
    taken = cost(stepper.model.spec)
    return _ROUGHLY * (batch[0].shape[0] * taken.activation_bytes + taken.bytes)
