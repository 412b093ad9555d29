"""Narrower versions of a network, and students that are wide at some of their steps alone."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ado_nas.specs import UNetSpec

PATTERNS = ("even", "wide-first", "wide-last")  # of the widths over a sampler's steps
NARROW = 0.5  # share of the widths at the other steps
TIME_SHARES = (0.25, 0.5, 0.75, 1.0)  # few, so that the networks of a training repeat


def units(spec: UNetSpec) -> tuple[int, ...]:
    """What each level's width is a multiple of: 4, the norm's groups, whole heads."""
    whole = math.lcm(4, spec.groups)
    return tuple(math.lcm(whole, spec.head_dim) if k != "none" else whole for k in spec.attention)


def narrowed(spec: UNetSpec, share: float) -> UNetSpec:
    """The network with a share of its widths.

    Args:
        spec: the wide network.
        share: above 0, at most 1.

    Returns:
        The same network with each width at the nearest number that its level can have; the time
        embedding stays as it is.
    """
    pairs = zip(spec.widths, units(spec), strict=True)
    widths = tuple(min(w, max(1, math.floor(w * share / u + 0.5)) * u) for w, u in pairs)
    return dataclasses.replace(spec, widths=widths)


def drawn(spec: UNetSpec, least: float, rng: np.random.Generator) -> UNetSpec:
    """A network between a share of the widths and all of them, each level by itself.

    Args:
        spec: the wide network.
        least: the smallest share.
        rng: decides.

    Returns:
        The same network, narrower; its time embedding is a share of the wide one's too.
    """
    low = narrowed(spec, least).widths
    ranges = zip(low, spec.widths, units(spec), strict=True)
    widths = tuple(int(rng.integers(a // u, b // u + 1)) * u for a, b, u in ranges)
    share = float(rng.choice([s for s in TIME_SHARES if s >= least]))
    return dataclasses.replace(spec, widths=widths, time_width=timed(spec, share))


def narrowest(spec: UNetSpec, least: float) -> UNetSpec:
    """The narrowest network that `drawn` gives."""
    share = min(s for s in TIME_SHARES if s >= least)
    return dataclasses.replace(narrowed(spec, least), time_width=timed(spec, share))


def timed(spec: UNetSpec, share: float) -> int:
    """A share of the width of the time embedding, rounded up to a multiple of 4."""
    return min(spec.time_width, math.ceil(spec.time_width * share / 4) * 4)


def shares(pattern: str, steps: int) -> tuple[float, ...]:
    """What a pattern means for a sampler.

    Args:
        pattern: one of `PATTERNS`; the first step is that of the most noise.
        steps: of the sampler.

    Returns:
        The share of the widths at each step; empty where all steps are alike.
    """
    if pattern == "even" or steps == 1:
        return ()
    narrow = (NARROW,) * (steps - 1)
    return (1.0, *narrow) if pattern == "wide-first" else (*narrow, 1.0)


def by_step(spec: UNetSpec, found: tuple[float, ...], steps: int) -> tuple[UNetSpec, ...]:
    """The network of each step.

    Args:
        spec: the whole one.
        found: as `shares` gives them.
        steps: of the sampler.
    """
    return tuple(narrowed(spec, s) for s in found) if found else (spec,) * steps


def settled(spec: UNetSpec, found: tuple[float, ...]) -> tuple[float, ...]:
    """The shares, or none where they change nothing about this network."""
    return found if any(n != spec for n in by_step(spec, found, 0)) else ()
