from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks import verdicts

CORNER = (math.log(10.0), math.log(10.0), math.log(10.0))


def searched(kind: str, curve: list[list[float]], seconds: float, seed: int = 0) -> dict[str, Any]:
    last = curve[-1][1]
    about = {"kind": kind, "seed": seed, "seconds": seconds}
    return {**about, "hypervolume": last, "curve": curve}


OURS = searched("ours", [[10.0, 1.0], [20.0, 2.0], [50.0, 3.0]], 60.0)
PLAIN = searched("plain", [[100.0, 1.0], [400.0, 2.0], [700.0, 2.0]], 800.0)  # in vain at last
RANDOM = searched("random", [[10.0, 0.5], [50.0, 2.5]], 55.0)


def test_work_is_counted_without_the_pause_when_a_search_went_on() -> None:
    assert verdicts.working([100.0], [130.0, 110.0]) == [30.0, 10.0]
    # Stopped after 130, with 15 s of a trial lost; begun again at 1000.
    found = verdicts.working([100.0, 1000.0, 2000.0], [130.0, 110.0, 1025.0])
    assert found == [30.0, 10.0, 55.0]


def test_curve_grows_by_what_each_trial_adds_in_the_order_they_ended() -> None:
    e = math.e
    large = {"gap": 9.0 / e, "latency_ms": 10 / e**2, "size_mb": 10 / e}
    small = {"gap": 9.0 / e, "latency_ms": 10 / e, "size_mb": 10 / e}
    floor = 1.0 / e  # with the gap 10 / e: a side of 1
    found = verdicts.curve([7.0, 3.0], [large, small], floor, CORNER)
    assert found == [[3.0, pytest.approx(1.0)], [7.0, pytest.approx(2.0)]]
    assert verdicts.curve([], [], floor, CORNER) == []


def test_row_holds_times_and_hypervolumes_of_all_loops() -> None:
    row = verdicts.row_of(4, {"ours": OURS, "random": RANDOM, "plain": PLAIN})
    assert row == {
        "seed": 4,
        "hypervolume": 3.0,
        "seconds": 60.0,
        "random_hypervolume": 2.5,
        "plain_hypervolume": 2.0,
        "plain_seconds": 800.0,
        "plain_at_equal_time": 0.0,
        "seconds_to_plain": 20.0,
        "time_ratio": 20.0,
        "near_ratio": 20.0,
    }
    slow = searched("plain", [[300.0, 1.99], [800.0, 2.0]], 800.0)
    row = verdicts.row_of(4, {"ours": OURS, "random": RANDOM, "plain": slow})
    assert (row["time_ratio"], row["near_ratio"]) == (40.0, 15.0)
    never = searched("ours", [[10.0, 1.9]], 60.0)
    late = verdicts.row_of(4, {"ours": never, "random": RANDOM, "plain": PLAIN})
    assert late["time_ratio"] is None and late["seconds_to_plain"] is None
    assert "time_ratio" not in verdicts.row_of(4, {"ours": OURS, "random": RANDOM})
    none = {**searched("plain", [[0.0, 0.0]], 400.0), "curve": []}  # nothing was scored
    assert verdicts.time_ratio(OURS, none) is None


def test_verdict_has_the_least_ratio_and_zero_where_one_never_came_there() -> None:
    base = {"hypervolume": 3.0, "random_hypervolume": 2.5}
    rows = [{**base, "time_ratio": 20.0}, {**base, "time_ratio": 5.0}, base]
    found = verdicts.verdict(rows)
    assert found["least_time_ratio"] == 5.0
    assert found["time_ratio"]["mean"] == pytest.approx(10.0)
    assert found["hypervolume_gain"] == {"mean": 0.5, "low": 0.5, "high": 0.5}
    lost = verdicts.verdict([*rows, {**base, "time_ratio": None}])
    assert lost["least_time_ratio"] == 0.0 and lost["time_ratio"]["mean"] is None


def test_interval_is_that_of_students_t() -> None:
    values = [1.0, 2.0, 4.0, 8.0, 3.0]
    error = np.std(values, ddof=1) / np.sqrt(5)
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=error)
    found = verdicts.interval(values)
    assert found == {
        "mean": 3.6,
        "low": pytest.approx(low, abs=1e-4),
        "high": pytest.approx(high, abs=1e-4),
    }
    assert verdicts.interval([2.0]) == {"mean": 2.0, "low": None, "high": None}
    assert verdicts.geometric([1.0, 4.0])["mean"] == 2.0
    assert verdicts.geometric([1.0, 0.0])["mean"] is None


def test_ablation_compares_searches_of_the_same_seed() -> None:
    pruned = searched("pruner", [[10.0, 1.0], [40.0, 2.0]], 120.0)
    other = searched("ours", [[1.0, 9.0]], 1.0, seed=1)  # has no partner
    found = verdicts.ablated([OURS, other, PLAIN, pruned], ["pruner", "anchors"])
    assert found["pruner"]["hypervolume_change"]["mean"] == -1.0
    assert found["pruner"]["seconds_ratio"]["mean"] == 2.0
    assert found["pruner"]["time_ratio"]["mean"] == 10.0
    assert found["anchors"]["hypervolume_change"]["mean"] is None
