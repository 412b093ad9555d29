"""Which member of the front is taken: the usual pick, the knee, under a limit, or by weights.

Everything that needs one model out of a study asks here: reports, exports and the command line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ado_nas.errors import ConfigError, NegativeVerdict, nearest
from studies.pareto import Points, front
from studies.record import StudyRecord

ENOUGH = 0.9  # retention at which a student counts as good as the reference
RULE = (
    f"of the front members that keep at least {ENOUGH:.0%} of the reference's quality, also when "
    "measured again and when trained again, the one with the largest product of speedup and "
    "compression, those that repeated from other seeds first; if there is none, the one with the "
    "highest retention"
)
KNEE = (
    "the front member that is hardest to better: for what any other gains over it, in logs of "
    "gap, latency and size, that one loses most"
)
COSTS = ("latency", "size", "memory")
AXES = ("quality", "latency", "size")
WAYS = "best, knee, latency=MS, size=MB, memory=MB, retention=SHARE, weights=quality:2,latency:1"
_TILT = 1e-3  # of the sum in a weighted choice, so that among equals the dominating one wins


@dataclass(frozen=True)
class Member:
    """A front member by its final figures: the latest and most thorough ones there are."""

    number: int
    gap: float
    retention: float
    latency: float  # ms
    size: float  # MB
    memory: float  # MB; infinite where it was not measured


@dataclass(frozen=True)
class Selection:
    """A member and the rule that it was taken by, in words."""

    number: int
    rule: str


@dataclass(frozen=True)
class Standing:
    """All that `RULE` looks at in a trial; the report's page applies it to these, too."""

    number: int
    kept: float  # the lowest retention of all measurements: a front is picked for luck, too
    cost: float  # ms x MB, by the final figures
    repeated: bool  # from other seeds


def members(record: StudyRecord) -> list[Member]:
    """The front by its final figures.

    Args:
        record: the study.

    Returns:
        One entry a front member, in the front's order.
    """
    return [_member(record, number) for number in record.front]


def standing(record: StudyRecord, number: int) -> Standing:
    """How a trial stands before `RULE`.

    Args:
        record: the study.
        number: of a scored trial.
    """
    member = _member(record, number)
    repeated = any(f.number == number and f.repeated for f in record.finalists)
    return Standing(number, _least_kept(record, number), member.latency * member.size, repeated)


def best(found: Sequence[Standing]) -> int | None:
    """The number of the best of these by `RULE`.

    Args:
        found: of a front.

    Returns:
        A trial number, or None where there is none.
    """
    enough = [s for s in found if s.kept >= ENOUGH]
    enough = [s for s in enough if s.repeated] or enough
    if enough:
        return min(enough, key=lambda s: (s.cost, -s.kept, s.number)).number
    return max(found, key=lambda s: (s.kept, -s.number)).number if found else None


def pick(record: StudyRecord) -> int | None:
    """The number of the best front member; see `RULE`.

    Args:
        record: the study; its `best` is not looked at.

    Returns:
        A trial number, or None where the front is empty.
    """
    return best([standing(record, number) for number in record.front])


def overtaken(record: StudyRecord) -> tuple[int, ...]:
    """The front members that another one dominates by the final figures.

    The search's own figures, by which nobody did, were luck in part.

    Args:
        record: the study.

    Returns:
        Their numbers, in the front's order.
    """
    found = members(record)
    points = np.asarray([(m.gap, m.latency, m.size) for m in found], dtype=np.float64)
    kept = front(points.reshape(-1, len(AXES)))
    return tuple(m.number for m, stays in zip(found, kept, strict=True) if not stays)


def corner(record: StudyRecord) -> int | None:
    """The number of the front member at the knee; see `KNEE`.

    Args:
        record: the study.

    Returns:
        A trial number, or None where the front is empty.
    """
    found = members(record)
    return found[knee(logs(record, found))].number if found else None


def select(record: StudyRecord, how: str) -> Selection:
    """Take one front member.

    Args:
        record: the study.
        how: ``best``, ``knee``, limits such as ``latency=2.0,retention=0.9``, or weights such as
            ``weights=quality:2,latency:1,size:1``.

    Returns:
        Its number and the rule.

    Raises:
        ConfigError: `how` is none of these.
        NegativeVerdict: the front is empty, or nobody is within the limits; names the closest.
    """
    rule = _rule(how)
    found = members(record)
    if not found:
        raise NegativeVerdict(
            f"study {record.name!r} has no front to pick from; search on, or loosen its limits"
        )
    return rule(record, found)


def logs(record: StudyRecord, found: Sequence[Member]) -> Points:
    """The objectives of members on a scale from 0, the front's best, to 1, its worst: (n, 3).

    Args:
        record: the study, for the floor of its gaps.
        found: its members.

    Returns:
        Rows of log(gap + floor), log(latency) and log(size), each column over its range.
    """
    floor = max(float(record.reference.get("floor", 0.0)), 1e-9)
    rows = [(math.log(m.gap + floor), math.log(m.latency), math.log(m.size)) for m in found]
    return scaled(np.asarray(rows, dtype=np.float64).reshape(-1, len(AXES)))


def scaled(points: Points) -> Points:
    """Each column over its range, from 0 to 1; all 0 where it has none. At least one row."""
    low = points.min(axis=0)
    span = points.max(axis=0) - low
    found: Points = (points - low) / np.where(span > 0, span, 1.0)
    return found


