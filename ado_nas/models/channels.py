"""Which channels of another network a student takes, and what of each when it takes one twice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ado_nas.models.plan import Layer, Space
from ado_nas.specs import UNetSpec

Ints = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float32]
Weights = Mapping[str, npt.NDArray[np.float32]]

MIXING = ("conv", "linear", "embedding")  # kinds of layers with a weight for each pair of channels
ORDERS = ("kept", "ranked", "leading")
_RANKED = ("features", "time", "heads")  # spaces whose channels have no order of their own
_UNEVEN = 0.25  # how far the shares of a channel's copies lie from equal, so that they part ways


@dataclass(frozen=True, eq=False)
class Channels:
    """The channels of a space that a student takes.

    `index` (C,) names the teacher's channel behind each of the student's; `share` (C,) is what
    each copy passes on, so that copies sum to their original.
    """

    index: Ints
    share: Floats


class Selection:
    """Chooses channels once for each space, so that all layers agree on them.

    Args:
        scores: by space (C,), see `importance`; the largest are kept. Levels of one width pass
            features on to each other, so they share theirs.
        order: kept, the most important channels of each group in their order; ranked, the most
            important ones first, also where none is left out; leading, the first ones.
        groups: of the source's features, whose norms they share; narrower networks take alike
            of each, so that the groups stay what they are.
    """

    def __init__(
        self,
        scores: Mapping[str, npt.NDArray[np.float64]],
        order: str = "kept",
        groups: int = 1,
    ) -> None:
        self._scores = scores
        self._order = order
        self._groups = groups
        self._chosen: dict[tuple[str, int], Channels] = {}

    def __call__(self, space: Space, source: Space) -> Channels:
        """The channels of one axis.

        Args:
            space: the student's axis.
            source: the teacher's, with the same key.

        Returns:
            As many channels as the order says where the student is narrower, all of them
            repeated evenly where it is wider.
        """
        key = (space.key, space.width)
        if key not in self._chosen:
            self._chosen[key] = self._choose(space, source)
        return self._chosen[key]

    def _choose(self, space: Space, source: Space) -> Channels:
        if space.key.startswith(
            "4x"
        ):  # a square of pixels folded into channels, one after another
            quarter = (
                Space(space.key[2:], space.width // 4),
                Space(source.key[2:], source.width // 4),
            )
            one = self(*quarter)
            index = (np.arange(4)[:, None] * quarter[1].width + one.index).reshape(-1)
            return Channels(index, np.tile(one.share, 4))
        unit = int(space.key.rpartition("x")[2]) if space.key.startswith("heads") else 1
        wanted, known = space.width // unit, source.width // unit
        ranked = self._order == "ranked" and space.key.startswith(_RANKED)
        if wanted < known or (wanted == known and ranked):
            units = self._fewer(space, wanted, known, unit)
        else:
            units = np.arange(wanted) * known // wanted
        index = (units[:, None] * unit + np.arange(unit)).reshape(-1)
        return Channels(index, np.repeat(_shares(units), unit))

    def _fewer(self, space: Space, wanted: int, known: int, unit: int) -> Ints:
        """Which heads, or single channels, of a space are taken where not all are."""
        groups = math.gcd(self._groups, wanted) if space.key.startswith("features") else 1
        kept = wanted // groups
        if self._order == "leading":
            places = np.arange(known).reshape(groups, -1)[:, :kept]
        else:
            scores = self._alike(space.key).reshape(groups, -1, unit).sum(2)
            best = np.argsort(-scores, axis=1, kind="stable")[:, :kept]
            best = np.sort(best, axis=1) if self._order == "kept" else best
            places = best + np.arange(groups)[:, None] * (known // groups)
        return places.reshape(-1)

    def _alike(self, key: str) -> npt.NDArray[np.float64]:
        """The scores of a space, those of all levels of its width together."""
        own = self._scores[key]
        if not key.startswith("features"):
            return own
        levels = (v for k, v in self._scores.items() if k.startswith("features"))
        return sum((v for v in levels if len(v) == len(own)), np.zeros_like(own))


def norm_groups(spec: UNetSpec) -> int:
    """How many groups of features a network's norms tell apart."""
    return spec.groups if spec.norm == "group" else 1


def importance(plan: Iterable[Layer], weights: Weights) -> dict[str, npt.NDArray[np.float64]]:
    """How much each channel of each space is written and read: the norm of its weights.

    Args:
        plan: the layers of a network.
        weights: its parameters by name.

    Returns:
        By space the scores (C,). Each layer counts alike, whatever the scale of its weights.

    Source: Li et al. 2017 (Pruning filters), section 3.1, summed over all layers of a space.
    """
    scores: dict[str, npt.NDArray[np.float64]] = {}
    for layer in plan:
        if layer.kind not in MIXING:
            continue
        squares = np.square(weights[f"{layer.name}.weight"], dtype=np.float64)
        for space, found in (written(layer, squares), *read(layer, squares)):
            total = scores.setdefault(space.key, np.zeros(space.width))
            total += found / max(float(found.mean()), 1e-30)
    return scores


def written(layer: Layer, values: npt.NDArray[Any]) -> tuple[Space, npt.NDArray[Any]]:
    """What a layer that mixes channels writes: its output space and a sum for each channel.

    Args:
        layer: one of `MIXING`.
        values: shaped as its weight.
    """
    rows = values.T if layer.kind == "embedding" else values
    return layer.out, rows.reshape(len(rows), -1).sum(1)


def read(layer: Layer, values: npt.NDArray[Any]) -> Iterator[tuple[Space, npt.NDArray[Any]]]:
    """What a layer that mixes channels reads: each input space and a sum for each channel.

    Args:
        layer: one of `MIXING`.
        values: shaped as its weight.
    """
    rows = values.T if layer.kind == "embedding" else values
    columns = rows.sum(axis=tuple(range(rows.ndim - 1)))
    edges = np.cumsum([space.width for space in layer.inputs])[:-1]
    yield from zip(layer.inputs, np.split(columns, edges), strict=True)


def _shares(units: Ints) -> Floats:
    """What each copy of a unit passes on; 1 where there is one."""
    counts = np.bincount(units)
    place = np.arange(len(units)) - np.searchsorted(units, units)
    offset = np.where(place % 2 == 0, 1.0, -1.0) * _UNEVEN
    # The last of an odd number of copies has no partner to be uneven with.
    paired = (place < counts[units] // 2 * 2) & (counts[units] > 1)
    shares: Floats = ((1 + np.where(paired, offset, 0.0)) / counts[units]).astype(np.float32)
    return shares
