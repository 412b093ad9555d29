"""The best way to sample a model within a time per image, chosen and then measured."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from ado_nas.adaptive.calltimes import CallTimes
from ado_nas.adaptive.choice import TIE, Choice, Judged, choose, closest, tied
from ado_nas.adaptive.slimming import slimmed
from ado_nas.errors import ConfigError, NegativeVerdict
from ado_nas.measure.speed import Latency, latency
from ado_nas.modelfolder import Model
from ado_nas.progress import Progress, silent

WINDOW = 0.9  # a measured latency from this share of the target up to it is what is wanted
AIM = 0.97  # of the target, so that the next measurement meets it, too
ROUNDS = 10
CONFIRMED = 3  # times at most that what was settled on is timed once more
NEAR = (0.8, 1.1)  # shares of the target between which a time is taken again
_AGAIN = 3  # times at most
PRECISION = 0.015  # standard error that a latency is measured to, of itself
PATIENCE = 10.0  # seconds of timing, after which it is good enough
_TIMINGS, _EVALUATIONS = 3, 8  # so many at least, each of so many


@dataclass(frozen=True, eq=False)
class Settled:
    """What was chosen for a target, as measured, and how it was found."""

    choice: Choice
    target_ms: float
    confirmed_ms: float  # timed once more after it was chosen; not above the target
    note: str  # why the latency lies below the window; empty where it does not
    tried: list[Choice]  # all that was measured
    table: CallTimes  # corrected by that

    @property
    def within(self) -> bool:
        """Whether the measured latency lies within a tenth below the target."""
        return _within(self.choice.ms, self.target_ms)

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        return {
            **self.choice.facts(),
            "images_per_second": converted(self.choice.ms),
            "target_ms": self.target_ms,
            "confirmed_ms": self.confirmed_ms,
            "within": self.within,
            "note": self.note,
            "tried": [c.facts() for c in self.tried],
            "call_times": self.table.facts(),
        }


def converted(rate: float) -> float:
    """Images per second as milliseconds per image, and the other way round.

    Raises:
        ConfigError: it is no finite number above 0.
    """
    if not (math.isfinite(rate) and rate > 0):
        raise ConfigError(f"{rate:g} as a target; give a number above 0")
    return 1000.0 / rate


def settle(
    rows: Sequence[Judged],
    table: CallTimes,
    target_ms: float,
    measure: Callable[[Judged, int], float],
    rounds: int = ROUNDS,
    progress: Progress = silent,
) -> Settled:
    """Choose, measure, correct the table by what was measured, and choose again.

    Ends where the measured latency lies within a tenth below the target, or nothing new is worth
    a measurement; what lies near the window is then timed again, and its median counts. What is
    settled on is timed once more: where that is above the target, it counts like the other
    timings, and something is settled on again.

    Args:
        rows: what there is to choose from, at least one.
        table: the call times; see `calltimes.measured_call_times`.
        target_ms: per image.
        measure: milliseconds per image of a row in batches of a size; see `stopwatch`.
        rounds: measurements at most, those that confirm aside.
        progress: told after each.

    Returns:
        The best of what was measured to meet the target: of the highest retention, to within 1%;
        of those, within the window; then of fewest evaluations and the smallest batch.

    Raises:
        ConfigError: the target is no number above 0, or there are no rows.
        NegativeVerdict: nothing meets the target, or nothing that met it did so once more; names
            what comes closest.
    """
    converted(target_ms)
    if not rows:
        raise ConfigError("no recipes to choose from; judge at least one")
    trials = _Trials(measure, table)
    turn = 0
    for _ in range(CONFIRMED):
        while turn < rounds:
            about = target_ms, trials.tried
            chosen = _next(rows, trials.table, table, *about) or _near(trials, target_ms)
            if chosen is None:
                break
            turn, now = turn + 1, trials.take(chosen)
            progress("tuning", turn, rounds, f"{now.known_as}: {now.ms:.3g} ms")
            if _within(now.ms, target_ms):
                break
        best = _best(trials.tried, target_ms)
        again = trials.take(best)
        last = trials.timings[best.key][-1]
        progress("tuning", turn, rounds, f"{again.known_as}: {last:.3g} ms once more")
        if last <= target_ms:
            note = _note(best, target_ms)
            return Settled(best, target_ms, last, note, trials.tried, trials.table)
    raise NegativeVerdict(
        f"{best.known_as} took {best.ms:.4g} ms an image, but {last:.4g} once more: "
        f"{target_ms:.4g} ms do not hold on this machine now; ask for {last / AIM:.3g}"
    )


@dataclass(eq=False)
class _Trials:
    """What was measured so far, and the table as corrected by it."""

    measure: Callable[[Judged, int], float]
    table: CallTimes
    timings: dict[tuple[int, int], list[float]] = field(default_factory=dict)
    tried: list[Choice] = field(default_factory=list)  # each with its median

    def take(self, chosen: Choice) -> Choice:
        """Time a choice; returns it with the median of its timings."""
        found = self.timings.setdefault(chosen.key, [])
        found.append(self.measure(chosen.row, chosen.batch))
        now = dataclasses.replace(chosen, ms=statistics.median(found))
        self.tried = [*(c for c in self.tried if c.key != chosen.key), now]
        self.table = self.table.corrected(chosen.row.calls, chosen.batch, now.ms)
        return now


def stopwatch(model: Model, guidance: float = 1.0) -> Callable[[Judged, int], float]:
    """Measures recipes of a model, end to end, alone on the device.

    Args:
        model: the network; a slimmable one where rows have widths of their own.
        guidance: weight of classifier-free guidance; 1 is off.

    Returns:
        (row, batch) -> milliseconds per image; see `steady`.
    """

    def measure(row: Judged, batch: int) -> float:
        recipe = row.recipe
        unet = slimmed(model.unet, recipe.shares)
        run = dataclasses.replace(model, unet=unet)
        about = run, recipe.run, recipe.levels, guidance, batch, _EVALUATIONS
        return steady(lambda: latency(*about))

    return measure


def steady(time: Callable[[], Latency], clock: Callable[[], float] = monotonic) -> float:
    """Time again until the median is sure: some machines waver by a fifth from second to second.

    Args:
        time: one timing.
        clock: seconds.

    Returns:
        The median of the timings' medians.
    """
    begin, found = clock(), [time() for _ in range(_TIMINGS)]
    while _error(found) > PRECISION and clock() - begin < PATIENCE:
        found.append(time())
    return statistics.median(f.median_ms for f in found)


def _error(found: Sequence[Latency]) -> float:
    """Relative standard error of the median, by the timings and by the evaluations in them."""
    medians = [f.median_ms for f in found]
    between = statistics.stdev(medians) / math.sqrt(len(found))
    count = sum(f.evaluations for f in found)
    # Of a normal distribution: the deviation is IQR / 1.35, and a median's error 1.25 as large.
    inside = 1.25 / 1.35 * statistics.median(f.iqr_ms for f in found) / math.sqrt(count)
    return max(between, inside) / statistics.median(medians)


def _next(
    rows: Sequence[Judged],
    table: CallTimes,
    given: CallTimes,
    target_ms: float,
    tried: Sequence[Choice],
) -> Choice | None:
    """What to measure next; None where nothing new is worth it."""
    known = {c.key for c in tried}
    first = choose(rows, table, target_ms, AIM) or closest(rows, table)
    better = choose(rows, given, target_ms)
    if better and first.row not in tied(rows, better.row.retention):
        # One size tells too little of the others: give it up when fastest and largest failed.
        row, curve = better.row, given.curve(better.row.calls)
        for batch in (closest([row], given).batch, len(curve)):
            if (id(row), batch) not in known and curve[batch - 1] <= target_ms:
                return Choice(row, batch, float(curve[batch - 1]))
    if first.key not in known:
        return first
    as_good = tied(rows, first.row.retention)
    others = [c for row in as_good for c in _windowed(row, table, target_ms)]
    others = [c for c in others if c.key not in known]
    return min(others, key=lambda c: (-c.row.retention, c.row.calls, c.batch), default=None)


def _near(trials: _Trials, target_ms: float) -> Choice | None:
    """What the machine's wavering alone may have kept out of the window."""
    near = [c for c in trials.tried if NEAR[0] * target_ms <= c.ms <= NEAR[1] * target_ms]
    near = [c for c in near if len(trials.timings[c.key]) < _AGAIN]
    middle = (1 + WINDOW) / 2 * target_ms
    return min(near, key=lambda c: abs(c.ms - middle), default=None)


