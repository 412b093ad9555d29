from __future__ import annotations

import dataclasses
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

from ado_nas.errors import ConfigError
from ado_nas.hardware import Hardware
from ado_nas.specs import from_dict, to_dict
from search_spaces.hardware import narrowed
from search_spaces.space import Space, anchors

LINUX = Hardware("cpu", "float32", 8, (), ("exp", "depthwise", "half"), 1 << 33)
M4 = Hardware("metal", "bfloat16", 16, (64, 72, 80, 96, 128), (), 1 << 33)
M5 = replace(M4, width_multiple=32, fused_head_dims=(64, 96, 128, 72, 80))
CUDA = replace(M4, kind="cuda", fused_head_dims=tuple(range(8, 129, 8)))
EVERY = (LINUX, M4, M5, CUDA)


@dataclass(frozen=True)
class Wide:
    """A space with dimensions that `Space` may lack, and one that no rule knows."""

    attention: tuple[str, ...] = ("none",)
    conv: tuple[str, ...] = ("full",)
    resample: tuple[str, ...] = ("conv-conv", "fold-fold")
    middle: tuple[bool, ...] = (True, False)
    anchors: tuple[str, ...] = ()


def wide(found: Hardware, **fields: tuple[str, ...]) -> tuple[Wide, tuple[str, ...]]:
    space, said = narrowed(cast(Space, Wide(**fields)), found)  # type: ignore[arg-type]
    return cast(Wide, space), said


def test_exponentials_are_left_out_when_they_are_expensive_and_others_are_given() -> None:
    space = Space(activation=("silu", "hardswish", "gelu", "relu"))
    found, said = narrowed(space, LINUX)
    assert found.activation == ("hardswish", "relu")
    assert said == (
        "activation: silu, gelu left out: exponentials (silu, gelu, softmax) cost over ten times "
        "a relu on this CPU",
    )
    assert narrowed(space, M4)[0].activation == space.activation


def test_exponentials_stay_when_nothing_else_is_given() -> None:
    for given in (("silu",), ("silu", "gelu")):
        found, said = narrowed(Space(activation=given), LINUX)
        assert found.activation == given
        assert "kept, there is no other, though exponentials" in said[0]


def test_softmax_attention_comes_after_linear_when_exponentials_are_expensive() -> None:
    given = ("all:window", "low", "none", "low:full", "low:linear")
    found, said = wide(LINUX, attention=given)
    assert found.attention == ("none", "low:linear", "all:window", "low", "low:full")
    assert said[0].startswith("attention: all:window, low, low:full moved to the end: exponential")
    assert wide(CUDA, attention=given)[0].attention == given


def test_nothing_is_said_when_the_order_is_right_already() -> None:
    found, said = wide(LINUX, attention=("none", "low:linear", "low"), conv=("full", "separable"))
    assert (found, said) == (Wide(("none", "low:linear", "low"), ("full", "separable")), ())


def test_separable_convolutions_come_last_when_depthwise_ones_are_expensive() -> None:
    found, said = wide(LINUX, conv=("separable", "full"))
    assert found.conv == ("full", "separable")
    assert "separable moved to the end: depthwise convolutions have no fast kernel" in said[0]
    assert wide(M4, conv=("separable", "full"))[0].conv == ("separable", "full")
    assert wide(LINUX, conv=("separable",))[0].conv == ("separable",)


def test_dimensions_without_a_rule_are_untouched() -> None:
    for found in EVERY:
        space, _ = wide(found)
        assert (space.resample, space.middle) == (("conv-conv", "fold-fold"), (True, False))


def test_widths_off_the_multiple_are_left_out_on_a_gpu_alone() -> None:
    space = Space(widths=("8-16", "12-24", "16-32", "24-48", "32-64"))
    found, said = narrowed(space, M4)
    assert found.widths == ("16-32", "32-64")
    assert said[0] == (
        "widths: 8-16, 12-24, 24-48 left out: channels fill the matrix unit in multiples of 16 "
        "on this Apple GPU"
    )
    assert narrowed(space, LINUX)[0].widths == space.widths
    assert "on this NVIDIA GPU" in narrowed(space, CUDA)[1][0]


def test_half_the_multiple_is_asked_for_when_one_width_would_be_left() -> None:
    found, said = narrowed(Space(widths=("8-16", "16-32", "32-64")), M5)
    assert found.widths == ("16-32", "32-64")
    assert "multiples of 16" in said[0]


@pytest.mark.parametrize("given", [("12-24",), ("12-20", "20-28"), ("12-24", "32-64")])
def test_widths_stay_when_too_few_would_be_left(given: tuple[str, ...]) -> None:
    found, said = narrowed(Space(widths=given), M5)
    assert found.widths == given
    assert "kept, too few would be left, though channels" in said[0]


def test_anchors_lose_the_choices_that_are_left_out() -> None:
    given = ("activation=silu steps=2", "activation=relu", "steps=2")
    found, _ = narrowed(Space(activation=("relu", "silu"), anchors=given), LINUX)
    assert found.anchors == ("steps=2", "activation=relu")
    assert anchors(found)[0]["steps"] == 2
    untouched = Space(anchors=given[1:])
    assert narrowed(untouched, LINUX)[0] == untouched


def test_fused_head_dims_come_first_when_there_is_softmax_attention() -> None:
    given = Space(widths=("32-64",), head_dim=(16, 64, 32, 128))
    found, said = narrowed(given, M4)
    assert found.head_dim == (64, 128, 16, 32)
    assert said == (
        "head_dim: 16, 32 moved to the end: attention is fused for head dims 64, 72, 80, 96, 128 "
        "alone on this Apple GPU",
    )
    assert narrowed(replace(given, attention=("none",)), M4) == (
        replace(given, attention=("none",)),
        (),
    )
    assert narrowed(given, CUDA) == (given, ())
    assert narrowed(given, LINUX)[0].head_dim == given.head_dim
    assert "16 kept, there is no other" in narrowed(replace(given, head_dim=(16,)), M4)[1][0]


@pytest.mark.parametrize("found", EVERY)
def test_narrowing_keeps_a_part_of_each_dimension_and_changes_nothing_twice(
    found: Hardware,
) -> None:
    space = Space(activation=("silu", "relu", "gelu"), attention=("low", "all", "none"))
    once, _ = narrowed(space, found)
    for field in dataclasses.fields(Space):
        value = getattr(once, field.name)
        if isinstance(value, tuple) and field.name != "anchors":
            assert value and set(value) <= set(getattr(space, field.name))
    assert narrowed(once, found)[0] == once


def test_hardware_survives_the_round_trip_and_refuses_what_it_does_not_know() -> None:
    assert from_dict(Hardware, to_dict(CUDA)) == CUDA
    with pytest.raises(ConfigError, match="did you mean 'depthwise'"):
        replace(M4, expensive=("depthwize",))
    with pytest.raises(ConfigError, match="width_multiple 0: give at least 1"):
        replace(M4, width_multiple=0)


def test_narrowing_imports_no_mlx() -> None:
    code = "import sys, search_spaces.hardware; sys.exit('mlx.core' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
