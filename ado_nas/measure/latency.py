"""How long evaluated work takes, alone on the device."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from ado_nas import runtime
from ado_nas.measure import lock

Spans = Sequence[float] | NDArray[np.float64]
_SHORTEST_MS = 2.0  # below this the clock and the dispatch weigh too much


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call."""

    median_ms: float
    iqr_ms: float  # between the quartiles
    evaluations: int
    calls: int  # calls in each evaluation


@dataclass(frozen=True)
class Beside:
    """How long one call takes, and that over what another took just before, time after time."""

    timing: Timing
    ratio: float  # the median
    ratio_iqr: float  # between the quartiles


def time_calls(
    call: Callable[[], Any],
    evaluations: int = 20,
    warmup: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Time a function whose arrays are evaluated inside the measured span.

    The device is held alone and with all cores; no other process of this package trains meanwhile.

    Args:
        call: returns an array or a tree of arrays; lazy work that it does not return is not timed.
        evaluations: how many times are taken.
        warmup: evaluations before, not counted.
        clock: seconds.

    Returns:
        Median and interquartile range of one call.

    Raises:
        ValueError: `call` returns no array, so that nothing would be timed.
    """
    spans, (calls,) = _turns([call], evaluations, warmup, clock)
    return Timing(*_middle(spans[:, 0]), evaluations, calls)


def time_beside(
    call: Callable[[], Any],
    other: Callable[[], Any],
    evaluations: int = 20,
    warmup: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> Beside:
    """Time a function in turns with another: what slows the machine for a while slows both.

    Args:
        call: as `time_calls` takes one.
        other: likewise.
        evaluations: how many times each is taken.
        warmup: evaluations of each before, not counted.
        clock: seconds.

    Returns:
        The call's own times, and their ratios to the other's.

    Raises:
        ValueError: one returns no array.
    """
    spans, (_, calls) = _turns([other, call], evaluations, warmup, clock)
    return beside(spans[:, 1], spans[:, 0], calls)


def beside(spans: Spans, others: Spans, calls: int = 1) -> Beside:
    """What times say that were taken in turns.

    Args:
        spans: milliseconds of one call, N times.
        others: of another just before each.
        calls: in each evaluation.
    """
    timing = Timing(*_middle(spans), len(spans), calls)
    return Beside(timing, *_middle(np.array(spans) / np.array(others)))


def time_in_turn(
    calls: Sequence[Callable[[], Any]],
    rounds: int = 9,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Time several functions side by side, so that a drift of the machine meets all of them.

    Args:
        calls: as `time_calls` takes one.
        rounds: how often each has its turn; the device is given back after each round.
        clock: seconds.

    Returns:
        The median milliseconds of one call of each.

    Raises:
        ValueError: one returns no array.
    """
    spans: list[list[float]] = []
    for _ in range(rounds):
        with lock.exclusive(), runtime.all_cores():
            spans.append([])
            for call in calls:
                count = _calls_for(_span(call, 1, clock))  # warms up, too
                spans[-1].append(_span(call, count, clock) / count)
    return [float(m) for m in np.median(np.array(spans), axis=0)]


def _turns(
    calls: Sequence[Callable[[], Any]],
    evaluations: int,
    warmup: int,
    clock: Callable[[], float],
) -> tuple[NDArray[np.float64], list[int]]:
    """Milliseconds of one call of each, (evaluations, N), and how many calls an evaluation has."""
    with lock.exclusive(), runtime.all_cores():
        for call in calls:
            for _ in range(max(1, warmup)):
                _evaluate(call, 1)
        counts = [_calls_for(_span(call, 1, clock)) for call in calls]
        spans = [
            [_span(call, n, clock) / n for call, n in zip(calls, counts, strict=True)]
            for _ in range(evaluations)
        ]
    return np.array(spans), counts


def _middle(values: Spans) -> tuple[float, float]:
    """Median and interquartile range."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return float(median), float(high - low)


def _calls_for(one_ms: float) -> int:
    return 1 if one_ms >= _SHORTEST_MS else int(np.ceil(_SHORTEST_MS / max(one_ms, 0.01)))


def _span(call: Callable[[], Any], calls: int, clock: Callable[[], float]) -> float:
    begin = clock()
    _evaluate(call, calls)
    return (clock() - begin) * 1e3


def _evaluate(call: Callable[[], Any], calls: int) -> None:
    results = [call() for _ in range(calls)]
    if results[0] is None:
        raise ValueError("the timed call returned None; return its arrays, or nothing is timed")
    mx.eval(results)
    mx.synchronize()
