"""Taylor scores against what happens when a channel or a block is switched off."""

from __future__ import annotations

import dataclasses
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.models.plan import layers
from ado_nas.models.unet import UNet, build_unet, named_parameters
from ado_nas.specs import UNetSpec
from ado_nas.training.step import Stepper, gradients
from ado_nas.training.taylor import Taylor, block_slopes, channel_slopes

SPEC = UNetSpec(
    resolution=8,
    widths=(8, 16),
    blocks=(2, 1),
    attention=("none", "full"),
    head_dim=4,
    activation="silu",
    norm="rms",
    time_width=16,
    middle=False,
)
X = mx.random.normal((4, 8, 8, 1), key=mx.random.key(0))
TARGET = mx.random.normal((4, 8, 8, 1), key=mx.random.key(1))


def loss(model: UNet, x: mx.array, target: mx.array) -> mx.array:
    return mx.square(model(x, mx.array([0.1])) - target).mean()


def randomized(spec: UNetSpec, seed: int = 3) -> UNet:
    model = build_unet(spec, 7)
    key = mx.random.key(seed)
    for name, value in named_parameters(model):
        key, used = mx.random.split(key)
        noise = 0.1 * mx.random.normal(value.shape, key=used)
        model.load_weights([(name, value + noise)], strict=False)
    return model


def products(model: UNet) -> dict[str, np.ndarray]:
    _, grads = gradients(loss, model, [(X, TARGET)])
    return {name: np.array(value * grads[name]) for name, value in named_parameters(model)}


def gated(model: UNet, key: str, channels: list[int], gate: float) -> float:
    """The loss where all that is read of these channels is multiplied by a gate."""
    weights = {name: np.array(value) for name, value in named_parameters(model)}
    for layer in layers(model.spec):
        begin = 0
        for space in layer.inputs:
            if space.key == key and layer.kind in ("conv", "linear"):
                columns = [begin + c for c in channels]
                weights[f"{layer.name}.weight"][..., columns] *= gate
            begin += space.width
    return loss_with(model, weights)


def loss_with(model: UNet, weights: dict[str, np.ndarray]) -> float:
    other = UNet(model.spec)
    other.load_weights([(n, mx.array(v)) for n, v in weights.items()])
    return float(np.array(loss(other, X, TARGET)))


@pytest.mark.parametrize("changes", [{}, {"norm": "group"}, {"downsample": "fold", "skip": "add"}])
@pytest.mark.parametrize(("key", "channels"), [("features8", [5]), ("heads4x4", [4, 5, 6, 7])])
def test_slope_is_that_of_a_gate_on_a_channel(
    changes: dict[str, Any], key: str, channels: list[int]
) -> None:
    model = randomized(dataclasses.replace(SPEC, **changes))
    found = channel_slopes(model.spec, products(model))[key][channels].sum()
    wanted = (gated(model, key, channels, 1.05) - gated(model, key, channels, 0.95)) / 0.1
    assert found == pytest.approx(wanted, rel=0.02, abs=2e-5)


def test_switching_a_channel_off_changes_the_loss_by_its_slope_to_first_order() -> None:
    model = randomized(SPEC)
    slopes, off = [], []
    for channel in range(8):
        # Where little is read of a channel, the first order is all there is.
        gate = 0.02
        weights = {name: np.array(value) for name, value in named_parameters(model)}
        for layer in layers(model.spec):
            begin = 0
            for space in layer.inputs:
                if space.key == "features8" and layer.kind in ("conv", "linear"):
                    weights[f"{layer.name}.weight"][..., begin + channel] *= gate
                begin += space.width
        weak = UNet(model.spec)
        weak.load_weights([(n, mx.array(v)) for n, v in weights.items()])
        slopes.append(channel_slopes(SPEC, products(weak))["features8"][channel])
        off.append(loss_with(weak, weights) - gated(weak, "features8", [channel], 0.0))
    np.testing.assert_allclose(slopes, off, rtol=0.1, atol=2e-5)
    assert np.abs(off).max() > 2e-4


