"""Solvers of the probability-flow equation in sigma space, and the sampler of consistency models.

All are generators: each yields the state after every step, so that a caller can record
trajectories, show progress or stop. One network evaluation a step.
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


def consistency(
    denoise: Denoise, x: mx.array, levels: Levels
) -> Iterator[tuple[mx.array, mx.array]]:
    """Multistep consistency sampling: to the clean image, then on with fresh noise on it.

    The noise of an image follows from its own start noise, so that it is the same in any batch.

    Args:
        denoise: a consistency function, which gives the end of the trajectory through x.
        x: (B, H, W, C), noise at standard deviation levels[0]; two values or more an image.
        levels: (T + 1,), falling, the last 0.

    Yields:
        (state at the next level, denoised images), each (B, H, W, C).

    Source: Song et al. 2023 (consistency models), algorithm 1.
    """
    keys = _row_keys(x, len(levels) - 1)
    for step, (now, then) in enumerate(pairwise(levels)):
        d = denoise(x, mx.array([now], dtype=mx.float32))
        x = d if then == 0 else d + float(then) * _normal(keys[:, step], d)
        yield x, d


def _row_keys(x: mx.array, steps: int) -> mx.array:
    """(B, steps, 2) keys of the random generator, from the bits of each row's first two values."""
    bits = mx.view(x.astype(mx.float32).reshape(x.shape[0], -1)[:, :2], mx.uint32)
    return mx.vmap(lambda key: mx.random.split(key, steps))(bits)


def _normal(keys: mx.array, like: mx.array) -> mx.array:
    """Standard normal noise, each row from its own key (B, 2)."""
    draw = mx.vmap(lambda key: mx.random.normal(like.shape[1:], like.dtype, key=key))
    return draw(keys)


SOLVER: dict[str, Solver] = {"ddim": ddim, "dpmpp_2m": dpmpp_2m, "consistency": consistency}
