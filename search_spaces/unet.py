"""The architecture dimensions, from the widths of the levels to that of the time embedding."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ado_nas.errors import SpecError
from ado_nas.specs import UNetSpec
from search_spaces.chooser import Choice, Chooser, choose
from search_spaces.space import TOKENS, UNET_DIMENSIONS, Space, numbers

# By dimension, in an order in which each is clear once those before it are: the fields it sets.
_FIELDS = {
    "widths": ("widths",),
    "patch": ("patch",),
    "blocks": ("blocks",),
    "attention": ("attention",),
    "head_dim": ("head_dim",),
    "conv": ("conv",),
    "norm": ("norm",),
    "activation": ("activation",),
    "resample": ("downsample", "upsample"),
    "middle": ("middle",),
    "skip": ("skip",),
    "time_width": ("time_width",),
}


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
    drawn = {name: choose(chooser, name, getattr(space, name)) for name in UNET_DIMENSIONS}
    return _assembled(space, drawn, base)


def unet_params(unet: UNetSpec, space: Space) -> dict[str, Choice]:
    """The choices that draw this network; the inverse of `draw_unet`.

    Args:
        unet: a network that `space` can draw.
        space: what can be chosen.

    Returns:
        A choice for each architecture dimension: the first that makes no difference to the network
        where several do not.

    Raises:
        SpecError: the space has no such network.
    """
    found: dict[str, Any] = {name: getattr(space, name)[0] for name in UNET_DIMENSIONS}
    for name, fields in _FIELDS.items():
        wanted = [getattr(unet, field) for field in fields]
        for choice in getattr(space, name):
            with contextlib.suppress(SpecError):  # a choice that this resolution cannot take
                made = _assembled(space, {**found, name: choice}, unet)
                if [getattr(made, field) for field in fields] == wanted:
                    found[name] = choice
                    break
        else:
            known = ", ".join(map(str, getattr(space, name)))
            said = wanted[0] if len(wanted) == 1 else tuple(wanted)
            raise SpecError(f"the space has no {name} that makes {said}; known: {known}")
    return found


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


def _assembled(space: Space, drawn: Mapping[str, Any], base: UNetSpec) -> UNetSpec:
    widths, blocks = numbers(drawn["widths"]), numbers(drawn["blocks"])
    patch = fitting_patch(space, drawn["patch"], base.resolution, len(widths))
    sides = [base.resolution // (patch * 2**level) for level in range(len(widths))]
    attention = _placed(drawn["attention"], sides)
    down, _, up = drawn["resample"].partition("-")
    return dataclasses.replace(
        base,
        patch=patch,
        widths=widths,
        blocks=(blocks + blocks[-1:] * len(widths))[: len(widths)],
        attention=attention,
        head_dim=_head_dim(drawn["head_dim"], attention, widths),
        conv=drawn["conv"],
        norm=drawn["norm"],
        activation=drawn["activation"],
        downsample=down,
        upsample=up,
        middle=drawn["middle"],
        skip=drawn["skip"],
        groups=math.gcd(base.groups, *widths),
        time_width=drawn["time_width"] or max(32, 4 * widths[0]),
        sized=False,  # as its curriculum needs, whatever the teacher is told
        placed=False,
        nested=min(base.nested, len(widths) - 1),
    ).canonical


def _placed(choice: str, sides: Sequence[int]) -> tuple[str, ...]:
    """What attends at each level, by the sides of their maps."""
    placement, _, kind = choice.partition(":")
    most = {"none": 0, "low": sides[-1] ** 2, "all": sides[0] ** 2, **TOKENS}[placement]
    return tuple((kind or "full") if side**2 <= most else "none" for side in sides)


def _head_dim(largest: int, attention: tuple[str, ...], widths: tuple[int, ...]) -> int:
    """One head size for all attended levels; anything where nothing attends."""
    attended = [w for w, kind in zip(widths, attention, strict=True) if kind != "none"]
    return max(d for d in range(1, largest + 1) if all(w % d == 0 for w in attended))
