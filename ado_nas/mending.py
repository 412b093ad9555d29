"""The valid network nearest to one that cannot be, for the message that refuses it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def mended(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What to change about a network's fields so that they go together.

    Args:
        fields: of a `UNetSpec`, by name; words that do not exist are left alone.

    Returns:
        The fields that change, with their new values; empty where nothing needs to. Widths move
        to the nearest multiple of 4, lists that are too short repeat their last entry, and what
        depends on the widths (groups, head size, resolution) follows them.
    """
    widths = tuple(max(4, round(w / 4) * 4) for w in fields["widths"]) or (32,)
    attention = _as_long(fields["attention"], widths, "none")
    blocks = tuple(max(1, n) for n in _as_long(fields["blocks"], widths, 1))
    patch = max(1, fields["patch"])
    attended = [w for w, kind in zip(widths, attention, strict=True) if kind != "none"]
    found = {
        "widths": widths,
        "blocks": blocks,
        "attention": attention,
        "patch": patch,
        "groups": _divisor(widths, fields["groups"]),
        "head_dim": _divisor(attended, fields["head_dim"]) if attended else fields["head_dim"],
        "resolution": _multiple(fields["resolution"], patch * 2 ** (len(widths) - 1)),
        "window": max(2, fields["window"]),
        "cross_attention_width": 0,
        "nested": min(max(0, fields["nested"]), len(widths) - 1),
    }
    return {name: value for name, value in found.items() if value != fields[name]}


def told(changes: Mapping[str, Any]) -> str:
    """Changes as they would stand in a file."""
    values = {n: list(v) if isinstance(v, tuple) else v for n, v in changes.items()}
    return ", ".join(f"{name} = {value!r}".replace("'", '"') for name, value in values.items())


def _as_long(given: Sequence[Any], widths: Sequence[int], nothing: Any) -> tuple[Any, ...]:
    last = given[-1] if given else nothing
    return (*given, *(last,) * len(widths))[: len(widths)]


def _divisor(widths: Sequence[int], wanted: int) -> int:
    """Of the numbers that divide all widths the nearest, the smaller of two."""
    common = math.gcd(*widths)
    return min((d for d in range(1, common + 1) if common % d == 0), key=lambda d: abs(d - wanted))


def _multiple(number: int, of: int) -> int:
    return max(of, round(number / of) * of)
