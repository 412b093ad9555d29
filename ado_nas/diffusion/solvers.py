"""Solvers of the probability-flow equation in sigma space, and the sampler of consistency models.

All are generators: each yields the state after every step, so that a caller can record
trajectories, show progress or stop. One network evaluation a step, but for Heun's.

Most are multistep rules: functions of what earlier evaluations found. A rule knows nothing of the
loop around it, so that a caller may drop images between two steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import mlx.core as mx
import numpy as np

from ado_nas.diffusion.levels import Levels
from ado_nas.diffusion.preconditioning import Denoise

Level = Any
"""One noise level for all images (a float, or a scalar of MLX), or one for each, (B,)."""
Solver = Callable[[Denoise, mx.array, Levels | mx.array], Iterator[tuple[mx.array, mx.array]]]
"""(denoiser; x (B, H, W, C), noise at standard deviation levels[0]; levels) -> for each step the
state after it and the denoised images, (B, H, W, C) each.

Levels are (T + 1,), falling, the last 0; or (T + 1, B), one column for each image, which rests
from when it is at 0. They may be an array of MLX, to be learned by their gradient.
"""


@dataclass(frozen=True)
class Point:
    """One evaluation: at `level` the state `x` was denoised to `d`, (B, H, W, C) each."""

    level: Level
    x: mx.array
    d: mx.array

    @property
    def slope(self) -> mx.array:
        """Of the trajectory here, (B, H, W, C): the direction of the noise.

        Source: Karras et al. 2022, eq. 3.
        """
        found: mx.array = (self.x - self.d) / _column(self.level)
        return found


Rule = Callable[[list[Point], Level], mx.array]
"""(the last evaluations, at least one and at most `MEMORY`; the next level) -> the state there.

