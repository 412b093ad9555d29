from __future__ import annotations

import json
from pathlib import Path

import pytest

from ado_nas.training.step import WHOLE, Way
from ado_nas.training.ways import choose, margin, slowdown, ways

RECORDED = Path(__file__).parents[3] / "benchmarks" / "results" / "memory.json"


def taken(way: Way, batch: int = 32) -> int:
    """Bytes of a made-up network."""
    return round(1000 + 100 * (way.rows or batch) * (0.3 if way.recompute else 1))


def test_ways_come_from_the_quickest_to_the_slowest_and_micro_batches_first() -> None:
    found = ways(32)
    times = [slowdown(way, 32) for way in found]
    assert times == sorted(times) and WHOLE not in found
    assert found[0] == Way(16)  # a few micro-batches cost less than to compute blocks twice
    assert found.index(Way(0, True)) < found.index(Way(2))  # many cost more
    assert set(ways(12, grain=4)) == {Way(0, True), Way(4), Way(4, True)}


@pytest.mark.parametrize("limit", [5000, 4000, 3000, 2000, 1500, 1400])
def test_choice_is_the_quickest_way_that_fits(limit: int) -> None:
    found = choose(taken, 32, limit)
    fits = [w for w in (WHOLE, *ways(32)) if taken(w) * margin(w) <= limit]
    assert found.way == fits[0] and found.predicted == taken(fits[0])


def test_the_least_is_told_where_nothing_fits() -> None:
    found = choose(taken, 32, 900)
    assert found.way is None and found.predicted == taken(Way(1, True))


def test_few_predictions_are_asked_for() -> None:
    asked: list[Way] = []

    def measure(way: Way) -> int:
        asked.append(way)
        return taken(way)

    choose(measure, 64, 2000)
    assert len(asked) == len(set(asked)) <= 7


@pytest.mark.parametrize("again", [False, True])
def test_margins_are_what_recorded_trainings_took_over_their_predictions(again: bool) -> None:
    rows = json.loads(RECORDED.read_text())["rows"]
    over = [
        row["measured_mb"] / row["predicted_mb"]
        for row in rows
        if row["work"] == "training" and row["checkpointing"] == again
    ]
    assert len(over) == 10
    assert max(over) <= margin(Way(0, again)) < max(over) + 0.01