@pytest.mark.parametrize("conv", ["full", "separable"])
def test_slope_of_a_block_is_that_of_a_gate_on_what_it_adds(conv: str) -> None:
    model = randomized(dataclasses.replace(SPEC, blocks=(2, 2), conv=conv))
    found = block_slopes(model.spec, products(model))
    assert {side: len(slopes) for side, slopes in found.items()} == {8: 1, 4: 1}

    def with_gate(gate: float) -> float:
        weights = {name: np.array(value) for name, value in named_parameters(model)}
        # The second block down at 4 pixels, and the block up that sees the first one's skip.
        for place in ("down_blocks.1", "up_blocks.0"):
            last = "conv2" if conv == "full" else "conv2.pointwise"
            for name in (f"resnets.1.{last}", "attentions.1.to_out.0"):
                for kind in ("weight", "bias"):
                    weights[f"{place}.{name}.{kind}"] *= gate
        return loss_with(model, weights)

    wanted = (with_gate(1.05) - with_gate(0.95)) / 0.1
    assert found[4][0] == pytest.approx(wanted, rel=0.02, abs=2e-5)


def test_scores_are_mean_squares_over_batches() -> None:
    model, taylor = randomized(SPEC), Taylor(SPEC)
    one = products(model)
    two = {name: value * -3 for name, value in one.items()}
    taylor.add(one)
    taylor.add(two)
    for key, slope in channel_slopes(SPEC, one).items():
        np.testing.assert_allclose(taylor.channels[key], 5 * slope**2, rtol=1e-3, atol=1e-12)
    wanted = 5 * block_slopes(SPEC, one)[8] ** 2
    np.testing.assert_allclose(taylor.blocks[8], wanted, rtol=1e-3)


def test_stepper_shows_the_weights_and_gradient_of_its_batch() -> None:
    model = randomized(SPEC)
    wanted = products(model)
    stepper = Stepper(model, loss, lambda _: mx.array(1e-2), 0.9, clip=1e-3)
    stepper(X, TARGET)
    weights, gradient = stepper.seen
    for name, value in stepper.flat.arrays(weights * gradient).items():
        np.testing.assert_allclose(value, wanted[name], rtol=1e-2, atol=1e-5)


def scored(spec: UNetSpec, scores: dict[str, list[float]]) -> Taylor:
    taylor = Taylor(spec)
    taylor.add(products(build_unet(spec)))
    taylor._channels.update({k: np.array(v) for k, v in scores.items()})
    return taylor


def test_group_norms_keep_as_many_channels_of_each_group() -> None:
    spec = UNetSpec(resolution=8, widths=(16,), blocks=(1,), attention=("none",), groups=4)
    scores = [16, 15, 14, 13, 12, 11, 10, 9, 1, 2, 3, 4, 5, 6, 7, 8]
    chosen = scored(spec, {"features8": scores}).selection()
    plan = list(layers(spec))
    wide = plan[2].out
    found = chosen(dataclasses.replace(wide, width=8), wide).index
    assert found.tolist() == [0, 1, 4, 5, 10, 11, 14, 15]


def test_levels_of_equal_width_keep_the_same_channels() -> None:
    spec = dataclasses.replace(SPEC, widths=(8, 8))
    first, second = [9, 0, 0, 0, 0, 0, 1, 9], [0, 8, 0, 0, 8, 0, 0, 0]
    chosen = scored(spec, {"features8": first, "features4": second}).selection()
    spaces = {layer.out.key: layer.out for layer in layers(spec)}
    indices = [
        chosen(dataclasses.replace(spaces[key], width=4), spaces[key]).index.tolist()
        for key in ("features8", "features4")
    ]
    assert indices == [[0, 1, 4, 7]] * 2


def test_the_blocks_that_matter_least_go_first() -> None:
    spec = dataclasses.replace(SPEC, blocks=(4, 1))
    taylor = Taylor(spec)
    taylor._blocks = {8: np.array([3.0, 1.0, 2.0]), 4: np.zeros(0)}
    assert taylor.kept((2, 1)) == {8: (0, 1), 4: (0,)}
    assert taylor.kept((3, 1)) == {8: (0, 1, 3), 4: (0,)}
    assert taylor.kept((5, 2)) == {8: (0, 1, 2, 3), 4: (0,)}
