from __future__ import annotations

import mlx.core as mx
import pytest

from ado_nas.measure.memory import peak, process_bytes

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
