from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten

from ado_nas.measure.cost import cost
from ado_nas.models import attention
from ado_nas.models.blocks import Depthwise, Downsample
from ado_nas.models.unet import build_unet
from ado_nas.specs import UNetSpec

SPECS = [
    UNetSpec(),
    UNetSpec(patch=2, widths=(32, 64), num_classes=10, head_dim=32),
    UNetSpec(widths=(8, 16, 16), blocks=(1, 2, 1), attention=("none", "full", "full"), head_dim=8),
    UNetSpec(resolution=8, widths=(16,), blocks=(2,), attention=("none",), in_channels=3),
    UNetSpec(widths=(8, 16), middle=False, head_dim=8),
    UNetSpec(widths=(8, 16), attention=("window", "linear"), head_dim=8),
    UNetSpec(widths=(8, 16), attention=("none", "none"), conv="separable", skip="add"),
    UNetSpec(widths=(8, 16), attention=("none", "none"), downsample="fold", upsample="fold"),
    UNetSpec(widths=(8, 8), attention=("none", "none"), downsample="pool", upsample="nearest"),
]


def counted_macs(spec: UNetSpec, monkeypatch: pytest.MonkeyPatch) -> int:
    """Multiply-accumulates of one forward pass, from the shapes the layers really see."""
    total = 0

    def watch(layer: type, per_output: Any) -> None:
        real = layer.__call__

        def call(self: Any, x: mx.array) -> mx.array:
            nonlocal total
            y = real(self, x)
            total += y.size * per_output(self)
            return y

        monkeypatch.setattr(layer, "__call__", call)

    def mixing(name: str, seen: Any) -> None:
        real = getattr(attention, name)

        def call(q: mx.array, k: mx.array, v: mx.array, *rest: Any) -> mx.array:
            nonlocal total
            total += 2 * q.size * seen(k)
            return real(q, k, v, *rest)

        monkeypatch.setattr(attention, name, call)

    watch(nn.Conv2d, lambda c: math.prod(c.weight.shape[1:]))
    watch(Downsample, lambda d: math.prod(d.conv.weight.shape[1:]))
    watch(Depthwise, lambda d: 9)
    watch(nn.Linear, lambda f: f.weight.shape[1])
    mixing("full", lambda k: k.shape[2])
    mixing("product", lambda k: k.shape[2])
    mixing("linear", lambda k: k.shape[3])
    model = build_unet(spec)
    image = mx.zeros((1, spec.resolution, spec.resolution, spec.in_channels))
    mx.eval(model(image, mx.zeros((1,))))
    return total


@pytest.mark.parametrize("spec", SPECS)
def test_cost_has_the_parameters_of_the_built_network(spec: UNetSpec) -> None:
    built = sum(p.size for _, p in tree_flatten(build_unet(spec).parameters()))
    assert cost(spec).params == built
    assert cost(spec).bytes == 4 * built
    assert cost(spec).size_mb == pytest.approx(4e-6 * built)


@pytest.mark.parametrize("spec", SPECS)
def test_cost_counts_the_macs_a_forward_pass_does(
    spec: UNetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cost(spec).macs == counted_macs(spec, monkeypatch)


def test_activations_grow_fourfold_when_sides_double_without_attention() -> None:
    small = UNetSpec(resolution=16, attention=("none", "none"), time_width=128)
    large = UNetSpec(resolution=32, attention=("none", "none"), time_width=128)
    vectors = 4 * (2 * 128 + 5 * 64 + 3 * 32)  # the embedding and its projection in each block
    maps = cost(small).activation_bytes - vectors
    assert cost(large).activation_bytes - vectors == 4 * maps
