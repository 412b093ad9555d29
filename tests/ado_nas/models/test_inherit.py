"""Inherited weights against the teacher's own function."""

from __future__ import annotations

import dataclasses

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.models.inherit import inherit
from ado_nas.models.unet import build_unet, named_parameters
from ado_nas.specs import UNetSpec

TEACHER = UNetSpec(
    resolution=16,
    patch=2,
    widths=(32, 64),
    blocks=(2, 2),
    attention=("none", "full"),
    num_classes=10,
    activation="relu",
)


def run(spec: UNetSpec, seed: int) -> tuple[np.ndarray, float]:
    teacher, student = randomized(TEACHER), build_unet(spec, seed)
    found = inherit(student, teacher)
    x = mx.random.normal((4, 16, 16, 1), key=mx.random.key(0))
    return np.array(student(x, mx.array([0.3]), mx.arange(4))), found.fraction


def randomized(spec: UNetSpec):  # type: ignore[no-untyped-def]
    model = build_unet(spec, 7)
    key = mx.random.key(3)
    for name, value in named_parameters(model):
        key, used = mx.random.split(key)
        model.load_weights(
            [(name, value + 0.05 * mx.random.normal(value.shape, key=used))], strict=False
        )
    return model


def test_same_spec_gives_exactly_the_teacher() -> None:
    x = mx.random.normal((4, 16, 16, 1), key=mx.random.key(0))
    expected = np.array(randomized(TEACHER)(x, mx.array([0.3]), mx.arange(4)))
    found, fraction = run(TEACHER, 1)
    assert fraction == 1.0
    np.testing.assert_array_equal(found, expected)


def test_half_the_width_inherits_every_weight_and_is_nearer_than_a_fresh_network() -> None:
    spec = dataclasses.replace(TEACHER, widths=(16, 32))
    found, fraction = run(spec, 1)
    again, _ = run(spec, 2)
    assert fraction == 1.0
    np.testing.assert_array_equal(found, again)  # nothing of the fresh weights is left
    assert found.std() > 0


def test_fewer_blocks_keep_the_first_and_the_last() -> None:
    spec = dataclasses.replace(TEACHER, blocks=(1, 1))
    _, fraction = run(spec, 1)
    assert fraction == 1.0


def test_fraction_counts_what_has_no_counterpart() -> None:
    spec = dataclasses.replace(TEACHER, patch=4, widths=(32,), blocks=(1,), attention=("none",))
    _, fraction = run(spec, 1)
    assert 0 < fraction < 1


@pytest.mark.parametrize("widths", [(64, 128), (32, 128)])
def test_wider_layers_stay_fresh(widths: tuple[int, int]) -> None:
    _, fraction = run(dataclasses.replace(TEACHER, widths=widths), 1)
    assert fraction < 0.7
