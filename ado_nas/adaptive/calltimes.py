"""How long sampling takes by the size of the batch and the number of evaluations, measured."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ado_nas.diffusion.levels import Levels
from ado_nas.diffusion.sampling import splits
from ado_nas.errors import ConfigError
from ado_nas.measure.latency import time_in_turn
from ado_nas.measure.speed import sampling_call
from ado_nas.models.unet import UNet
from ado_nas.specs import UNetSpec

BATCHES = (1, 2, 4, 8, 16, 32, 64)
EVALUATIONS = (2, 6)  # far enough apart to tell a call from what every batch costs


@dataclass(frozen=True)
class CallTimes:
    """What a batch takes: overhead + evaluations x call, straight between the batches measured."""

    batches: tuple[int, ...]  # rising
    overhead_ms: tuple[float, ...]  # of each batch, however many evaluations
    call_ms: tuple[float, ...]  # of one evaluation of each batch
    # Sizes measured since, and by how much each took longer than by the above; between them the
    # ratio is taken in between, beyond them it stays.
    checked: tuple[int, ...] = ()
    ratios: tuple[float, ...] = ()

    def curve(self, nfe: float) -> np.ndarray:
        """Milliseconds per image at batches of 1, 2, ... to the largest: (B,).

        Args:
            nfe: network evaluations for an image.
        """
        sizes = np.arange(1, self.batches[-1] + 1)
        spans = np.array(self.overhead_ms) + nfe * np.array(self.call_ms)
        found: np.ndarray = np.interp(sizes, self.batches, spans) / sizes
        if self.checked:
            found *= np.interp(np.log(sizes), np.log(self.checked), self.ratios)
        return found

    def ms(self, nfe: float, batch: int) -> float:
        """Milliseconds per image.

        Args:
            nfe: network evaluations for an image.
            batch: images at a time, from 1 to the largest measured.
        """
        return float(self.curve(nfe)[batch - 1])

    def corrected(self, nfe: float, batch: int, measured_ms: float) -> CallTimes:
        """The same with one measurement more.

        Args:
            nfe: network evaluations for an image.
            batch: images at a time.
            measured_ms: per image.
        """
        plain = dataclasses.replace(self, checked=(), ratios=())
        known = dict(zip(self.checked, self.ratios, strict=True))
        known[batch] = measured_ms / plain.ms(nfe, batch)
        sizes = tuple(sorted(known))
        return dataclasses.replace(self, checked=sizes, ratios=tuple(known[b] for b in sizes))

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        return {name: list(values) for name, values in dataclasses.asdict(self).items()}


def fitted(
    batches: Sequence[int], evaluations: tuple[int, int], spans_ms: np.ndarray
) -> CallTimes:
    """Call times from batches measured at two numbers of evaluations.

    Args:
        batches: sizes, rising, the first 1.
        evaluations: few and many.
        spans_ms: (B, 2), what a whole batch took with few and with many.

    Returns:
        Overhead and call of each batch; where the clock would make an overhead negative, none.
    """
    few, many = evaluations
    call = (spans_ms[:, 1] - spans_ms[:, 0]) / (many - few)
    overhead = spans_ms[:, 0] - few * call
    alone = overhead < 0
    call = np.where(alone, spans_ms[:, 1] / many, call)
    overhead = np.where(alone, 0.0, overhead)
    return CallTimes(tuple(batches), tuple(overhead.tolist()), tuple(call.tolist()))


def measured_call_times(
    unet: UNet,
    solver: str = "dpmpp_2m",
    guidance: float = 1.0,
    batches: Sequence[int] = (),
    rounds: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> CallTimes:
    """Time a network alone on the device, all batches in turn.

    Args:
        unet: the network, of one width at all steps.
        solver: whose steps lie between the evaluations; one evaluation a step.
        guidance: weight of classifier-free guidance; 1 is off.
        batches: sizes, rising, the first 1; by default `knots`.
        rounds: how often each has its turn.
        clock: seconds.

    Raises:
        ConfigError: the batches do not rise from 1.
    """
    sizes = tuple(batches) or knots(unet.spec)
    if sizes[0] != 1 or any(b <= a for a, b in pairwise(sizes)):
        raise ConfigError(f"batches {sizes}: give sizes that rise from 1, such as {BATCHES}")
    calls = []
    for batch in sizes:
        for nfe in EVALUATIONS:
            calls.append(sampling_call(unet, solver, timing_levels(nfe), guidance, batch))
    spans = np.array(time_in_turn(calls, rounds, clock)).reshape(len(sizes), len(EVALUATIONS))
    return fitted(sizes, EVALUATIONS, spans)


def timing_levels(nfe: int) -> Levels:
    """Levels to time so many evaluations with: (T + 1,); any take as long."""
    return np.append(np.geomspace(10.0, 0.1, nfe), 0.0)


def knots(spec: UNetSpec) -> tuple[int, ...]:
    """Batches to measure: `BATCHES`, and both sides of where batches begin to be split."""
    first = next((b for b in range(2, BATCHES[-1] + 1) if splits(spec, b)), 0)
    return tuple(sorted({*BATCHES, *((first - 1, first) if first else ())}))
