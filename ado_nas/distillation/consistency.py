"""Consistency: from any noise level a student goes to the end of the trajectory at once.

Two states of one trajectory must lead to the same end; the estimate from the lower level stands
in for that end, and at level 0 it is known. Only first derivatives are needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ado_nas.data import Dataset
from ado_nas.diffusion.levels import Levels
from ado_nas.diffusion.preconditioning import denoise, forward_noise
from ado_nas.distillation.course import Course
from ado_nas.distillation.trajectories import Bank
from ado_nas.models.unet import UNet
from ado_nas.specs import TeacherSpec, UNetSpec
from ado_nas.training import teacher

_ROUNDING = 1e-8  # keeps the root's slope finite at 0
_SPREAD = 0.5  # of the data that the published settings are for
REACH = 4  # levels of a bank; with 1 a student of one step was far worse, with all somewhat
RATE = 2e-3  # of learning, at most: at 6e-3 both ends ran away together
LONGER = 3  # times the iterations of other methods, for all levels are trained


@dataclass(frozen=True)
class Tuning:
    """How pairs of noise levels are drawn; the published values of the fast recipe.

    Levels are in units of twice the data's standard deviation, as published.
    """

    p_mean: float = -1.1  # of the logarithm of the upper level
    p_std: float = 2.0  # likewise
    q: float = 256.0  # the lower level lies by 1/q to 5/q of the upper one below it


def tuned(
    dataset: Dataset,
    unet: UNetSpec,
    levels: Levels,
    sigma_min: float,
    batch: int,
    seed: int,
    tuning: Tuning = Tuning(),
) -> Course:
    """Learn from images alone: both states carry the same noise.

    Args:
        dataset: its training split is drawn from with replacement.
        unet: the student's, for the spread of the data and whether there are classes.
        levels: (S + 1,), falling, the last 0: where the student will be sampled.
        sigma_min: lowest noise level that is trained on; the highest is levels[0].
        batch: B.
        seed: of the batches.
        tuning: how noise levels are drawn.

    Source: Geng et al. 2024 (ECT), algorithm 1, with q constant as in the authors' fast recipe.
    """
    spec = TeacherSpec(
        unet=unet,
        batch=batch,
        label_dropout=0.0,
        p_mean=tuning.p_mean - math.log(_SPREAD),
        p_std=tuning.p_std,
        seed=seed,
    )
    sigma_max = float(levels[0])

    def batches(start: int) -> Iterator[tuple[mx.array, ...]]:
        for x0, sigma, noise, labels in teacher.batches(spec, dataset, start):
            t = mx.clip(sigma, sigma_min, sigma_max)
            r = lower_level(t, unet.sigma_data, tuning.q)
            yield forward_noise(x0, t, noise), t, forward_noise(x0, r, noise), r, labels

    return Course("consistency", levels, batches, consistency_loss)


def taught(bank: Bank, levels: Levels, batch: int, seed: int, reach: int = REACH) -> Course:
    """Learn from the teacher: both states lie on one of its trajectories.

    Args:
        bank: of trajectories.
        levels: (S + 1,), falling, the last 0: where the student will be sampled.
        batch: B.
        seed: of the batches.
        reach: levels of the bank between the two states; all of them for the trajectory's end.

    Source: Song et al. 2023 (consistency models), algorithm 2, with the teacher's steps cached
    and the loss of `end_loss`.
    """
    last, count = bank.states.shape[0] - 1, bank.states.shape[1]
    known = np.zeros(count, np.int32) if bank.labels is None else bank.labels
    sigma = bank.levels.astype(np.float32)

    def batches(start: int) -> Iterator[tuple[mx.array, ...]]:
        iteration = start
        while True:
            rng = np.random.default_rng((seed, iteration))
            i, rows = rng.integers(0, last, batch), rng.integers(0, count, batch)
            j = np.minimum(i + reach, last)
            arrays = bank.states[i, rows], sigma[i], bank.states[j, rows], sigma[j], known[rows]
            yield tuple(mx.array(a) for a in arrays)
            iteration += 1

    return Course("consistency", levels, batches, end_loss)


def lower_level(t: mx.array, sigma_data: float, q: float) -> mx.array:
    """The noise level of the state that stands in for the end of the trajectory.

    Args:
        t: (B,), the upper levels.
        sigma_data: standard deviation of the data.
        q: the larger, the nearer the two.

    Returns:
        (B,), t (1 - n / q) with n from 1 at high levels to 5 at low ones, not below 0.

    Source: Geng et al. 2024 (ECT), the mapping function of the authors' code with n(t) = 1 +
    8 sigmoid(-t), for data of a standard deviation of 0.5.
    """
    n = 1 + 8 * mx.sigmoid(-t * (_SPREAD / sigma_data))
    return mx.maximum(t * (1 - n / q), 0.0)


def consistency_loss(
    model: UNet, x: mx.array, t: mx.array, below: mx.array, r: mx.array, labels: mx.array
) -> mx.array:
    """Mean distance of the ends the student sees from two states, over their levels' difference.

    The distance is not squared, and no gradient goes through the lower state.

    Args:
        model: the student.
        x: (B, H, W, C), the upper states.
        t: (B,), their levels.
        below: (B, H, W, C), the lower states of the same trajectories.
        r: (B,), their levels, r < t; where it is 0 the state is the end itself.
        labels: (B,) int32; ignored by an unconditional network.

    Returns:
        A scalar.

    Source: Geng et al. 2024 (ECT), the loss of the authors' code for CIFAR-10, with c = 0.
    """
    slope = _apart(model, x, t, below, r, labels) / (t - r)[:, None, None, None]
    return mx.mean(mx.sqrt(mx.square(slope).sum(axis=(1, 2, 3)) + _ROUNDING))


def end_loss(
    model: UNet, x: mx.array, t: mx.array, below: mx.array, r: mx.array, labels: mx.array
) -> mx.array:
    """Mean distance of the two ends, so weighed that the network's output counts alike everywhere.

    The weight of `consistency_loss` would leave next to nothing to states far apart.

    Args:
        model: the student.
        x: (B, H, W, C), the upper states.
        t: (B,), their levels.
        below: (B, H, W, C), the lower states of the same trajectories.
        r: (B,), their levels, r < t; where it is 0 the state is the end itself.
        labels: (B,) int32; ignored by an unconditional network.

    Returns:
        A scalar.

    Source: Karras et al. 2022, table 1: the weight is 1 / c_out.
    """
    error = mx.square(_apart(model, x, t, below, r, labels)).mean(axis=(1, 2, 3))
    weight = mx.sqrt(1 / mx.square(t) + 1 / model.spec.sigma_data**2)
    return mx.mean(weight * mx.sqrt(error + _ROUNDING))


def _apart(
    model: UNet, x: mx.array, t: mx.array, below: mx.array, r: mx.array, labels: mx.array
) -> mx.array:
    """The end seen from the upper state less that seen from the lower one, which stands fixed."""
    # The network takes the logarithm of its level, so that it cannot be asked at level 0.
    known, asked = r <= 0, mx.where(r <= 0, t, r)
    end = mx.where(known[:, None, None, None], below, denoise(model, below, asked, labels))
    return denoise(model, x, t, labels) - mx.stop_gradient(end)
