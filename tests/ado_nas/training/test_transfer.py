"""Networks cut and grown while they train, against the function they computed before."""

from __future__ import annotations

import dataclasses
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.models.channels import Selection
from ado_nas.models.plan import layers
from ado_nas.models.unet import UNet, build_unet, named_parameters
from ado_nas.specs import UNetSpec
from ado_nas.training.step import Stepper
from ado_nas.training.transfer import Transfer, transfer

WIDE = UNetSpec(
    resolution=8,
    widths=(16, 24),
    blocks=(2, 1),
    attention=("none", "full"),
    head_dim=4,
    activation="relu",
    norm="rms",
    num_classes=3,
    time_width=16,
)
NARROW = dataclasses.replace(WIDE, widths=(8, 16))


def randomized(spec: UNetSpec, seed: int = 3) -> UNet:
    model = build_unet(spec, 7)
    key = mx.random.key(seed)
    for name, value in named_parameters(model):
        key, used = mx.random.split(key)
        noise = 0.05 * mx.random.normal(value.shape, key=used)
        model.load_weights([(name, value + noise)], strict=False)
    return model


def outputs(model: UNet) -> np.ndarray:
    x = mx.random.normal((2, 8, 8, 1), key=mx.random.key(0))
    return np.array(model(x, mx.array([0.3]), mx.arange(2)))


def changed(model: UNet, spec: UNetSpec, chosen: Selection, blocks: Any = None) -> UNet:
    after = build_unet(spec, 11)
    found = transfer(model, after, chosen, blocks)
    stepper = stepping(model)
    state = found.state(stepper.state())
    stepping(after).flat.load(after, state["vector"])
    return after


def stepping(model: UNet) -> Stepper:
    def loss(model: UNet, x: mx.array) -> mx.array:
        return mx.square(model(x, mx.array([0.1]))).mean()

    return Stepper(model, loss, lambda _: mx.array(1e-3), 0.9)


