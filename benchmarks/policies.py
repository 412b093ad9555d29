"""Ways of giving images their evaluations, learned from the same images and the same errors."""

from __future__ import annotations

import dataclasses
import functools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ado_nas.adaptive import complexity
from ado_nas.adaptive.blind import Made, at_random, constant, mixed
from ado_nas.adaptive.content import outcomes
from ado_nas.adaptive.countdown import Countdown, Policy, countdown, sample
from ado_nas.adaptive.learning import fine_bank
from ado_nas.adaptive.practice import Practice, Truth, practice, truth
from ado_nas.bench import Bench
from ado_nas.diffusion.levels import uniform_levels
from ado_nas.diffusion.sampling import generate
from ado_nas.distillation.trajectories import Bank, build_bank
from ado_nas.progress import Progress

BUDGETS = (3, 4, 5, 6, 7)  # of the complexity rule
LEVELS = 24  # of the teacher's trajectories whose ends count as true


@dataclass(frozen=True, eq=False)
class Arena:
    """Where policies are trained and sampled; everything is made when it is first needed.

    `mean_nfe` is what the learned policy is trained for, `practiced` the images it is learned
    from, `training` fields of `PpoSpec` other than their defaults.
    """

    bench: Bench
    workspace: Path
    solver: str
    mean_nfe: float
    practiced: int
    training: dict[str, Any]
    progress: Progress

    def learn(self, seed: int, folder: Path) -> float:
        """Train a policy by PPO and export it to a folder, once; the seconds that took."""
        from ado_nas.adaptive.policy import FACTS, load_actor, save_actor
        from ado_nas.adaptive.ppo import PpoSpec, train

        if not (folder / FACTS).is_file():
            spec = dataclasses.replace(PpoSpec(**self.training), seed=seed)
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
        """The learned policy, told the content of other images: what is left is its schedule."""
        from ado_nas.adaptive.policy import load_actor

        actor = load_actor(folder, self.bench.teacher)
        return self._sampled(actor.game, blinded(actor, seed))

    def dp(self, mean: float, seed: int) -> Made:
        """The cheapest schedules of the two neighboring whole numbers."""
        game = self.practice.game
        return mixed(lambda nfe: self._sampled(game, constant(game, nfe))[0], mean, seed)

    def uniform(self, mean: float, seed: int) -> Made:
        """Uniform levels of the two neighboring whole numbers."""
        limits = self.bench.task.trajectories

        def images(nfe: int) -> np.ndarray:
            levels = uniform_levels(nfe, limits.sigma_min, limits.sigma_max)
            start, labels, guidance, batch = self._held
            unet = self.bench.teacher.unet
            return generate(unet, self.solver, levels, start, labels, guidance, batch)

        return mixed(images, mean, seed)

    def random(self, mean: float, seed: int) -> Made:
        """The game, played blindly."""
        game = self.practice.game
        return self._sampled(game, at_random(game, mean, seed))

    def complexity(self, mean: float, seed: int) -> Made:
        """The rule of two probes, in which nothing is drawn by the seed."""
        rule = complexity.fit(*self._by_budget, BUDGETS, mean)
        start, labels, guidance, batch = self._held
        unet = self.bench.teacher.unet
        return complexity.sample(unet, self._budgets, rule, start, labels, guidance, batch)

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


def blinded(policy: Policy, seed: int) -> Policy:
    """A policy that is told what other images show that are at the same place.

    Args:
        policy: to whom observations go, their content in another order.
        seed: of the orders.
    """
    rng = np.random.default_rng(seed)

    def blind(seen: np.ndarray) -> np.ndarray:
        told = seen.copy()
        for place in np.unique(seen[:, :2], axis=0):  # noise level and evaluations spent
            rows = np.flatnonzero(np.all(seen[:, :2] == place, axis=1))
            told[rows, 2:] = seen[rng.permutation(rows), 2:]
        return policy(told)

    return blind
