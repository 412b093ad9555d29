from __future__ import annotations

import random

from studies.importance import CHANCE, ENOUGH, importances
from studies.record import TrialRecord


def trials(count: int) -> list[TrialRecord]:
    """Latency by one dimension alone, gap by two, size the same everywhere."""
    draw = random.Random(0)
    found = []
    for number in range(count):
        steps, width, deep = draw.choice([1, 2, 4]), draw.choice(["8", "16"]), draw.random() < 0.5
        values = {
            "gap": 10.0 / steps + (3.0 if width == "8" else 0.0),
            "latency_ms": float(steps),
            "size_mb": 1.0,
        }
        params = {"steps": steps, "width": width, "deep": deep, "patch": 2}
        found.append(TrialRecord(number, "complete", params, values, {}, {}, "", ""))
    return found


def test_importances_name_what_decides() -> None:
    found = importances(trials(40), floor=1.0)
    assert set(found) == {"gap", "latency_ms"}  # the size is the same everywhere
    assert set(found["gap"]) == {"steps", "width", "deep", CHANCE}  # patch has one choice
    assert found["latency_ms"]["steps"] > 0.95
    assert list(found["gap"])[:2] == ["steps", "width"]
    assert found["gap"]["width"] > 3 * max(found["gap"]["deep"], found["gap"][CHANCE])
    assert 0.8 < sum(found["gap"].values()) <= 1.0  # the rest is between dimensions


def test_importances_are_the_same_when_asked_again() -> None:
    assert importances(trials(20), 1.0) == importances(trials(20), 1.0)


def test_nothing_is_told_when_trials_are_few_or_alike() -> None:
    assert importances(trials(ENOUGH - 1), 1.0) == {}
    assert importances([], 1.0) == {}
    alike = trials(1) * 12
    assert importances(alike, 1.0) == {}
