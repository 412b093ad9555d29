from __future__ import annotations

import math
from typing import Any

import pytest

from objectives.constraints import NAMES
from objectives.scores import Outcome
from studies.settlement import sound

GOOD = {"gap": 1.0, "latency_ms": 2.0, "size_mb": 0.5}


def test_sound_leaves_a_good_outcome_and_fills_the_constraints() -> None:
    outcome = sound(Outcome("complete", GOOD, {"size": -0.5}))
    assert (outcome.state, outcome.values) == ("complete", GOOD)
    assert set(outcome.constraints) == set(NAMES)
    assert outcome.constraints["size"] == -0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"values": {**GOOD, "gap": math.nan}},
        {"values": {**GOOD, "latency_ms": math.inf}},
        {"constraints": {"retention": math.nan}},
    ],
)
def test_sound_prunes_what_is_not_finite_and_marks_it_violated(changes: dict[str, Any]) -> None:
    outcome = sound(Outcome(**{"state": "complete", "values": GOOD, **changes}))
    assert (outcome.state, outcome.values) == ("pruned", {})
    assert "not finite" in outcome.reason
    assert max(outcome.constraints.values()) > 0


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome("finished", GOOD),
        Outcome("complete", GOOD, {"speed": 1.0}),
        Outcome("complete", {**GOOD, "gap": -1.0}),
        Outcome("complete", {**GOOD, "size_mb": 0.0}),
    ],
)
def test_sound_raises_when_the_evaluator_breaks_its_contract(outcome: Outcome) -> None:
    with pytest.raises(ValueError):
        sound(outcome)
