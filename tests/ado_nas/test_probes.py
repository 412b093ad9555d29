from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import pytest

from ado_nas import chips, device
from ado_nas.probes import Probe, corrected, fused_head_dims, probe

CPU = device.describe(chips.fake("cpu"))
M4 = device.describe(chips.fake("m4"))
AGREES = {"exp": 50.0, "depthwise": 3.0, "half": 8.0, "bfloat16": 1.0}


@pytest.mark.skipif(sys.platform != "linux", reason="the tables' row for a Linux CPU")
@pytest.mark.skipif(mx.default_device() != mx.Device(mx.cpu), reason="MLX runs on a GPU here")
def test_probe_finds_exponentials_and_halves_expensive_on_a_linux_cpu(own_lock: Path) -> None:
    found = probe(device.real())
    assert found.ratios.keys() == AGREES.keys()
    assert {"exp", "half"} <= set(corrected(device.real(), found).expensive)
    assert found.fused_head_dims == ()
    assert found.seconds < 5


def test_fused_head_dims_are_those_mlx_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    def attention(q: mx.array, *rest: mx.array, scale: float, force_fused: bool) -> mx.array:
        assert force_fused and q.dtype == mx.bfloat16
        if q.shape[-1] not in M4.fused_head_dims:
            raise ValueError("no fused kernel is available")
        return q

    monkeypatch.setattr(mx.fast, "scaled_dot_product_attention", attention)
    assert fused_head_dims("bfloat16") == M4.fused_head_dims


def test_fused_head_dims_are_unknown_when_mlx_cannot_be_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def attention(q: mx.array, k: mx.array, v: mx.array, *, scale: float) -> mx.array:
        return q

    monkeypatch.setattr(mx.fast, "scaled_dot_product_attention", attention)
    assert fused_head_dims("float32") is None


def test_profile_stays_when_the_probe_agrees() -> None:
    assert corrected(CPU, Probe(AGREES, (), 0.1)) == CPU
    cheap = dict.fromkeys(AGREES, 1.0)
    assert corrected(M4, Probe(cheap, None, 0.1)) == M4
    # Another order is no difference: the tables know which kind is fastest.
    m5 = device.describe(chips.fake("m5"))
    assert corrected(m5, Probe(cheap, (64, 72, 80, 96, 128), 0.1)) == m5


def test_profile_takes_what_was_measured_and_says_so() -> None:
    found = corrected(CPU, Probe({**AGREES, "exp": 1.5}, (64,), 0.1))
    assert (found.expensive, found.fused_head_dims) == (("depthwise", "half"), (64,))
    assert "silu against relu costs 1.5 times" in found.notes[-2]
    assert "fused for head dims 64" in found.notes[-1]
    assert replace(found, notes=(), expensive=(), fused_head_dims=()) == replace(
        CPU, notes=(), expensive=(), fused_head_dims=()
    )
