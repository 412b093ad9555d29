"""What policies are trained on: a teacher's own ends, and what fixed schedules reach."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from ado_nas.adaptive.blind import at_random, constant
from ado_nas.adaptive.compaction import Next, in_batches
from ado_nas.adaptive.complexity import STATISTICS, statistics
from ado_nas.adaptive.countdown import Countdown, Decider, sample
from ado_nas.diffusion.solvers import Point
from ado_nas.distillation.trajectories import Bank
from ado_nas.errors import SpecError
from ado_nas.models.unet import UNet
from ado_nas.progress import Progress, silent
from ado_nas.quality.features import FeatureNet

_CALIBRATED = 256  # images
_FEWEST = 16  # images, to tell a deviation


@dataclass(frozen=True, eq=False)
class Truth:
    """Where a teacher's own trajectories end, as the judge's feature network sees it.

    `start` is (M, H, W, C) standard normal noise, `labels` (M,) or None, `ends` (M, D) features.
    """

    start: np.ndarray
    labels: np.ndarray | None
    ends: np.ndarray
    features: FeatureNet

    def errors(self, images: np.ndarray, which: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Squared distances in the feature network, (A,), of images from the noise `which`.

        Their mean is above the squared Wasserstein distance of the two sets of features.
        """
        return self.apart(self.seen(images), which)

    def seen(self, images: np.ndarray) -> np.ndarray:
        """(A, D) features of images."""
        return self.features(np.clip(images, -1, 1).astype(np.float32))

    def apart(self, seen: np.ndarray, which: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Squared distances (A,) of features (A, D) from the ends of the noise `which`."""
        found: np.ndarray = np.sum((seen - self.ends[which]).astype(np.float64) ** 2, axis=1)
        return found


def truth(bank: Bank, features: FeatureNet) -> Truth:
    """The ends of a bank's trajectories."""
    ends = np.clip(np.array(bank.states[-1]), -1, 1)
    start = np.array(bank.states[0] / bank.levels[0], np.float32)
    return Truth(start, bank.labels, features(ends), features)


@dataclass(frozen=True, eq=False)
class Practice:
    """What policies are trained on.

    `par` (M,) is each image's error by the cheapest fixed schedules of the wanted mean number of
    evaluations, `unit` its mean, and `worth` what one evaluation more saves there, in units.
    """

    unet: UNet
    guidance: float
    game: Countdown
    truth: Truth
    mean_nfe: float
    par: np.ndarray
    unit: float
    worth: float


def practice(
    unet: UNet,
    game: Countdown,
    ends: Truth,
    mean_nfe: float,
    guidance: float = 1.0,
    progress: Progress = silent,
) -> Practice:
    """Calibrate the game and measure what the fixed schedules reach.

    Args:
        unet: the network.
        game: as `countdown` makes it.
        ends: what is practiced on.
        mean_nfe: evaluations of an image on average.
        guidance: weight of classifier-free guidance; 1 is off.
        progress: told after each batch.

    Raises:
        SpecError: a mean below 1, or not below the game's limit.
    """
    if not 1 <= mean_nfe < game.limit:
        raise SpecError(
            f"a mean of {mean_nfe:g} evaluations: give 1 or more, below the limit of {game.limit}"
        )
    few = slice(0, _CALIBRATED)
    labels = None if ends.labels is None else ends.labels[few]
    game = calibrated(game, unet, mean_nfe, ends.start[few], labels, guidance)
    low = int(mean_nfe)
    errors = []
    for nfe in (low, low + 1):
        policy = constant(game, nfe)
        images, _ = sample(
            unet, game, policy, ends.start, ends.labels, guidance, progress=progress
        )
        errors.append(ends.errors(images))
    par = errors[0] + (mean_nfe - low) * (errors[1] - errors[0])
    unit = float(par.mean())
    worth = float((errors[0] - errors[1]).mean()) / unit
    return Practice(unet, guidance, game, ends, mean_nfe, par, unit, worth)


def calibrated(
    game: Countdown,
    unet: UNet,
    mean_nfe: float,
    start: np.ndarray,
    labels: np.ndarray | None = None,
    guidance: float = 1.0,
    seed: int = 0,
) -> Countdown:
    """The game with the mean and deviation of the statistics, as a random policy meets them.

    Args:
        game: as `countdown` makes it.
        unet: the network.
        mean_nfe: evaluations of an image on average.
        start: (N, H, W, C) standard normal noise.
        labels: (N,) int32, or None.
        guidance: weight of classifier-free guidance; 1 is off.
        seed: of the random policy.
    """
    policy = at_random(game, mean_nfe, seed)
    met: list[list[np.ndarray]] = [[] for _ in range(game.limit + 1)]

    def following() -> Next:
        decide = Decider(game, policy)

        def watch(done: int, rows: np.ndarray, past: list[Point]) -> np.ndarray:
            if len(past) > 1:
                met[done].append(statistics(past))
            return decide(done, rows, past)

        return watch

    first = float(game.levels[0])
    in_batches(unet, game.solver, first, following, start, labels, guidance)
    mean, scale = np.zeros_like(game.mean), np.ones_like(game.scale)
    for done, parts in enumerate(met):
        found = np.concatenate(parts) if parts else np.zeros((0, len(STATISTICS)))
        if len(found) >= _FEWEST:
            mean[done], scale[done] = found.mean(axis=0), found.std(axis=0) + 1e-6
        elif done:
            mean[done], scale[done] = mean[done - 1], scale[done - 1]
    return dataclasses.replace(game, mean=mean, scale=scale)
