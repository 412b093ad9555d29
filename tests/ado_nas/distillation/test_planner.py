from __future__ import annotations

import itertools

import numpy as np
import pytest

from ado_nas.distillation.planner import between, error_curve, halvings, plan
from ado_nas.errors import SpecError


@pytest.fixture
def costs() -> np.ndarray:
    """A jump over k levels costs about k cubed, less where there is less noise."""
    count = 13
    found = np.full((count, count), np.inf)
    for i, j in itertools.combinations(range(count), 2):
        found[i, j] = (j - i - 1) ** 3 * (1.2 - i / count) * 1e-3
    return found


def test_error_of_n_steps_is_that_of_the_cheapest_path(costs: np.ndarray) -> None:
    few = costs[:7, :7]
    errors = error_curve(few)
    for steps in range(1, 7):
        paths = [(0, *inner, 6) for inner in itertools.combinations(range(1, 6), steps - 1)]
        best = min(sum(few[a, b] for a, b in itertools.pairwise(p)) for p in paths)
        assert errors[steps - 1] == pytest.approx(best)


def test_no_planned_stage_reaches_further_than_it_may(costs: np.ndarray) -> None:
    for target in (1, 2, 3, 4):
        found = plan(costs, 50, target, reach=8.0)
        assert found.stages[-1] == target
        assert list(found.stages) == sorted(set(found.stages), reverse=True)
        for before, after in found.pairs[1:]:
            ratio = found.errors[after - 1] / found.errors[before - 1]
            # Steps are whole, so that the nearest number may lie a little further.
            assert ratio < 2 * 8.0
        assert f"{len(found.stages)} stage" in found.reason


def test_one_stage_is_planned_where_that_was_found_best(costs: np.ndarray) -> None:
    found = plan(costs, 50, 2)
    assert found.stages == (2,) and "1 stage of at most 200 times" in found.reason


def test_as_many_stages_are_planned_as_asked_for(costs: np.ndarray) -> None:
    assert [len(plan(costs, 50, 2, count=n).stages) for n in (1, 2, 3)] == [1, 2, 3]
    assert plan(costs, 50, 2, stages=(10, 5, 2)).stages == (10, 5, 2)


def test_number_between_is_halfway_in_error(costs: np.ndarray) -> None:
    errors = error_curve(costs)
    middle = between(errors, 6, 2)
    assert middle is not None and 2 < middle < 6
    wanted = np.sqrt(errors[5] * errors[1])
    others = [abs(np.log(errors[n - 1] / wanted)) for n in (3, 4, 5)]
    assert abs(np.log(errors[middle - 1] / wanted)) == min(others)
    assert between(errors, 3, 2) is None
    assert between(errors, 50, 11) == 12


def test_chained_stages_halve() -> None:
    assert halvings(50, 4) == (32, 16, 8, 4)
    assert halvings(50, 3) == (48, 24, 12, 6, 3)
    assert halvings(4, 2) == (2,)


@pytest.mark.parametrize(
    ("target", "stages", "said"),
    [
        (50, (), "target of 50 steps from 50"),
        (0, (), "target of 0 steps"),
        (20, (), "the trajectories hold 12"),
        (2, (8, 4), "the last one 2"),
        (2, (4, 8, 2), "falling"),
        (2, (20, 2), "at most 12"),
    ],
)
def test_stages_that_cannot_be_are_refused(
    costs: np.ndarray, target: int, stages: tuple[int, ...], said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        plan(costs, 50, target, stages)