def ranking(spec: UNetSpec, seed: int = 0) -> dict[str, np.ndarray]:
    """Scores by space; equal channels of a head."""
    rng = np.random.default_rng(seed)
    spaces = {s.key: s.width for layer in layers(spec) for s in (layer.out, *layer.inputs)}
    found = {key: rng.random(width) for key, width in spaces.items()}
    for key in found:
        if key.startswith("heads"):
            found[key] = np.repeat(rng.random(spaces[key] // 4), 4)
    return found


def silenced(model: UNet, scores: dict[str, np.ndarray], spec: UNetSpec) -> None:
    """Zero all that is written to the channels, of every space, that are to be cut."""
    widths = {s.key: s.width for layer in layers(spec) for s in (layer.out, *layer.inputs)}
    weights = {name: np.array(value) for name, value in named_parameters(model)}
    for layer in layers(model.spec):
        gone = np.argsort(-scores[layer.out.key])[widths[layer.out.key] :]
        if layer.kind in ("conv", "linear"):
            weights[f"{layer.name}.weight"][gone] = 0
            weights[f"{layer.name}.bias"][gone] = 0
    model.load_weights([(n, mx.array(v)) for n, v in weights.items()])


@pytest.mark.parametrize(
    "changes", [{}, {"skip": "add"}, {"conv": "separable", "downsample": "pool"}], ids=str
)
def test_cutting_channels_that_are_zero_changes_nothing(changes: dict[str, Any]) -> None:
    model = randomized(dataclasses.replace(WIDE, **changes))
    spec = dataclasses.replace(NARROW, **changes)
    scores = ranking(model.spec)
    silenced(model, scores, spec)
    found, wanted = outputs(changed(model, spec, Selection(scores))), outputs(model)
    # The norms add a small constant to a mean over fewer channels.
    np.testing.assert_allclose(found, wanted, atol=2e-3 * wanted.std())
    other = outputs(changed(model, spec, Selection(ranking(model.spec, 1))))
    assert np.abs(other - wanted).max() > 0.1 * wanted.std()  # unlike other channels


def test_equal_widths_are_cut_alike_where_a_shortcut_is_missing() -> None:
    even = dataclasses.replace(WIDE, widths=(16, 16))
    model, scores = randomized(even), ranking(even)
    scores["features4"] = scores["features8"]
    spec = dataclasses.replace(even, widths=(8, 8))
    silenced(model, scores, spec)
    found, wanted = outputs(changed(model, spec, Selection(scores))), outputs(model)
    np.testing.assert_allclose(found, wanted, atol=2e-3 * wanted.std())


@pytest.mark.parametrize("norm", ["rms", "group"])
def test_twice_the_width_and_another_block_change_nothing(norm: str) -> None:
    small = dataclasses.replace(NARROW, norm=norm)
    model = randomized(small)
    spec = dataclasses.replace(small, widths=(16, 32), blocks=(3, 2))
    found = outputs(changed(model, spec, Selection({})))
    np.testing.assert_allclose(found, outputs(model), rtol=1e-3, atol=1e-4)


def test_levels_that_part_get_a_shortcut_that_passes_features_on() -> None:
    even = dataclasses.replace(NARROW, widths=(8, 8))
    model = randomized(even)
    found = changed(model, dataclasses.replace(even, widths=(8, 16)), Selection({}))
    x = mx.random.normal((1, 4, 4, 8), key=mx.random.key(0))
    passed = found.down_blocks[1].resnets[0].conv_shortcut(x)
    np.testing.assert_array_equal(passed, np.repeat(np.array(x), 2, axis=-1))


def test_a_block_added_and_dropped_again_leaves_the_network_as_it_was() -> None:
    model = randomized(NARROW)
    deep = changed(model, dataclasses.replace(NARROW, blocks=(3, 1)), Selection({}))
    again = changed(deep, NARROW, Selection({}), {8: (0, 1)})
    for (_, a), (_, b) in zip(named_parameters(model), named_parameters(again), strict=True):
        np.testing.assert_array_equal(a, b)


def test_dropping_a_block_keeps_the_weights_of_the_others() -> None:
    model = randomized(dataclasses.replace(WIDE, blocks=(3, 1)))
    left = changed(model, WIDE, Selection({}), {8: (0, 2)})
    for old, new in ((2, 1), (0, 0)):
        wanted = model.down_blocks[0].resnets[old].conv1.weight
        np.testing.assert_array_equal(left.down_blocks[0].resnets[new].conv1.weight, wanted)
    # On the way up, from the first: the blocks that see the skips 2, 1 and 0 of 3.
    for old, new in ((0, 0), (1, 1), (3, 2)):
        wanted = model.up_blocks[1].resnets[old].conv2.weight
        np.testing.assert_array_equal(left.up_blocks[1].resnets[new].conv2.weight, wanted)


def test_channels_that_were_doubled_and_cut_again_are_there_as_they_were() -> None:
    model = randomized(NARROW)
    wide = build_unet(dataclasses.replace(NARROW, widths=(16, 32)), 5)
    there = transfer(model, wide, Selection({}))
    # What is cut is every other copy, head by head.
    scores = {key: _copies(key, len(row)) for key, row in ranking(wide.spec).items()}
    back = transfer(wide, build_unet(NARROW, 6), Selection(scores))
    assert (there.index >= 0).all() and (back.index >= 0).all()
    np.testing.assert_array_equal(there.index[back.index], np.arange(back.index.size))


def _copies(key: str, width: int) -> np.ndarray:
    unit = 4 if key.startswith("heads") else 1
    return np.repeat(np.arange(width // unit) % 2 == 0, unit).astype(float)


def test_moments_and_average_move_with_their_weights() -> None:
    model = randomized(WIDE)
    stepper = stepping(model)
    for i in range(3):
        stepper(mx.random.normal((2, 8, 8, 1), key=mx.random.key(i)))
    after = build_unet(NARROW, 1)
    found = transfer(model, after, Selection(ranking(WIDE)))
    state, moved = stepper.state(), found.state(stepper.state())
    fresh = stepping(after)
    fresh.restore(moved, stepper.iteration)
    assert (found.index >= 0).all()
    before = {name: np.array(value) for name, value in state.items()}
    for name in ("optimizer.w.m", "optimizer.w.v"):
        np.testing.assert_array_equal(fresh.state()[name], before[name][found.index])
    for name in ("vector", "average"):
        wanted = before[name][found.index] * found.scale
        np.testing.assert_array_equal(fresh.state()[name], wanted)
    assert int(np.array(fresh.state()["optimizer.step"])) == 3
    fresh(mx.random.normal((2, 8, 8, 1), key=mx.random.key(9)))  # and it goes on


def test_what_is_new_starts_without_moments() -> None:
    found = Transfer(
        np.array([1, -1]), np.array([2.0, 1.0], np.float32), np.array([0.0, 5.0], np.float32)
    )
    vector = mx.array([3.0, 4.0])
    assert found.weights(vector).tolist() == [8.0, 5.0]
    assert found.moments(vector).tolist() == [4.0, 0.0]
