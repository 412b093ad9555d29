"""The ways to run a batch, from the quickest to the one that takes the least memory.

The effective batch stays what was asked for: gradients of micro-batches add up to its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ado_nas.measure.memory import process_bytes_of
from ado_nas.training.step import WHOLE, Way

# The highest measured peak over the predicted one in benchmarks/results/memory.json, rounded up:
# 4 of 10 trainings, and all 10 with checkpointing, took more than predicted.
MARGIN = 1.15
MARGIN_RECOMPUTED = 1.34
_EACH = 2.0  # rows whose time a micro-batch takes beside its own
_AGAIN = 4 / 3  # of a step's time where blocks run twice: three passes become four
_SAVED = 0.4  # of a step's memory with checkpointing, until one was predicted
_NEAR = 1.3  # times the budget: estimates above are not worth a prediction


@dataclass(frozen=True)
class Choice:
    """A way to run a batch, the bytes it is predicted to take, and the least bytes of any way."""

    way: Way | None  # None: nothing fits
    predicted: int


def choose(measure: Callable[[Way], int], batch: int, limit: float, grain: int = 1) -> Choice:
    """The way of least time whose predicted peak fits.

    Args:
        measure: predicts the peak of a way, in bytes.
        batch: rows, B.
        limit: bytes.
        grain: rows that stay together.

    Returns:
        The choice; without a way, and with the smallest prediction, where none fits.
    """
    whole = measure(WHOLE)
    if whole * margin(WHOLE) <= limit:
        return Choice(WHOLE, whole)
    known = {WHOLE: whole}
    last = Way(grain, True)
    for way in ways(batch, grain):
        if way != last and _estimate(way, batch, known) * margin(way) > limit * _NEAR:
            continue
        known[way] = measure(way)
        if known[way] * margin(way) <= limit:
            return Choice(way, known[way])
    if last not in known:
        known[last] = measure(last)
    return Choice(None, min(known.values()))


def margin(way: Way) -> float:
    """What a predicted peak is multiplied by before it is held against a limit."""
    return MARGIN_RECOMPUTED if way.recompute else MARGIN


def ways(batch: int, grain: int = 1) -> list[Way]:
    """All ways but the plain one, by what they are expected to take longer.

    Args:
        batch: rows, B.
        grain: rows that stay together.
    """
    sizes = [0]
    size = batch // 2
    while size >= grain:
        sizes.append(max(grain, size // grain * grain))
        size //= 2
    if grain not in sizes and grain < batch:
        sizes.append(grain)
    found = [Way(rows, again) for rows in sizes for again in (False, True)]
    return sorted(found[1:], key=lambda way: (slowdown(way, batch), way.recompute))


def slowdown(way: Way, batch: int) -> float:
    """By what factor a way is expected to take longer than the whole batch at once."""
    rows = way.rows or batch
    parts = (rows + _EACH) / rows * batch / (batch + _EACH)
    return parts * (_AGAIN if way.recompute else 1.0)


def _estimate(way: Way, batch: int, known: dict[Way, int]) -> float:
    """Bytes by proportion: a lower bound more than a prediction, for the weights are left out."""
    share = (way.rows or batch) / batch
    if not way.recompute:
        return share * known[WHOLE]
    again = [known[w] / ((w.rows or batch) / batch) for w in known if w.recompute]
    return share * min([*again, _SAVED * known[WHOLE]])


def refusal(least: float, budget: float, outside: float) -> str:
    """What to say where nothing fits.

    Args:
        least: bytes of MLX's memory that one image at a time with checkpointing takes.
        budget: bytes that there are.
        outside: bytes of the process beside that.
    """
    needed = math.ceil(process_bytes_of(int(least * MARGIN_RECOMPUTED), int(outside)) / 1e6)
    return (
        f"a memory budget of {budget / 1e6:.0f} MB is too small for batch 1 with checkpointing: "
        f"the process itself takes {outside / 1e6:.0f} MB and training {least / 1e6:.0f} MB more; "
        f"give --memory-budget-mb {needed} or more"
    )
