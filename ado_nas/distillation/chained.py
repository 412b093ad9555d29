"""Progressive distillation: each student learns two or more steps of the one before it."""

from __future__ import annotations

from collections.abc import Iterator

import mlx.core as mx
import numpy as np

from ado_nas.data import Dataset
from ado_nas.diffusion.levels import Levels
from ado_nas.diffusion.preconditioning import Denoise, denoise, denoiser, forward_noise
from ado_nas.distillation.course import Course
from ado_nas.errors import SpecError
from ado_nas.models.unet import UNet
from ado_nas.specs import TeacherSpec
from ado_nas.training import teacher


def chained(
    source: UNet,
    levels: Levels,
    steps: int,
    dataset: Dataset,
    batch: int,
    seed: int,
    guidance: float = 1.0,
) -> Course:
    """Land in one DDIM step where another network lands in several; it runs for every batch.

    Args:
        source: the network before, often the last student; left as it is.
        levels: (T + 1,) that it steps through, falling, the last 0.
        steps: of the student, S; T is a multiple of it, twice in the paper.
        dataset: noise is added to its training split.
        batch: B.
        seed: of the batches.
        guidance: with which the source is sampled.

    Raises:
        SpecError: the steps do not divide.

    Source: Salimans and Ho 2022, algorithm 2, in sigma space.
    """
    known = len(levels) - 1
    if steps < 1 or known % steps:
        fitting = ", ".join(str(s) for s in range(1, known + 1) if known % s == 0)
        raise SpecError(f"steps {steps}: {known} steps can be taught to a student of {fitting}")
    within = windows(levels, steps)
    plain = TeacherSpec(unet=source.spec, batch=batch, label_dropout=0.0, seed=seed)

    def batches(start: int) -> Iterator[tuple[mx.array, ...]]:
        turns = mx.array(within[np.arange(batch) % steps].astype(np.float32))
        for x0, _, noise, labels in teacher.batches(plain, dataset, start):
            yield forward_noise(x0, turns[:, 0], noise), turns, labels

    # The source runs in the loss, where each stream has its own part of the batch.
    def loss(model: UNet, x: mx.array, sigma: mx.array, labels: mx.array) -> mx.array:
        target = mx.stop_gradient(landed(denoiser(source, labels, guidance), x, sigma))
        error = mx.square(denoise(model, x, sigma[:, 0], labels) - target).mean(axis=(1, 2, 3))
        return mx.mean(truncated_snr(sigma[:, 0]) * error)

    return Course("ddim", levels[:: known // steps], batches, loss)


def windows(levels: Levels, steps: int) -> np.ndarray:
    """The levels within each step of a student.

    Args:
        levels: (T + 1,), falling, the last 0.
        steps: of the student, S, which divides T.

    Returns:
        (S, T / S + 1), from the level a step begins at to the one it ends at.
    """
    size = (len(levels) - 1) // steps
    return np.stack([levels[i * size : (i + 1) * size + 1] for i in range(steps)])


def landed(source: Denoise, x: mx.array, sigma: mx.array) -> mx.array:
    """The denoised images with which one DDIM step lands where several of another network land.

    Args:
        source: the other network.
        x: (B, H, W, C), states.
        sigma: (B, k + 1), the levels within the step, falling; only the last may be 0.

    Returns:
        (B, H, W, C).

    Source: Salimans and Ho 2022, eq. 8 of appendix G, in sigma space: target = (x_j - r x_i) /
    (1 - r) with r = sigma_j / sigma_i.
    """
    state = x
    for step in range(sigma.shape[1] - 1):
        ratio = (sigma[:, step + 1] / sigma[:, step]).reshape(-1, 1, 1, 1)
        state = ratio * state + (1 - ratio) * source(state, sigma[:, step])
    ratio = (sigma[:, -1] / sigma[:, 0]).reshape(-1, 1, 1, 1)
    return (state - ratio * x) / (1 - ratio)


def truncated_snr(sigma: mx.array) -> mx.array:
    """Weight of an image's error: as large as that of its noise, where that is larger.

    The signal is the image as it is, between -1 and 1, not divided by the data's spread.

    Args:
        sigma: (B,), positive noise levels.

    Returns:
        (B,), max(1 / sigma^2, 1).

    Source: Salimans and Ho 2022, section 4, with alpha^2 / sigma^2 = 1 / sigma^2 in sigma space.
    """
    return mx.maximum(1 / mx.square(sigma), 1.0)
