"""The dimensions of how a student samples and learns: steps, their schedule and their widths."""

from __future__ import annotations

import dataclasses

from ado_nas.errors import SpecError
from ado_nas.maps import shared
from ado_nas.specs import Candidate, DistillationSpec, SamplerSpec, UNetSpec
from ado_nas.widths import settled, shares
from search_spaces.chooser import Choice, Chooser, choose
from search_spaces.space import Space


def draw_distillation(
    space: Space, chooser: Chooser, base: DistillationSpec
) -> tuple[DistillationSpec, SamplerSpec]:
    """Draw how a student is distilled and how it is then sampled; see also `draw_feature_weight`.

    Solvers that take the same steps count as the first of them in the space.

    Args:
        space: what can be chosen.
        chooser: who chooses.
        base: gives what is not searched: iterations, batch, learning rate.

    Returns:
        The distillation, and the deterministic sampler that visits the levels it learned.
    """
    steps = choose(chooser, "steps", space.steps)
    chosen = order(choose(chooser, "solver", space.solver), steps)
    solver = next(name for name in space.solver if order(name, steps) == chosen)
    schedule = choose(chooser, "schedule", space.schedule)
    if steps == 1:  # one step goes from the first level to zero, whoever places the levels
        schedule = space.schedule[0]
    adaptation = choose(chooser, "adaptation", space.adaptation)
    learned = dataclasses.replace(base, steps=steps, adaptation=adaptation, feature_weight=0.0)
    return learned, SamplerSpec(solver, schedule, steps)


def order(solver: str, steps: int) -> tuple[str, int]:
    """What a solver is in so many steps: the family of its rules and the order that it reaches.

    Args:
        solver: a multistep one.
        steps: of a sampler whose last level is 0.

    Returns:
        The same for solvers that take the same steps, whatever the network.
    """
    family, _, highest = solver.partition("_")
    number = {"ddim": 1, "unipc": 2}.get(solver) or int(highest.strip("m"))
    # The first steps have less to remember; to 0, all but iPNDM take a first-order step.
    reached = min(number, steps if family == "ipndm" else steps - 1)
    return (family, reached) if reached > 1 else ("ddim", 1)


def distillation_params(distillation: DistillationSpec, sampler: SamplerSpec) -> dict[str, Choice]:
    """The choices that draw these; the inverse of `draw_distillation`.

    Args:
        distillation: of a drawn candidate.
        sampler: of the same.

    Returns:
        A choice for each of these dimensions.
    """
    return {
        "steps": sampler.nfe,
        "solver": sampler.solver,
        "schedule": sampler.schedule,
        "adaptation": distillation.adaptation,
        "feature_weight": distillation.feature_weight,
    }


def draw_feature_weight(
    space: Space, chooser: Chooser, candidate: Candidate, teacher: UNetSpec
) -> Candidate:
    """Draw how much the teacher's feature maps count in the loss.

    Args:
        space: what can be chosen.
        chooser: who chooses.
        candidate: all but this.
        teacher: whose maps they are.

    Returns:
        The candidate; its weight is 0, where the space has that, if it can match no maps.

    Raises:
        SpecError: it can match no maps, and the space has no other weight.
    """
    weight = choose(chooser, "feature_weight", space.feature_weight)
    learned = candidate.distillation
    others = candidate.step_widths or candidate.curriculum
    fixed = not others and learned.adaptation == "none"
    if not (fixed and shared(candidate.unet, teacher)):
        if 0.0 in space.feature_weight:
            weight = 0.0
        elif weight and fixed:
            raise SpecError("the network has no map in common with the teacher's; add 0.0")
    learned = dataclasses.replace(learned, feature_weight=weight)
    return dataclasses.replace(candidate, distillation=learned)


def draw_step_widths(
    space: Space, chooser: Chooser, unet: UNetSpec, steps: int
) -> tuple[float, ...]:
    """Draw how wide the network runs at each step.

    Args:
        space: what can be chosen.
        chooser: who chooses.
        unet: the network.
        steps: of the sampler.

    Returns:
        The share of the widths at each step; empty where all steps are alike.
    """
    pattern = choose(chooser, "step_widths", space.step_widths)
    return settled(unet, shares(pattern, steps))


def step_widths_params(candidate: Candidate, space: Space) -> dict[str, Choice]:
    """The choice that draws these widths by step; the inverse of `draw_step_widths`.

    Raises:
        SpecError: the space has none.
    """
    for pattern in space.step_widths:
        found = shares(pattern, candidate.sampler.nfe)
        if settled(candidate.unet, found) == candidate.step_widths:
            return {"step_widths": pattern}
    known = ", ".join(space.step_widths)
    raise SpecError(
        f"the space has no step_widths that make {candidate.step_widths}; known: {known}"
    )
