"""Narrower networks that are the leading channels of a wide one, with gradients for the wide one.

A slice has no weights of its own: it is `inherit` with leading channels, in MLX operations. Where
norms have groups it takes the leading channels of each, so that the groups stay what they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ado_nas.models.channels import Selection, norm_groups
from ado_nas.models.picks import Ints, Pick, passing, picks
from ado_nas.models.plan import layers
from ado_nas.models.tree import assign
from ado_nas.models.unet import UNet, unet_of
from ado_nas.specs import UNetSpec

Runs = tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Part:
    """Spans of a wide parameter along its first and its last axis, and what scales the latter."""

    source: str
    first: Runs
    last: Runs = ()
    scale: mx.array | None = None

    def of(self, array: mx.array) -> mx.array:
        """What it takes of the wide parameter."""
        found = _joined(array, self.first, 0)
        found = _joined(found, self.last, -1) if self.last else found
        return found if self.scale is None else found * self.scale


class Slice:
    """The leading channels of a wide network as a network of its own.

    Args:
        wide: the wide network's spec.
        narrow: the same but for narrower levels, or a narrower time embedding.

    Source: Yu et al. 2019 (Slimmable neural networks), section 3.
    """

    def __init__(self, wide: UNetSpec, narrow: UNetSpec) -> None:
        self.spec = narrow
        self._network = unet_of(narrow)
        self._parts: dict[str, Part] = {}
        self._fixed: dict[str, mx.array] = {}
        sources = {layer.role: layer for layer in layers(wide)}
        chosen = Selection({}, "leading", norm_groups(wide))
        for layer in layers(narrow):
            if layer.role in sources:
                taken = picks(layer, sources[layer.role], chosen)
                self._parts.update({name: _part(pick) for name, pick in taken.items()})
            else:  # a shortcut between widths that are equal in the wide network
                self._fixed.update({n: mx.array(v) for n, v in passing(layer).items()})
        mx.eval(self._fixed)

    def parameters(self, wide: Mapping[str, mx.array]) -> dict[str, mx.array]:
        """The narrow network's parameters, by name.

        Args:
            wide: the wide network's parameters by name; gradients pass through to them.
        """
        cut = {name: part.of(wide[part.source]) for name, part in self._parts.items()}
        return cut | self._fixed

    def network(self, wide: Mapping[str, mx.array]) -> UNet:
        """The narrow network; good until the next call, which changes its parameters.

        Args:
            wide: the wide network's parameters by name; gradients pass through to them.
        """
        assign(self._network, self.parameters(wide).items())
        return self._network

    def copy(self, wide: Mapping[str, mx.array]) -> UNet:
        """The narrow network, which later calls leave as it is.

        Args:
            wide: the wide network's parameters by name.
        """
        found = unet_of(self.spec)
        assign(found, self.parameters(wide).items())
        return found


def _part(pick: Pick) -> Part:
    last = () if pick.last is None else _runs(pick.last)
    scale = pick.scale
    cut = None if scale is None or np.all(scale == 1) else mx.array(scale)
    return Part(pick.source, _runs(pick.first), last, cut)


def _runs(index: Ints) -> Runs:
    """Rising indices as spans (begin, end)."""
    breaks = np.flatnonzero(np.diff(index) != 1) + 1
    return tuple((int(p[0]), int(p[-1]) + 1) for p in np.split(index, breaks))


def _joined(array: mx.array, runs: Runs, axis: int) -> mx.array:
    if runs == ((0, array.shape[axis]),):
        return array
    parts = [array[a:b] if axis == 0 else array[..., a:b] for a, b in runs]
    return parts[0] if len(parts) == 1 else mx.concatenate(parts, axis=axis)
