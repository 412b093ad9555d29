"""The dimension of the resolutions that a student is trained at."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools

from ado_nas.errors import SpecError
from ado_nas.specs import Candidate, CurriculumSpec, UNetSpec
from search_spaces.chooser import Choice, Chooser, FixedChooser, choose
from search_spaces.space import CROPS, UNET_DIMENSIONS, Space, numbers
from search_spaces.unet import draw_unet


def draw_curriculum(space: Space, chooser: Chooser, candidate: Candidate) -> Candidate:
    """Draw at which resolutions a student is trained.

    Args:
        space: what can be chosen.
        chooser: who chooses.
        candidate: all but this and the weight of feature maps.

    Returns:
        The candidate, whose network is told of sizes or places where it meets several; trained at
        its own resolution alone, where the space has that, if the network changes meanwhile.
    """
    pattern = choose(chooser, "curriculum", space.curriculum)
    found = shaped(pattern, candidate.unet)
    if candidate.distillation.adaptation != "none":
        found = CurriculumSpec()
    return dataclasses.replace(candidate, unet=found.told(candidate.unet), curriculum=found)


def shaped(pattern: str, unet: UNetSpec) -> CurriculumSpec:
    """The curriculum of a pattern.

    Args:
        pattern: shares of the compute, as `Space.curriculum` has them.
        unet: the network; a side that it cannot take leaves its share to the next one.

    Returns:
        The curriculum; the empty one where a single resolution is left.
    """
    crops, least = pattern.startswith(CROPS), 0
    if unet.nested:  # each network inside has its own resolution, and none sees crops
        least = unet.resolution if crops else unet.resolution // 2**unet.nested
    parts = numbers(pattern.removeprefix(CROPS))
    sides: dict[int, float] = {}
    waiting = 0.0
    for k, part in enumerate(parts):
        waiting += part / sum(parts)
        side, rest = divmod(unet.resolution, 2 ** (len(parts) - 1 - k))
        if rest == 0 and side % unet.stride == 0 and side >= least:
            sides[side], waiting = waiting, 0.0
    if len(sides) < 2:
        return CurriculumSpec()
    return CurriculumSpec(tuple(sides), tuple(sides.values()), crops=crops)


def followed(space: Space, base: UNetSpec) -> tuple[str, ...]:
    """The curricula of a space that at least one of its networks can follow.

    Args:
        space: what can be chosen.
        base: the teacher's network.
    """
    first: dict[str, Choice] = {name: getattr(space, name)[0] for name in UNET_DIMENSIONS}
    networks = []
    for widths, patch in itertools.product(space.widths, space.patch):
        with contextlib.suppress(SpecError):  # a patch that this resolution cannot take
            chooser = FixedChooser({**first, "widths": widths, "patch": patch})
            networks.append(draw_unet(space, chooser, base))
    return tuple(
        pattern
        for pattern in space.curriculum
        if len(numbers(pattern.removeprefix(CROPS))) == 1
        or any(shaped(pattern, unet) for unet in networks)
    )


def curriculum_params(candidate: Candidate, space: Space) -> dict[str, Choice]:
    """The choice that draws this curriculum; the inverse of `draw_curriculum`.

    Raises:
        SpecError: the space has none.
    """
    for pattern in space.curriculum:
        if shaped(pattern, candidate.unet) == candidate.curriculum:
            return {"curriculum": pattern}
    known = ", ".join(space.curriculum)
    raise SpecError(
        f"the space has no curriculum at {candidate.curriculum.resolutions} px; known: {known}"
    )
