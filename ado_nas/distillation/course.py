"""What a student learns in one stage, whatever the method, and its resumable training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ado_nas.diffusion.levels import Levels
from ado_nas.distillation.student import Lessons, landing_loss
from ado_nas.models.unet import UNet
from ado_nas.progress import Progress, silent
from ado_nas.specs import DistillationSpec
from ado_nas.training import resumable
from ado_nas.training.resumable import Batches
from ado_nas.training.step import Loss, student_stepper


def _itself(student: UNet) -> nn.Module:
    return student


@dataclass(frozen=True, eq=False)
class Course:
    """What is learned: the steps that the student shall take, its batches and its loss."""

    solver: str
    levels: Levels  # (S + 1,), falling, the last 0
    batches: Batches
    loss: Loss
    # What the loss takes and is trained: the student, or a module that holds it for a while.
    pupil: Callable[[UNet], nn.Module] = _itself


def anchored(lessons: Lessons, batch: int, seed: int) -> Course:
    """Land the solver's steps on the original teacher's trajectories, any number of steps at once.

    Args:
        lessons: the jumps and where they land.
        batch: B.
        seed: of the batches.

    Source: Zhou et al. 2024 (SFD), section 3.2, for training on the teacher's own trajectory.
    """

    def batches(start: int) -> Iterator[tuple[mx.array, ...]]:
        iteration = start
        while True:
            yield lessons.batch(np.random.default_rng((seed, iteration)), batch)
            iteration += 1

    return Course(lessons.solver, lessons.levels, batches, landing_loss)


def follow(
    student: UNet,
    course: Course,
    spec: DistillationSpec,
    folder: Path,
    stage: str,
    progress: Progress = silent,
) -> float:
    """Train a student through a course, from the folder's checkpoint where there is one.

    Args:
        student: trained in place; ends with its averaged weights.
        course: what it learns.
        spec: iterations, learning rate and averaging.
        folder: holds the checkpoint; whoever saves the result removes it.
        stage: what the progress is told.
        progress: told each iteration.

    Returns:
        Seconds, with those before an interruption.

    Raises:
        Diverged: the loss is not finite.
    """
    stepper = student_stepper(course.pupil(student), course.loss, spec)
    seconds = resumable.train(stepper, course.batches, spec.iterations, folder, stage, progress)
    stepper.load_average()
    mx.eval(student.parameters())
    return seconds
