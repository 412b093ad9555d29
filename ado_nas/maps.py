"""The feature maps at the ends of a network's levels: specs only, no arrays."""

from __future__ import annotations

from ado_nas.specs import UNetSpec


def ends(spec: UNetSpec) -> dict[str, int]:
    """The maps by way and side of the feature map, in the order they are made.

    Args:
        spec: the architecture.

    Returns:
        Channels of ``down@8``, ``mid@4``, ``up@8`` and so on; none of nested networks.
    """
    if spec.nested:  # what these networks pass on are images
        return {}
    first = spec.resolution // spec.patch
    levels = [(first // 2**level, width) for level, width in enumerate(spec.widths)]
    found = {f"down@{side}": width for side, width in levels}
    if spec.middle:
        found[f"mid@{levels[-1][0]}"] = levels[-1][1]
    return found | {f"up@{side}": width for side, width in reversed(levels)}


def shared(student: UNetSpec, teacher: UNetSpec) -> tuple[str, ...]:
    """The maps that two networks both have, whatever their patches and numbers of levels."""
    known = ends(teacher)
    return tuple(place for place in ends(student) if place in known)