A rule may put a corrected state in the last evaluation's place.
"""
MEMORY = 4


def ddim(past: list[Point], then: Level) -> mx.array:
    """First order: an Euler step along the slope, equal to DDIM without noise.

    Source: Song et al. 2021, eq. 12 with eta = 0; Karras et al. 2022, eq. 4.
    """
    return _landed(past[-1], then, past[-1].d)


def dpmpp_2m(past: list[Point], then: Level) -> mx.array:
    """DPM-Solver++(2M): second order, but for the first step and the one to 0.

    Source: Lu et al. 2022 (DPM-Solver++), algorithm 2, with lambda = -log sigma.
    """
    now = past[-1]
    if len(past) == 1:
        return ddim(past, then)
    before = past[-2]
    h, last = _stride(now.level, then), _stride(before.level, now.level)
    half = _column(_unless_zero(then, h / (2 * last)))
    return _landed(now, then, (1 + half) * now.d - half * before.d)


def dpmpp_3m(past: list[Point], then: Level) -> mx.array:
    """DPM-Solver++(3M): third order, but for the first two steps and the one to 0.

    Source: Lu et al. 2022 (DPM-Solver++), appendix; its differences D1 and D2, multistep.
    """
    if len(past) < 3:
        return dpmpp_2m(past, then)
    now, one, two = past[-1], past[-2], past[-3]
    h, ratio = _stride(now.level, then), then / now.level
    h0, h1 = _stride(one.level, now.level), _stride(two.level, one.level)
    slope = 1 - (1 - ratio) / h
    bend = (h - (1 - ratio)) / (h * h) - 0.5
    share, inverse = h0 / (h0 + h1), h / (h0 + h1)
    first = _unless_zero(then, (slope * (1 + share) - bend * inverse) * h / h0)
    second = _unless_zero(then, (bend * inverse - slope * share) * h / h1)
    bent = _column(first) * (now.d - one.d) + _column(second) * (one.d - two.d)
    moved: mx.array = _landed(now, then, now.d) + bent
    return moved


# Of equal steps, the newest slope first.
ADAMS_BASHFORTH = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


def ipndm(order: int) -> Rule:
    """iPNDM: Adams-Bashforth with the weights of equal steps, whatever the steps are.

    Args:
        order: 1 to 4, of which 1 is DDIM; the first steps have the order of the slopes there are.

    Source: Liu et al. 2022 (PNDM), eq. 9 and 12; Zhang and Chen 2023 (DEIS), section 4.
    """

    def rule(past: list[Point], then: Level) -> mx.array:
        newest = list(reversed(past))[:order]
        weights = ADAMS_BASHFORTH[len(newest) - 1]
        terms = (w * p.slope for w, p in zip(weights, newest, strict=True))
        slope = sum(terms, mx.array(0.0))
        moved: mx.array = newest[0].x + _column(then - newest[0].level) * slope
        return moved

    return rule


def unipc(past: list[Point], then: Level) -> mx.array:
    """UniPC of order 2 with B(h) = e^h - 1: each state is corrected by what was found at it.

    Source: Zhao et al. 2023 (UniPC), algorithms 5 and 7; the predictor is DPM-Solver++(2M).
    """
    if len(past) > 1:
        past[-1] = dataclasses.replace(past[-1], x=_corrected(past))
    return dpmpp_2m(past, then)


def _corrected(past: list[Point]) -> mx.array:
    now, before = past[-1], past[-2]
    ratio, h = now.level / before.level, _stride(before.level, now.level)
    size = 1 - ratio
    if len(past) == 2:
        change = 0.5 * (now.d - before.d)
    else:
        older = past[-3]
        back = -_stride(older.level, before.level) / h
        b1 = (1 - size / h) / size
        b2 = (1 - 2 * (1 - size / h) / h) / size
        rho = (b1 - b2) / (1 - back)
        change = _column(rho / back) * (older.d - before.d)
        change = change + _column(b1 - rho) * (now.d - before.d)
    return _landed(before, now.level, before.d + change)


def multistep(rule: Rule) -> Solver:
    """The solver of a rule."""

    def run(
        denoise: Denoise, x: mx.array, levels: Levels | mx.array
    ) -> Iterator[tuple[mx.array, mx.array]]:
        past: list[Point] = []
        for now, then, resting in _pairs(levels):
            d = denoise(x, _noise(now))
            past = [*past[1 - MEMORY :], Point(now, x, d)]
            moved = rule(past, then)
            x = moved if resting is None else mx.where(resting, x, moved)
            yield x, d

    return run


def heun(
    denoise: Denoise, x: mx.array, levels: Levels | mx.array
) -> Iterator[tuple[mx.array, mx.array]]:
    """Heun's second order: each step but the one to 0 evaluates the network twice.

    Source: Karras et al. 2022, algorithm 1.
    """
    for now, then, resting in _pairs(levels):
        d = denoise(x, _noise(now))
        point = Point(now, x, d)
        moved = _landed(point, then, d)
        if not _all_zero(then):
            safe = _library(then).where(then == 0, now, then)
            there = Point(safe, moved, denoise(moved, _noise(safe)))
            second = x + _column(then - now) * (point.slope + there.slope) / 2
            moved = mx.where(mx.array(_column(then)) == 0, moved, second)
        x = moved if resting is None else mx.where(resting, x, moved)
        yield x, d


def generalized(corrections: np.ndarray | mx.array, base: Rule = dpmpp_2m) -> Solver:
    """A multistep solver with learned weights added to those of its rule.

    Args:
        corrections: (2, T, T): at step t the denoised image and the noise direction of each step
            j <= t are added with the weights [0, t, j] and [1, t, j] times the level of step t.
        base: the rule, which corrections of 0 leave as it is.

    Source: the additive parametrization of GS (Generalized Solver, ICLR 2026), eq. 7, with noise
    directions in the place of states.
    """

    def run(
        denoise: Denoise, x: mx.array, levels: Levels | mx.array
    ) -> Iterator[tuple[mx.array, mx.array]]:
        past: list[Point] = []
        for t, (now, then, resting) in enumerate(_pairs(levels)):
            d = denoise(x, _noise(now))
            past.append(Point(now, x, d))
            recent = past[-MEMORY:]
            moved = base(recent, then)
            past[-MEMORY:] = recent  # in which the rule may have corrected a state
            for j, p in enumerate(past):
                moved = moved + _column(corrections[0, t, j]) * p.d
                moved = moved + _column(corrections[1, t, j] * now) * p.slope
            x = moved if resting is None else mx.where(resting, x, moved)
            yield x, d

    return run


def timed(solver: Solver, factors: np.ndarray | mx.array) -> Solver:
    """A solver whose network is told other noise levels than it is at.

    Args:
        solver: with one evaluation a step.
        factors: (T,) of the level that the network is told at each step.

    Source: Tong et al. 2024 (LD3), section 3.3, decoupled times.
    """

    def run(
        denoise: Denoise, x: mx.array, levels: Levels | mx.array
    ) -> Iterator[tuple[mx.array, mx.array]]:
        turn = iter(factors)
        return solver(lambda x, sigma: denoise(x, sigma * _scalar(next(turn))), x, levels)

    return run


def consistency(
    denoise: Denoise, x: mx.array, levels: Levels | mx.array
) -> Iterator[tuple[mx.array, mx.array]]:
    """Multistep consistency sampling: to the clean image, then on with fresh noise on it.

    The noise of an image follows from its own start noise and the number of the step, so that it
    is the same in any batch, beside images of more steps or fewer; images have two values or
    more. The denoiser is a consistency function, which gives the end of the trajectory through x.

    Source: Song et al. 2023 (consistency models), algorithm 1.
    """
    keys = _row_keys(x)
    for now, then, resting in _pairs(levels):
        d = denoise(x, _noise(now))
        own, keys = _parted(keys)
        # Without noise where all go to 0.
        moved = d if _all_zero(then) else d + _column(then) * _normal(own, d)
        x = moved if resting is None else mx.where(resting, x, moved)
        yield x, d


RULE: dict[str, Rule] = {
    "ddim": ddim,
    "dpmpp_2m": dpmpp_2m,
    "dpmpp_3m": dpmpp_3m,
    "ipndm_2": ipndm(2),
    "ipndm_3": ipndm(3),
    "ipndm_4": ipndm(4),
    "unipc": unipc,
}
SOLVER: dict[str, Solver] = {
    **{name: multistep(rule) for name, rule in RULE.items()},
    "heun": heun,
    "consistency": consistency,
}


def _landed(now: Point, then: Level, target: mx.array) -> mx.array:
    """Where a straight way from the state to the target is at the next level."""
    ratio = then / now.level
    moved: mx.array = _column(ratio) * now.x + _column(1 - ratio) * target
    return moved


def _stride(now: Level, then: Level) -> Level:
    """Difference of -log sigma; 1 where it would be infinite."""
    return _library(then).log(now / _library(then).where(then == 0, now / np.e, then))


def _unless_zero(then: Level, value: Level) -> Level:
    return _library(then).where(then == 0, 0.0, value)


def _pairs(levels: Levels | mx.array) -> Iterator[tuple[Level, Level, mx.array | None]]:
    """Each level with the next one, and (B, 1, 1, 1), which images rest: None where none can."""
    if levels.ndim == 1:
        yield from ((now, then, None) for now, then in pairwise(levels))
        return
    lib = _library(levels)
    for t, (now, then) in enumerate(pairwise(levels)):
        # What resting images are told: below all levels, and falling like them.
        told = lib.where(now == 0, 1e-6 * np.exp(-t), now)
        yield told, then, mx.array(now == 0)[:, None, None, None]


def _all_zero(then: Level) -> bool:
    return isinstance(then, (float, np.generic, np.ndarray)) and not np.any(then)


def _noise(level: Level) -> mx.array:
    """(1,) or (B,) float32, as the network takes it."""
    found = level if isinstance(level, mx.array) else mx.array(np.asarray(level, np.float32))
    return found.reshape(-1)


def _column(value: Level) -> Any:
    """A factor of images: a number, or (B, 1, 1, 1) float32."""
    if isinstance(value, mx.array):
        return value if value.ndim == 0 else value[:, None, None, None]
    if np.ndim(value) == 0:
        return float(value)
    return mx.array(np.asarray(value, np.float32))[:, None, None, None]


def _scalar(value: Level) -> Any:
    return value if isinstance(value, mx.array) else float(value)


def _library(value: Level) -> Any:
    return mx if isinstance(value, mx.array) else np


def _row_keys(x: mx.array) -> mx.array:
    """(B, 2) keys of the random generator: the bits of each row's first two values."""
    return mx.view(x.astype(mx.float32).reshape(x.shape[0], -1)[:, :2], mx.uint32)


def _parted(keys: mx.array) -> tuple[mx.array, mx.array]:
    """Of each row's key (B, 2) one for this step and one for those after it, (B, 2) each."""
    found = mx.vmap(lambda key: mx.random.split(key, 2))(keys)
    return found[:, 0], found[:, 1]


def _normal(keys: mx.array, like: mx.array) -> mx.array:
    """Standard normal noise, each row from its own key (B, 2)."""
    draw = mx.vmap(lambda key: mx.random.normal(like.shape[1:], like.dtype, key=key))
    return draw(keys)


def solver_of(solver: str | Solver) -> Solver:
    """The solver of a name, or the one given."""
    return SOLVER[solver] if isinstance(solver, str) else solver


def evaluations(solver: str, steps: int) -> int:
    """Network evaluations (NFE) of a solver in so many steps."""
    return 2 * steps - 1 if solver == "heun" else steps