def _windowed(row: Judged, table: CallTimes, target_ms: float) -> Iterator[Choice]:
    """All batches whose predicted time lies within the window."""
    for at, ms in enumerate(table.curve(row.calls)):
        if _within(ms, target_ms):
            yield Choice(row, at + 1, float(ms))


def _best(tried: Sequence[Choice], target_ms: float) -> Choice:
    met = [c for c in tried if c.ms <= target_ms]
    if not met:
        near = min(tried, key=lambda c: c.ms)
        raise NegativeVerdict(
            f"nothing takes {target_ms:.4g} ms an image or less here; the closest is "
            f"{near.known_as} with {near.ms:.4g} ms; ask for that, or distill a faster student"
        )
    top = max(c.row.retention for c in met)
    equal = [c for c in met if c.row.retention >= (1 - TIE) * top]
    return min(equal, key=lambda c: (not _within(c.ms, target_ms), c.row.calls, c.batch))


def _note(choice: Choice, target_ms: float) -> str:
    if _within(choice.ms, target_ms):
        return ""
    spare = f"{choice.ms:.4g} ms of the {target_ms:.4g} asked for"
    if choice.batch == 1:
        return f"{spare}, image by image: nothing better fits into the rest"
    return f"{spare}: smaller batches take more, and nothing better fits into the rest"


def _within(ms: float, target_ms: float) -> bool:
    return WINDOW * target_ms <= ms <= target_ms
