from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.distillation.student import landing_loss
from ado_nas.measure.memory import peak
from ado_nas.models.unet import UNet, build_unet, named_parameters
from ado_nas.specs import UNetSpec
from ado_nas.training.flat import FlatParameters
from ado_nas.training.step import gradients, split

PLAIN = UNetSpec(resolution=8, widths=(8, 16), head_dim=8, activation="relu")
OTHER = UNetSpec(
    resolution=8,
    widths=(8, 12),
    attention=("window", "linear"),
    head_dim=4,
    conv="separable",
    norm="rms",
    skip="add",
    downsample="fold",
    upsample="nearest",
    num_classes=3,
)


def fresh(spec: UNetSpec) -> UNet:
    """A network none of whose layers starts at zero, where a gradient would be zero too."""
    unet = build_unet(spec)
    key = mx.random.key(1)
    noisy = [(n, v + 0.05 * mx.random.normal(v.shape, key=key)) for n, v in named_parameters(unet)]
    unet.load_weights(noisy)
    return unet


def batch(spec: UNetSpec, size: int) -> tuple[mx.array, ...]:
    rng = np.random.default_rng(0)
    shape = (size, spec.resolution, spec.resolution, spec.in_channels)
    x, target = (mx.array(rng.standard_normal(shape, dtype=np.float32)) for _ in range(2))
    labels = mx.array(np.arange(size, dtype=np.int32) % max(1, spec.num_classes))
    return x, mx.array(rng.uniform(0.1, 2, size).astype(np.float32)), target, labels


@pytest.mark.parametrize("spec", [PLAIN, OTHER])
def test_gradients_are_the_same_where_blocks_run_again(spec: UNetSpec) -> None:
    unet, flat = fresh(spec), FlatParameters(build_unet(spec))
    arrays = split(batch(spec, 4))
    value, kept = gradients(landing_loss, unet, arrays)
    again_value, again = gradients(landing_loss, unet, arrays, recompute=True)
    expected, found = np.array(flat.join(kept)), np.array(flat.join(again))
    assert float(again_value) == pytest.approx(float(value), rel=1e-6)
    assert np.abs(expected).min(initial=1) < np.abs(expected).max()
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_peak_is_lower_where_blocks_run_again() -> None:
    spec = UNetSpec(
        resolution=16, widths=(16,), blocks=(4,), attention=("none",), activation="relu"
    )
    unet, arrays = build_unet(spec), batch(spec, 8)
    mx.eval(arrays)

    def taken(recompute: bool) -> float:
        def step() -> list[mx.array]:
            value, grads = gradients(landing_loss, unet, [arrays], recompute)
            return [value, *grads.values()]

        return peak(step, own_bytes=0).peak_mb

    assert taken(True) < 0.6 * taken(False)
