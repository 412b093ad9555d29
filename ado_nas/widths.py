"""Narrower versions of a network, and students that are wide at some of their steps alone."""

from __future__ import annotations

import dataclasses
import math

from ado_nas.specs import UNetSpec


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
