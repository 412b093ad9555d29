from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import pytest

from ado_nas import runtime
from ado_nas.diffusion.levels import karras_levels
from ado_nas.measure import speed
from ado_nas.measure.memory import Peak, peak, process_bytes
from ado_nas.modelfolder import Model
from ado_nas.models.unet import build_unet
from ado_nas.specs import SamplerSpec, UNetSpec

MEGA = 250_000  # float32 elements in 10^6 bytes


def test_peak_is_that_of_the_arrays_alive_at_once() -> None:
    def call() -> mx.array:
        wide = mx.ones((8, MEGA))  # 8 MB, and its square another 8
        return mx.sum(mx.square(wide) + 1)

    assert 8 <= peak(call, own_bytes=0).peak_mb <= 24.5


def test_peak_leaves_out_what_belongs_to_others() -> None:
    others = mx.ones((10, MEGA))
    weights = mx.ones((2, MEGA))
    mx.eval(others, weights)
    own = peak(lambda: weights * 2, own_bytes=weights.nbytes)
    everything = peak(lambda: weights * 2)
    assert own.peak_mb == pytest.approx(4, abs=0.1)
    assert everything.peak_mb >= own.peak_mb + 10 - 0.1


def test_peak_counts_what_is_alive_when_nothing_is_made() -> None:
    kept = mx.ones((3, MEGA))
    mx.eval(kept)
    assert peak(lambda: kept).peak_mb >= 3


def test_process_footprint_holds_what_the_call_touched() -> None:
    before = process_bytes() / 1e6

    def call() -> mx.array:
        return mx.full((300, MEGA), 1.0)

    found = peak(call)
    assert found.process_mb > 300
    assert found.process_mb >= before * 0.5


def test_sampling_is_measured_with_all_cores_as_it_is_timed(
    monkeypatch: pytest.MonkeyPatch, own_lock: object
) -> None:
    monkeypatch.setenv("ADO_CORES", "1")
    unet = build_unet(UNetSpec(resolution=8, widths=(8, 16), head_dim=8))
    seen: list[int] = []

    def watched(call: Callable[[], mx.array], own_bytes: int) -> Peak:
        seen.append(runtime.cores())
        return peak(call, own_bytes)

    monkeypatch.setattr(speed, "peak", watched)
    model = Model(unet, SamplerSpec("ddim", "karras", 2), karras_levels(2, 0.05, 20.0), {})
    found = speed.peak_memory(model, "ddim", model.levels, 1.0, 2)
    assert seen == [runtime.machine_cores()] and found["peak_memory_mb"] > 0
    assert runtime.cores() == 1
