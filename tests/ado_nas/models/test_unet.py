"""The network against finite differences, and its plan against the network as built."""

from __future__ import annotations

import dataclasses

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_unflatten

from ado_nas.models.attention import Attention
from ado_nas.models.blocks import (
    ACTIVATION,
    Depthwise,
    Downsample,
    Resnet,
    Upsample,
    depth_to_space,
    downsample,
    space_to_depth,
    upsample,
)
from ado_nas.models.embeddings import TimeEmbedding
from ado_nas.models.norms import GroupNorm
from ado_nas.models.plan import layers
from ado_nas.models.unet import UNet, build_unet, named_parameters
from ado_nas.specs import UNetSpec

SPECS = [
    UNetSpec(resolution=8, widths=(8,), blocks=(1,), attention=("none",)),
    UNetSpec(resolution=16, patch=2, num_classes=10),
    UNetSpec(
        resolution=16,
        patch=4,
        widths=(16, 24),
        groups=8,
        head_dim=8,
        middle=False,
        in_channels=3,
    ),
    UNetSpec(
        resolution=16,
        widths=(8, 16, 32),
        blocks=(1, 2, 1),
        attention=("none", "full", "full"),
        head_dim=8,
        activation="gelu",
    ),
    UNetSpec(
        resolution=16,
        widths=(8, 16, 24),
        blocks=(1, 2, 1),
        attention=("window", "linear", "full"),
        head_dim=8,
        conv="separable",
        norm="rms",
        downsample="fold",
        upsample="fold",
        skip="add",
    ),
    UNetSpec(
        resolution=8,
        widths=(8, 8),
        attention=("none", "linear"),
        head_dim=8,
        downsample="pool",
        upsample="nearest",
        skip="add",
    ),
]


@pytest.mark.parametrize("spec", SPECS)
def test_plan_names_every_parameter_of_the_built_network(spec: UNetSpec) -> None:
    built = {name: tuple(value.shape) for name, value in named_parameters(build_unet(spec))}
    planned: dict[str, tuple[int, ...]] = {}
    for layer in layers(spec):
        out, fan = layer.out.width, layer.fan_in
        shapes = {
            "norm": {"weight": (out,), "bias": (out,)},
            "rms": {"weight": (out,)},
            "depthwise": {"weight": (out, layer.kernel, layer.kernel, 1)},
            "embedding": {"weight": (fan, out)},
            "linear": {"weight": (out, fan), "bias": (out,)},
            "conv": {"weight": (out, layer.kernel, layer.kernel, fan), "bias": (out,)},
        }[layer.kind]
        planned.update({f"{layer.name}.{part}": shape for part, shape in shapes.items()})
    assert planned == built


@pytest.mark.parametrize("spec", SPECS)
def test_output_has_the_shape_of_the_input(spec: UNetSpec) -> None:
    model = build_unet(spec)
    x = mx.random.normal((3, spec.resolution, spec.resolution, spec.in_channels))
    labels = mx.array([0, 1, 10]) if spec.num_classes else None
    out = model(x, mx.array([0.1, 0.2, 0.3]), labels)
    assert out.shape == x.shape
    assert float(mx.abs(out).max()) == 0  # the last convolution starts at zero


@pytest.mark.parametrize("spec", SPECS)
def test_every_parameter_gets_a_gradient(spec: UNetSpec) -> None:
    model = randomized(UNet(spec), 3)
    shape = (2, spec.resolution, spec.resolution, spec.in_channels)
    x = mx.random.normal(shape, key=mx.random.key(1))
    labels = mx.array([1, 10]) if spec.num_classes else None

    def loss(model: UNet) -> mx.array:
        return mx.square(model(x, mx.array([0.1, 0.5]), labels)).mean()

    _, grads = nn.value_and_grad(model, loss)(model)
    silent = [name for name, g in tree_flatten(grads) if float(mx.abs(g).max()) == 0]
    assert silent == []


SMOOTH = UNetSpec(widths=(8,), blocks=(1,), attention=("none",), time_width=16)
OTHER = dataclasses.replace(SMOOTH, activation="gelu", conv="separable", norm="rms")


@pytest.mark.parametrize(
    ("block", "call"),
    [
        (Resnet(SMOOTH, 8, 12), lambda m, x: m(x, x[:, 0, 0, :1] @ ONES)),
        (Resnet(SMOOTH, 8, 8), lambda m, x: m(x, x[:, 0, 0, :1] @ ONES)),
        (Resnet(OTHER, 8, 12), lambda m, x: m(x, x[:, 0, 0, :1] @ ONES)),
        (Attention(8, 4, GroupNorm(4, 8)), lambda m, x: m(x)),
        (Attention(8, 4, nn.RMSNorm(8), "window", 2, True), lambda m, x: m(x)),
        (downsample("conv", 8), lambda m, x: m(x)),
        (downsample("pool", 8), lambda m, x: m(x)),
        (downsample("fold", 8), lambda m, x: m(x)),
        (upsample("conv", 8), lambda m, x: m(x)),
        (upsample("nearest", 8), lambda m, x: m(x)),
        (upsample("fold", 8), lambda m, x: m(x)),
        (GroupNorm(4, 8), lambda m, x: m(x)),
        (Depthwise(8), lambda m, x: m(x)),
        (TimeEmbedding(8, ACTIVATION["silu"]), lambda m, x: m(x[:, 0, 0, 0])),
    ],
    ids=[
        "resnet",
        "resnet_same",
        "resnet_separable",
        "attention",
        "window",
        "down",
        "pool",
        "fold_down",
        "up",
        "nearest",
        "fold_up",
        "norm",
        "depthwise",
        "time",
    ],
)
def test_block_gradient_agrees_with_finite_differences(block: nn.Module, call: object) -> None:
    model = randomized(block, 0)
    x = mx.random.normal((2, 4, 4, 8), key=mx.random.key(5))
    weight = mx.random.normal(call(model, x).shape, key=mx.random.key(6))  # type: ignore[operator]

    def loss(x: mx.array) -> mx.array:
        return (call(model, x) * weight).sum()  # type: ignore[operator]

    direction = mx.random.normal(x.shape, key=mx.random.key(7))
    slope = float((mx.grad(loss)(x) * direction).sum())
    h = 1e-3 if x.size == 2 * 4 * 4 * 8 and block.__class__.__name__ == "TimeEmbedding" else 1e-2
    measured = float((loss(x + h * direction) - loss(x - h * direction)) / (2 * h))
    assert slope == pytest.approx(measured, rel=2e-2, abs=2e-2)


