"""The game as Stable-Baselines3 wants it: many images, one call of the network a step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ado_nas.adaptive.countdown import WIDTH
from ado_nas.adaptive.environment import action_space, observation_space
from ado_nas.adaptive.episodes import Episodes
from ado_nas.adaptive.practice import Practice
from ado_nas.errors import ConfigError

try:
    from stable_baselines3.common.vec_env import VecEnv
except ModuleNotFoundError as error:
    raise ConfigError(
        f"{error.name} is not installed; install the extra rl: pip install 'ado-nas[rl]'"
    ) from None


class SamplingVecEnv(VecEnv):
    """Slots of images; one that is at its end makes room for the next at once.

    `ended` collects the evaluations and the error of each image that came to its end, until the
    caller clears it.
    """

    def __init__(self, played: Practice, slots: int, seed: int = 0):
        """Make the environment.

        Args:
            played: the images, their teacher and the game.
            slots: images side by side.
            seed: of their order, which goes through all of them before one comes again.
        """
        self.render_mode: str | None = None
        self.episodes = Episodes(played, slots)
        self.ended: list[tuple[int, float]] = []
        self._order = _orders(len(played.truth.start), seed)
        self._actions = np.zeros(slots, np.int64)
        self._seen = np.zeros((slots, WIDTH), np.float32)
        super().__init__(slots, observation_space(), action_space(played.game.limit))

    def reset(self) -> np.ndarray:
        """Put a new image into every slot: (B, WIDTH) observations."""
        self._refill(np.arange(self.num_envs))
        self._seen = self.episodes.look()
        return self._seen.copy()

    def step_async(self, actions: np.ndarray) -> None:
        """Take the actions, (B,)."""
        self._actions = np.asarray(actions)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Go on as they say: (B, WIDTH) observations, (B,) rewards and ends, and facts of each."""
        rewards, ended = self.episodes.move(self._actions)
        facts: list[dict[str, Any]] = [{} for _ in ended]
        for slot in np.flatnonzero(ended):
            nfe, error = int(self.episodes.spent[slot]), float(self.episodes.errors[slot])
            self.ended.append((nfe, error))
            facts[slot] = {"terminal_observation": self._seen[slot], "nfe": nfe, "error": error}
        self._refill(np.flatnonzero(ended))
        self._seen = self.episodes.look()
        return self._seen.copy(), rewards.astype(np.float32), ended, facts

    def close(self) -> None:
        """Nothing is open."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute, the same for all slots."""
        return [getattr(self, attr_name)] * len(self._chosen(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute for all slots; they cannot differ."""
        setattr(self, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method once for all slots."""
        found = getattr(self, method_name)(*method_args, **method_kwargs)
        return [found] * len(self._chosen(indices))

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """No slot is wrapped."""
        return [False] * len(self._chosen(indices))

    def _refill(self, slots: np.ndarray) -> None:
        self.episodes.begin(slots, [next(self._order) for _ in slots])

    def _chosen(self, indices: Any) -> list[int]:
        return list(self._get_indices(indices))


def _orders(count: int, seed: int) -> Iterator[int]:
    rng = np.random.default_rng(seed)
    while True:
        yield from rng.permutation(count).tolist()
