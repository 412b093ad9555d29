"""The architecture dimensions: widths, blocks, attention placement, activation, patch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from ado_nas.errors import SpecError
from ado_nas.specs import UNetSpec
from search_spaces.chooser import Choice, Chooser, choose
from search_spaces.space import Space, numbers


def draw_unet(space: Space, chooser: Chooser, base: UNetSpec) -> UNetSpec:
    """Draw a student network, valid by construction and in canonical form.

    Args:
        space: what can be chosen.
        chooser: who chooses.
        base: gives what is not searched: resolution, channels, classes, prediction. The teacher's.

    Returns:
        The network; different choices that build the same network return equal specs.

    Raises:
        SpecError: no patch of the space fits the resolution.
    """
    widths = numbers(choose(chooser, "widths", space.widths))
    blocks = numbers(choose(chooser, "blocks", space.blocks))
    placement = choose(chooser, "attention", space.attention)
    activation = choose(chooser, "activation", space.activation)
    patch = choose(chooser, "patch", space.patch)
    return dataclasses.replace(
        base,
        patch=fitting_patch(space, patch, base.resolution, len(widths)),
        widths=widths,
        blocks=(blocks + blocks[-1:] * len(widths))[: len(widths)],
        attention=_placed(placement, len(widths)),
        head_dim=_head_dim(space, placement, widths),
        activation=activation,
        groups=math.gcd(base.groups, *widths),
        time_width=space.time_width or max(32, 4 * widths[0]),
    )


def unet_params(unet: UNetSpec, space: Space) -> dict[str, Choice]:
    """The choices that draw this network; the inverse of `draw_unet`.

    Args:
        unet: a network that `space` can draw.
        space: what can be chosen.

    Returns:
        A choice for each architecture dimension.

    Raises:
        SpecError: the space has no such network.
    """
    levels = len(unet.widths)
    placed = {p: _placed(p, levels) for p in space.attention}
    padded = {b: (numbers(b) + numbers(b)[-1:] * levels)[:levels] for b in space.blocks}
    return {
        "widths": _matching("widths", {w: numbers(w) for w in space.widths}, unet.widths),
        "blocks": _matching("blocks", padded, unet.blocks),
        "attention": _matching("attention", placed, unet.attention),
        "activation": _matching("activation", {a: a for a in space.activation}, unet.activation),
        "patch": _matching("patch", {p: p for p in space.patch}, unet.patch),
    }


def fitting_patch(space: Space, patch: int, resolution: int, levels: int) -> int:
    """The drawn patch, or the largest smaller one of the space that the resolution can take.

    Raises:
        SpecError: none fits.
    """
    stride = 2 ** (levels - 1)
    fits = [p for p in sorted(space.patch) if resolution % (p * stride) == 0]
    smaller = [p for p in fits if p <= patch]
    if not fits:
        raise SpecError(
            f"resolution {resolution} does not divide by {stride} times any of the patches "
            f"{space.patch}; use a multiple of {stride * min(space.patch)}"
        )
    return smaller[-1] if smaller else fits[0]


def _placed(placement: str, levels: int) -> tuple[str, ...]:
    if placement == "low":
        return ("none",) * (levels - 1) + ("full",)
    return ("full" if placement == "all" else "none",) * levels


def _head_dim(space: Space, placement: str, widths: tuple[int, ...]) -> int:
    """One head size for all attended levels; the default where nothing attends."""
    kinds = _placed(placement, len(widths))
    attended = [w for w, kind in zip(widths, kinds, strict=True) if kind != "none"]
    if not attended:
        return UNetSpec().head_dim
    return max(d for d in range(1, space.head_dim + 1) if all(w % d == 0 for w in attended))


def _matching(name: str, known: Mapping[Any, object], wanted: object) -> Choice:
    for choice, value in known.items():
        if value == wanted:
            found: Choice = choice
            return found
    choices = ", ".join(map(str, known))
    raise SpecError(f"the space has no {name} that makes {wanted}; known: {choices}")
