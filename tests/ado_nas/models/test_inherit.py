"""Inherited weights against the teacher's own function."""

from __future__ import annotations

import dataclasses
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from ado_nas.models.blocks import space_to_depth
from ado_nas.models.channels import Selection, importance
from ado_nas.models.conversion import converted
from ado_nas.models.inherit import inherit
from ado_nas.models.plan import Layer, Space
from ado_nas.models.unet import UNet, build_unet, named_parameters
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


def randomized(spec: UNetSpec) -> UNet:
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
    _, fraction = run(dataclasses.replace(TEACHER, blocks=(2, 3)), 1)
    assert 0.5 < fraction < 1


def outputs(model: UNet) -> np.ndarray:
    x = mx.random.normal((4, 16, 16, 1), key=mx.random.key(0))
    return np.array(model(x, mx.array([0.3]), mx.arange(4)))


def inherited(spec: UNetSpec, teacher: UNet) -> UNet:
    student = build_unet(spec, 1)
    inherit(student, teacher)
    return student


def test_twice_the_width_computes_the_same() -> None:
    teacher = randomized(TEACHER)
    wide = inherited(dataclasses.replace(TEACHER, widths=(64, 128), time_width=256), teacher)
    np.testing.assert_allclose(outputs(wide), outputs(teacher), rtol=1e-3, atol=1e-4)


def test_copies_of_a_channel_get_different_gradients() -> None:
    wide = inherited(dataclasses.replace(TEACHER, widths=(64, 128)), randomized(TEACHER))
    x = mx.random.normal((2, 16, 16, 1), key=mx.random.key(0))
    grads = nn.value_and_grad(wide, lambda m: mx.square(m(x, mx.array([0.3]), None)).mean())(wide)[
        1
    ]
    found = np.array(grads["down_blocks"][1]["resnets"][1]["conv1"]["weight"])
    assert np.abs(found[0::2] - found[1::2]).max() > 0.05 * np.abs(found).max()


@pytest.mark.parametrize("blocks", [(3, 2), (2, 4)])
def test_more_blocks_compute_the_same(blocks: tuple[int, int]) -> None:
    teacher = randomized(TEACHER)
    deep = inherited(dataclasses.replace(TEACHER, blocks=blocks), teacher)
    np.testing.assert_allclose(outputs(deep), outputs(teacher), rtol=1e-4, atol=1e-5)


def test_a_middle_block_more_computes_the_same() -> None:
    teacher = randomized(dataclasses.replace(TEACHER, middle=False))
    deep = inherited(dataclasses.replace(TEACHER, middle=True), teacher)
    np.testing.assert_allclose(outputs(deep), outputs(teacher), rtol=1e-4, atol=1e-5)


def test_separable_teacher_becomes_a_full_student_that_computes_the_same() -> None:
    teacher = randomized(dataclasses.replace(TEACHER, conv="separable"))
    full = inherited(TEACHER, teacher)
    np.testing.assert_allclose(outputs(full), outputs(teacher), rtol=1e-3, atol=1e-4)


def test_folded_downsampling_becomes_a_convolution_that_computes_the_same() -> None:
    teacher = randomized(dataclasses.replace(TEACHER, downsample="fold"))
    convolved = inherited(TEACHER, teacher)
    np.testing.assert_allclose(outputs(convolved), outputs(teacher), rtol=1e-4, atol=1e-5)


def test_separable_filters_are_the_best_of_rank_one() -> None:
    weight = np.random.default_rng(0).standard_normal((6, 3, 3, 5)).astype(np.float32)
    both = (Space("a", 5),)
    conv = Layer("c", "c", "conv", Space("b", 6), both, 3, 8)
    weights = {"c.weight": weight, "c.bias": np.zeros(6, np.float32)}
    spec = dataclasses.replace(TEACHER, conv="separable")
    _, each, point = converted([conv], spec, weights)
    taps, mixed = weights[f"{each.name}.weight"][..., 0], weights[f"{point.name}.weight"]
    left = weight - np.einsum("oc,cij->oijc", mixed, taps)
    for c in range(5):
        sizes = np.linalg.svd(weight[..., c].reshape(6, 9), compute_uv=False)
        assert np.square(left[..., c]).sum() == pytest.approx((sizes[1:] ** 2).sum(), rel=1e-3)


