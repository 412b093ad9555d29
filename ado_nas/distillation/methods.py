"""The ways of distilling a student to few steps, by name."""

from __future__ import annotations

import dataclasses

from ado_nas.bench import Bench
from ado_nas.diffusion.levels import Levels, karras_levels
from ado_nas.distillation.chained import chained
from ado_nas.distillation.consistency import RATE, taught
from ado_nas.distillation.course import Course, anchored
from ado_nas.distillation.student import Lessons
from ado_nas.models.unet import UNet
from ado_nas.specs import DistillationSpec


def course_by(
    method: str,
    bench: Bench,
    steps: int,
    source: UNet,
    levels: Levels | None,
    batch: int,
    seed: int,
) -> Course:
    """What a student is trained on.

    Args:
        method: anchored, chained or consistency.
        bench: data, trajectories, the teacher.
        steps: of the student.
        source: what a chained student imitates: the network it starts from.
        levels: of that network; None where it is the teacher, which takes twice the steps then.
        batch: examples in one training step.
        seed: of the batches.
    """
    if method == "chained":
        limits = bench.task.trajectories
        guidance = limits.guidance if levels is None else 1.0
        if levels is None:
            levels = karras_levels(2 * steps, limits.sigma_min, limits.sigma_max)
        return chained(source, levels, steps, bench.dataset, batch, seed, guidance)
    bank = bench.bank
    path = bank.schedule("dp", steps)
    if method == "consistency":
        return taught(bank, bank.levels[path], batch, seed)
    return anchored(Lessons(bank, path), batch, seed)


def learning(method: str, training: DistillationSpec, iterations: int) -> DistillationSpec:
    """The training settings of a method: a consistency model breaks at high learning rates."""
    rate = min(training.learning_rate, RATE if method == "consistency" else float("inf"))
    return dataclasses.replace(training, iterations=iterations, learning_rate=rate)
