"""A training at several resolutions: which one each iteration has, its batch and learning rate.

Compute is counted in multiply-accumulates. Stages have their shares of what training at the
network's own resolution throughout would take, so that a curriculum takes as long as that.
"""

from __future__ import annotations

import bisect
import dataclasses
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np

from ado_nas.data.pyramid import averaged
from ado_nas.measure.cost import cost
from ado_nas.specs import CurriculumSpec, UNetSpec
from ado_nas.training.step import Rate, schedule

STAGES = 2  # raise it when training in several stages changes
_GRAIN = 4  # batches are multiples of it, so that they can be split


@dataclass(frozen=True)
class Stage:
    """So many iterations at one resolution, or below it for a replay."""

    resolution: int  # px
    batch: int  # images
    iterations: int


class Curriculum:
    """What each iteration of a training is.

    Args:
        spec: resolutions and shares; without any there is one stage.
        unet: the network that is trained.
        iterations: of a training at its own resolution throughout, with as much compute.
        batch: images in an iteration at that resolution.
        seed: of what is replayed, or of the mix of crops.
    """

    def __init__(
        self, spec: CurriculumSpec, unet: UNetSpec, iterations: int, batch: int, seed: int = 0
    ) -> None:
        self.spec = spec
        self.resolution = unet.resolution
        self._seed = seed
        self._batch = batch
        self._sides = spec.resolutions or (unet.resolution,)
        shares = spec.shares or (1.0,)
        prices = [self.batch(side) * macs_at(unet, side) for side in self._sides]
        whole = iterations * batch * macs_at(unet, unet.resolution)
        if spec.crops:  # one stage: shares are of its iterations here, as in the source
            mean = np.dot(shares, prices)
            self.stages = [Stage(unet.resolution, batch, max(1, round(whole / mean)))]
            return
        self.stages = []
        for k, (side, share) in enumerate(zip(self._sides, shares, strict=True)):
            replay = spec.replay if k else 0.0
            price = (1 - replay) * prices[k] + replay * np.mean(prices[: k or 1])
            count = max(1, round(share * whole / price))
            self.stages.append(Stage(side, self.batch(side), count))

    def batch(self, side: int) -> int:
        """Images in an iteration at a resolution: more where it is low, as the spec says."""
        ratio = self.resolution / side
        wanted = self._batch * ratio**self.spec.batch_growth
        return self._batch if side == self.resolution else max(1, round(wanted / _GRAIN)) * _GRAIN

    @property
    def iterations(self) -> int:
        """Of all stages."""
        return self._ends[-1]

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(stage.iterations for stage in self.stages))

    def side(self, iteration: int) -> int:
        """The resolution of an iteration, or the side of its crops; px, from iteration 0 on."""
        stage = min(bisect.bisect_right(self._ends, iteration), len(self.stages) - 1)
        if not self.spec:
            return self.resolution
        rng = np.random.default_rng((self._seed, iteration, 1))
        if self.spec.crops:
            return int(rng.choice(self._sides, p=self.spec.shares))
        if stage and rng.random() < self.spec.replay:
            return int(rng.choice(self._sides[:stage]))
        return self._sides[stage]

    def after(self, share: float) -> int:
        """Iterations after which a share of the compute is spent."""
        begin, done = 0, 0.0
        parts = self.spec.shares if len(self.stages) > 1 else (1.0,)
        for stage, part in zip(self.stages, parts, strict=True):
            if share <= done + part:
                return begin + round((share - done) / part * stage.iterations)
            begin, done = begin + stage.iterations, done + part
        return begin

    def size(self, iteration: int) -> int:
        """Images in an iteration."""
        return self.batch(self.side(iteration))

    def rates(self, peak: float, warmup: int) -> dict[int, Rate]:
        """Learning rates that rise in each stage and fall to 0 along a cosine to its end.

        A stage that ends at a high rate leaves the next one little to build on. What joins in a
        later one is as fresh as all was in the first, and needs as long a rise.

        Args:
            peak: the highest rate.
            warmup: iterations of the first rise; 0 for none. Later ones are no shorter, within a
                third of their stage.

        Returns:
            As `Stepper` takes them, by the first iteration of each stage.
        """
        if len(self.stages) == 1:
            return {0: schedule(peak, warmup, self.iterations)}
        found = {}
        for begin, stage in zip([0, *self._ends[:-1]], self.stages, strict=True):
            again = max(round(self.spec.rewarm * stage.iterations), warmup) if begin else warmup
            rise = min(again, stage.iterations // 3)
            found[begin] = schedule(peak, rise, stage.iterations)
        return found

    def views(
        self, iteration: int, *images: np.ndarray
    ) -> tuple[list[np.ndarray], float, np.ndarray | None]:
        """Images as an iteration sees them.

        Args:
            iteration: from 0.
            images: (B, H, W, C) each, at the network's own resolution; all are seen alike.

        Returns:
            (B, side, side, C) each; by how much noise is to be scaled; and the places of crops,
            (B, 3) as the network takes them, or None.

        Source: the standard deviation of noise falls with the side where pixels are averaged, as
        in Hoogeboom et al. 2023 (simple diffusion), eq. 4; crops keep it.
        """
        side = self.side(iteration)
        if not self.spec.crops:
            return [averaged(x, side) for x in images], side / self.resolution, None
        rng = np.random.default_rng((self._seed, iteration, 2))
        corners = rng.integers(0, self.resolution - side + 1, (len(images[0]), 2))
        rows = np.arange(len(corners))[:, None, None]
        down = corners[:, 0, None, None] + np.arange(side)[:, None]
        right = corners[:, 1, None, None] + np.arange(side)[None]
        share = np.full((len(corners), 1), side)
        place = (np.concatenate([corners, share], 1) / self.resolution).astype(np.float32)
        return [x[rows, down, right] for x in images], 1.0, place

    def seen(
        self,
        iteration: int,
        x: np.ndarray,
        sigma: np.ndarray,
        target: np.ndarray,
        labels: np.ndarray,
    ) -> tuple[np.ndarray, ...]:
        """States and what they are to be taken to, as an iteration sees them.

        Args:
            iteration: from 0.
            x: (B, H, W, C), states at the network's own resolution.
            sigma: (B,) float32, their levels.
            target: (B, H, W, C).
            labels: (B,).

        Returns:
            The same averaged down at less noise, or cropped with the places behind it.
        """
        (few, goal), ratio, place = self.views(iteration, x, target)
        seen = few, (ratio * sigma).astype(np.float32), goal, labels
        return seen if place is None else (*seen, place)


def staged(spec: CurriculumSpec) -> tuple[int, ...]:
    """What a cache key has besides, where a training has several stages."""
    return (STAGES,) if spec else ()


def macs_at(unet: UNetSpec, side: int) -> int:
    """Multiply-accumulates of one evaluation of one image of some side.

    Args:
        unet: the network; a nested one runs only what is inside for lower resolutions.
        side: of the image, px.
    """
    while unet.nested and side <= unet.inside.resolution:
        unet = unet.inside
    return cost(dataclasses.replace(unet, resolution=side)).macs
