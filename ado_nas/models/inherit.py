"""A student's first weights, taken from the teacher by role and feature-map side.

A narrower student takes the most important channels; a weight whose inputs were cut is scaled so
that its output keeps its variance. At equal widths nothing changes, so a student of the teacher's
shape is the teacher; a student of twice the width, or with more blocks, computes what it does.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx.utils import tree_unflatten

from ado_nas.models.channels import MIXING, Selection, Weights, sliced
from ado_nas.models.conversion import converted
from ado_nas.models.plan import Layer, Space, layers
from ado_nas.models.stems import folded_head, folded_stem
from ado_nas.models.unet import UNet, named_parameters

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Inheritance:
    """What came from the teacher: the share of the student's parameters, and how many layers."""

    fraction: float
    layers: int


def inherit(student: UNet, teacher: UNet) -> Inheritance:
    """Overwrite the student's weights with those of the teacher, where the roles agree.

    Layers without a counterpart keep their fresh weights, with which blocks pass features on
    unchanged.

    Args:
        student: changed in place and evaluated.
        teacher: left as it is.

    Returns:
        How much was inherited.

    Source: Kim et al. 2024 (BK-SDM), section 4.1, for dropping blocks; Yu et al. 2019 (slimmable
    networks) for slices; Chen et al. 2016 (Net2Net), section 2, for widening and deepening.
    """
    weights = {name: np.array(value) for name, value in named_parameters(teacher)}
    plan = list(layers(teacher.spec))
    chosen = Selection(plan, weights)
    plan += folded_stem(student.spec, teacher, weights)
    plan += folded_head(student.spec, teacher, weights)
    sources = {layer.role: layer for layer in converted(plan, student.spec, weights)}
    taken: dict[str, Floats] = {}
    count = 0
    for layer in layers(student.spec):
        source = sources.get(layer.role)
        if source is not None and _fits(layer, source):
            taken.update(_taken(layer, source, weights, chosen))
            count += 1
    share = sum(value.size for value in taken.values())
    for layer in layers(student.spec):
        if layer.name.endswith("conv_shortcut") and f"{layer.name}.weight" not in taken:
            taken.update(_passing(layer))
    # In memory order, for MLX computes other layouts in another order.
    arrays = [(name, mx.array(np.ascontiguousarray(value))) for name, value in taken.items()]
    student.update(tree_unflatten(arrays))
    mx.eval(student.parameters())
    total = sum(value.size for _, value in named_parameters(student))
    return Inheritance(share / total, count)


def _fits(layer: Layer, source: Layer) -> bool:
    """Whether each axis means the same; a source may see a skip beside that is left out."""
    pairs = zip((layer.out, *layer.inputs), (source.out, *source.inputs), strict=False)
    norms = {layer.kind, source.kind} <= {"norm", "rms"}
    if norms or layer.kind == "depthwise":
        pairs = zip(layer.inputs, source.inputs, strict=False)
    alike = norms or layer.kind == source.kind
    enough = alike and layer.kernel == source.kernel and len(layer.inputs) <= len(source.inputs)
    return enough and all(a.key == b.key for a, b in pairs)


def _taken(layer: Layer, source: Layer, weights: Weights, chosen: Selection) -> dict[str, Floats]:
    columns, shares = columns_of(layer.inputs, source.inputs, chosen)
    mixing = layer.kind in MIXING
    rows = chosen(layer.out, source.out).index if mixing else columns
    found = sliced(layer, source.name, weights, rows, columns)
    if layer.kind == "norm":
        found.setdefault(f"{layer.name}.bias", np.zeros(len(columns), np.float32))
    if layer.kind == "rms":
        found.pop(f"{layer.name}.bias", None)
    if layer.kind in ("conv", "linear"):
        known = sum(space.width for space in source.inputs[: len(layer.inputs)])
        gain = np.float32(max(1.0, known / len(columns)) ** 0.5)
        found[f"{layer.name}.weight"] = found[f"{layer.name}.weight"] * (shares * gain)
    return found


def columns_of(
    inputs: tuple[Space, ...], sources: tuple[Space, ...], chosen: Selection
) -> tuple[npt.NDArray[np.intp], Floats]:
    """Indices into the source's joined inputs, and what each passes on."""
    indices, shares, offset = [], [], 0
    for space, source in zip(inputs, sources, strict=False):
        found = chosen(space, source)
        indices.append(found.index + offset)
        shares.append(found.share)
        offset += source.width
    return np.concatenate(indices), np.concatenate(shares)


def _passing(layer: Layer) -> dict[str, Floats]:
    """A shortcut that passes the features on and leaves a skip beside them out."""
    weight = np.zeros((layer.out.width, layer.fan_in), np.float32)
    kept = min(layer.out.width, layer.inputs[0].width)
    weight[:kept, :kept] = np.eye(kept, dtype=np.float32)
    return {
        f"{layer.name}.weight": weight,
        f"{layer.name}.bias": np.zeros(layer.out.width, np.float32),
    }
