"""The dimensions of how a student samples and learns: steps and the schedule that places them."""

from __future__ import annotations

import dataclasses

from ado_nas.specs import DistillationSpec, SamplerSpec
from search_spaces.chooser import Choice, Chooser, choose
from search_spaces.space import Space


def draw_distillation(
    space: Space, chooser: Chooser, base: DistillationSpec
) -> tuple[DistillationSpec, SamplerSpec]:
    """Draw how a student is distilled and how it is then sampled.

    Args:
        space: what can be chosen.
        chooser: who chooses.
        base: gives what is not searched: iterations, batch, learning rate.

    Returns:
        The distillation, and the deterministic sampler that visits the levels it learned.
    """
    steps = choose(chooser, "steps", space.steps)
    schedule = choose(chooser, "schedule", space.schedule)
    if steps == 1:  # one step goes from the first level to zero, whoever places the levels
        schedule = space.schedule[0]
    adaptation = choose(chooser, "adaptation", space.adaptation)
    learned = dataclasses.replace(base, steps=steps, adaptation=adaptation)
    return learned, SamplerSpec("ddim", schedule, steps)


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
        "schedule": sampler.schedule,
        "adaptation": distillation.adaptation,
    }
