"""What searches come to beside each other: hypervolume over time, ratios, intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import stdtrit

from studies.axes import Point, axes
from studies.pareto import history

Curve = list[list[float]]
"""Pairs of seconds and hypervolume after each scored trial."""

NEAR = 0.99  # of the plain loop's last hypervolume, which it may take long to add little to


def working(starts: Sequence[float], ends: Sequence[float]) -> list[float]:
    """Seconds of work until each end, where what ran was perhaps stopped and went on.

    Of a run that was stopped, what came after its last end is lost, and not counted.

    Args:
        starts: of the runs, in seconds of any clock, rising.
        ends: of trials, by the same clock, in any order, none before the first start.

    Returns:
        One number an end, in the order given.
    """
    found, before = dict[float, float](), 0.0
    for begin, following in pairwise([*starts, math.inf]):
        mine = sorted(e for e in ends if begin <= e < following)
        found |= {end: before + end - begin for end in mine}
        before += mine[-1] - begin if mine else 0.0
    return [found[end] for end in ends]


def curve(
    ends: Sequence[float], points: Sequence[Mapping[str, float]], floor: float, corner: Point
) -> Curve:
    """Hypervolume as the scored trials of a search ended.

    Args:
        ends: of each in seconds, in any order.
        points: gap, latency_ms and size_mb of each.
        floor: of the gap.
        corner: as `studies.axes.reference_point`.
    """
    order = sorted(range(len(ends)), key=lambda i: ends[i])
    logs = np.array([axes(points[i], floor) for i in order], dtype=np.float64).reshape(-1, 3)
    volumes = history(logs, np.array(corner))
    return [[round(ends[i], 1), round(float(v), 5)] for i, v in zip(order, volumes, strict=True)]


def reached(found: Curve, wanted: float) -> float | None:
    """Seconds until a search had that hypervolume; None where it never had."""
    return next((seconds for seconds, volume in found if volume >= wanted), None)


def after(found: Curve, seconds: float) -> float:
    """The hypervolume that a search had after so long."""
    return max((volume for ended, volume in found if ended <= seconds), default=0.0)


def row_of(seed: int, found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The row of one seed.

    Args:
        seed: of its searches.
        found: by kind, ``ours`` and ``random`` and perhaps ``plain``.
    """
    ours = found["ours"]
    row = {"seed": seed, "hypervolume": ours["hypervolume"], "seconds": ours["seconds"]}
    row["random_hypervolume"] = found["random"]["hypervolume"]
    if "plain" in found:
        plain = found["plain"]
        row |= {
            "plain_hypervolume": plain["hypervolume"],
            "plain_seconds": plain["seconds"],
            "plain_at_equal_time": after(plain["curve"], ours["seconds"]),
            "seconds_to_plain": reached(ours["curve"], plain["hypervolume"]),
            "time_ratio": time_ratio(ours, plain),
            "near_ratio": time_ratio(ours, plain, NEAR),
        }
    return row


def time_ratio(
    search: Mapping[str, Any], plain: Mapping[str, Any], share: float = 1.0
) -> float | None:
    """How many times as long the plain loop took to a share of its last hypervolume.

    Both are timed until they had it: what the plain loop went on with in vain does not count.
    None where the search never had it.
    """
    wanted = share * plain["hypervolume"]
    own, its = (reached(s["curve"], wanted) for s in (search, plain))
    return None if own is None or its is None else round(its / own, 2)


def verdict(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Over the seeds the least and the mean time ratio, and what is gained over chance.

    Args:
        rows: as `row_of` makes them.

    Returns:
        ``least_time_ratio``, 0 where one never reached it, and as `interval` ``time_ratio``
        (geometric) and ``hypervolume_gain`` (ours less the random search of the same seed).
    """
    ratios = [row["time_ratio"] or 0.0 for row in rows if "time_ratio" in row]
    gains = [row["hypervolume"] - row["random_hypervolume"] for row in rows]
    return {
        "least_time_ratio": min(ratios, default=None),
        "time_ratio": geometric(ratios),
        "hypervolume_gain": interval(gains),
    }


def ablated(searches: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """What each component is worth: the searches without it beside ours of the same seeds.

    Args:
        searches: all of them, with kind and seed.
        names: kinds, each without one component.

    Returns:
        By name, as `interval`, ``hypervolume_change`` (less ours), ``seconds_ratio`` (to ours) and
        ``time_ratio`` (as ours has it to the plain loop).
    """
    by = {(s["kind"], s["seed"]): s for s in searches}
    found = {}
    for name in names:
        seeds = [seed for kind, seed in by if kind == name]
        own, ours, plain = ([by[k, s] for s in seeds] for k in (name, "ours", "plain"))
        changes = [a["hypervolume"] - b["hypervolume"] for a, b in zip(own, ours, strict=True)]
        longer = [a["seconds"] / b["seconds"] for a, b in zip(own, ours, strict=True)]
        ratios = [time_ratio(a, b) or 0.0 for a, b in zip(own, plain, strict=True)]
        found[name] = {
            "hypervolume_change": interval(changes),
            "seconds_ratio": geometric(longer),
            "time_ratio": geometric(ratios),
        }
    return found


def interval(values: Sequence[float]) -> dict[str, float | None]:
    """The mean with its 95% interval by Student's t; without two values there is no interval.

    Args:
        values: independent ones.

    Returns:
        mean, low and high; None for what is not known.
    """
    if not values:
        return {"mean": None, "low": None, "high": None}
    mean = float(np.mean(values))
    if len(values) < 2:
        return {"mean": round(mean, 5), "low": None, "high": None}
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = float(stdtrit(len(values) - 1, 0.975)) * error
    return {"mean": round(mean, 5), "low": round(mean - half, 5), "high": round(mean + half, 5)}


def geometric(values: Sequence[float]) -> dict[str, float | None]:
    """As `interval`, of the logarithms; nothing is known where a value is 0."""
    if min(values, default=0.0) <= 0:
        return interval([])
    logs = interval([math.log(v) for v in values])
    return {name: None if v is None else round(math.exp(v), 3) for name, v in logs.items()}
