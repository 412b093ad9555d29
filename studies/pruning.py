"""Which trials stop at a rung: by rank among those that came as far, or because they cannot pass.

Latency and size of a candidate are final before it trains; only its quality is not. So trials are
compared at a rung by all objectives: the gap there, and the latency and size they will end with.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ado_nas.errors import ConfigError
from studies.axes import Point
from studies.pareto import Points, contributions, layers

PRUNERS = ("pareto", "none")
LATEST = 0.75  # of a training, where trials are compared for the last time
FULL = 4  # trials that make a rung worth comparing on
COMPLETE = 4  # trials that went on to the end, to know what the rest of the training may add
COMMON = 0.75  # of them have no larger gain than the one a trial may hope for
SPARED = 0.1  # of a rung go on beyond one in `factor`, for ranks there are not those in the end


@dataclass(frozen=True)
class Entry:
    """A trial at a rung."""

    point: Point  # the gap at the rung, the latency and the size, as `studies.axes`
    retention: float  # at the rung
    retention_high: float  # the upper end of its interval
    final: float | None = None  # retention in the end, of a trial that is complete


@dataclass(frozen=True)
class Rule:
    """What a trial must be to go on."""

    factor: int  # of those on a rung, one in so many and `SPARED` go on, beside its front
    min_retention: float
    latency: float  # log ms, and
    size: float  # log MB: beyond these nothing adds hypervolume


def rungs(iterations: int, grace: int, factor: int) -> tuple[int, ...]:
    """After how many iterations trials are compared.

    Args:
        iterations: of a whole training.
        grace: before the first rung; 0: a quarter of the training, for earlier ranks say little.
        factor: from one rung to the next.

    Returns:
        grace, grace x factor, ... up to three quarters of the training: later there is too little
        left to save.

    Raises:
        ConfigError: a grace below 0 or a factor below 2.
    """
    if grace < 0 or factor < 2:
        raise ConfigError(f"grace {grace} and factor {factor}: give at least 0 and at least 2")
    first = grace or max(1, iterations // 4)
    every = (first * factor**k for k in itertools.count())
    return tuple(itertools.takewhile(lambda rung: rung <= LATEST * iterations, every))


def verdict(own: Entry, others: Sequence[Entry], rule: Rule) -> str:
    """Whether a trial stops at a rung.

    Args:
        own: the trial.
        others: those that reached the same rung before, in any order.
        rule: what is asked of it.

    Returns:
        Why it stops, in words; empty where it goes on.
    """
    if all(_dominates(own.point, other.point) for other in others):
        return ""
    return hopeless(own, others, rule) or behind(own, others, rule)


def hopeless(own: Entry, others: Sequence[Entry], rule: Rule) -> str:
    """Whether a trial cannot reach the least retention, in words.

    The interval of what it may come to goes up to the upper end of its retention now, times the
    most that the rest of the training has added to any trial.
    """
    known = _gains(others)
    if len(known) < COMPLETE:
        return ""
    most = own.retention_high * max(1.0, *known)
    if most >= rule.min_retention:
        return ""
    return (
        f"retention {own.retention:.2f}, at most {most:.2f} in the end where "
        f"{rule.min_retention:g} is wanted"
    )


def behind(own: Entry, others: Sequence[Entry], rule: Rule) -> str:
    """Whether too many on the rung are better, in words: by front, then by hypervolume.

    Those that would need an uncommon gain to reach the least retention come after all others:
    without that the smallest network, however bad, is on every front.
    """
    count = len(others) + 1
    if count < FULL:
        return ""
    # Sorted, for the rounding of volumes must not depend on who came when.
    every = [own, *sorted(others, key=lambda e: (e.point, e.retention))]
    likely = np.array([e.retention for e in every]) >= _needed(others, rule)
    points = np.array([e.point for e in every], dtype=np.float64)
    alike = likely == likely[0]
    fronts = layers(points[alike])
    if likely[0] and fronts[0] == 0:
        return ""
    room = math.ceil(round(count * (1 / rule.factor + SPARED), 9))
    better = int((~alike).sum() * (not likely[0]) + (fronts < fronts[0]).sum())
    mine = points[alike][fronts == fronts[0]]
    if better < room < better + len(mine):  # only then does the order inside a front decide
        volumes = contributions(mine, _corner(points, rule))
        better += int((volumes > volumes[0]).sum())
    if better < room:
        return ""
    return f"{better} of {count - 1} are ahead, it is on front {fronts[0] + 1}"


def _gains(others: Iterable[Entry]) -> list[float]:
    """By how much the rest of the training multiplied the retention of those that had it."""
    return [o.final / o.retention for o in others if o.final is not None]


def _needed(others: Sequence[Entry], rule: Rule) -> float:
    """The retention at the rung that three in four would not raise to the least one."""
    known = _gains(others)
    if len(known) < COMPLETE:
        return 0.0
    return rule.min_retention / float(np.quantile(known, COMMON))


def _corner(points: Points, rule: Rule) -> Points:
    """Just beyond the worst quality on the rung, and where latency and size add nothing."""
    return np.array([points[:, 0].max() + 1e-3, rule.latency, rule.size])


def _dominates(one: Point, other: Point) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)
