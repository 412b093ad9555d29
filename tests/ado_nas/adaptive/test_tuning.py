"""Choosing within a time, against brute force; settling, on machines whose times are known."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable
from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.adaptive import calltimes, tuning
from ado_nas.adaptive.calltimes import BATCHES, EVALUATIONS, CallTimes, fitted, knots
from ado_nas.adaptive.choice import Choice, Judged, choose, closest
from ado_nas.adaptive.recipe import Recipe
from ado_nas.adaptive.tuning import (
    AIM,
    PATIENCE,
    PRECISION,
    WINDOW,
    converted,
    settle,
    steady,
    stopwatch,
)
from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.sampling import splits
from ado_nas.errors import ConfigError, NegativeVerdict
from ado_nas.measure.speed import Latency
from ado_nas.modelfolder import Model
from ado_nas.models.stepped import SteppedUNet
from ado_nas.models.unet import UNet, build_unet
from ado_nas.specs import SamplerSpec, UNetSpec

SIZES = range(1, BATCHES[-1] + 1)
SPEC = UNetSpec(
    resolution=8, widths=(8,), blocks=(1,), attention=("none",), middle=False, time_width=16
)

pytestmark = pytest.mark.usefixtures("own_lock")


def row(nfe: int, retention: float, solver: str = "dpmpp_2m") -> Judged:
    return Judged(Recipe(solver, "logsnr", karras_levels(nfe, 0.02, 40.0)), retention)


# What a digit model's recipes keep: with more evaluations more, and then no more.
ROWS = [row(3, 0.4), row(4, 0.7), row(5, 0.93), row(6, 0.99), row(8, 1.0), row(12, 0.998)]


def machine(batch: int, nfe: float) -> float:
    """Milliseconds of a batch: straight, but for where the machine turns to two streams."""
    split = batch > 10
    return 1.2 + nfe * ((2.6 if split else 1.4) + (0.7 if split else 0.95) * batch)


def table_of(time: Callable[[int, float], float]) -> CallTimes:
    spans = np.array([[time(b, n) for n in EVALUATIONS] for b in BATCHES])
    return fitted(BATCHES, EVALUATIONS, spans)


def on(time: Callable[[int, float], float]) -> Callable[[Judged, int], float]:
    return lambda row, batch: time(batch, row.calls) / batch


def random_rows(rng: np.random.Generator) -> list[Judged]:
    return [row(int(rng.integers(1, 13)), float(rng.choice(KEPT))) for _ in range(8)]


KEPT = (0.3, 0.5, 0.9, 0.95, 0.955, 1.0, 1.004)


def test_fit_finds_overhead_and_call_where_times_are_straight() -> None:
    table = table_of(lambda batch, nfe: 0.5 + 0.1 * batch + nfe * (2 + 0.3 * batch))
    for batch in SIZES:
        wanted = (0.5 + 0.1 * batch + 9 * (2 + 0.3 * batch)) / batch
        assert table.ms(9, batch) == pytest.approx(wanted)
    assert table.overhead_ms == pytest.approx([0.5 + 0.1 * b for b in BATCHES])
    assert table.curve(9) == pytest.approx([table.ms(9, b) for b in SIZES])


def test_fit_has_no_overhead_below_nothing() -> None:
    table = fitted((1,), (2, 6), np.array([[1.0, 6.6]]))
    assert table.overhead_ms == (0.0,) and table.call_ms == pytest.approx((1.1,))


def test_corrections_hold_where_they_were_measured_and_pass_over_to_each_other() -> None:
    table = table_of(machine)
    once = table.corrected(5, 12, 1.5 * table.ms(5, 12))
    assert once.curve(7) == pytest.approx(1.5 * table.curve(7))
    twice = once.corrected(7, 3, 1.2 * table.ms(7, 3))
    ratio = twice.curve(4) / table.curve(4)
    assert ratio[:3] == pytest.approx(1.2) and ratio[11:] == pytest.approx(1.5)
    assert ratio[5] == pytest.approx(1.35)  # 6 lies halfway from 3 to 12, in factors
    assert twice.corrected(5, 12, table.ms(5, 12)).ms(5, 12) == pytest.approx(table.ms(5, 12))
    assert json.loads(json.dumps(twice.facts()))["checked"] == [3, 12]


def test_call_times_are_those_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def call(
        unet: object, solver: str, levels: np.ndarray, guidance: float, batch: int
    ) -> Callable[[], mx.array]:
        def run() -> mx.array:
            nonlocal now
            now += machine(batch, len(levels) - 1) / 1e3
            return mx.ones(1)

        return run

    monkeypatch.setattr(calltimes, "sampling_call", call)
    unet = build_unet(SPEC, 0)
    found = calltimes.measured_call_times(unet, rounds=2, clock=lambda: now)
    for batch in found.batches:
        assert found.ms(7, batch) == pytest.approx(machine(batch, 7) / batch)
    with pytest.raises(ConfigError, match="rise from 1"):
        calltimes.measured_call_times(unet, batches=(1, 8, 4))


def test_sizes_on_both_sides_of_a_split_are_measured() -> None:
    wide = UNetSpec(widths=(32, 64))
    sizes = knots(wide)
    (first,) = (b for b in sizes if splits(wide, b) and not splits(wide, b - 1))
    assert first - 1 in sizes and set(BATCHES) <= set(sizes)


@pytest.mark.parametrize("seed", range(8))
def test_choice_agrees_with_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = CallTimes(
        BATCHES, tuple(rng.uniform(0, 9, 7)), tuple(np.cumsum(rng.uniform(0.1, 2, 7)))
    )
    rows = random_rows(rng)
    times = {
        (id(r), b): float(
            np.interp(b, BATCHES, np.add(table.overhead_ms, r.nfe * np.array(table.call_ms))) / b
        )
        for r in rows
        for b in SIZES
    }
    for target in np.geomspace(0.2, 40, 12):
        able = [(r, b) for r in rows for b in SIZES if times[id(r), b] <= target]
        found = choose(rows, table, float(target))
        if not able:
            assert found is None
            continue
        top = max(r.retention for r, _ in able)
        same = [(r, b) for r, b in able if r.retention >= 0.99 * top]
        wanted = min(same, key=lambda pair: (pair[0].nfe, -pair[0].retention, pair[1]))
        assert found is not None
        assert (found.row.nfe, found.row.retention) == (wanted[0].nfe, wanted[0].retention)
        assert found.batch == wanted[1]
        assert found.ms == pytest.approx(times[id(wanted[0]), wanted[1]])


def test_choice_keeps_below_its_aim_where_a_size_does() -> None:
    table = table_of(machine)
    found = choose(ROWS, table, 11.0, AIM)
    assert found is not None and found.ms <= AIM * 11.0
    least = float(table.curve(6).min())
    tight = choose([row(6, 1.0)], table, least * 1.001, AIM)
    assert tight is not None and tight.ms == pytest.approx(least)


def test_closest_is_the_least_of_all() -> None:
    table = table_of(machine)
    found = closest(ROWS, table)
    assert found.ms == pytest.approx(min(table.ms(r.nfe, b) for r in ROWS for b in SIZES))


@pytest.mark.parametrize("skew", [0.8, 1.0, 1.25])
@pytest.mark.parametrize("target", [4.5, 5.0, 6.0, 7.0, 8.0, 10.0])
def test_measured_time_of_what_is_settled_on_lies_within_the_window(
    target: float, skew: float
) -> None:
    # The table is off by the skew, and knows nothing of what lies between its sizes.
    table = table_of(lambda batch, nfe: skew * machine(batch, nfe))
    found = settle(ROWS, table, target, on(machine))
    assert found.within and found.note == ""
    assert WINDOW * target <= found.choice.ms <= target
    assert found.choice.ms == machine(found.choice.batch, found.choice.row.nfe) / (
        found.choice.batch
    )
    able = [r for r in ROWS for b in SIZES if machine(b, r.nfe) / b <= WINDOW * target]
    assert found.choice.row.retention >= 0.99 * max(r.retention for r in able)


def test_better_row_is_not_given_up_where_the_table_is_too_slow_for_it() -> None:
    table = table_of(lambda batch, nfe: 1.6 * machine(batch, nfe))
    assert settle(ROWS, table, 5.0, on(machine)).choice.row.nfe == 6


def test_better_row_is_not_given_up_for_one_size_that_is_slow() -> None:
    def time(batch: int, nfe: float) -> float:
        return machine(batch, nfe) * (1.6 if batch in (24, 25, 26, 27, 28) else 1.0)

    first = choose(ROWS, table_of(machine), 5.0, AIM)
    assert first is not None and first.row.nfe == 6 and first.batch == 26
    found = settle(ROWS, table_of(machine), 5.0, on(time))
    assert found.choice.row.nfe == 6 and found.within


def test_better_row_is_not_given_up_for_one_measurement_that_was_disturbed() -> None:
    table = table_of(machine).corrected(6, 32, 0.97 * machine(64, 6) / 64)  # the fastest size
    ratio = table.ratios[0]
    table = CallTimes(
        BATCHES,
        table.overhead_ms,
        tuple(c * (ratio if b == 32 else 1) for b, c in zip(BATCHES, table.call_ms, strict=True)),
    )

    def time(row: Judged, batch: int) -> float:
        return machine(batch, row.calls) / batch * (2.0 if 20 <= batch < 40 else 1.0)

    target = 1.03 * machine(64, 6) / 64
    found = settle(ROWS, table, target, time)
    assert found.choice.row.nfe == 6 and found.choice.batch > 40


def test_time_near_the_window_is_taken_again_and_its_median_counts() -> None:
    spans, target = [0.85, 0.93, 0.94, 0.95], 10.0
    found = settle(
        [row(6, 1.0)], CallTimes((1,), (0.0,), (1.5,)), target, lambda *_: target * spans.pop(0)
    )
    assert found.within and found.choice.ms == pytest.approx(9.3) and not spans
    assert found.confirmed_ms == pytest.approx(9.5) and len(found.tried) == 1


SINGLE = CallTimes((1,), (0.0,), (1.6,))


def test_what_takes_too_long_once_more_is_given_up_for_what_holds() -> None:
    spans = {6: [9.6, 10.5], 3: [9.2, 9.3]}
    found = settle([row(6, 1.0), row(3, 0.8)], SINGLE, 10.0, lambda row, _: spans[row.nfe].pop(0))
    assert (found.choice.row.nfe, found.choice.ms, found.confirmed_ms) == (3, 9.2, 9.3)
    assert spans == {6: [], 3: []} and found.facts()["confirmed_ms"] == 9.3


@pytest.mark.parametrize(
    ("slow", "text"), [(10.3, "9.95 ms an image, but 10.3 once more: 10 ms do not"), (12, "10.8")]
)
def test_target_that_does_not_hold_is_a_negative_verdict(slow: float, text: str) -> None:
    spans = itertools.chain([9.6, slow, 9.6], itertools.repeat(slow))
    with pytest.raises(NegativeVerdict, match=text):
        settle([row(6, 1.0)], SINGLE, 10.0, lambda *_: next(spans))


def test_room_that_nothing_can_use_is_said() -> None:
    found = settle(ROWS, table_of(machine), 500.0, on(machine))
    assert found.choice.batch == 1 and found.choice.row.nfe == 6 and not found.within
    assert "image by image" in found.note
    facts = json.loads(json.dumps(found.facts()))
    assert facts["within"] is False and facts["latency_ms"] == pytest.approx(machine(1, 6))
    assert facts["images_per_second"] == pytest.approx(1000 / machine(1, 6))


def test_an_equal_row_that_fills_the_window_is_preferred_to_one_that_leaves_room() -> None:
    # One by one, 6 evaluations take 15.3 ms; two by two, 10.5. 8 of them take 20 and 13.8.
    found = settle(ROWS, table_of(machine), 15.0, on(machine))
    assert found.within and found.choice.row.nfe == 8 and found.choice.batch == 2


def test_gap_between_two_sizes_is_said_where_nothing_else_is_as_good() -> None:
    found = settle([row(6, 1.0)], table_of(machine), 15.0, on(machine))
    assert not found.within and found.choice.batch == 2
    assert "smaller batches take more" in found.note


def test_target_out_of_reach_names_the_closest() -> None:
    least = machine(64, 3) / 64
    with pytest.raises(NegativeVerdict, match=rf"3 NFE, batches of 64 with {least:.4g} ms") as e:
        settle(ROWS, table_of(lambda b, n: 0.5 * machine(b, n)), 0.9 * least, on(machine))
    assert e.value.exit_code == 1


@pytest.mark.parametrize("target", [0.0, -1.0, math.nan, math.inf])
def test_target_that_is_no_time_is_refused(target: float) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        settle(ROWS, table_of(machine), target, on(machine))


def test_nothing_to_choose_from_is_refused() -> None:
    with pytest.raises(ConfigError, match="no recipes"):
        settle([], table_of(machine), 5.0, on(machine))


def test_throughput_and_latency_are_each_others_inverse() -> None:
    assert converted(250.0) == 4.0 and converted(converted(7.0)) == pytest.approx(7.0)


def test_stopwatch_times_the_recipe_in_its_batches_at_its_widths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[UNet, np.ndarray, float, int]] = []

    def latency(
        run: Model, solver: object, levels: np.ndarray, guidance: float, batch: int, *_: int
    ) -> Latency:
        seen.append((run.unet, levels, guidance, batch))
        return Latency(5.0, 0.0, 8, 5.0)

    monkeypatch.setattr(tuning, "latency", latency)
    wide = dataclasses.replace(SPEC, widths=(16,))
    model = Model(build_unet(wide, 0), SamplerSpec(), karras_levels(4, 0.02, 40.0), {})
    measure = stopwatch(model, 2.0)
    plain = row(2, 1.0)
    slim = dataclasses.replace(
        plain, recipe=dataclasses.replace(plain.recipe, shares=(1.0, 0.5)), whole=1.6
    )
    assert slim.calls == 1.6 and measure(plain, 3) == measure(slim, 3) == 5.0
    (unet, levels, guidance, batch), last = seen[0], seen[-1][0]
    assert unet is model.unet and (guidance, batch) == (2.0, 3)
    assert levels is plain.recipe.levels
    assert isinstance(last, SteppedUNet) and last.shares == (1.0, 0.5)
    chosen = Choice(slim, 3, 5.0)
    assert chosen.facts()["step_widths"] == [1.0, 0.5] and "widths 1, 0.5," in chosen.known_as


def test_quiet_machine_is_timed_no_more_than_needed() -> None:
    left = [Latency(ms, 0.1, 8, ms) for ms in (5.0, 5.05, 4.98)]
    assert steady(lambda: left.pop(0)) == 5.0 and not left


@pytest.mark.parametrize(("between", "inside"), [(0.5, 0.1), (0.0, 1.5)])
def test_wavering_machine_is_timed_until_the_median_is_sure(between: float, inside: float) -> None:
    medians: list[float] = []

    def time() -> Latency:
        medians.append(5 + between * (len(medians) % 3 - 1))
        return Latency(medians[-1], inside, 8, medians[-1])

    found, count = steady(time, lambda: 0.0), len(medians)
    # A normal median's error, from the quartiles within a timing.
    error = np.std(medians, ddof=1) / count**0.5, 0.926 * inside / (8 * count) ** 0.5
    assert count > 9 and max(error) == pytest.approx(PRECISION * 5, rel=0.06)
    assert found == 5.0


def test_timing_ends_when_it_takes_long() -> None:
    seconds, rng = itertools.count(), np.random.default_rng(0)
    steady(lambda: Latency(float(rng.uniform(1, 9)), 3.0, 8, 5.0), lambda: float(next(seconds)))
    assert next(seconds) == PATIENCE + 1


def test_choice_says_what_it_is() -> None:
    choice = Choice(ROWS[0], 4, 2.0)
    assert choice.known_as == "dpmpp_2m, logsnr levels, 3 NFE, batches of 4"
    assert SimpleNamespace(**choice.facts()).batch == 4
