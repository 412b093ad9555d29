from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import t as student

from reports.effects import effects
from studies.record import StudyRecord, TrialRecord

FLOOR = 2.0


def study(rows: list[tuple[dict[str, object], float]]) -> StudyRecord:
    """A study of these choices and latencies; gap and size are the same everywhere."""
    trials = tuple(
        TrialRecord(
            i,
            "complete",
            dict(params),
            {"gap": 5.0, "latency_ms": latency, "size_mb": 1.0},
            {},
            {},
            "",
            "",
        )
        for i, (params, latency) in enumerate(rows)
    )
    corner = (9.0, 9.0, 9.0)
    return StudyRecord("made-up", {}, trials, (), None, {"floor": FLOOR}, (), {}, {}, 0.0, corner)


def latencies(record: StudyRecord) -> dict[tuple[str, str], float]:
    """The middle of each choice."""
    found = effects(record)
    return {(e.dimension, e.choice): e.figures["latency_ms"].value for e in found}


def test_effects_are_geometric_means_when_every_combination_was_tried() -> None:
    draw = np.random.default_rng(0)
    rows = [
        ({"steps": s, "width": w}, float(s * 3 * draw.uniform(0.5, 2)))
        for s, w in itertools.product((1, 2, 4), ("8", "16"))
    ]
    found = latencies(study(rows))
    for (name, choice), value in found.items():
        own = [math.log(ms) for params, ms in rows if str(params[name]) == choice]
        assert value == pytest.approx(math.exp(np.mean(own)))
    assert [key for key in found if key[0] == "steps"] == [("steps", s) for s in "124"]


def test_effects_do_not_credit_a_choice_with_its_company() -> None:
    times = {"a": 1.0, "b": 3.0}
    rows = [
        ({"steps": s, "kind": k}, s * times[k])
        for s, k in [(1, "a"), (1, "a"), (1, "b"), (4, "b"), (4, "b"), (4, "a"), (4, "b")]
    ]
    found = latencies(study(rows))
    assert found["kind", "b"] / found["kind", "a"] == pytest.approx(3.0)
    assert found["steps", "4"] / found["steps", "1"] == pytest.approx(4.0)


def test_intervals_are_those_of_means_with_a_pooled_error() -> None:
    groups = {"a": [1.0, 1.2, 1.5], "b": [2.0, 2.6]}
    rows = [({"kind": k}, ms) for k, own in groups.items() for ms in own]
    logs = {k: np.log(own) for k, own in groups.items()}
    pooled = math.sqrt(sum(((v - v.mean()) ** 2).sum() for v in logs.values()) / 3)
    for effect in effects(study(rows)):
        own = logs[effect.choice]
        half = student.ppf(0.975, 3) * pooled / math.sqrt(len(own))
        ends = (math.exp(own.mean() - half), math.exp(own.mean() + half))
        assert effect.figures["latency_ms"].interval == pytest.approx(ends)
        assert effect.figures["gap"].value == pytest.approx(5.0)
        assert effect.trials == len(own)


def test_choices_that_always_come_together_are_not_told_apart() -> None:
    rows = [({"steps": s, "kind": k}, float(s)) for s, k in [(1, "a"), (2, "b")] * 3]
    assert all(not e.figures for e in effects(study(rows)))


def test_nothing_is_told_of_trials_that_leave_none_to_tell_chance_from() -> None:
    rows = [({"steps": s}, float(s)) for s in (1, 2, 4)]
    assert all(not e.figures for e in effects(study(rows)))
    assert all(e.figures for e in effects(study([*rows, rows[0]])))


def test_there_are_no_effects_when_nothing_differs() -> None:
    assert effects(study([])) == []
    assert effects(study([({"steps": 1}, 1.0)] * 3)) == []
