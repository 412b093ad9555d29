"""What was exported against what learned it, and files that cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.adaptive.countdown import WIDTH, sample
from ado_nas.adaptive.policy import FACTS, WEIGHTS, Actor, actor_of, load_actor, save_actor
from ado_nas.diffusion.levels import karras_levels
from ado_nas.errors import ModelError
from ado_nas.modelfolder import Model
from ado_nas.specs import SamplerSpec
from tests.fakes.fake_practice import small_practice

PLAYED = small_practice()
MODEL = Model(
    PLAYED.unet, SamplerSpec(), karras_levels(4, 0.02, 40.0), {"weights_sha256": "ab" * 32}
)


def actor(seed: int = 0) -> Actor:
    rng = np.random.default_rng(seed)
    sizes = [(16, WIDTH), (PLAYED.game.limit, 16)]
    layers = tuple(
        (mx.array(rng.normal(0, 1, s).astype(np.float32)), mx.array(np.zeros(s[0], np.float32)))
        for s in sizes
    )
    return Actor(PLAYED.game, layers)


def test_exported_policy_acts_as_the_one_that_learned() -> None:
    sb3 = pytest.importorskip("stable_baselines3", reason="the extra `rl` is not installed")
    from ado_nas.adaptive.vectorized import SamplingVecEnv

    model = sb3.PPO("MlpPolicy", SamplingVecEnv(PLAYED, 4), n_steps=2, batch_size=8, seed=3)
    with_weights = model.policy.state_dict()
    for name, value in with_weights.items():  # its first actions hardly depend on what is seen
        value *= 30 if name == "action_net.weight" else 1
    found = actor_of(PLAYED.game, with_weights)
    seen = np.random.default_rng(0).uniform(-1, 1, (400, WIDTH)).astype(np.float32)
    theirs, _ = model.predict(seen, deterministic=True)
    assert len(set(theirs.tolist())) > 2
    assert np.array_equal(found(seen), theirs)


def test_policy_samples_the_same_after_a_round_trip(tmp_path: Path) -> None:
    kept = actor()
    save_actor(tmp_path, kept, MODEL, {"seed": 0})
    loaded = load_actor(tmp_path, MODEL)
    assert loaded.facts["provenance"] == {"seed": 0}
    for name, value in vars(kept.game).items():
        assert np.array_equal(getattr(loaded.game, name), value)
    start, labels = PLAYED.truth.start, PLAYED.truth.labels
    first, spent = sample(PLAYED.unet, kept.game, kept, start, labels)
    second, again = sample(PLAYED.unet, loaded.game, loaded, start, labels)
    assert np.array_equal(first, second) and np.array_equal(spent, again)
    assert len(set(spent.tolist())) > 1


def changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        facts = json.loads((folder / FACTS).read_text())
        change(facts)
        (folder / FACTS).write_text(json.dumps(facts))

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / FACTS).unlink(), "holds no policy"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"x"), "is not the file"),
        (changed(lambda f: f["model"].update(weights_sha256="cd")), "another model"),
        (changed(lambda f: f["game"].update(solver="heun")), "'heun' is unknown"),
        (changed(lambda f: f["game"].update(solver=[])), "is unknown"),
        (changed(lambda f: f["game"]["levels"].reverse()), "do not fall to 0"),
        (changed(lambda f: f["game"]["jumps"][0].pop()), "no numbers"),
        (changed(lambda f: f["game"].update(jumps=[[0] * 13])), "do not fit"),
        (changed(lambda f: f["game"]["jumps"].pop()), "statistics of its game"),
        (changed(lambda f: f["game"].pop("mean")), "mean is missing"),
    ],
)
def test_damaged_policy_is_refused(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    save_actor(tmp_path, actor(), MODEL, {})
    damage(tmp_path)
    with pytest.raises(ModelError, match=message):
        load_actor(tmp_path, MODEL)


def test_policy_without_an_actor_is_refused() -> None:
    with pytest.raises(ModelError, match=r"no action_net\.weight"):
        actor_of(PLAYED.game, {})
