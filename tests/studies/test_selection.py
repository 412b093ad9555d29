from __future__ import annotations

from studies.record import TrialRecord
from studies.selection import pick


def trial(number: int, retention: float, latency: float, size: float = 1.0) -> TrialRecord:
    return TrialRecord(
        number=number,
        state="complete",
        params={},
        values={"gap": 1.0, "latency_ms": latency, "size_mb": size},
        constraints={},
        attributes={"retention": retention},
        spec_hash="",
        folder="",
    )


def test_pick_is_nobody_when_the_front_is_empty() -> None:
    assert pick([]) is None


def test_pick_is_the_fastest_and_smallest_of_those_good_enough() -> None:
    front = [trial(0, 0.99, 9.0), trial(1, 0.91, 4.0, 2.0), trial(2, 0.9, 3.0, 3.0)]
    assert pick([*front, trial(3, 0.5, 1.0)]) == 1  # 8 < 9 = 9


def test_pick_is_the_best_kept_when_none_is_good_enough() -> None:
    assert pick([trial(0, 0.6, 1.0), trial(1, 0.8, 9.0)]) == 1


def test_pick_passes_over_one_that_did_not_repeat() -> None:
    front = [trial(0, 0.95, 1.0), trial(1, 0.95, 2.0)]
    assert pick(front, {0: {"retention": 0.7}, 1: {"retention": 0.93}}) == 1
