"""Which of the teacher's channels a student takes, and what of each when it takes one twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ado_nas.models.plan import Layer, Space

Ints = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float32]
Weights = Mapping[str, npt.NDArray[np.float32]]

MIXING = ("conv", "linear", "embedding")  # kinds of layers with a weight for each pair of channels
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
        plan: the teacher's layers.
        weights: the teacher's parameters by name.
    """

    def __init__(self, plan: Iterable[Layer], weights: Weights) -> None:
        self._scores: Mapping[str, npt.NDArray[np.float64]] = importance(plan, weights)
        self._chosen: dict[tuple[str, int], Channels] = {}

    @classmethod
    def by(cls, scores: Mapping[str, npt.NDArray[np.float64]]) -> Selection:
        """A selection by given scores instead of the size of the weights.

        Args:
            scores: by space (C,); the largest are kept.
        """
        chosen = cls((), {})
        chosen._scores = scores
        return chosen

    def __call__(self, space: Space, source: Space) -> Channels:
        """The channels of one axis.

        Args:
            space: the student's axis.
            source: the teacher's, with the same key.

        Returns:
            The most important channels in their order where the student is narrower, all of them
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
        if wanted < known:
            scores = self._scores[space.key].reshape(known, unit).sum(1)
            units = np.sort(np.argsort(-scores, kind="stable")[:wanted])
        else:
            units = np.arange(wanted) * known // wanted
        index = (units[:, None] * unit + np.arange(unit)).reshape(-1)
        return Channels(index, np.repeat(_shares(units), unit))


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


def sliced(
    layer: Layer,
    source: str,
    values: Mapping[str, npt.NDArray[Any]],
    rows: Ints,
    columns: Ints,
) -> dict[str, npt.NDArray[Any]]:
    """The parameters of a layer out of those of a wider, narrower or equal one.

    Args:
        layer: whose parameters are wanted.
        source: name of the layer they come from.
        values: by name of the parameter, one for each element.
        rows: indices of its outputs.
        columns: indices of its joined inputs.

    Returns:
        By name of the wanted parameter; without a bias where the source has none.
    """
    weight, bias = values[f"{source}.weight"], values.get(f"{source}.bias")
    along = columns if layer.kind in ("norm", "rms") else rows
    if layer.kind in ("norm", "rms", "depthwise"):
        found = weight[columns]
    elif layer.kind == "embedding":
        found = weight[np.ix_(columns, rows)]
    else:
        found = weight[rows][..., columns]
    biases = {} if bias is None else {f"{layer.name}.bias": bias[along]}
    return {f"{layer.name}.weight": found, **biases}


def _shares(units: Ints) -> Floats:
    """What each copy of a unit passes on; 1 where there is one."""
    counts = np.bincount(units)
    place = np.arange(len(units)) - np.searchsorted(units, units)
    offset = np.where(place % 2 == 0, 1.0, -1.0) * _UNEVEN
    # The last of an odd number of copies has no partner to be uneven with.
    paired = (place < counts[units] // 2 * 2) & (counts[units] > 1)
    shares: Floats = ((1 + np.where(paired, offset, 0.0)) / counts[units]).astype(np.float32)
    return shares
