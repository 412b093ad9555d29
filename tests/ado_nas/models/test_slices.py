"""Slices of a wide network against inheritance, manual slices and narrow networks of their own."""

from __future__ import annotations

import dataclasses
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_unflatten

from ado_nas.models.inherit import inherit
from ado_nas.models.slices import Slice
from ado_nas.models.tree import named_arrays
from ado_nas.models.unet import UNet, build_unet, named_parameters
from ado_nas.specs import UNetSpec
from ado_nas.widths import narrowed

WIDE = UNetSpec(
    resolution=8,
    widths=(8, 16),
    blocks=(1, 1),
    attention=("none", "full"),
    head_dim=4,
    num_classes=3,
    activation="relu",
    time_width=16,
)
X = mx.random.normal((2, 8, 8, 1), key=mx.random.key(0))
NOISE, LABELS = mx.array([0.3, -0.5]), mx.array([0, 2])


def randomized(spec: UNetSpec) -> UNet:
    model = build_unet(spec, 7)
    rng = np.random.default_rng(3)
    for name, value in named_parameters(model):
        shaken = value + mx.array(0.1 * rng.standard_normal(value.shape).astype(np.float32))
        model.load_weights([(name, shaken)], strict=False)
    return model


def parameters(model: UNet) -> dict[str, mx.array]:
    return dict(named_arrays(model.trainable_parameters()))


def test_whole_slice_is_exactly_the_wide_network() -> None:
    wide = randomized(WIDE)
    found = Slice(WIDE, WIDE).network(parameters(wide))(X, NOISE, LABELS)
    np.testing.assert_array_equal(np.array(found), np.array(wide(X, NOISE, LABELS)))


@pytest.mark.parametrize(
    "change",
    [{}, {"conv": "separable"}, {"norm": "rms"}, {"downsample": "fold", "upsample": "fold"},
     {"skip": "add"}, {"attention": ("window", "linear")}],
    ids=str,
)  # fmt: skip
def test_slice_is_what_inheritance_of_leading_channels_gives(change: dict[str, Any]) -> None:
    spec = dataclasses.replace(WIDE, **change)
    narrow = dataclasses.replace(spec, widths=(4, 12), time_width=8)
    wide, student = randomized(spec), build_unet(narrow, 1)
    assert inherit(student, wide, "leading").fraction == 1
    found = Slice(spec, narrow).parameters(parameters(wide))
    expected = dict(named_parameters(student))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(np.array(found[name]), np.array(value), err_msg=name)


def test_leading_half_of_a_convolution_is_scaled_for_the_inputs_it_lost() -> None:
    spec = dataclasses.replace(WIDE, norm="rms")
    found = Slice(spec, narrowed(spec, 0.5)).parameters(parameters(randomized(spec)))
    name = "up_blocks.1.resnets.0.conv1.weight"  # sees 16 channels of below, 8 of the skip
    weight = np.array(parameters(randomized(spec))[name])
    by_hand = weight[:4][..., [*range(8), *range(16, 20)]] * np.float32(2**0.5)
    np.testing.assert_array_equal(np.array(found[name]), by_hand)


def test_leading_half_takes_alike_of_each_group_of_the_norms() -> None:
    wide = parameters(randomized(WIDE))
    found = Slice(WIDE, narrowed(WIDE, 0.5)).parameters(wide)
    name = "down_blocks.1.resnets.0.conv1"  # 16 channels in 4 groups, of 8 in 4
    weight = np.array(wide[f"{name}.weight"])
    rows, columns = [0, 1, 4, 5, 8, 9, 12, 13], [0, 2, 4, 6]
    by_hand = weight[rows][..., columns] * np.float32(2**0.5)
    np.testing.assert_array_equal(np.array(found[f"{name}.weight"]), by_hand)


def test_gradients_land_in_the_wide_network() -> None:
    """Against the narrow network's own gradient along any direction, and zero elsewhere."""
    wide = parameters(randomized(WIDE))
    half = Slice(WIDE, narrowed(WIDE, 0.5))
    alone = build_unet(half.spec, 1)

    def loss(arrays: dict[str, mx.array]) -> mx.array:
        return mx.square(half.network(arrays)(X, NOISE, LABELS)).mean()

    def loss_alone(arrays: dict[str, mx.array]) -> mx.array:
        alone.update(tree_unflatten(list(arrays.items())))
        return mx.square(alone(X, NOISE, LABELS)).mean()

    gradient, own = mx.grad(loss)(wide), mx.grad(loss_alone)(half.parameters(wide))
    rng = np.random.default_rng(0)
    way = {n: mx.array(rng.standard_normal(v.shape).astype(np.float32)) for n, v in wide.items()}
    cut = half.parameters(way)
    along = sum(float((gradient[n] * way[n]).sum()) for n in wide)
    assert along == pytest.approx(sum(float((own[n] * cut[n]).sum()) for n in own), rel=1e-4)
    found = np.array(gradient["down_blocks.0.resnets.0.conv2.weight"])
    assert np.abs(found[::2, ..., ::2]).min() > 0
    assert not found[1::2].any() and not found[..., 1::2].any()


def test_shortcut_that_the_wide_network_lacks_passes_features_on() -> None:
    spec = dataclasses.replace(WIDE, widths=(8, 8), attention=("none", "none"))
    narrow = dataclasses.replace(spec, widths=(4, 8))
    found = Slice(spec, narrow).parameters(parameters(randomized(spec)))
    name = "down_blocks.1.resnets.0.conv_shortcut.weight"
    np.testing.assert_array_equal(np.array(found[name]), np.eye(8, 4))


@pytest.mark.parametrize("norm", ["rms", "group"])
def test_ranked_channels_compute_the_same(norm: str) -> None:
    """Norms of one input; the groups of joined inputs do not end where an input ends."""
    spec = dataclasses.replace(WIDE, norm=norm, skip="add", widths=(16, 16))
    wide, ranked = randomized(spec), build_unet(spec, 1)
    inherit(ranked, wide, "ranked")
    bias = "down_blocks.0.resnets.0.conv1.bias"
    assert not np.array_equal(parameters(wide)[bias], parameters(ranked)[bias])
    expected, found = (np.array(m(X, NOISE, LABELS)) for m in (wide, ranked))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_leading_channels_of_a_ranked_network_are_the_most_important() -> None:
    wide = randomized(dataclasses.replace(WIDE, norm="rms"))
    half = narrowed(wide.spec, 0.5)
    ranked, by_rank, by_score = (build_unet(s, 1) for s in (wide.spec, half, half))
    inherit(ranked, wide, "ranked")
    inherit(by_rank, ranked, "leading")
    inherit(by_score, wide)
    bias = "down_blocks.0.resnets.0.conv1.bias"
    pair = [np.sort(np.array(parameters(m)[bias])) for m in (by_rank, by_score)]
    np.testing.assert_array_equal(*pair)
