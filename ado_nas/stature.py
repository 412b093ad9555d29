"""How large a network that changes while it trains is at each point: specs only, no arrays.

A candidate's network is its target. Pruning starts from a wider one and cuts towards it, growing
from a narrower one. Levels of equal width stay equal, for their features are added up.
"""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

from ado_nas.specs import UNetSpec
from ado_nas.widths import units

WIDER = 1.5  # times the target's widths, where pruning starts
NARROWER = 0.5  # where growing starts; at whole multiples it changes nothing


def start(target: UNetSpec, teacher: UNetSpec, adaptation: str) -> UNetSpec:
    """The network that training begins with.

    Args:
        target: the network to end with.
        teacher: the weights come from it, so pruning starts no wider and no deeper than it is,
            compared at equal sides of the feature maps.
        adaptation: none, prune or grow.

    Returns:
        The target itself where nothing is to change, or there is no room to.
    """
    if adaptation == "none":
        return target
    factor = WIDER if adaptation == "prune" else NARROWER
    widths = [_scaled(target, level, factor) for level in range(len(target.widths))]
    blocks = [(b + 1) // 2 for b in target.blocks]
    if adaptation == "prune":
        known = _levels(teacher)
        sides = list(_levels(target))
        caps = [known.get(side, (0, 0)) for side in sides]
        step = [_unit(target, level) for level in range(len(widths))]
        widths = [min(w, cap // s * s) for w, (cap, _), s in zip(widths, caps, step, strict=True)]
        widths = [max(w, t) for w, t in zip(widths, target.widths, strict=True)]
        blocks = [
            max(b, min(b + 1, most)) for b, (_, most) in zip(target.blocks, caps, strict=True)
        ]
    return dataclasses.replace(target, widths=_tied(widths, target), blocks=tuple(blocks))


def towards(current: UNetSpec, target: UNetSpec, left: int) -> UNetSpec:
    """The next network on the way to the target.

    Args:
        current: the network as it is.
        target: the network to end with.
        left: changes left, this one included; the last one goes all the way.

    Returns:
        A network in between, whose levels are equally wide where those of both ends are; the
        target where it is wider by whole multiples, for that way the function stays exactly.
    """
    if all(b > a and b % a == 0 for a, b in zip(current.widths, target.widths, strict=True)):
        return target
    widths = tuple(
        now + _unit(target, level) * _part(now, goal, left * _unit(target, level))
        for level, (now, goal) in enumerate(zip(current.widths, target.widths, strict=True))
    )
    pairs = zip(current.blocks, target.blocks, strict=True)
    blocks = tuple(now + _part(now, goal, left) for now, goal in pairs)
    found = dataclasses.replace(target, widths=widths, blocks=blocks)
    # A shortcut that were lost on the way could not come back.
    return found if _equal(found) <= _equal(target) | _equal(current) else target


def _part(now: int, goal: int, of: int) -> int:
    """A whole share of the way, rounded up, so that changes come early."""
    away = -(-abs(goal - now) // of)
    return away if goal > now else -away


def _scaled(spec: UNetSpec, level: int, factor: float) -> int:
    unit = _unit(spec, level)
    units = spec.widths[level] * factor / unit
    return unit * max(1, math.floor(units) if factor > 1 else math.ceil(units))


def _unit(spec: UNetSpec, level: int) -> int:
    """Widths of a level, and of those equal to it beside it, are whole multiples of this."""
    run = next(run for run in _runs(spec) if level in run)
    return math.lcm(*(units(spec)[i] for i in run))


def _levels(spec: UNetSpec) -> dict[int, tuple[int, int]]:
    """By side of the feature map: width and blocks."""
    first = spec.resolution // spec.patch
    pairs = zip(spec.widths, spec.blocks, strict=True)
    return {first // 2**level: pair for level, pair in enumerate(pairs)}


def _equal(spec: UNetSpec) -> set[int]:
    """Levels as wide as the one below them."""
    return {level for level, (a, b) in enumerate(pairwise(spec.widths)) if a == b}


def _runs(spec: UNetSpec) -> list[list[int]]:
    """Levels in runs of equal width."""
    runs: list[list[int]] = [[0]]
    for level in range(1, len(spec.widths)):
        if level - 1 in _equal(spec):
            runs[-1].append(level)
        else:
            runs.append([level])
    return runs


def _tied(widths: list[int], target: UNetSpec) -> tuple[int, ...]:
    """Levels that are equal in the target get the least of their widths."""
    return tuple(min(widths[i] for i in run) for run in _runs(target) for _ in run)
