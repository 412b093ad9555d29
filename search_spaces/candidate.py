"""A whole candidate out of a space, the way back to its choices, and how many there are."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Mapping

from ado_nas.specs import Candidate, DistillationSpec, UNetSpec
from ado_nas.stature import start
from search_spaces.chooser import Choice, Chooser, FixedChooser
from search_spaces.curriculum import curriculum_params, draw_curriculum
from search_spaces.distillation import (
    distillation_params,
    draw_distillation,
    draw_feature_weight,
    draw_step_widths,
    step_widths_params,
)
from search_spaces.space import Space
from search_spaces.unet import draw_unet, unet_params

ENUMERABLE = 20_000  # spaces up to this many combinations are counted exactly


def draw(
    space: Space, chooser: Chooser, base: UNetSpec, distillation: DistillationSpec
) -> Candidate:
    """Draw one candidate, valid and canonical.

    Args:
        space: what can be chosen.
        chooser: who chooses.
        base: the teacher's network, for what students share with it.
        distillation: defaults of what is not searched.

    Returns:
        The candidate; equal networks trained equally have equal hashes.

    Raises:
        SpecError: the space has nothing for this resolution.
    """
    unet = draw_unet(space, chooser, base)
    distilled, sampler = draw_distillation(space, chooser, distillation)
    shares = draw_step_widths(space, chooser, unet, sampler.nfe)
    # Slices of a network that changes would not be slices of one network.
    room = not shares and start(unet, base, distilled.adaptation) != unet
    if "none" in space.adaptation and not room:
        distilled = dataclasses.replace(distilled, adaptation="none")
    drawn = Candidate(unet=unet, distillation=distilled, sampler=sampler, step_widths=shares)
    drawn = draw_curriculum(space, chooser, drawn)
    return draw_feature_weight(space, chooser, drawn, base)


def build(
    space: Space, params: Mapping[str, Choice], base: UNetSpec, distillation: DistillationSpec
) -> Candidate:
    """The candidate of these choices; see `draw`.

    Raises:
        SpecError: a dimension is missing or a choice is not in the space.
    """
    return draw(space, FixedChooser(params), base, distillation)


def cheapest(space: Space, base: UNetSpec, distillation: DistillationSpec) -> Candidate:
    """The candidate of the first choices; see `draw`."""
    return build(space, {d.name: d.choices[0] for d in space.dimensions}, base, distillation)


def params_of(candidate: Candidate, space: Space) -> dict[str, Choice]:
    """The choices that draw this candidate; the inverse of `draw`.

    Args:
        candidate: one that `space` can draw.
        space: what can be chosen.

    Returns:
        A choice for each dimension that has more than one.

    Raises:
        SpecError: the space has no such candidate.
    """
    found = {
        **unet_params(candidate.unet, space),
        **distillation_params(candidate.distillation, candidate.sampler),
        **step_widths_params(candidate, space),
        **curriculum_params(candidate, space),
    }
    return {d.name: found[d.name] for d in space.dimensions}


def combinations(space: Space) -> Iterator[dict[str, Choice]]:
    """Every combination of choices, cheapest first in each dimension."""
    names = [d.name for d in space.dimensions]
    for values in itertools.product(*(d.choices for d in space.dimensions)):
        yield dict(zip(names, values, strict=True))


@functools.lru_cache(maxsize=8)
def count(space: Space, base: UNetSpec, distillation: DistillationSpec) -> tuple[int, bool]:
    """How many different candidates a space holds.

    Args:
        space: what can be chosen.
        base: the teacher's network.
        distillation: defaults of what is not searched.

    Returns:
        The number and whether it is exact; wide spaces give the number of combinations.

    Raises:
        SpecError: a combination cannot be built at this resolution.
    """
    size = math.prod(len(d.choices) for d in space.dimensions)
    if size > ENUMERABLE:
        return size, False
    return len({build(space, p, base, distillation).hash for p in combinations(space)}), True
