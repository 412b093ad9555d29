from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from studies.finalists import chosen, deviation, finalists, key, measured, pooled
from tests.fakes.fake_study import study, trial

FLOOR = 1.0


def row(seed: int, kept: float, **more: Any) -> dict[str, Any]:
    interval = {"retention_low": 0.95 * kept, "retention_high": kept / 0.95}
    scored = {"gap": 10 / kept - FLOOR, "retention": kept, "latency_ms": 2.0 + seed, **interval}
    return {**scored, "seed": seed, "state": "complete", "reason": "", **more}


def test_deviation_is_that_of_a_one_way_analysis_of_variance() -> None:
    groups = [[1.0, 2.0, 4.0], [10.0, 12.0], [7.0]]
    sigma, freedom = deviation(groups)
    squares = sum((len(g) - 1) * np.var(g, ddof=1) for g in groups if len(g) > 1)
    assert freedom == 3
    assert sigma == pytest.approx(math.sqrt(squares / 3))
    assert deviation([[1.0], []]) == (0.0, 0)


def test_pooled_interval_is_students_where_a_seed_is_measured_exactly() -> None:
    kept = [0.8, 0.9, 1.0]
    rows = [row(i, k, retention_low=k, retention_high=k) for i, k in enumerate(kept)]
    found = pooled(rows, deviation([np.log(kept)]), FLOOR)
    low, high = stats.t.interval(0.95, 2, np.mean(np.log(kept)), stats.sem(np.log(kept)))
    assert found["retention"] == pytest.approx(np.exp(np.mean(np.log(kept))))
    assert (found["retention_low"], found["retention_high"]) == pytest.approx(
        (math.exp(low), math.exp(high))
    )
    assert 10 / (found["gap"] + FLOOR) == pytest.approx(found["retention"])
    assert 10 / (found["gap_low"] + FLOOR) == pytest.approx(found["retention_high"])
    assert found["latency_ms"] == 3.0


def test_pooled_interval_of_equal_seeds_is_that_of_one() -> None:
    found = pooled([row(1, 0.9), row(2, 0.9)], (0.0, 1), FLOOR)
    assert found["retention_low"] == pytest.approx(0.95 * 0.9)
    assert pooled([], (0.0, 0), FLOOR) == {}


def test_pooled_interval_covers_as_often_as_it_says() -> None:
    chance = np.random.default_rng(0)
    covered = []
    for _ in range(2000):
        common = chance.normal(0, 0.03)  # of noise and images: the same for all seeds
        groups = chance.normal(common, 0.05, (3, 2))
        rows = [
            row(0, math.exp(v), retention_low=math.exp(v - 1.96 * 0.03),
                retention_high=math.exp(v + 1.96 * 0.03))
            for v in groups[0]
        ]  # fmt: skip
        found = pooled(rows, deviation(groups), FLOOR)
        covered.append(found["retention_low"] <= 1.0 <= found["retention_high"])
    assert 0.94 <= np.mean(covered) <= 0.985


def test_chosen_are_the_pick_the_knee_and_what_lies_far_from_them() -> None:
    front = [trial(n, r, x) for n, (r, x) in enumerate([(1.0, 64.0), (0.97, 8.0), (0.9, 4.0),
                                                         (0.5, 2.0), (0.3, 1.0)])]  # fmt: skip
    record = study(*front)
    assert chosen(record, 1) == [2]
    assert chosen(record, 9)[0] == 2
    assert sorted(chosen(record, 9)) == [0, 1, 2, 3, 4]
    assert {0, 4} & set(chosen(record, 3))
    assert chosen(study(), 3) == []


def test_finalist_repeats_where_the_mean_of_its_seeds_reaches_the_search_s_interval() -> None:
    front = [trial(3, 0.9, 1.0), trial(5, 0.9, 2.0), trial(7, 0.9, 3.0)]
    for member in front:
        member.attributes["retention_low"] = 0.85
    attributes = {
        "finalists": {"numbers": [3, 5, 7, 8], "seeds": [1, 2]},
        key(3, 1): row(1, 0.84),
        key(3, 2): row(2, 0.88),
        key(5, 1): row(1, 0.8),
        key(5, 2): row(2, 0.88),
        key(7, 1): row(1, 0.95),
        key(7, 2): {"seed": 2, "state": "pruned", "reason": "loss is nan"},
        key(8, 1): row(1, 0.9),  # no longer on the front
    }
    found = finalists(attributes, front, FLOOR)
    assert [(f.number, f.repeated, f.repeats) for f in found] == [
        (3, True, 1),
        (5, False, 1),
        (7, False, 1),
    ]
    assert found[2].figures["retention"] == pytest.approx(0.95)
    # Its own spread is not known, but that of the others is.
    assert found[2].figures["retention_low"] < 0.95 * 0.95


def test_what_a_bug_ended_tells_nothing_and_what_diverged_did_not_repeat() -> None:
    plan = {"finalists": {"numbers": [3], "seeds": [1, 2]}, key(3, 1): row(1, 0.95)}
    failed = {"seed": 2, "state": "failed", "reason": "ZeroDivisionError"}
    front = [trial(3, 0.9, 1.0)]
    (found,) = finalists({**plan, key(3, 2): failed}, front, FLOOR)
    assert (found.repeated, found.repeats) == (None, 1)
    assert [r["repeated"] for r in found.seeds] == [True, None]
    (found,) = finalists({**plan, key(3, 2): {**failed, "state": "pruned"}}, front, FLOOR)
    assert found.repeated is False


def test_finalist_is_shown_only_when_all_its_trainings_have_ended() -> None:
    front = [trial(3, 0.9, 1.0)]
    plan = {"finalists": {"numbers": [3], "seeds": [1, 2]}, key(3, 1): row(1, 0.9)}
    assert finalists(plan, front, FLOOR) == ()
    begun = {**plan, key(3, 2): {"worker": "host/w", "crashes": 0}}
    assert finalists(begun, front, FLOOR) == ()
    unjudged = {**plan, key(3, 2): {"seed": 2, "state": "complete", "reason": ""}}
    assert finalists(unjudged, front, FLOOR) == ()
    assert not measured(unjudged[key(3, 2)])
    assert finalists({}, front, FLOOR) == ()