@pytest.mark.parametrize("name", ["silu", "gelu", "relu", "hardswish"])
def test_activation_agrees_with_mlx(name: str) -> None:
    x = mx.linspace(-6, 6, 1001)
    reference = {"silu": nn.silu, "gelu": nn.gelu, "relu": nn.relu, "hardswish": nn.hardswish}
    np.testing.assert_allclose(ACTIVATION[name](x), reference[name](x), atol=2e-6)


def test_silu_and_its_slope_are_finite_far_out() -> None:
    x = mx.array([-1e4, -200.0, -85.0, 85.0, 1e4])
    np.testing.assert_allclose(ACTIVATION["silu"](x), nn.relu(x), atol=1e-6)
    slope = mx.grad(lambda x: ACTIVATION["silu"](x).sum())(x)
    np.testing.assert_allclose(slope, [0, 0, 0, 1, 1], atol=1e-6)


def test_downsample_is_a_convolution_of_stride_two() -> None:
    block = randomized(Downsample(8), 1)
    x = mx.random.normal((2, 8, 8, 8))
    padded = mx.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    expected = mx.conv2d(padded, block.conv.weight, stride=2) + block.conv.bias
    np.testing.assert_allclose(block(x), expected, atol=1e-5)


def test_upsample_is_a_convolution_of_repeated_pixels() -> None:
    block = randomized(Upsample(8), 1)
    x = mx.random.normal((2, 4, 4, 8))
    repeated = mx.repeat(mx.repeat(x, 2, axis=1), 2, axis=2)
    np.testing.assert_allclose(block(x), block.conv(repeated), atol=1e-5)


def test_group_norm_agrees_with_float64() -> None:
    layer = randomized(GroupNorm(4, 16), 2)
    x = np.random.default_rng(0).normal(3, 2, (5, 6, 6, 16))
    groups = x.reshape(5, 36, 4, 4)
    mean = groups.mean(axis=(1, 3), keepdims=True)
    std = np.sqrt(groups.var(axis=(1, 3), keepdims=True) + 1e-5)
    normal = ((groups - mean) / std).reshape(x.shape)
    expected = normal * np.array(layer.weight) + np.array(layer.bias)
    np.testing.assert_allclose(layer(mx.array(x.astype(np.float32))), expected, atol=1e-4)


def test_depthwise_convolution_agrees_with_mlx() -> None:
    block = randomized(Depthwise(8), 1)
    x = mx.random.normal((2, 6, 6, 8))
    expected = mx.conv2d(x, block.weight, padding=1, groups=8)
    np.testing.assert_allclose(block(x), expected, atol=1e-5)


def test_folds_are_convolutions_of_stride_two() -> None:
    down, up = randomized(downsample("fold", 4), 1), randomized(upsample("fold", 4), 2)
    x = mx.random.normal((2, 6, 6, 4))
    kernel = down.linear.weight.reshape(4, 2, 2, 4)
    expected = mx.conv2d(x, kernel, stride=2) + down.linear.bias
    np.testing.assert_allclose(down(x), expected, atol=1e-5)
    kernel = up.linear.weight.reshape(2, 2, 4, 4).transpose(2, 0, 1, 3)
    spread = mx.conv_transpose2d(x, kernel, stride=2)
    tiled = up.linear.bias.reshape(2, 2, 4)
    expected = spread + mx.tile(tiled, (6, 6, 1))
    np.testing.assert_allclose(up(x), expected, atol=1e-5)


def test_space_to_depth_is_undone() -> None:
    x = mx.random.normal((2, 8, 8, 3))
    folded = space_to_depth(x, 4)
    assert folded.shape == (2, 2, 2, 48)
    assert mx.array_equal(depth_to_space(folded, 4), x)


def randomized(model: nn.Module, seed: int) -> nn.Module:
    """Weights away from their zero starts, so that no path is switched off."""
    key = mx.random.key(seed)
    named = []
    for name, value in tree_flatten(model.parameters()):
        key, used = mx.random.split(key)
        named.append((name, value + 0.3 * mx.random.normal(value.shape, key=used)))
    model.update(tree_unflatten(named))
    return model


ONES = mx.ones((1, 16))


@pytest.mark.parametrize(("mean", "deviation"), [(10.0, 1e-3), (300.0, 0.1), (5.0, 0.0)])
def test_norm_of_nearly_constant_maps_is_finite(mean: float, deviation: float) -> None:
    noise = np.random.default_rng(0).standard_normal((4, 8, 8, 16)).astype(np.float32)
    found = GroupNorm(4, 16)(mx.array(mean + deviation * noise))
    assert bool(mx.isfinite(found).all())