def knee(points: Points) -> int:
    """The row from which every other one loses most for what it gains.

    Args:
        points: (n, m) of a front, all minimized, on comparable scales.

    Returns:
        The row whose smallest ratio of loss to gain is largest; the first of equals.

    Source: Rachmawati and Srinivasan 2009, "Multiobjective evolutionary algorithm with
    controllable focus on the knees of the Pareto front", equation 4, over the whole front.
    """
    changes = points[None, :, :] - points[:, None, :]  # from row i to row j
    loss, gain = np.maximum(changes, 0).sum(-1), np.maximum(-changes, 0).sum(-1)
    ratios = np.divide(loss, gain, out=np.full_like(loss, np.inf), where=gain > 0)
    return int(ratios.min(axis=1).argmax())


def spread(points: Points, chosen: Sequence[int]) -> list[int]:
    """All rows in an order whose every beginning covers the front.

    Args:
        points: (n, m) on comparable scales.
        chosen: rows that come first, at least one.

    Returns:
        Every row once: the chosen, then always the one farthest from all before it.
    """
    order = list(dict.fromkeys(chosen))
    while len(order) < len(points):
        gaps = np.linalg.norm(points[:, None] - points[order][None], axis=-1).min(axis=1)
        gaps[order] = -1.0
        order.append(int(gaps.argmax()))
    return order


def _member(record: StudyRecord, number: int) -> Member:
    trial = record.trial(number)
    figures = {**trial.attributes, **trial.values, **record.again(number)}
    kept = float(figures.get("retention", 0.0))
    gap, latency, size = (float(figures[n]) for n in ("gap", "latency_ms", "size_mb"))
    memory = float(figures.get("peak_memory_mb", math.inf))
    return Member(number, gap, kept, latency, size, memory)


def _least_kept(record: StudyRecord, number: int) -> float:
    own = float(record.trial(number).attributes.get("retention", 0.0))
    found = [record.remeasured.get(number, {}), record.again(number)]
    return min([own, *(float(f["retention"]) for f in found if "retention" in f)])


def _rule(how: str) -> Callable[[StudyRecord, list[Member]], Selection]:
    """The rule that `how` asks for, its numbers read."""
    name, _, rest = how.partition("=")
    if how == "best":
        return _best
    if how == "knee":
        return _knee
    if name == "weights":
        weights = _numbers(how, rest, ":", AXES)
        return lambda record, found: _weighted(record, found, weights)
    limits = _numbers(how, how, "=", (*COSTS, "retention"))
    return lambda _, found: _within(found, limits)


def _best(record: StudyRecord, _: list[Member]) -> Selection:
    best = pick(record)
    assert best is not None  # the front is not empty
    return Selection(best, RULE)


def _knee(record: StudyRecord, _: list[Member]) -> Selection:
    number = corner(record)
    assert number is not None  # the front is not empty
    return Selection(number, KNEE)


def _numbers(how: str, text: str, sign: str, names: Sequence[str]) -> dict[str, float]:
    found = {}
    for part in text.split(","):
        name, _, value = part.strip().partition(sign)
        if name not in names:
            hint = nearest(name, names) if name else f"give {WAYS}"
            raise ConfigError(f"pick {how!r}: no {name!r}; {hint}; ways to pick: {WAYS}")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = math.nan
        if not 0 < found[name] < math.inf:
            raise ConfigError(f"pick {how!r}: {name} {value!r} is no number above 0; give {WAYS}")
    return found


def _within(found: list[Member], limits: Mapping[str, float]) -> Selection:
    """Within limits on costs the best quality; where quality has one too, the cheapest."""
    over = {m.number: _excess(m, limits) for m in found}
    asked = ", ".join(f"{name} {value:g}" for name, value in limits.items())
    within = [m for m in found if over[m.number] <= 0]
    if not within:
        near = min(found, key=lambda m: (over[m.number], m.number))
        has = ", ".join(f"{name} {getattr(near, name):.3g}" for name in limits)
        raise NegativeVerdict(
            f"no front member is within {asked}; the closest, trial {near.number}, has {has}"
        )
    if "retention" in limits:
        best = min(within, key=lambda m: (m.latency * m.size, -m.retention, m.number))
        goal = "the smallest product of latency and size"
    else:
        best = max(within, key=lambda m: (m.retention, -m.latency * m.size, -m.number))
        goal = "the highest retention"
    return Selection(best.number, f"of the front members within {asked}, the one with {goal}")


def _excess(member: Member, limits: Mapping[str, float]) -> float:
    """By how much of the limits a member misses them, in all; 0 where it meets all."""
    over = [float(getattr(member, n)) / limits[n] - 1 for n in COSTS if n in limits]
    if "retention" in limits:
        over.append(1 - member.retention / limits["retention"])
    return sum(max(0.0, o) for o in over)


def _weighted(record: StudyRecord, found: list[Member], weights: Mapping[str, float]) -> Selection:
    """The least weighted distance from the best of each objective.

    The largest of the weighted distances counts: a sum would never take what lies in a dent.

    Source: Steuer and Choo 1983, the augmented weighted Chebyshev program.
    """
    share = np.array([weights.get(name, 0.0) for name in AXES])
    distances = logs(record, found) * share / share.sum()
    scores = distances.max(axis=1) + _TILT * distances.sum(axis=1)
    asked = ", ".join(f"{name} {value:g}" for name, value in weights.items())
    rule = (
        "the front member whose largest weighted distance from the front's best, in logs over the "
        f"front's range, is least; weights: {asked}"
    )
    return Selection(found[int(scores.argmin())].number, rule)
