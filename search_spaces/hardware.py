"""A space made to fit the device: what it makes expensive is left out, or tried last."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

from ado_nas.hardware import EXPENSIVE, Hardware
from search_spaces.space import Space, numbers

BY_EXPONENTIALS = ("silu", "gelu")
Choices = tuple[Any, ...]
Test = Callable[[Any], bool]
ON = {"metal": "on this Apple GPU", "cuda": "on this NVIDIA GPU", "cpu": "on this CPU"}


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a rule makes of one dimension's choices, and the sentence that says why."""

    choices: Choices
    reason: str


def narrowed(space: Space, found: Hardware) -> tuple[Space, tuple[str, ...]]:
    """Leave out of a space, or move to its end, what the device makes expensive.

    A dimension with one choice keeps it, one with several keeps at least one; anchors lose the
    choices that are left out. Dimensions that no rule knows are not touched, and the order of
    equally expensive choices stays. The rules for Metal were never tried on Metal.

    Args:
        space: what can be chosen.
        found: the device.

    Returns:
        The space, and a sentence on each thing changed, or kept although it is expensive.
    """
    changes: dict[str, Any] = {}
    said: list[str] = []
    for name, rule in _RULES.items():
        for finding in rule(getattr(space, name, ()), space, found):
            changes[name] = finding.choices
            said.append(f"{name}: {finding.reason}")
    changes = {n: c for n, c in changes.items() if c != getattr(space, n)}
    if kept := _anchors(space, changes):
        changes["anchors"] = kept
    return dataclasses.replace(space, **changes), tuple(said)


def _activations(choices: Choices, _: Space, found: Hardware) -> Iterator[Finding]:
    """Those by exponentials are left out where another is among the choices."""
    if "exp" not in found.expensive:
        return
    cheap, dear = _parted(choices, lambda c: c in BY_EXPONENTIALS)
    if dear and cheap:
        yield Finding(cheap, f"{_list(dear)} left out: {_why('exp', found)}")
    elif dear:
        yield Finding(dear, f"{_list(dear)} kept, there is no other, though {_why('exp', found)}")


def _attention(choices: Choices, _: Space, found: Hardware) -> Iterator[Finding]:
    """Softmax attention comes after none and linear; it may be worth its time, so it stays."""
    if "exp" in found.expensive:
        yield from _last(choices, _softmax, _why("exp", found))


def _convolutions(choices: Choices, _: Space, found: Hardware) -> Iterator[Finding]:
    """Separable convolutions save weights, if not time, so they stay."""
    if "depthwise" in found.expensive:
        yield from _last(choices, lambda c: c == "separable", _why("depthwise", found))


def _head_dims(choices: Choices, space: Space, found: Hardware) -> Iterator[Finding]:
    """Where there is softmax attention and a fused kernel, its head sizes come first.

    A network whose widths they do not divide takes a smaller one all the same.
    """
    if not found.fused_head_dims or not any(map(_softmax, getattr(space, "attention", ()))):
        return
    known = ", ".join(map(str, sorted(found.fused_head_dims)))
    why = f"attention is fused for head dims {known} alone {ON[found.kind]}"
    yield from _last(choices, lambda c: c not in found.fused_head_dims, why)


def _widths(choices: Choices, _: Space, found: Hardware) -> Iterator[Finding]:
    """On a GPU, widths that leave its matrix unit partly empty are left out.

    Where fewer than two would be left, half the multiple is asked for, and then nothing: a
    dimension that is searched stays searched.
    """
    if found.kind == "cpu":
        return
    whole = found.width_multiple
    for multiple in (whole, whole // 2):
        fitting, rest = _parted(choices, functools.partial(_misfits, multiple=multiple))
        if not rest:
            return
        if len(fitting) > 1:
            yield Finding(fitting, f"{_list(rest)} left out: {_filled(multiple, found)}")
            return
    rest = _parted(choices, functools.partial(_misfits, multiple=whole))[1]
    yield Finding(
        choices, f"{_list(rest)} kept, too few would be left, though {_filled(whole, found)}"
    )


_RULES = {
    "widths": _widths,
    "activation": _activations,
    "attention": _attention,
    "conv": _convolutions,
    "head_dim": _head_dims,
}
"""By name of the dimension; a space may lack it."""


def _last(choices: Choices, costly: Test, why: str) -> Iterator[Finding]:
    cheap, dear = _parted(choices, costly)
    if cheap and cheap + dear != choices:
        yield Finding(cheap + dear, f"{_list(dear)} moved to the end: {why}")
    elif dear and not cheap:
        yield Finding(dear, f"{_list(dear)} kept, there is no other, though {why}")


def _parted(choices: Choices, costly: Test) -> tuple[Choices, Choices]:
    """The cheap choices and the costly ones, each in the given order."""
    return tuple(c for c in choices if not costly(c)), tuple(c for c in choices if costly(c))


def _softmax(choice: str) -> bool:
    """Whether an attention choice, such as ``low``, ``low:linear``, ``all:window``, has one."""
    placement, _, kind = choice.partition(":")
    return placement != "none" and kind not in ("none", "linear")


def _misfits(pattern: str, multiple: int) -> bool:
    return any(width % multiple for width in numbers(pattern))


def _anchors(space: Space, changes: dict[str, Any]) -> tuple[str, ...]:
    """The anchors without the choices that were left out; empty where none changes."""
    left = {
        f"{name}={choice}"
        for name, choices in changes.items()
        for choice in set(getattr(space, name)) - set(choices)
    }
    kept = [" ".join(p for p in text.split() if p not in left) for text in space.anchors]
    return () if kept == list(space.anchors) else tuple(dict.fromkeys(kept))


def _why(name: str, found: Hardware) -> str:
    return f"{EXPENSIVE[name]} {ON[found.kind]}"


def _filled(multiple: int, found: Hardware) -> str:
    return f"channels fill the matrix unit in multiples of {multiple} {ON[found.kind]}"


def _list(choices: Choices) -> str:
    return ", ".join(map(str, choices))
