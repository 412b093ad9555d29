from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ado_nas import runtime
from ado_nas.measure import predictor
from ado_nas.measure.predictor import LEAST, Predictor
from ado_nas.specs import Candidate, DistillationSpec, SamplerSpec, UNetSpec
from objectives import forecast
from objectives.forecast import CALIBRATED, RECENT, Forecast
from objectives.scores import Limits

FREE = Limits(min_retention=0.0)
UNET = UNetSpec(resolution=8, widths=(8, 16), attention=("none", "none"), middle=False)


def candidate(width: int, steps: int = 2) -> Candidate:
    return Candidate(
        unet=dataclasses.replace(UNET, widths=(width, 2 * width)),
        distillation=DistillationSpec(steps=steps, iterations=20, batch=32),
        sampler=SamplerSpec("ddim", "dp", steps),
    )


def test_latency_is_told_after_a_few_timings_without_timing_an_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "measure", lambda *_: pytest.fail("an operator was timed"))
    device = Predictor(16, {})  # whose networks take exactly what their operators do
    forecast = Forecast(16, tmp_path)
    for seen, width in enumerate(range(4, 4 + 4 * LEAST, 4)):
        assert forecast.told(candidate(width), FREE) == ({}, {}) and seen < LEAST
        forecast.learn(candidate(width), 3 * device.predict(candidate(width).unet, 2))
    other = candidate(4 + 4 * LEAST, steps=4)  # of networks that one stream runs, as the others
    told, over = forecast.told(other, FREE)
    assert told["latency_ms"] == pytest.approx(3 * device.predict(other.unet, 4), rel=0.1)
    assert set(told) == {"latency_ms"} and over == {}


def test_operators_are_timed_only_for_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[int] = []

    def measure(wanted, *_):  # type: ignore[no-untyped-def]
        timed.append(len(wanted))
        return {operator: 1.0 for operator in wanted}

    monkeypatch.setattr(predictor, "measure", measure)
    forecast = Forecast(16, tmp_path)
    for width in range(4, 4 + 4 * CALIBRATED, 4):
        forecast.learn(candidate(width), float(width))
    forecast.told(candidate(8), FREE)
    assert timed == []
    told, over = forecast.told(candidate(8), Limits(max_latency_ms=1e-3, min_retention=0.0))
    assert timed and over == {"latency_ms": told["latency_ms"]}


def test_a_long_search_is_fitted_to_its_latest_timings(tmp_path: Path) -> None:
    forecast, recent = Forecast(16, tmp_path), Forecast(16, tmp_path)
    for i in range(RECENT + 9):
        one = candidate(4 + 4 * (i % 5)), 1.0 + i
        forecast.learn(*one)
        if i >= 9:
            recent.learn(*one)
    assert forecast.told(candidate(12), FREE) == recent.told(candidate(12), FREE)


def test_memory_is_told_for_all_cores_as_it_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADO_CORES", "1")
    monkeypatch.setattr(forecast, "sampling_bytes", lambda *_: 1e6 * runtime.cores())
    assert Forecast(16, tmp_path).memory_mb(candidate(8)) == runtime.machine_cores()
