"""A thousand networks out of the whole space: each is built, run and counted."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.measure.cost import cost
from ado_nas.models.unet import build_unet, named_parameters
from ado_nas.specs import UNetSpec
from search_spaces.chooser import RandomChooser
from search_spaces.space import Space
from search_spaces.unet import draw_unet

EVERYTHING = Space(
    widths=("8", "4-8", "8-12", "12-8", "4-8-16"),
    patch=(1, 2, 4),
    blocks=("1", "1-2", "2-1"),
    attention=(
        "none", "low", "all", "low:linear", "all:linear", "low:window", "all:window",
    ),
    head_dim=(4, 8),
    conv=("full", "separable"),
    norm=("group", "rms"),
    activation=("relu", "hardswish", "silu", "gelu"),
    resample=(
        "conv-conv", "conv-nearest", "conv-fold", "pool-conv", "pool-nearest", "pool-fold",
        "fold-conv", "fold-nearest", "fold-fold",
    ),
    middle=(False, True),
    skip=("concat", "add"),
    time_width=(0, 16),
)  # fmt: skip


@pytest.mark.parametrize(
    ("first", "last"), [(0, 150), pytest.param(150, 1000, marks=pytest.mark.slow)]
)
def test_a_thousand_random_candidates_build_and_run_at_two_resolutions(
    first: int, last: int
) -> None:
    base = UNetSpec(resolution=16, in_channels=2, num_classes=3)
    chooser = RandomChooser(0)
    every = [draw_unet(EVERYTHING, chooser, base) for _ in range(last)]
    drawn = {spec.hash: spec for spec in every[first:]}
    assert len(drawn) > 0.9 * (last - first)
    for spec in drawn.values():
        model = build_unet(spec)
        weights = dict(named_parameters(model))
        assert cost(spec).params == sum(value.size for value in weights.values())
        assert cost(spec).macs > 0
        # The last convolution starts at zero and would hide what is wrong before it.
        model.conv_out.weight = mx.ones_like(model.conv_out.weight)
        for side in (16, 32):
            out = np.array(model(mx.ones((1, side, side, 2)), mx.array([0.2]), mx.array([1])))
            assert out.shape == (1, side, side, 2)
            assert np.isfinite(out).all(), spec
