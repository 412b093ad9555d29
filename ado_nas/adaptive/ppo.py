"""Training a policy by proximal policy optimization, at a price that keeps the evaluations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ado_nas.adaptive.policy import Actor, actor_of
from ado_nas.adaptive.practice import Practice
from ado_nas.adaptive.vectorized import SamplingVecEnv
from ado_nas.errors import ConfigError
from ado_nas.progress import Progress, silent

try:
    from stable_baselines3 import PPO
    from stable_baselines3.common.logger import Logger
except ModuleNotFoundError as error:
    raise ConfigError(
        f"{error.name} is not installed; install the extra rl: pip install 'ado-nas[rl]'"
    ) from None


_BOUND = 0.25  # evaluations above or below the wanted mean that the price heeds at once


@dataclass(frozen=True)
class PpoSpec:
    """How a policy is trained."""

    updates: int = 100
    slots: int = 128  # images side by side
    horizon: int = 16  # evaluations of each slot between two updates
    epochs: int = 8
    batch: int = 256
    learning_rate: float = 1e-3  # falls linearly
    entropy: float = 0.02  # weight of the entropy, in units of reward; falls linearly
    hidden: tuple[int, ...] = (64, 64)
    price_rate: float = 0.2  # of its logarithm, for each evaluation above the wanted mean
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Update:
    """Where training stands: means over the images that ended since the last update."""

    done: int
    actor: Actor
    nfe: float
    error: float  # in units
    price: float


def updates(played: Practice, spec: PpoSpec) -> Iterator[Update]:
    """Train a policy; the caller may stop at any update.

    The price of an evaluation begins at what one more saves by the fixed schedules and follows the
    mean number of evaluations until that is the wanted one (dual ascent).

    Args:
        played: the images and the wanted mean.
        spec: sizes, rates and seed.

    Yields:
        After each update the policy so far.

    Source: Schulman et al. 2017 (PPO); Stooke et al. 2020, section 3, for the price as a
    controlled multiplier.
    """
    env = SamplingVecEnv(played, spec.slots, spec.seed)
    env.episodes.price = max(played.worth, 1e-3)
    nets = {"pi": list(spec.hidden), "vf": list(spec.hidden)}
    model = PPO(
        "MlpPolicy",
        env,
        learning_rate=spec.learning_rate,
        n_steps=spec.horizon,
        batch_size=spec.batch,
        n_epochs=spec.epochs,
        gamma=1.0,
        ent_coef=spec.entropy,
        policy_kwargs={"net_arch": nets},
        seed=spec.seed,
        device="cpu",
    )
    model.set_logger(Logger(folder=None, output_formats=[]))  # its own makes a folder each time
    for done in range(spec.updates):
        left = 1 - done / spec.updates
        model.lr_schedule = lambda _, rate=spec.learning_rate * left: rate
        model.ent_coef = spec.entropy * left
        env.ended.clear()
        model.learn(spec.slots * spec.horizon, reset_num_timesteps=done == 0)
        nfe, error = np.mean(env.ended, axis=0) if env.ended else (played.mean_nfe, np.nan)
        price = env.episodes.price
        # Bounded, for the first policies spend far more and follow the price late.
        above = np.clip(float(nfe) - played.mean_nfe, -_BOUND, _BOUND)
        env.episodes.price = price * float(np.exp(spec.price_rate * above))
        actor = actor_of(played.game, model.policy.state_dict())
        yield Update(done + 1, actor, float(nfe), float(error) / played.unit, price)


def train(played: Practice, spec: PpoSpec, progress: Progress = silent) -> Update:
    """Train a policy to the end.

    Args:
        played: the images and the wanted mean.
        spec: sizes, rates and seed.
        progress: told after each update.

    Returns:
        The last update.
    """
    for update in updates(played, spec):
        note = f"{update.nfe:.2f} NFE, error {update.error:.2f}"
        progress(f"policy {spec.seed}", update.done, spec.updates, note)
    return update
