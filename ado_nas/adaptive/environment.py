"""The game as a Gymnasium environment, one image an episode."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ado_nas.adaptive.countdown import WIDTH
from ado_nas.adaptive.episodes import Episodes
from ado_nas.adaptive.practice import Practice
from ado_nas.errors import ConfigError

try:
    import gymnasium
    from gymnasium import spaces
except ModuleNotFoundError as error:
    raise ConfigError(
        f"{error.name} is not installed; install the extra rl: pip install 'ado-nas[rl]'"
    ) from None


def observation_space() -> spaces.Box:
    """What is seen after an evaluation; see `Countdown.observe`."""
    return spaces.Box(-1.0, 1.0, (WIDTH,), np.float32)


def action_space(limit: int) -> spaces.Discrete:
    """How many evaluations more: 0 to one below the limit."""
    return spaces.Discrete(limit)


class SamplingEnv(gymnasium.Env[np.ndarray, np.int64]):
    """One image is sampled, and after each evaluation an action says how many more it gets.

    The reward is that of `Episodes.move`. The last observation is given again at the end, where
    there is no evaluation.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}
    render_mode = None

    def __init__(self, played: Practice, price: float = 0.0):
        """Make the environment.

        Args:
            played: the images, their teacher and the game.
            price: of an evaluation, in units of the mean error of the fixed schedules.
        """
        self.observation_space = observation_space()
        self.action_space = action_space(played.game.limit)
        self._episodes = Episodes(played, 1)
        self._episodes.price = price
        self._seen = np.zeros(WIDTH, np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: of the choice of images from here on; None goes on.
            options: ``image`` names one; else one is drawn.

        Returns:
            The observation after the first evaluation, and the ``image``.
        """
        super().reset(seed=seed)
        count = len(self._episodes.practice.truth.start)
        drawn = int(self.np_random.integers(count))
        which = int((options or {}).get("image", drawn))
        if not 0 <= which < count:
            raise ConfigError(f"image {which}: give 0 to {count - 1}")
        self._episodes.begin([0], [which])
        self._seen = self._episodes.look()[0]
        return self._seen.copy(), {"image": which}

    def step(self, action: np.int64 | int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Go on as an action says.

        Args:
            action: evaluations that the image gets yet; at the limit 0, whatever is asked for.

        Returns:
            Observation, reward, whether this was the end, False, and the evaluations spent
            (``nfe``) with, at the end, the ``error``.
        """
        rewards, ended = self._episodes.move(np.array([action]))
        facts: dict[str, Any] = {"nfe": int(self._episodes.spent[0])}
        if ended[0]:
            facts["error"] = float(self._episodes.errors[0])
        else:
            self._seen = self._episodes.look()[0]
        return self._seen.copy(), float(rewards[0]), bool(ended[0]), False, facts
