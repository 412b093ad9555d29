"""Where each weight of a network comes from when its shape changes while it trains.

Weights, the optimizer's moments and the moving average are vectors over the same parameters, so
one set of indices moves them all: cut to the channels and blocks that are kept, or repeated and
extended without changing the function (Net2Net).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from ado_nas.models.channels import MIXING, Selection, written
from ado_nas.models.picks import picks
from ado_nas.models.plan import Layer, layers, side
from ado_nas.models.unet import UNet
from ado_nas.specs import UNetSpec
from ado_nas.training.flat import FlatParameters

Arrays = dict[str, npt.NDArray[Any]]
Blocks = Mapping[int, tuple[int, ...]]
"""By side of the feature map: the blocks of the network before that are kept, the first always."""

_BLOCK = re.compile(r"^((?:down\.|up\.skip))(\d+)@(\d+)")


@dataclass(frozen=True, eq=False)
class Transfer:
    """What each of the P parameters after the change is made of.

    `index` (P,) into the parameters before, -1 where there is none; `scale` (P,) times the weight
    found there; `fresh` (P,) the weights where there is none.
    """

    index: npt.NDArray[np.int64]
    scale: npt.NDArray[np.float32]
    fresh: npt.NDArray[np.float32]

    def weights(self, vector: mx.array) -> mx.array:
        """Weights, or their average, before (Q,) to after (P,)."""
        known = mx.array(self.index >= 0)
        return mx.where(known, self._found(vector) * mx.array(self.scale), mx.array(self.fresh))

    def moments(self, vector: mx.array) -> mx.array:
        """An optimizer's moments, before (Q,) to after (P,); zero where there were none."""
        return mx.where(mx.array(self.index >= 0), self._found(vector), 0.0)

    def state(self, state: Mapping[str, mx.array]) -> dict[str, mx.array]:
        """All that `training.step.Stepper.state` gives, for the network after the change."""
        moved: dict[str, mx.array] = {}
        for name, value in state.items():
            if value.ndim == 0:
                moved[name] = value
            else:
                whole = name in ("vector", "average")
                moved[name] = self.weights(value) if whole else self.moments(value)
        mx.eval(moved)
        return moved

    def _found(self, vector: mx.array) -> mx.array:
        return mx.take(vector, mx.array(np.maximum(self.index, 0)))


def transfer(
    before: UNet, after: UNet, chosen: Selection, blocks: Blocks | None = None
) -> Transfer:
    """How to carry a network over to another width or depth.

    Where channels are repeated and blocks added the function stays: exactly at whole multiples of
    the widths and with skips beside the features, nearly otherwise, for norms see all channels.
    RMS norms are rescaled by the share of the features' power that is kept, so that channels that
    were zero can be cut without a trace; a group norm's mean cannot be mended this way.

    Args:
        before: the network as it is.
        after: freshly built; differs in widths, blocks and time width alone.
        chosen: the channels of each space.
        blocks: which are kept where a level has fewer; else the first.

    Returns:
        The transfer; blocks that are new keep their fresh weights and pass features on.

    Source: Chen et al. 2016 (Net2Net), section 2, for what is added.
    """
    flat, goal = FlatParameters(before), FlatParameters(after)
    weights = {n: np.array(v) for n, v in flat.arrays(flat.vector(before)).items()}
    ids = {n: np.array(v) for n, v in flat.arrays(mx.arange(flat.size)).items()}
    taken = _Taken(ids, chosen, _power(before.spec, weights), goal, after)
    sources = {layer.role: layer for layer in layers(before.spec)}
    kept = {**_first(before.spec, after.spec), **(blocks or {})}
    for layer in layers(after.spec):
        source = sources.get(_role(layer.role, kept))
        if source is not None:
            taken.take(layer, source)
        elif layer.name.endswith("conv_shortcut") or "skip_projs" in layer.name:
            taken.fresh.update(_passing(layer, before.spec, chosen))
    return Transfer(*(_joined(goal, p) for p in (taken.index, taken.scale, taken.fresh)))


class _Taken:
    """What is found for each parameter, by name; see `Transfer`."""

    def __init__(
        self, ids: Arrays, chosen: Selection, power: Arrays, goal: FlatParameters, after: UNet
    ) -> None:
        self._ids, self._chosen, self._power = ids, chosen, power
        shapes = dict(zip(goal.names, goal.shapes, strict=True))
        self.index: Arrays = {n: np.full(shape, -1) for n, shape in shapes.items()}
        self.scale: Arrays = {n: np.ones(shape, np.float32) for n, shape in shapes.items()}
        self.fresh: Arrays = {n: np.array(v) for n, v in goal.arrays(goal.vector(after)).items()}

    def take(self, layer: Layer, source: Layer) -> None:
        """Take a layer's parameters from one of the network before."""
        for name, pick in picks(layer, source, self._chosen).items():
            self.index[name] = pick.found(self._ids[pick.source])
            if pick.share is not None:
                self.scale[name] = self.scale[name] * pick.share
            elif layer.kind == "rms":
                self.scale[name] = self.scale[name] * _left(source, self._power, pick.first)


def _joined(flat: FlatParameters, arrays: Arrays) -> npt.NDArray[Any]:
    return np.concatenate([arrays[name].reshape(-1) for name in flat.names])


def _first(before: UNetSpec, after: UNetSpec) -> dict[int, tuple[int, ...]]:
    pairs = zip(before.blocks, after.blocks, strict=True)
    return {side(before, i): tuple(range(min(pair))) for i, pair in enumerate(pairs)}


def _role(role: str, kept: Blocks) -> str:
    """The role, in the network before, of what is at this place after; empty where it is new."""
    found = _BLOCK.match(role)
    if not found:
        return role
    way, number, pixels = found[1], int(found[2]), int(found[3])
    if number >= len(kept[pixels]):
        return ""
    return f"{way}{kept[pixels][number]}@{pixels}{role[found.end() :]}"


def _power(spec: UNetSpec, weights: Arrays) -> dict[str, npt.NDArray[np.float64]]:
    """By space, how strongly each channel is written, as the squares of the weights have it."""
    power: dict[str, npt.NDArray[np.float64]] = {}
    for layer in layers(spec):
        if layer.kind in MIXING:
            space, found = written(layer, np.square(weights[f"{layer.name}.weight"], dtype=float))
            power[space.key] = power.get(space.key, np.zeros(space.width)) + found
    return power


def _left(source: Layer, power: Mapping[str, Any], columns: npt.NDArray[np.intp]) -> np.float32:
    """Root mean square of the features after the change, over that before."""
    whole = np.concatenate([power[space.key] for space in source.inputs])
    return np.float32(np.sqrt(whole[columns].mean() / max(float(whole.mean()), 1e-30)))


def _passing(layer: Layer, before: UNetSpec, chosen: Selection) -> Arrays:
    """Passes the first of the inputs on, channel by channel, and leaves the rest out."""
    known = {s.key: s for old in layers(before) for s in (old.out, *old.inputs)}
    out, first = layer.out, layer.inputs[0]
    rows = chosen(out, known[out.key])
    columns = chosen(first, known[first.key])
    weight = np.zeros((out.width, layer.fan_in), np.float32)
    same = rows.index[:, None] == columns.index
    weight[:, : first.width] = same * columns.share
    return {
        f"{layer.name}.weight": weight,
        f"{layer.name}.bias": np.zeros(out.width, np.float32),
    }
