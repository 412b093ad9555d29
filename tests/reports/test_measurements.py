from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from reports.headline import subtitle
from reports.measurements import bounds, final, front, pick, retention, searched
from reports.summary import summary
from studies.record import StudyRecord

MakeStudy = Callable[..., StudyRecord]


def test_retention_is_the_ratio_of_floored_gaps(make_study: MakeStudy) -> None:
    record = make_study()
    assert retention(record, 9.9) == 1
    assert retention(record, 21.8) == pytest.approx((9.9 + 2) / (21.8 + 2))
    assert retention(dataclasses.replace(record, reference={}), 9.9) is None


def test_final_takes_the_second_measurement_when_there_is_one(make_study: MakeStudy) -> None:
    record = make_study()
    trial = record.trial(record.front[0])
    again, own, last = (
        record.remeasured[trial.number],
        searched(record, trial),
        final(record, trial),
    )
    assert own and last
    assert (own.gap, own.remeasured, own.repeated) == (trial.values["gap"], False, None)
    assert (last.gap, last.retention, last.repeated) == (
        again["gap"],
        again["retention"],
        again["repeated"],
    )
    assert last.size_mb == own.size_mb


def test_intervals_follow_from_gaps_and_timings_when_not_given(make_study: MakeStudy) -> None:
    record = make_study(remeasure=False)
    trial = record.trial(record.front[0])
    found = searched(record, trial)
    assert found and found.gap_interval and found.retention_interval and found.speedup_interval
    low, high = found.gap_interval
    assert found.retention_interval == (11.9 / (high + 2), 11.9 / (low + 2))
    slow, fast = found.latency_ms * 1.02, found.latency_ms * 0.98
    assert found.speedup_interval == pytest.approx((44.2 / slow, 44.2 / fast))


def test_training_free_speedup_is_against_the_fastest_of_no_lower_retention(
    make_study: MakeStudy,
) -> None:
    record = make_study(remeasure=False)
    for number in record.front:
        found = searched(record, record.trial(number))
        assert found and found.retention
        rivals = [(1.0, 44.2), *((p["retention"], p["latency_ms"]) for p in record.training_free)]
        fastest = min((ms for kept, ms in rivals if kept >= found.retention), default=None)
        expected = None if fastest is None else fastest / found.latency_ms
        assert found.speedup_training_free == expected


def test_stored_speedup_over_the_reference_does_not_count_where_that_keeps_less(
    make_study: MakeStudy,
) -> None:
    record = make_study()
    best, again = record.best, {"gap": 7.9, "latency_ms": 0.68, "speedup_training_free": 65.0}
    assert best is not None
    for kept, expected in ((1.2, None), (0.9999, pytest.approx(44.2 / 0.68))):
        own = {**record.remeasured[best], **again, "retention": kept}
        remeasured = {**record.remeasured, best: own}
        found = dataclasses.replace(record, remeasured=remeasured)
        assert summary(found, None)["best"]["speedup_training_free"] == expected
        assert ("No setting" in subtitle(found)) == (expected is None)


def test_bounds_are_ordered_when_pair_or_two_names() -> None:
    assert bounds({"gap_interval": [2, 1]}, "gap") == (1, 2)
    assert bounds({"gap_low": 1, "gap_high": 2.5}, "gap") == (1, 2.5)
    assert bounds({"gap_low": 1, "gap_high": float("nan")}, "gap") is None


def test_front_is_by_latency_and_pick_is_of_it(make_study: MakeStudy) -> None:
    record = make_study()
    members = front(record)
    assert {m.number for m in members} == set(record.front)
    assert [m.latency_ms for m in members] == sorted(m.latency_ms for m in members)
    best = pick(record)
    assert best and best in members


def test_figures_are_none_when_a_trial_has_no_score(make_study: MakeStudy) -> None:
    record = make_study()
    unscored = next(t for t in record.trials if "gap" not in t.values)
    assert searched(record, unscored) is None and final(record, unscored) is None
