"""Ways of giving images their evaluations, learned from the same images and the same errors."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ado_nas.adaptive import complexity
from ado_nas.adaptive.blind import Made, at_random, blended, constant, mixed
from ado_nas.adaptive.compaction import Next, in_batches
from ado_nas.adaptive.content import outcomes
from ado_nas.adaptive.countdown import Countdown, Decider, Policy, countdown, sample
from ado_nas.adaptive.learning import fine_bank
from ado_nas.adaptive.practice import Practice, Truth, practice, truth
from ado_nas.bench import Bench
from ado_nas.diffusion.sampling import generate
from ado_nas.diffusion.schedules import closed_form
from ado_nas.diffusion.solvers import Point
from ado_nas.distillation.trajectories import Bank, build_bank
from ado_nas.files import building
from ado_nas.models.unet import UNet
from ado_nas.progress import Progress

if TYPE_CHECKING:
    from ado_nas.adaptive.ppo import PpoSpec  # needs the extra rl

BUDGETS = (3, 4, 5, 6, 7)  # of the complexity rule
LEVELS = 24  # of the teacher's trajectories whose ends count as true
_NEIGHBORS = 0.1  # evaluations from the mean, where a rule below and one above are looked for


@dataclass(frozen=True, eq=False)
class Arena:
    """Where policies are trained and sampled; everything is made when it is first needed.

    `mean_nfe` is what the learned policy is trained for, `practiced` the images it is learned
    from, `training` how; its seed is each policy's own.
    """

    bench: Bench
    workspace: Path
    solver: str
    mean_nfe: float
    practiced: int
    training: PpoSpec
    progress: Progress

    def learn(self, seed: int, folder: Path) -> float:
        """Train a policy by PPO and export it to a folder, once; the seconds that took."""
        from ado_nas.adaptive.policy import FACTS, load_actor, save_actor
        from ado_nas.adaptive.ppo import train

        with building(folder):
            if not (folder / FACTS).is_file():
                spec = dataclasses.replace(self.training, seed=seed)
                played, begin = self.practice, time.monotonic()
                last = train(played, spec, self.progress)
                about = {
                    "training": dataclasses.asdict(spec),
                    "wanted_nfe": self.mean_nfe,
                    "seconds": time.monotonic() - begin,
                }
                save_actor(folder, last.actor, self.bench.teacher, about)
        facts = load_actor(folder, self.bench.teacher).facts
        return float(facts["provenance"]["seconds"])

    def ppo(self, folder: Path) -> Made:
        """The learned policy, as it was exported."""
        from ado_nas.adaptive.policy import load_actor

        actor = load_actor(folder, self.bench.teacher)
        return self._sampled(actor.game, actor)

    def shuffled(self, folder: Path, seed: int) -> Made:
        """What the learned policy did with other images: what is left of it is its schedule."""
        from ado_nas.adaptive.policy import load_actor

        actor = load_actor(folder, self.bench.teacher)
        return shuffled(actor.game, actor, self.bench.teacher.unet, *self._held, seed)

    def dp(self, mean: float, seed: int) -> Made:
        """The cheapest schedules of the two neighboring whole numbers."""
        game = self.practice.game
        return mixed(lambda nfe: self._sampled(game, constant(game, nfe))[0], mean, seed)

    def uniform(self, mean: float, seed: int) -> Made:
        """Uniform levels of the two neighboring whole numbers."""
        return self._closed("uniform", mean, seed)

    def karras(self, mean: float, seed: int) -> Made:
        """Levels of Karras et al., for which nothing is learned either."""
        return self._closed("karras", mean, seed)

    def _closed(self, form: str, mean: float, seed: int) -> Made:
        limits, unet = self.bench.task.trajectories, self.bench.teacher.unet
        about = limits.sigma_min, limits.sigma_max, unet.spec.sigma_data

        def images(nfe: int) -> np.ndarray:
            levels = closed_form(form, nfe, *about)
            start, labels, guidance, batch = self._held
            return generate(unet, self.solver, levels, start, labels, guidance, batch)

        return mixed(images, mean, seed)

    def random(self, mean: float, seed: int) -> Made:
        """The game, played blindly."""
        game = self.practice.game

        def made(target: float) -> Made:
            return self._sampled(game, at_random(game, target, seed))

        return met(made, mean, game.limit, seed)

    def complexity(self, mean: float, seed: int) -> Made:
        """Two neighboring rules of two probes."""
        game = self.practice.game

        def made(target: float) -> Made:
            if target in (1, game.limit):  # what no rule spends
                return self._sampled(game, constant(game, int(target)))
            rule = complexity.fit(*self._by_budget, BUDGETS, target)
            return complexity.sample(self.bench.teacher.unet, self._budgets, rule, *self._held)

        return met(made, mean, game.limit, seed)

    @functools.cached_property
    def held(self) -> Bank:
        """The teacher's own trajectories from the noise that policies are judged on."""
        quality = self.bench.task.quality
        return self._bank(quality.samples, quality.noise_seed)

    @functools.cached_property
    def truth(self) -> Truth:
        """The ends of `held`."""
        return truth(self.held, self.bench.features)

    @functools.cached_property
    def practice(self) -> Practice:
        """What is learned from, and the game."""
        seed = self.bench.task.trajectories.seed + 2
        ends = truth(self._bank(self.practiced, seed), self.bench.features)
        unet, guidance = self.bench.teacher.unet, self.bench.task.reference.guidance
        game = countdown(self._fine, self.solver)
        return practice(unet, game, ends, self.mean_nfe, guidance, self.progress)

    def _sampled(self, game: Countdown, policy: Policy) -> Made:
        start, labels, guidance, batch = self._held
        return sample(self.bench.teacher.unet, game, policy, start, labels, guidance, batch)

    @property
    def _held(self) -> tuple[np.ndarray, np.ndarray | None, float, int]:
        task = self.bench.task
        start = self.bench.start(task.quality.noise_seed)
        return start, self.bench.labels(), task.reference.guidance, task.quality.batch

    def _bank(self, count: int, seed: int) -> Bank:
        base = self.bench.task.trajectories
        spec = dataclasses.replace(base, count=count, levels=LEVELS, seed=seed)
        cache = self.workspace / "cache" / "trajectories"
        return build_bank(spec, self.bench.teacher, cache, self.progress)

    @functools.cached_property
    def _fine(self) -> Bank:
        return fine_bank(self.bench, self.workspace, self.progress)

    @functools.cached_property
    def _budgets(self) -> complexity.Budgets:
        return complexity.budgets(self._fine, self.solver, BUDGETS)

    @functools.cached_property
    def _by_budget(self) -> tuple[np.ndarray, np.ndarray]:
        """Statistics (M, S) and errors (M, K) of the images that are learned from."""
        found = outcomes(self.bench, self._budgets, self.practice.truth, self.progress)
        return found.told, found.errors


