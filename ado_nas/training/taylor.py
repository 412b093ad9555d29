"""How much the loss would change without a channel or a block, to first order.

A gate that multiplies what layers read of a channel has the slope `sum of gradient times weight`
over those weights at 1; a gate on what a residual block adds, that sum over its last layer. Their
squares, averaged over training batches, are the scores; the gradients are those of the training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ado_nas.models.channels import MIXING, Selection, norm_groups, read
from ado_nas.models.plan import Layer, layers, side
from ado_nas.specs import UNetSpec

F64 = npt.NDArray[np.float64]
Products = Mapping[str, npt.NDArray[Any]]
"""Gradient times weight, by name of the parameter."""


def channel_slopes(spec: UNetSpec, products: Products) -> dict[str, F64]:
    """The slope of the loss along a gate on each channel, for one batch.

    Args:
        spec: the architecture.
        products: gradient times weight.

    Returns:
        By channel space (C,): the sum over all that is read of a channel. Channels of a head have
        their head's sum, for heads are kept or cut whole, over the head's size.
    """
    slopes: dict[str, F64] = {}
    for layer in layers(spec):
        if layer.kind in MIXING:
            for space, found in read(layer, products[f"{layer.name}.weight"]):
                slopes[space.key] = slopes.get(space.key, np.zeros(space.width)) + found
    for key, found in slopes.items():
        if key.startswith("heads"):
            heads = found.reshape(-1, spec.head_dim)
            slopes[key] = np.repeat(heads.mean(1), spec.head_dim)
    return slopes


def block_slopes(spec: UNetSpec, products: Products) -> dict[int, F64]:
    """The slope of the loss along a gate on what each block that may be dropped adds.

    Args:
        spec: the architecture.
        products: gradient times weight.

    Returns:
        By side of the feature map (n - 1,): a level's blocks but the first. A block on the way
        down goes with the one on the way up that sees the skip before it, attention included.
    """
    found = {side(spec, i): np.zeros(n - 1) for i, n in enumerate(spec.blocks)}
    for layer in layers(spec):
        way, _, rest = layer.role.partition(".")
        number, _, place = rest.removeprefix("skip").partition("@")
        if way in ("down", "up") and number.isdecimal() and int(number) and _adds(layer, place):
            names = (f"{layer.name}.weight", f"{layer.name}.bias")
            found[layer.side][int(number) - 1] += sum(float(products[n].sum()) for n in names)
    return found


def _adds(layer: Layer, place: str) -> bool:
    """Whether a layer is the last before a residual sum."""
    return place.endswith((".conv2", ".conv2.pointwise", ".to_out"))


class Taylor:
    """Scores of channels and blocks, averaged over batches.

    Source: Molchanov et al. 2019 (Importance estimation for neural network pruning), section 3.2:
    ``(sum over s of g_s w_s)^2``, the squared slope of a gate, averaged over mini-batches.
    """

    def __init__(self, spec: UNetSpec) -> None:
        """Start without a batch.

        Args:
            spec: the architecture.
        """
        self.spec = spec
        self.batches = 0
        self._channels: dict[str, F64] = {}
        self._blocks: dict[int, F64] = {}

    def add(self, products: Products) -> None:
        """Take one batch in.

        Args:
            products: gradient times weight, by name of the parameter.
        """
        for key, slope in channel_slopes(self.spec, products).items():
            self._channels[key] = self._channels.get(key, 0.0) + np.square(slope)
        for pixels, slope in block_slopes(self.spec, products).items():
            self._blocks[pixels] = self._blocks.get(pixels, 0.0) + np.square(slope)
        self.batches += 1

    @property
    def channels(self) -> dict[str, F64]:
        """By space the scores (C,)."""
        return {key: total / max(1, self.batches) for key, total in self._channels.items()}

    @property
    def blocks(self) -> dict[int, F64]:
        """By side of the feature map the scores (n - 1,) of a level's blocks but the first."""
        return {key: total / max(1, self.batches) for key, total in self._blocks.items()}

    def selection(self) -> Selection:
        """The channels to keep."""
        return Selection(self.channels, groups=norm_groups(self.spec))

    def kept(self, blocks: tuple[int, ...]) -> dict[int, tuple[int, ...]]:
        """The blocks to keep: the first and the best of the others, in their order.

        Args:
            blocks: how many, for each level.

        Returns:
            By side of the feature map their places; a level that is to have more keeps all.
        """
        found: dict[int, tuple[int, ...]] = {}
        for level, (known, wanted) in enumerate(zip(self.spec.blocks, blocks, strict=True)):
            pixels = side(self.spec, level)
            best = np.argsort(-self.blocks[pixels], kind="stable")[: min(known, wanted) - 1]
            found[pixels] = (0, *(int(i) + 1 for i in sorted(best)))
        return found
