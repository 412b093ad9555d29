"""The maps a spec promises against those that its network gives."""

from __future__ import annotations

import dataclasses

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.maps import ends, shared
from ado_nas.models.blocks import depth_to_space, space_to_depth
from ado_nas.models.unet import build_unet
from ado_nas.specs import UNetSpec

PLAIN = UNetSpec(
    resolution=16, widths=(8, 12), blocks=(1, 2), attention=("none", "none"), middle=False,
    activation="relu",
)  # fmt: skip
SPECS = [
    PLAIN,
    UNetSpec(resolution=16, patch=2, num_classes=10),
    UNetSpec(resolution=16, widths=(8, 16, 24), blocks=(1, 2, 1), attention=("none",) * 3),
    UNetSpec(resolution=8, widths=(8,), blocks=(1,), attention=("full",), head_dim=8),
]


@pytest.mark.parametrize("spec", SPECS)
def test_maps_are_those_of_the_spec_and_the_output_is_as_without(spec: UNetSpec) -> None:
    unet = build_unet(spec)
    unet.conv_out.weight = mx.ones_like(unet.conv_out.weight)
    x = mx.random.normal((2, spec.resolution, spec.resolution, 1), key=mx.random.key(0))
    out, maps = unet.with_maps(x, mx.array([0.1, 0.7]))
    assert np.array_equal(out, unet(x, mx.array([0.1, 0.7])))
    sides = [int(place.partition("@")[2]) for place in ends(spec)]
    wanted = [
        (2, side, side, width) for side, width in zip(sides, ends(spec).values(), strict=True)
    ]
    assert list(maps) == list(ends(spec))
    assert [m.shape for m in maps.values()] == wanted


def test_maps_are_what_goes_on_to_the_next_level() -> None:
    unet = build_unet(PLAIN)
    unet.conv_out.weight = mx.ones_like(unet.conv_out.weight)
    x, noise = mx.random.normal((2, 16, 16, 1), key=mx.random.key(0)), mx.array([0.1])
    out, maps = unet.with_maps(x, noise)
    temb = mx.maximum(unet.time_embedding(noise), 0)
    fine, coarse = unet.down_blocks
    below = coarse.resnets[0](fine.downsamplers[0](maps["down@16"]), temb)
    assert np.allclose(maps["down@8"], coarse.resnets[1](below, temb), atol=1e-6)
    first = fine.resnets[0](unet.conv_in(space_to_depth(x, 1)), temb)
    assert np.allclose(maps["down@16"], first, atol=1e-6)
    end = unet.conv_out(mx.maximum(unet.conv_norm_out(maps["up@16"]), 0))
    assert np.allclose(out, depth_to_space(end, 1), atol=1e-6)
    up = unet.up_blocks[1].resnets[0]
    raised = mx.concatenate([unet.up_blocks[0].upsamplers[0](maps["up@8"]), maps["down@16"]], -1)
    skip = mx.concatenate([up(raised, temb), unet.conv_in(x)], -1)
    assert np.allclose(maps["up@16"], unet.up_blocks[1].resnets[1](skip, temb), atol=1e-6)


def test_networks_share_the_maps_of_equal_way_and_side() -> None:
    folded = dataclasses.replace(PLAIN, patch=2, middle=True)
    assert shared(PLAIN, PLAIN) == ("down@16", "down@8", "up@8", "up@16")
    assert shared(PLAIN, folded) == ("down@8", "up@8")
    assert shared(folded, dataclasses.replace(folded, blocks=(2, 1)))[2] == "mid@4"
    assert shared(dataclasses.replace(PLAIN, patch=8), PLAIN) == ()
