"""Solvers of the probability-flow equation in sigma space, as generators.

Each yields the state after every step, so that a caller can record trajectories, show progress or
stop. One network evaluation a step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import mlx.core as mx

from ado_nas.diffusion.levels import Levels
from ado_nas.diffusion.preconditioning import Denoise

Solver = Callable[[Denoise, mx.array, Levels], Iterator[tuple[mx.array, mx.array]]]


def ddim(denoise: Denoise, x: mx.array, levels: Levels) -> Iterator[tuple[mx.array, mx.array]]:
    """First order: Euler steps along the slope, equal to DDIM without noise.

    Args:
        denoise: the denoiser.
        x: (B, H, W, C), noise at standard deviation levels[0].
        levels: (T + 1,), falling, the last 0.

    Yields:
        (state at the next level, denoised images), each (B, H, W, C).

    Source: Song et al. 2021, eq. 12 with eta = 0; Karras et al. 2022, eq. 4.
    """
    for now, then in pairwise(levels):
        d = denoise(x, mx.array([now], dtype=mx.float32))
        ratio = float(then / now)
        x = ratio * x + (1 - ratio) * d
        yield x, d


def dpmpp_2m(denoise: Denoise, x: mx.array, levels: Levels) -> Iterator[tuple[mx.array, mx.array]]:
    """DPM-Solver++(2M): second order, but for the first step and the one to 0.

    Args:
        denoise: the denoiser.
        x: (B, H, W, C), noise at standard deviation levels[0].
        levels: (T + 1,), falling, the last 0.

    Yields:
        (state at the next level, denoised images), each (B, H, W, C).

    Source: Lu et al. 2022 (DPM-Solver++), algorithm 2, with lambda = -log sigma.
    """
    previous: mx.array | None = None
    last_h = 0.0
    for now, then in pairwise(levels):
        d = denoise(x, mx.array([now], dtype=mx.float32))
        if then == 0:
            x = d
        else:
            h = math.log(now / then)
            mixed = d
            if previous is not None:
                half = h / (2 * last_h)
                mixed = (1 + half) * d - half * previous
            x = float(then / now) * x - math.expm1(-h) * mixed
            last_h = h
        previous = d
        yield x, d


SOLVER: dict[str, Solver] = {"ddim": ddim, "dpmpp_2m": dpmpp_2m}
