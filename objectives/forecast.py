"""What a candidate will cost, told before it is built, by what this worker has measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ado_nas.diffusion.levels import karras_levels
from ado_nas.errors import Untraceable
from ado_nas.measure.footprint import sampling_bytes
from ado_nas.measure.predictor import Predictor, Timed, grid, load_table
from ado_nas.specs import Candidate, UNetSpec
from ado_nas.widths import by_step
from objectives.scores import Limits

CALIBRATED = 8  # timings of its own before a worker trusts its predictions
MEMORY_BOUND = 0.5  # predicted peaks were at most this much over the measured ones


@dataclass(eq=False)
class Forecast:
    """Predictions of one worker; `tables` is the folder of operator tables."""

    batch: int
    tables: Path
    timed: list[Timed] = field(default_factory=list)
    _table: Predictor | None = None

    def learn(self, candidate: Candidate, latency_ms: float) -> None:
        """Take in what sampling a candidate took, milliseconds per image."""
        if not candidate.step_widths:  # the predictor is fitted to one network at a time
            self.timed.append(Timed(candidate.unet, candidate.sampler.nfe, latency_ms))

    def over(self, candidate: Candidate, limits: Limits) -> dict[str, Any]:
        """Figures that will be over a limit by more than the prediction's error.

        Args:
            candidate: not built yet.
            limits: what is allowed; nothing is predicted that has no limit.

        Returns:
            ``latency_ms`` or ``peak_memory_mb`` as predicted; empty where nothing is known to be
            over.
        """
        found: dict[str, Any] = {}
        if limits.max_latency_ms and len(self.timed) >= CALIBRATED:
            late, bound = self.latency_ms(candidate)
            if late > limits.max_latency_ms * (1 + bound):
                found["latency_ms"] = late
        if limits.max_memory_mb:
            large = self.memory_mb(candidate)
            if large is not None and large > limits.max_memory_mb * (1 + MEMORY_BOUND):
                found["peak_memory_mb"] = large
        return found

    def latency_ms(self, candidate: Candidate) -> tuple[float, float]:
        """Milliseconds per image, and the relative error that nine in ten stay under."""
        specs = networks(candidate)
        predictor = self._known([*specs, *(t.unet for t in self.timed)]).refined(self.timed)
        return sum(predictor.predict(spec, 1) for spec in specs), predictor.bound

    def memory_mb(self, candidate: Candidate) -> float | None:
        """Peak of sampling a batch; None where it cannot be told."""
        sampler = candidate.sampler
        levels = karras_levels(sampler.nfe, 0.01, 10.0)  # which ones does not matter
        try:
            return sampling_bytes(candidate.unet, sampler.solver, levels, self.batch) / 1e6
        except Untraceable:
            return None

    def _known(self, specs: list[UNetSpec]) -> Predictor:
        """The table with the operators of these networks; it is read again only to grow."""
        wanted = grid(specs)
        if self._table is None or any(o not in self._table.times for o in wanted):
            self._table = load_table(wanted, self.batch, self.tables)
        return self._table


def networks(candidate: Candidate) -> tuple[UNetSpec, ...]:
    """The network of each step."""
    return by_step(candidate.unet, candidate.step_widths, candidate.sampler.nfe)
