"""The fastest recipe, on call times that are made up."""

from __future__ import annotations

import dataclasses

import pytest

from ado_nas.adaptive.calltimes import CallTimes
from ado_nas.adaptive.choice import Judged
from ado_nas.adaptive.fastest import fastest
from ado_nas.adaptive.recipe import Recipe
from ado_nas.diffusion.levels import karras_levels
from ado_nas.errors import ConfigError

TABLE = CallTimes((1, 2, 4), (1.0, 1.0, 1.0), (2.0, 2.5, 8.0))  # two at a time are best


def row(solver: str, nfe: int, retention: float) -> Judged:
    return Judged(Recipe(solver, "dp", karras_levels(nfe, 0.02, 40.0)), retention)


def test_measured_time_chooses_and_not_the_number_of_evaluations() -> None:
    slow, fast, far = row("ddim", 4, 0.99), row("ipndm_3", 4, 0.96), row("ddim", 8, 1.0)
    seen: list[tuple[Judged, int]] = []

    def measure(row: Judged, batch: int) -> float:
        seen.append((row, batch))
        return 6.0 if row is slow else 5.0

    found = fastest([slow, fast, far], TABLE, measure)
    assert (found.row, found.batch, found.ms) == (fast, 2, 5.0)
    assert len(seen) == 2 and {batch for _, batch in seen} == {2}  # 8 evaluations are far off


def test_recipes_alike_are_timed_once_and_retention_decides_between_equal_times() -> None:
    rows = [row("ddim", 4, 0.97), row("ddim", 4, 0.98), row("unipc", 4, 0.96)]
    count: list[Judged] = []

    def measure(row: Judged, batch: int) -> float:
        count.append(row)
        return 5.1 if row.recipe.solver == "ddim" else 5.0

    assert fastest(rows, TABLE, measure).row is rows[1]
    assert len(count) == 2


def test_narrow_steps_count_as_what_they_take() -> None:
    whole, narrow = row("ddim", 3, 1.0), row("ddim", 4, 0.96)
    shares = dataclasses.replace(narrow.recipe, shares=(0.5,) * 4)
    narrow = dataclasses.replace(narrow, recipe=shares, whole=2.0)
    found = fastest([whole, narrow], TABLE, lambda row, batch: TABLE.ms(row.calls, batch))
    assert found.row is narrow and found.ms == pytest.approx(3.0)


def test_nothing_to_choose_from_is_refused() -> None:
    with pytest.raises(ConfigError, match="no recipes"):
        fastest([], TABLE, lambda *_: 1.0)
