"""A learned policy as a small network in MLX, kept in a folder; what learned it is not needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from ado_nas.adaptive.complexity import STATISTICS
from ado_nas.adaptive.countdown import WIDTH, Countdown
from ado_nas.diffusion.solvers import RULE
from ado_nas.errors import ModelError, nearest
from ado_nas.files import read_json, replacing, sha256, write_json
from ado_nas.modelfolder import Model, check_identity, identity

WEIGHTS, FACTS = "policy.safetensors", "policy.json"

Layers = tuple[tuple[mx.array, mx.array], ...]
"""Weight (out, in) and bias (out,) of each layer, tanh between them."""


@dataclass(frozen=True, eq=False)
class Actor:
    """Scores every action and takes the best: a `Policy` of a game.

    `facts` tell where it comes from.
    """

    game: Countdown
    layers: Layers
    facts: Mapping[str, Any] = field(default_factory=dict)

    def scores(self, seen: np.ndarray) -> np.ndarray:
        """Scores of the actions, (A, N), of observations (A, WIDTH)."""
        x = mx.array(np.asarray(seen, np.float32))
        for i, (weight, bias) in enumerate(self.layers):
            x = (mx.tanh(x) if i else x) @ weight.T + bias
        return np.array(x)

    def __call__(self, seen: np.ndarray) -> np.ndarray:
        """The best action of each, (A,)."""
        found: np.ndarray = np.argmax(self.scores(seen), axis=1)
        return found


def actor_of(game: Countdown, state: Mapping[str, Any]) -> Actor:
    """The actor of a policy of Stable-Baselines3.

    Args:
        game: that it was trained for.
        state: the policy's `state_dict`, of an ``MlpPolicy`` with layers of its own for the actor.

    Raises:
        ModelError: it holds no such actor.
    """
    prefix = "mlp_extractor.policy_net."
    hidden = sorted({int(k.split(".")[2]) for k in state if k.startswith(prefix)})
    names = [*(f"{prefix}{i}" for i in hidden), "action_net"]
    try:
        arrays = [
            (_array(state[f"{name}.weight"]), _array(state[f"{name}.bias"])) for name in names
        ]
    except KeyError as error:
        raise ModelError(
            f"the policy has no {error.args[0]}; train an MlpPolicy of Stable-Baselines3"
        ) from None
    return Actor(game, _checked(game, tuple(arrays)))


def save_actor(folder: Path, actor: Actor, model: Model, provenance: Mapping[str, Any]) -> None:
    """Write a policy's folder; the facts come last, so that a folder with them is whole.

    Args:
        folder: made where missing.
        actor: the policy and its game.
        model: whose sampling it steers.
        provenance: plain values: how it was trained and what it reached.
    """
    arrays: dict[str, mx.array] = {}
    for i, (weight, bias) in enumerate(actor.layers):
        arrays |= {f"layers.{i}.weight": weight, f"layers.{i}.bias": bias}
    with replacing(folder / WEIGHTS) as partial:
        mx.save_safetensors(str(partial), arrays, {"format": "mlx"})
    game = {
        f.name: value.tolist() if isinstance(value, np.ndarray) else value
        for f in dataclasses.fields(actor.game)
        for value in [getattr(actor.game, f.name)]
    }
    facts = {
        "game": game,
        "model": identity(model),
        "policy_sha256": sha256(folder / WEIGHTS),
        "provenance": dict(provenance),
    }
    write_json(folder / FACTS, facts)


def load_actor(folder: Path, model: Model) -> Actor:
    """Read a policy's folder.

    Args:
        folder: as written by `save_actor`.
        model: what is to be sampled.

    Returns:
        The actor.

    Raises:
        ModelError: a file is missing or changed, its values cannot be, or it was trained for
            another model.
    """
    facts = read_json(folder / FACTS)
    if not isinstance(facts, dict) or not isinstance(facts.get("game"), dict):
        raise ModelError(f"{folder} holds no policy ({FACTS} is missing or cut short); train one")
    check_identity(facts.get("model"), model, str(folder))
    path = folder / WEIGHTS
    if not path.is_file() or sha256(path) != facts.get("policy_sha256"):
        raise ModelError(f"{path} is not the file that {FACTS} names; train the policy again")
    arrays: Any = mx.load(str(path), format="safetensors")
    try:
        game = _game(facts["game"])
        names = [f"layers.{i}" for i in range(len(arrays) // 2)]
        layers = tuple((arrays[f"{n}.weight"], arrays[f"{n}.bias"]) for n in names)
        return Actor(game, _checked(game, layers), facts)
    except KeyError as error:
        raise ModelError(f"{folder}: {error.args[0]} is missing; train the policy again") from None
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from None


def _game(facts: Mapping[str, Any]) -> Countdown:
    solver = facts["solver"]
    if not isinstance(solver, str) or solver not in RULE:
        raise ModelError(f"solver {solver!r} is unknown; {nearest(str(solver), RULE)}")
    try:
        levels, mean, scale = (np.array(facts[k], np.float64) for k in ("levels", "mean", "scale"))
        jumps = np.array(facts["jumps"], np.int64)
    except (TypeError, ValueError):
        raise ModelError("its game holds values that are no numbers; train it again") from None
    falls = levels.ndim == 1 and len(levels) > 1 and bool(np.all(np.diff(levels) < 0))
    if not falls or levels[-1] != 0:
        raise ModelError("the levels of its game do not fall to 0; train the policy again")
    here = np.arange(len(levels) - 1)
    fits = jumps.ndim == 2 and jumps.shape[1] == len(levels)
    if not fits or np.any(jumps[:, :-1] <= here) or jumps.max() >= len(levels):
        raise ModelError("the jumps of its game do not fit its levels; train the policy again")
    size = len(jumps) + 1, len(STATISTICS)
    if mean.shape != size or scale.shape != size or not np.all(scale > 0):
        raise ModelError(f"the statistics of its game are {mean.shape}, not {size}")
    return Countdown(solver, levels, jumps, mean, scale)


def _checked(game: Countdown, layers: Layers) -> Layers:
    width = WIDTH
    for weight, bias in layers:
        if weight.ndim != 2 or weight.shape[1] != width or bias.shape != weight.shape[:1]:
            raise ModelError(f"a layer of {weight.shape} and {bias.shape} does not take {width}")
        width = weight.shape[0]
    if width != game.limit:
        raise ModelError(f"{width} actions in a game of {game.limit}; train the policy again")
    if not all(np.isfinite(np.array(a)).all() for layer in layers for a in layer):
        raise ModelError("its weights are not finite; train the policy again")
    return layers


def _array(tensor: Any) -> mx.array:
    return mx.array(tensor.detach().cpu().numpy())