def met(made: Callable[[float], Made], mean: float, most: int, seed: int) -> Made:
    """Images of a way of sampling that spend on average just what they may.

    Two that are told a little less and a little more are mixed, as what a rule is learned or
    drawn for is not quite what it spends on other noise.

    Args:
        made: images of a way that is told how much to spend, which 1 and the most keep to.
        mean: number of evaluations.
        most: evaluations of an image at most.
        seed: of the draw.
    """

    def beyond(sign: int) -> Made:
        apart = _NEIGHBORS
        while True:
            found = made(min(max(mean + sign * apart, 1.0), float(most)))
            if sign * (found[1].mean() - mean) >= 0:
                return found
            apart *= 2

    return blended(beyond(-1), beyond(1), mean, seed)


def shuffled(
    game: Countdown,
    policy: Policy,
    unet: UNet,
    start: np.ndarray,
    labels: np.ndarray | None,
    guidance: float,
    batch: int,
    seed: int,
) -> Made:
    """Images by the levels that a policy chose for others, each once.

    Args:
        game: what the policy's actions do.
        policy: chooses them.
        unet: the network.
        start: (N, H, W, C) standard normal noise.
        labels: (N,) int32, or None.
        guidance: weight of classifier-free guidance; 1 is off.
        batch: images at a time.
        seed: of which image goes by the levels of which.
    """
    kept: list[_Kept] = []

    def keeping() -> Next:
        kept.append(_Kept(game, policy))
        return kept[-1]

    about = start, labels, guidance, batch
    first = float(game.levels[0])
    in_batches(unet, game.solver, first, keeping, *about)
    chosen = np.random.default_rng(seed).permutation(np.concatenate([k.levels for k in kept]))
    parts = iter(range(0, len(start), batch))

    def again() -> Next:
        a = next(parts)
        return lambda done, rows, past: chosen[a + rows, done - 1]

    return in_batches(unet, game.solver, first, again, *about)


class _Kept:
    """Lets a policy choose each image's levels and keeps them, (B, limit), 0 from the end on."""

    def __init__(self, game: Countdown, policy: Policy):
        self._decider, self._limit = Decider(game, policy), game.limit
        self.levels = np.zeros((0, game.limit))

    def __call__(self, done: int, rows: np.ndarray, past: list[Point]) -> np.ndarray:
        if done == 1:
            self.levels = np.zeros((len(rows), self._limit))
        then = self._decider(done, rows, past)
        self.levels[rows, done - 1] = then
        return then
