"""Who won between steps by content and fixed schedules, by figures that are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ado_nas.adaptive import contest
from ado_nas.quality.intervals import GROUPS, Replicates
from ado_nas.quality.judge import Quality


def judged(gap: float, spread: float = 0.01) -> Quality:
    parts = (gap + spread * np.linspace(-1, 1, GROUPS)).tolist()
    others = {f.name: 0.0 for f in dataclasses.fields(Quality)}
    known = {"gap": gap, "replicates": Replicates(parts, parts), "floor": 0.5}
    return Quality(**{**others, **known})


@pytest.mark.parametrize(
    ("fixed", "own", "better"),
    [
        (judged(4.0), judged(4.0), False),
        (judged(4.0), judged(3.0), True),
        (judged(3.0), judged(4.0), False),
        (judged(4.0, 1.0), judged(3.9, 2.0), False),  # within what chance makes of it
        (None, judged(4.0), False),
        (judged(4.0), None, False),
    ],
)
def test_better_is_only_what_chance_cannot_explain(
    fixed: Quality | None, own: Quality | None, better: bool
) -> None:
    found = contest._ratio(fixed, own)
    assert found["better"] is better
    if fixed and own:
        low, high = found["ratio_interval"]
        assert found["ratio"] == pytest.approx((fixed.gap + 0.5) / (own.gap + 0.5))
        assert low <= found["ratio"] <= high and better == (low > 1)


def test_best_fixed_schedule_is_of_exactly_so_many_evaluations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [
        {"nfe": 3, "retention": 2.0},  # of a solver that cannot have four
        {"nfe": 4, "retention": 0.7},
        {"nfe": 4, "retention": 0.9},
        {"nfe": 4, "retention": 0.0},  # whose images were not finite
    ]

    def compare(_: Any, solvers: list[str], counts: list[int]) -> Iterator[dict[str, Any]]:
        assert counts == [4]
        yield from rows

    monkeypatch.setattr(contest, "compare", compare)
    nothing: Any = None
    assert contest._best(nothing, ["ddim", "heun"], 4) == rows[2]
