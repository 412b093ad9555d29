"""What a candidate will cost, told before it is built, by what this worker has measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from ado_nas.diffusion.levels import karras_levels
from ado_nas.errors import Untraceable
from ado_nas.measure.footprint import sampling_bytes
from ado_nas.measure.predictor import LEAST, Predictor, Timed, grid, kept_table, load_table
from ado_nas.runtime import all_cores
from ado_nas.specs import Candidate, UNetSpec
from ado_nas.widths import by_step
from objectives.scores import Limits

CALIBRATED = 8  # timings of its own before a worker trusts its predictions
RECENT = 64  # timings that a prediction is fitted to; more take longer and say little more
MEMORY_BOUND = 0.5  # predicted peaks were at most this much over the measured ones
Figures = dict[str, float]


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

    def told(self, candidate: Candidate, limits: Limits) -> tuple[Figures, Figures]:
        """What can be told of a candidate.

        Operators are timed for it only where latency has a limit, and memory is worked out only
        where that has one; else a latency is told from what happens to be known.

        Args:
            candidate: not built yet.
            limits: what is allowed.

        Returns:
            ``latency_ms`` and ``peak_memory_mb`` as predicted, as far as they are known; and those
            of them that are over a limit by more than the prediction's error.
        """
        found: Figures = {}
        over: Figures = {}
        limit = limits.max_latency_ms if len(self.timed) >= CALIBRATED else None
        if limit or len(self.timed) >= LEAST:
            found["latency_ms"], bound = self.latency_ms(candidate, bool(limit))
            if limit and found["latency_ms"] > limit * (1 + bound):
                over["latency_ms"] = found["latency_ms"]
        if limits.max_memory_mb and (large := self.memory_mb(candidate)) is not None:
            found["peak_memory_mb"] = large
            if large > limits.max_memory_mb * (1 + MEMORY_BOUND):
                over["peak_memory_mb"] = large
        return found, over

    def latency_ms(self, candidate: Candidate, measure: bool = True) -> tuple[float, float]:
        """How long sampling will take.

        Args:
            candidate: not built yet.
            measure: whether to time operators that are not in the table.

        Returns:
            Milliseconds per image, and the relative error that nine in ten stay under.
        """
        specs, seen = networks(candidate), self.timed[-RECENT:]
        table = self._known([*specs, *(t.unet for t in seen)]) if measure else self._kept()
        unit = 1.0 if table.times else _unit(table, seen)
        predictor = table.refined([replace(t, latency_ms=t.latency_ms / unit) for t in seen])
        return unit * sum(predictor.predict(spec, 1) for spec in specs), predictor.bound

    def memory_mb(self, candidate: Candidate) -> float | None:
        """Peak of sampling a batch with all cores; None where it cannot be told."""
        sampler = candidate.sampler
        levels = karras_levels(sampler.nfe, 0.01, 10.0)  # which ones does not matter
        try:
            with all_cores():  # as it is measured
                return sampling_bytes(candidate.unet, sampler.solver, levels, self.batch) / 1e6
        except Untraceable:
            return None

    def _known(self, specs: list[UNetSpec]) -> Predictor:
        """The table with the operators of these networks; it is read again only to grow."""
        wanted = grid(specs)
        if self._table is None or any(o not in self._table.times for o in wanted):
            self._table = load_table(wanted, self.batch, self.tables)
        return self._table

    def _kept(self) -> Predictor:
        """The table as it is; without one, a rough model of operators that timings refine."""
        if self._table is None:
            self._table = kept_table(self.batch, self.tables) or Predictor(self.batch, {})
        return self._table


def _unit(table: Predictor, seen: Sequence[Timed]) -> float:
    """How many times longer networks took than a table says that knows no device."""
    return median(t.latency_ms / table.predict(t.unet, t.steps) for t in seen)


def networks(candidate: Candidate) -> tuple[UNetSpec, ...]:
    """The network of each step."""
    return by_step(candidate.unet, candidate.step_widths, candidate.sampler.nfe)