def test_folded_upsampling_is_exact_where_neighbors_are_dark() -> None:
    teacher = randomized(TEACHER)
    folded = inherited(dataclasses.replace(TEACHER, upsample="fold"), teacher)
    x = np.zeros((1, 4, 4, 64), np.float32)
    x[0, 2, 1] = np.random.default_rng(0).standard_normal(64)
    wanted = np.array(teacher.up_blocks[0].upsamplers[0](mx.array(x)))[0, 4:6, 2:4]
    found = np.array(folded.up_blocks[0].upsamplers[0](mx.array(x)))[0, 4:6, 2:4]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_stem_and_head_of_a_coarser_patch_are_the_teachers_linear_way() -> None:
    teacher = randomized(TEACHER)
    spec = dataclasses.replace(TEACHER, patch=4, widths=(64,), blocks=(2,), attention=("full",))
    student = inherited(spec, teacher)
    x = np.random.default_rng(1).standard_normal((1, 16, 16, 1)).astype(np.float32)
    fine = teacher.down_blocks[0].downsamplers[0](teacher.conv_in(space_to_depth(mx.array(x), 2)))
    linear = teacher.down_blocks[1].resnets[0].conv_shortcut
    wanted = np.array(linear(fine))
    found = np.array(student.conv_in(space_to_depth(mx.array(x), 4)))
    # Away from the edges, where padding between the layers differs.
    np.testing.assert_allclose(found[:, 1:3, 1:3], wanted[:, 1:3, 1:3], rtol=1e-3, atol=1e-4)
    assert np.array(student.conv_out.weight).std() > 0


def test_narrow_students_take_the_channels_with_the_largest_weights() -> None:
    weight = np.random.default_rng(0).standard_normal((6, 3, 3, 5)).astype(np.float32)
    weight[[1, 4, 5]] *= 10
    plan = [Layer("c", "c", "conv", Space("b", 6), (Space("a", 5),), 3, 8)]
    chosen = Selection(importance(plan, {"c.weight": weight}))
    found = chosen(Space("b", 3), Space("b", 6))
    assert found.index.tolist() == [1, 4, 5]
    assert found.share.tolist() == [1, 1, 1]


def test_whole_heads_are_taken() -> None:
    weight = np.ones((12, 5), np.float32)
    weight[4:8] = 3
    plan = [Layer("q", "q", "linear", Space("heads8x4", 12), (Space("a", 5),), 1, 8)]
    found = Selection(importance(plan, {"q.weight": weight}))(
        Space("heads8x4", 4), Space("heads8x4", 12)
    )
    assert found.index.tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize(
    "change",
    [{"conv": "separable"}, {"norm": "rms"}, {"downsample": "pool"}, {"downsample": "fold"},
     {"upsample": "nearest"}, {"upsample": "fold"}, {"skip": "add"}, {"middle": False},
     {"attention": ("linear", "linear")}, {"attention": ("window", "full")},
     {"time_width": 64}, {"patch": 1, "widths": (16, 32, 64), "blocks": (1, 1, 1),
      "attention": ("none", "none", "full")}],
    ids=str,
)  # fmt: skip
def test_every_dimension_inherits_something_finite(change: dict[str, Any]) -> None:
    student = build_unet(dataclasses.replace(TEACHER, **change), 1)
    found = inherit(student, randomized(TEACHER))
    assert 0.4 < found.fraction <= 1
    assert np.isfinite(outputs(student)).all()
    if student.spec.patch == 2:  # else the head stays at zero
        assert outputs(student).std() > 0
