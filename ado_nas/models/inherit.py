"""A student's first weights, taken from the teacher by role and feature-map side.

Channels are sliced evenly; a weight whose inputs were sliced is scaled so that its output keeps
its variance. At equal widths nothing changes, so a student of the teacher's shape is the teacher.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from mlx.utils import tree_unflatten

from ado_nas.models.plan import Layer, Space, layers
from ado_nas.models.unet import UNet, named_parameters


@dataclass(frozen=True)
class Inheritance:
    """What came from the teacher: the share of the student's parameters, and how many layers."""

    fraction: float
    layers: int


def inherit(student: UNet, teacher: UNet) -> Inheritance:
    """Overwrite the student's weights with slices of the teacher's, where the roles agree.

    Layers without a counterpart, or wider than theirs, keep their fresh weights.

    Args:
        student: changed in place and evaluated.
        teacher: left as it is.

    Returns:
        How much was inherited.

    Source: Kim et al. 2024 (BK-SDM), section 4.1, for dropping blocks; slices as in Yu et al. 2019
    (slimmable networks).
    """
    sources = {layer.role: layer for layer in layers(teacher.spec)}
    weights = {name: np.array(value) for name, value in named_parameters(teacher)}
    taken: dict[str, mx.array] = {}
    count = 0
    for layer in layers(student.spec):
        source = sources.get(layer.role)
        if source is None or not _fits(layer, source):
            continue
        taken.update(_sliced(layer, source, weights))
        count += 1
    student.update(tree_unflatten(list(taken.items())))
    mx.eval(student.parameters())
    total = sum(value.size for _, value in named_parameters(student))
    return Inheritance(sum(v.size for v in taken.values()) / total, count)


def _fits(layer: Layer, source: Layer) -> bool:
    pairs = list(zip((layer.out, *layer.inputs), (source.out, *source.inputs), strict=False))
    same = len(layer.inputs) == len(source.inputs) and layer.kernel == source.kernel
    return same and all(a.key == b.key and a.width <= b.width for a, b in pairs)


def _sliced(layer: Layer, source: Layer, weights: dict[str, np.ndarray]) -> dict[str, mx.array]:
    rows = _chosen(layer.out, source.out)
    columns = _columns(layer.inputs, source.inputs)
    if layer.kind == "norm":
        return {
            f"{layer.name}.{part}": mx.array(weights[f"{source.name}.{part}"][columns])
            for part in ("weight", "bias")
        }
    weight = weights[f"{source.name}.weight"]
    if layer.kind == "embedding":
        return {
            f"{layer.name}.weight": mx.array(np.ascontiguousarray(weight[np.ix_(columns, rows)]))
        }
    gain = np.float32((source.fan_in / layer.fan_in) ** 0.5)
    return {
        f"{layer.name}.weight": mx.array(np.ascontiguousarray(weight[rows][..., columns]) * gain),
        f"{layer.name}.bias": mx.array(weights[f"{source.name}.bias"][rows]),
    }


def _columns(inputs: tuple[Space, ...], sources: tuple[Space, ...]) -> np.ndarray:
    """Indices into the source's joined inputs."""
    parts, offset = [], 0
    for space, source in zip(inputs, sources, strict=True):
        parts.append(_chosen(space, source) + offset)
        offset += source.width
    return np.concatenate(parts)


def _chosen(space: Space, source: Space) -> np.ndarray:
    """Evenly spaced channels; whole heads where the axis is made of heads."""
    if space.key.startswith("heads"):
        dim = int(space.key.rpartition("x")[2])
        heads = np.arange(space.width // dim) * source.width // space.width
        return (heads[:, None] * dim + np.arange(dim)).reshape(-1)
    return np.arange(space.width) * source.width // space.width
