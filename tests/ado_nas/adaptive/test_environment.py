"""The environments by the checkers of the libraries they are for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ado_nas.errors import ConfigError
from tests.fakes.fake_practice import small_practice

REASON = "the extra `rl` is not installed"


@pytest.mark.filterwarnings("default")
def test_gymnasium_and_stable_baselines_accept_the_environment() -> None:
    checker = pytest.importorskip("gymnasium.utils.env_checker", reason=REASON)
    theirs = pytest.importorskip("stable_baselines3.common.env_checker", reason=REASON)
    from ado_nas.adaptive.environment import SamplingEnv

    env = SamplingEnv(small_practice(), price=0.1)
    checker.check_env(env, skip_render_check=True)
    theirs.check_env(env)


def test_environment_tells_images_apart_and_ends() -> None:
    pytest.importorskip("gymnasium", reason=REASON)
    from ado_nas.adaptive.environment import SamplingEnv

    played = small_practice()
    env = SamplingEnv(played, price=0.1)
    first, facts = env.reset(seed=0, options={"image": 4})
    other, _ = env.reset(options={"image": 5})
    assert facts == {"image": 4} and not np.allclose(first, other)
    for nfe in range(1, played.game.limit + 1):
        seen, reward, ended, cut, facts = env.step(played.game.limit - 1)
        assert env.observation_space.contains(seen) and not cut and facts["nfe"] == nfe
        assert ended == (nfe == played.game.limit) and (ended or reward == -0.1)
    assert reward == pytest.approx((played.par[5] - facts["error"]) / played.unit)
    with pytest.raises(ConfigError, match="image 12: give 0 to 11"):
        env.reset(options={"image": 12})


def test_slots_step_as_single_environments_do() -> None:
    pytest.importorskip("stable_baselines3", reason=REASON)
    from ado_nas.adaptive.environment import SamplingEnv
    from ado_nas.adaptive.vectorized import SamplingVecEnv

    played = small_practice()
    many, alone = SamplingVecEnv(played, 4, seed=1), SamplingEnv(played)
    seen, which = many.reset(), many.episodes.which.copy()
    actions = [3, 2, 1, 1]
    assert np.allclose(seen[1], alone.reset(options={"image": int(which[1])})[0], atol=1e-5)
    end = False
    while not end:
        seen, rewards, ended, facts = many.step(np.array(actions))
        expected, reward, end, _, told = alone.step(actions[1])
        actions = [a - 1 for a in actions]
        assert rewards[1] == pytest.approx(reward, abs=1e-4) and ended[1] == end
        if not end:
            assert np.allclose(seen[1], expected, atol=1e-5)
    assert facts[1]["nfe"] == told["nfe"] == 3 and facts[1]["terminal_observation"].shape
    assert facts[1]["error"] == pytest.approx(told["error"], rel=1e-4)
    assert {2, 3} <= {nfe for nfe, _ in many.ended}


def test_every_image_comes_before_one_comes_again() -> None:
    pytest.importorskip("stable_baselines3", reason=REASON)
    from ado_nas.adaptive.vectorized import SamplingVecEnv

    env = SamplingVecEnv(small_practice(), 4)
    env.reset()
    met = set(env.episodes.which.tolist())
    for _ in range(2):
        env.step(np.zeros(4, np.int64))
        met |= set(env.episodes.which.tolist())
    assert met == set(range(12))


def test_without_the_extra_the_error_says_what_to_install() -> None:
    code = """
import importlib, sys
sys.modules.update({"gymnasium": None, "stable_baselines3": None})
import ado_nas.adaptive.policy, ado_nas.adaptive.episodes
from ado_nas.errors import ConfigError
for name in ("environment", "vectorized", "ppo"):
    try:
        importlib.import_module(f"ado_nas.adaptive.{name}")
    except ConfigError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("install the extra rl") == 3
