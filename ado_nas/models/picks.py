"""What each parameter of a network takes of another network's parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ado_nas.models.channels import Selection
from ado_nas.models.plan import Layer, Space

Ints = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Pick:
    """Elements of the parameter `source` along its first and its last axis.

    `last` is None where only the first is picked from. `share` (len(last),) is what copies of a
    channel pass on, `gain` what makes up for inputs that were cut.
    """

    source: str
    first: Ints
    last: Ints | None = None
    share: Floats | None = None
    gain: float = 1.0

    def found(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The elements themselves of an array shaped as the source."""
        return array[self.first] if self.last is None else array[self.first][..., self.last]

    @property
    def scale(self) -> Floats | None:
        """(len(last),), what the elements are multiplied with; None for nothing."""
        return None if self.share is None else self.share * np.float32(self.gain)

    def of(self, array: Floats) -> Floats:
        """What a parameter takes of the source's array."""
        found, scale = self.found(array), self.scale
        return found if scale is None else found * scale


def fits(layer: Layer, source: Layer) -> bool:
    """Whether each axis means the same; a source may see a skip beside that is left out."""
    pairs = zip((layer.out, *layer.inputs), (source.out, *source.inputs), strict=False)
    norms = {layer.kind, source.kind} <= {"norm", "rms"}
    if norms or layer.kind == "depthwise":
        pairs = zip(layer.inputs, source.inputs, strict=False)
    alike = norms or layer.kind == source.kind
    enough = alike and layer.kernel == source.kernel and len(layer.inputs) <= len(source.inputs)
    return enough and all(a.key == b.key for a, b in pairs)


def picks(layer: Layer, source: Layer, chosen: Selection) -> dict[str, Pick]:
    """Where a layer's parameters come from.

    Args:
        layer: of the network that takes.
        source: of the other one; `fits` says whether it can be.
        chosen: the channels taken of each space.

    Returns:
        By parameter name; weights whose inputs were cut are scaled so that the layer's output
        keeps its variance. A norm with groups has a bias, whose source one without lacks.
    """
    columns, shares = _columns(layer.inputs, source.inputs, chosen)
    weight, bias = f"{source.name}.weight", f"{source.name}.bias"
    if layer.kind == "norm":
        return {
            f"{layer.name}.weight": Pick(weight, columns),
            f"{layer.name}.bias": Pick(bias, columns),
        }
    if layer.kind in ("rms", "depthwise"):
        return {f"{layer.name}.weight": Pick(weight, columns)}
    rows = chosen(layer.out, source.out).index
    if layer.kind == "embedding":
        return {f"{layer.name}.weight": Pick(weight, columns, rows)}
    known = sum(space.width for space in source.inputs[: len(layer.inputs)])
    gain = max(1.0, known / len(columns)) ** 0.5
    return {
        f"{layer.name}.weight": Pick(weight, rows, columns, shares, gain),
        f"{layer.name}.bias": Pick(bias, rows),
    }


def passing(layer: Layer) -> dict[str, Floats]:
    """A shortcut that passes the features on and leaves a skip beside them out."""
    weight = np.zeros((layer.out.width, layer.fan_in), np.float32)
    kept = min(layer.out.width, layer.inputs[0].width)
    weight[:kept, :kept] = np.eye(kept, dtype=np.float32)
    return {
        f"{layer.name}.weight": weight,
        f"{layer.name}.bias": np.zeros(layer.out.width, np.float32),
    }


def _columns(
    inputs: tuple[Space, ...], sources: tuple[Space, ...], chosen: Selection
) -> tuple[Ints, Floats]:
    """Indices into the source's joined inputs, and what each passes on."""
    indices, shares, offset = [], [], 0
    for space, source in zip(inputs, sources, strict=False):
        found = chosen(space, source)
        indices.append(found.index + offset)
        shares.append(found.share)
        offset += source.width
    return np.concatenate(indices), np.concatenate(shares)
