"""Many images sampled side by side, each with its own decisions, and what the decisions earn."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from ado_nas.adaptive.compaction import denoised
from ado_nas.adaptive.countdown import WIDTH
from ado_nas.adaptive.practice import Practice
from ado_nas.diffusion.sampling import sampling_threads
from ado_nas.diffusion.solvers import MEMORY, RULE, Point
from ado_nas.measure import lock

_KEPT = 2**28  # bytes of the network's answers that are looked up instead of asked again


class Episodes:
    """Images in slots, each at its own place of its own episode.

    An episode is one image from noise to the end. Every slot is evaluated in one call of the
    network. Whoever plays calls `begin`, then `look` and `move` in turn; a slot whose image is at
    its end needs another one before the next `look`.
    """

    def __init__(self, played: Practice, slots: int):
        """Make empty slots.

        Args:
            played: the images and what they are compared with.
            slots: how many are sampled side by side, B.
        """
        shape = played.truth.start.shape[1:]
        self.practice = played
        self.price = 0.0  # of an evaluation, in units
        self.which = np.zeros(slots, np.int64)
        self.spent = np.zeros(slots, np.int64)
        self.errors = np.zeros(slots)  # of the images that the last move ended
        self._nodes = np.zeros(slots, np.int64)
        self._ways: list[tuple[int, ...]] = [()] * slots
        self._known: dict[tuple[int, tuple[int, ...]], np.ndarray] = {}
        self._x = np.zeros((slots, *shape), np.float32)
        self._past_level = np.zeros((MEMORY, slots))
        self._past_x = np.zeros((MEMORY, slots, *shape), np.float32)
        self._past_d = np.zeros((MEMORY, slots, *shape), np.float32)

    def begin(self, slots: np.ndarray | Sequence[int], which: np.ndarray | Sequence[int]) -> None:
        """Put images into slots, (A,) each, at the first level."""
        self.which[slots], self.spent[slots], self._nodes[slots] = which, 0, 0
        self._x[slots] = self.practice.truth.start[which] * self.practice.game.levels[0]
        for slot in slots:
            self._ways[slot] = ()

    def look(self) -> np.ndarray:
        """Evaluate the network for every slot.

        Returns:
            (B, WIDTH) float32 observations.
        """
        played = self.practice
        levels = played.game.levels[self._nodes]
        d = self._denoised(levels)
        for past, new in (
            (self._past_level, levels),
            (self._past_x, self._x),
            (self._past_d, d),
        ):
            past[:-1] = past[1:]
            past[-1] = new
        self.spent += 1
        seen = np.zeros((len(levels), WIDTH), np.float32)
        for spent, rows, past_points in self._alike():
            seen[rows] = played.game.observe(spent, past_points)
        return seen

    def move(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Go to the next levels.

        Args:
            actions: (B,) evaluations that each image gets yet.

        Returns:
            (B,) rewards and (B,) whether the image is at its end. Another evaluation costs
            `price`; the end earns par less the error, in units. Par depends on the image alone, so
            that it changes no policy's rank, but spares the learner what makes images differ.
        """
        played = self.practice
        game, rule = played.game, RULE[played.game.solver]
        for spent, rows, past in self._alike():
            then = game.after(self._nodes[rows], spent, actions[rows])
            self._x[rows] = np.array(rule(past, game.levels[then]))
            self._past_x[-1, rows] = np.array(past[-1].x)  # which a rule may have corrected
            self._nodes[rows] = then
            for slot, node in zip(rows, then.tolist(), strict=True):
                self._ways[slot] = (*self._ways[slot], node)
        ended = game.levels[self._nodes] == 0
        rewards = np.full(len(ended), -self.price)
        if ended.any():
            which = self.which[ended]
            self.errors[ended] = played.truth.errors(self._x[ended], which)
            rewards[ended] = (played.par[which] - self.errors[ended]) / played.unit
        return rewards, ended

    def _denoised(self, levels: np.ndarray) -> np.ndarray:
        """The network's answers, (B, H, W, C); an image that came the same way is looked up."""
        keys = list(zip(self.which.tolist(), self._ways, strict=True))
        new = np.array([i for i, key in enumerate(keys) if key not in self._known], np.int64)
        found = np.zeros_like(self._x)
        if len(new):
            found[new] = self._evaluated(new, levels[new])
        for i, key in enumerate(keys):
            if key in self._known:
                found[i] = self._known[key]
        if len(self._known) * found[0].nbytes < _KEPT:
            self._known.update((keys[i], found[i].copy()) for i in new)
        return found

    def _evaluated(self, slots: np.ndarray, levels: np.ndarray) -> np.ndarray:
        played = self.practice
        labels = played.truth.labels
        chosen = None if labels is None else mx.array(labels[self.which[slots]])
        x = mx.array(self._x[slots])
        with lock.shared(), sampling_threads(played.unet.spec, len(slots)):
            return np.array(denoised(played.unet, x, levels, chosen, played.guidance))

    def _alike(self) -> list[tuple[int, np.ndarray, list[Point]]]:
        """Slots of equally many evaluations, with the last of them."""
        found = []
        for spent in np.unique(self.spent):
            rows = np.flatnonzero(self.spent == spent)
            past = [
                Point(
                    self._past_level[-i, rows],
                    mx.array(self._past_x[-i, rows]),
                    mx.array(self._past_d[-i, rows]),
                )
                for i in range(min(int(spent), MEMORY), 0, -1)
            ]
            found.append((int(spent), rows, past))
        return found
