"""A teacher's layers in the kinds its student uses: separable convolutions, folded resampling."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from ado_nas.models.plan import Layer, Space
from ado_nas.specs import UNetSpec

Floats = npt.NDArray[np.float32]


def converted(
    plan: Iterable[Layer], student: UNetSpec, weights: dict[str, Floats]
) -> Iterator[Layer]:
    """The teacher's layers, and the same ones in the student's kinds where these differ.

    Args:
        plan: the teacher's layers.
        student: whose kinds are wanted.
        weights: the teacher's parameters by name; gets those of the converted layers.

    Yields:
        Layers whose weights are there.
    """
    for layer in plan:
        yield layer
        role = layer.role.rpartition("|")[2]  # in its own network, where networks are nested
        if layer.kind == "conv" and role.startswith("downsample"):
            yield _fold_down(layer, weights)
        elif layer.kind == "conv" and role.startswith("upsample"):
            yield _fold_up(layer, weights)
        elif role.endswith(".fold") and role.startswith("downsample"):
            yield _unfold_down(layer, weights)
        elif layer.kind == "conv" and student.conv == "separable":
            yield from _separated(layer, weights)
        elif layer.role.endswith(".pointwise"):
            yield _multiplied(layer, weights)


def _separated(layer: Layer, weights: dict[str, Floats]) -> Iterator[Layer]:
    """The nearest separable convolution: of each input channel the best of rank one."""
    weight = weights[f"{layer.name}.weight"]
    outputs, k, _, inputs = weight.shape
    by_input = weight.reshape(outputs, k * k, inputs).transpose(2, 0, 1)
    left, sizes, right = np.linalg.svd(by_input, full_matrices=False)
    # Signs and scales are free between the two; a filter of unit mean square starts well.
    taps = right[:, 0] * k
    each = Layer(
        f"{layer.name}.depthwise",
        f"{layer.role}.depthwise",
        "depthwise",
        Space("+".join(s.key for s in layer.inputs), inputs),
        layer.inputs,
        k,
        layer.side,
    )
    weights[f"{each.name}.weight"] = np.ascontiguousarray(taps.reshape(inputs, k, k, 1))
    point = dataclasses.replace(
        layer,
        name=f"{layer.name}.pointwise",
        role=f"{layer.role}.pointwise",
        kind="linear",
        kernel=1,
    )
    weights[f"{point.name}.weight"] = (left[:, :, 0] * sizes[:, :1] / k).T
    weights[f"{point.name}.bias"] = weights[f"{layer.name}.bias"]
    yield each
    yield point


def _multiplied(point: Layer, weights: dict[str, Floats]) -> Layer:
    """The full convolution that a separable one is; exact."""
    name = point.name.removesuffix(".pointwise")
    taps, mix = weights[f"{name}.depthwise.weight"], weights[f"{point.name}.weight"]
    full = dataclasses.replace(
        point,
        name=f"{name}.full",
        role=point.role.removesuffix(".pointwise"),
        kind="conv",
        kernel=taps.shape[1],
    )
    weights[f"{full.name}.weight"] = np.einsum("oc,cij->oijc", mix, taps[..., 0])
    weights[f"{full.name}.bias"] = weights[f"{point.name}.bias"]
    return full


def _fold_down(layer: Layer, weights: dict[str, Floats]) -> Layer:
    """Of a 3x3 convolution of stride 2 the four taps inside its own square."""
    weight = weights[f"{layer.name}.weight"]
    fold = _renamed(layer, layer.inputs * 4, layer.out, layer.side)
    weights[f"{fold.name}.weight"] = weight[:, :2, :2].reshape(len(weight), -1)
    weights[f"{fold.name}.bias"] = weights[f"{layer.name}.bias"]
    return fold


def _unfold_down(layer: Layer, weights: dict[str, Floats]) -> Layer:
    """The 3x3 convolution of stride 2 that a folded one is; exact."""
    weight = weights[f"{layer.name}.weight"]
    wide = np.zeros((len(weight), 3, 3, weight.shape[1] // 4), np.float32)
    wide[:, :2, :2] = weight.reshape(len(weight), 2, 2, -1)
    role = layer.role.removesuffix(".fold")
    conv = Layer(f"{layer.name}.conv", role, "conv", layer.out, layer.inputs[:1], 3, layer.side)
    weights[f"{conv.name}.weight"] = wide
    weights[f"{conv.name}.bias"] = weights[f"{layer.name}.bias"]
    return conv


def _fold_up(layer: Layer, weights: dict[str, Floats]) -> Layer:
    """Of doubling and a 3x3 convolution what each pixel does to its own four."""
    weight = weights[f"{layer.name}.weight"]
    own = {0: slice(1, 3), 1: slice(0, 2)}  # taps that fall on the pixel itself
    parts = [weight[:, own[i], own[j]].sum(axis=(1, 2)) for i in (0, 1) for j in (0, 1)]
    out = Space(f"4x{layer.out.key}", 4 * layer.out.width)
    fold = _renamed(layer, layer.inputs, out, layer.side // 2)
    weights[f"{fold.name}.weight"] = np.concatenate(parts)
    weights[f"{fold.name}.bias"] = np.tile(weights[f"{layer.name}.bias"], 4)
    return fold


def _renamed(layer: Layer, inputs: tuple[Space, ...], out: Space, side: int) -> Layer:
    name, role = layer.name.removesuffix(".conv") + ".linear", f"{layer.role}.fold"
    return Layer(name, role, "linear", out, inputs, 1, side)
