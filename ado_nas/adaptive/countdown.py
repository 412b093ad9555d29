"""Sampling as a game of one decision after each evaluation: how many more is this image worth?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ado_nas.adaptive.compaction import in_batches
from ado_nas.adaptive.complexity import STATISTICS, statistics
from ado_nas.diffusion.levels import Levels
from ado_nas.diffusion.schedules import first_jumps
from ado_nas.diffusion.solvers import RULE, Point
from ado_nas.distillation.trajectories import Bank
from ado_nas.errors import SpecError, nearest
from ado_nas.models.unet import UNet
from ado_nas.progress import Progress, silent

LIMIT = 8  # evaluations of an image at most
POOLED = 4  # a side of the denoised image as it is observed
WIDTH = 2 + len(STATISTICS) + POOLED * POOLED
_CLIP = 3.0  # deviations of a statistic

Policy = Callable[[np.ndarray], np.ndarray]
"""(A, WIDTH) float32 observations -> (A,) actions: evaluations that each image gets yet."""


@dataclass(frozen=True, eq=False)
class Countdown:
    """What an action does, and what is seen after it.

    `levels` is the grid (T + 1,), falling, the last 0. `jumps` (N, T + 1) tells for each number of
    evaluations left and each level of the grid which one is next: the first of the cheapest path
    with as many evaluations after this jump. 0 left is a jump to 0. So whoever counts down from
    n - 1 to 0 goes by the cheapest schedule of n evaluations, and N evaluations are the limit.

    `mean` and `scale` (N + 1, S) are of the statistics by evaluations spent.
    """

    solver: str
    levels: Levels
    jumps: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    @property
    def limit(self) -> int:
        """Evaluations of an image at most."""
        return len(self.jumps)

    def after(self, nodes: np.ndarray, spent: int, actions: np.ndarray) -> np.ndarray:
        """Places on the grid after an action, (A,), of places and actions (A,) each."""
        left = np.clip(actions, 0, self.limit - spent)
        found: np.ndarray = self.jumps[left, nodes]
        return found

    def observe(self, spent: int, past: list[Point]) -> np.ndarray:
        """What a policy is told of images after an evaluation.

        Args:
            spent: evaluations of each so far.
            past: the last of them.

        Returns:
            (A, WIDTH) float32, within -1 and 1: the logarithm of the noise level, the share of
            the limit that is spent, the statistics of the last two evaluations (0 after the
            first one), and the denoised image as POOLED x POOLED means over channels.
        """
        now = past[-1]
        seen = np.zeros((now.x.shape[0], WIDTH))
        high, low = np.log(self.levels[0]), np.log(self.levels[-2])
        seen[:, 0] = 2 * (np.log(now.level) - low) / (high - low) - 1
        seen[:, 1] = spent / self.limit
        if len(past) > 1:
            found = (statistics(past) - self.mean[spent]) / self.scale[spent]
            seen[:, 2 : 2 + len(STATISTICS)] = found / _CLIP
        seen[:, 2 + len(STATISTICS) :] = _pooled(now.d)
        return np.clip(seen, -1, 1).astype(np.float32)

    def spent(self, seen: np.ndarray) -> np.ndarray:
        """Evaluations spent, (A,), as observations tell them."""
        found: np.ndarray = np.rint(seen[:, 1] * self.limit).astype(np.int64)
        return found


def countdown(bank: Bank, solver: str, limit: int = LIMIT) -> Countdown:
    """The game on the levels of a teacher's trajectories, not yet calibrated.

    Args:
        bank: the trajectories, whose costs make the cheapest paths.
        solver: of one evaluation a step.
        limit: evaluations of an image at most.

    Raises:
        SpecError: the solver has no rule, or the limit is above what the trajectories hold.
    """
    if solver not in RULE:
        raise SpecError(f"solver {solver!r} cannot choose its levels; {nearest(solver, RULE)}")
    size = limit + 1, len(STATISTICS)
    jumps = first_jumps(bank.costs, limit)
    return Countdown(solver, bank.levels, jumps, np.zeros(size), np.ones(size))


class Decider:
    """Lets a policy choose each image's levels; a `compaction.Next`."""

    def __init__(self, game: Countdown, policy: Policy):
        """Begin a batch."""
        self._game, self._policy = game, policy
        self._nodes = np.zeros(0, np.int64)

    def __call__(self, done: int, rows: np.ndarray, past: list[Point]) -> np.ndarray:
        """The next level of each image in work."""
        if done == 1:
            self._nodes = np.zeros(len(rows), np.int64)
        actions = self._policy(self._game.observe(done, past))
        then = self._game.after(self._nodes[rows], done, actions)
        self._nodes[rows] = then
        found: np.ndarray = self._game.levels[then]
        return found


def sample(
    unet: UNet,
    game: Countdown,
    policy: Policy,
    start: np.ndarray,
    labels: np.ndarray | None = None,
    guidance: float = 1.0,
    batch: int = 100,
    progress: Progress = silent,
) -> tuple[np.ndarray, np.ndarray]:
    """Images with as many evaluations as a policy gives each.

    Args:
        unet: the network.
        game: what the policy's actions do.
        policy: chooses them.
        start: (N, H, W, C) standard normal noise.
        labels: (N,) int32, or None.
        guidance: weight of classifier-free guidance; 1 is off.
        batch: images at a time.
        progress: told after each batch.

    Returns:
        (N, H, W, C) float32 images, and (N,) evaluations spent on each.
    """
    first, rule = float(game.levels[0]), game.solver
    return in_batches(
        unet, rule, first, lambda: Decider(game, policy), start, labels, guidance, batch, progress
    )


def _pooled(d: mx.array) -> np.ndarray:
    """(A, POOLED * POOLED) means of a denoised image; rows and columns left over are cut off."""
    high, wide = d.shape[1] // POOLED, d.shape[2] // POOLED
    cut = d[:, : POOLED * high, : POOLED * wide]
    parts = cut.reshape(d.shape[0], POOLED, high, POOLED, wide, d.shape[3])
    return np.array(mx.mean(parts, axis=(2, 4, 5))).reshape(d.shape[0], -1)
