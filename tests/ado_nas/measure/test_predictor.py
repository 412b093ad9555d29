from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.measure import predictor
from ado_nas.measure.cost import cost
from ado_nas.measure.operators import Operator, operators, runner
from ado_nas.measure.predictor import FILE, Predictor, Timed, grid, load_table
from ado_nas.specs import UNetSpec

SPECS = [
    UNetSpec(head_dim=8, widths=(8, 16), num_classes=10),
    UNetSpec(widths=(8, 16), attention=("window", "linear"), head_dim=8, activation="relu"),
    UNetSpec(widths=(8, 16), attention=("none", "none"), conv="separable", skip="add", norm="rms"),
    UNetSpec(widths=(8, 16), attention=("none", "none"), downsample="fold", upsample="fold"),
    UNetSpec(widths=(8, 8), attention=("none", "none"), downsample="pool", upsample="nearest"),
    UNetSpec(resolution=8, widths=(8,), blocks=(2,), attention=("full",), head_dim=8),
]


@pytest.mark.parametrize("spec", SPECS)
def test_operators_do_all_the_work_of_a_network(spec: UNetSpec) -> None:
    found = operators(spec)
    assert sum(n * o.work[0] for o, n in found.items()) == cost(spec).macs


def test_every_operator_runs_at_its_shape() -> None:
    for operator in grid(SPECS):
        out = runner(operator, 2)()
        mx.eval(out)
        pixels = (operator.side, operator.side) if operator.side else ()
        assert out.shape == (2, *pixels, operator.outputs), operator


def conv(width: int, side: int = 8) -> Operator:
    return Operator("conv", side, width, width)


def test_time_is_the_measured_one_or_lies_between_its_neighbors() -> None:
    times = {conv(w): 3 * predictor._expected(conv(w), 16) for w in (8, 16, 32, 64)}
    found = Predictor(16, times)
    assert found.time(conv(16)) == times[conv(16)]
    # Between shapes whose ratio to the rough model is the same, it is that ratio.
    assert found.time(conv(24)) == pytest.approx(3 * predictor._expected(conv(24), 16))
    assert found.time(conv(16)) < found.time(conv(24)) < found.time(conv(32))


def known(scale: float, fixed: float) -> tuple[Predictor, list[Timed]]:
    base = Predictor(16, {o: predictor._expected(o, 16) for o in grid(SPECS)})
    seen = [
        Timed(spec, steps, steps * (scale * base.total(spec) + fixed) / 16)
        for spec in SPECS
        for steps in (1, 3)
    ]
    return base, seen


def test_calibration_recovers_scale_and_fixed_part() -> None:
    base, seen = known(1.7, 0.8)
    fitted = base.refined(seen)
    assert fitted.error < 0.05
    for timed in seen:
        assert fitted.predict(timed.unet, timed.steps) == pytest.approx(timed.latency_ms, rel=0.05)


def test_error_is_that_on_networks_left_out() -> None:
    base, seen = known(1.0, 0.5)
    rng = np.random.default_rng(0)
    noisy = [
        dataclasses.replace(t, latency_ms=t.latency_ms * rng.uniform(0.8, 1.25)) for t in seen
    ]
    assert base.refined(seen).error < base.refined(noisy).error < base.refined(noisy).bound
    assert 0.02 < base.refined(noisy).error < 0.3


def test_nothing_seen_changes_nothing() -> None:
    base, _ = known(1.0, 0.0)
    assert base.refined([]) == base
    assert base.error == float("inf")


def test_table_is_measured_once_and_again_when_damaged(
    tmp_path: Path, own_lock: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = grid(SPECS[-1:])
    first = load_table(wanted, 2, tmp_path)
    assert set(first.times) == set(wanted)
    assert min(first.times.values()) > 0
    assert load_table(wanted, 2, tmp_path) == first
    more = load_table(grid(SPECS[:1]), 2, tmp_path)
    assert first.times.items() < more.times.items()
    for damage in ("", "{", '{"rows": []}', '{"rows": [["conv", 8, 8, 8, -1]]}'):
        (file,) = tmp_path.glob(f"*/{FILE}")
        file.write_text(damage)
        with caplog.at_level(logging.WARNING):
            assert set(load_table(wanted, 2, tmp_path).times) == set(wanted)
        assert "is damaged" in caplog.messages[-1]


def test_measuring_stops_in_time(own_lock: Path) -> None:
    assert predictor.measure(grid(SPECS), 2, 0.0) == {}


def test_table_is_another_one_where_batch_or_device_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = {predictor.key(2), predictor.key(4)}
    around = predictor.environment()
    monkeypatch.setattr(predictor, "environment", lambda: {**around, "device": "another"})
    assert len({*keys, predictor.key(2)}) == 3
