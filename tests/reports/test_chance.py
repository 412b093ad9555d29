from __future__ import annotations

import itertools

import numpy as np
import pytest

from reports import chance
from reports.chance import expected
from studies import pareto


@pytest.mark.parametrize("seed", [0, 1])
def test_expected_is_the_mean_over_all_orders(seed: int) -> None:
    draw = np.random.default_rng(seed)
    points, corner = draw.integers(0, 4, size=(5, 3)).astype(float), np.full(3, 3.0)
    points[0] = np.inf  # one over a limit
    orders = [pareto.history(points[list(o)], corner) for o in itertools.permutations(range(5))]
    assert expected(points, corner) == pytest.approx(np.mean(orders, axis=0))


def test_expected_is_the_whole_volume_in_the_end() -> None:
    points = np.random.default_rng(2).normal(size=(80, 3))
    found = expected(points, np.full(3, 2.0))
    assert found[-1] == pytest.approx(pareto.hypervolume(points, np.full(3, 2.0)))
    assert (np.diff(found) > 0).all()


def test_of_many_points_the_volumes_are_measured_by_darts(monkeypatch: pytest.MonkeyPatch) -> None:
    points, corner = np.random.default_rng(3).normal(size=(chance.EXACT, 3)), np.full(3, 1.5)
    exact = expected(points, corner)
    monkeypatch.setattr(chance, "EXACT", 0)
    found = expected(points, corner)
    assert found == pytest.approx(exact, rel=0.02)
    assert found[-1] == pytest.approx(exact[-1], rel=1e-9)


def test_expected_is_nothing_without_a_point_inside() -> None:
    assert expected(np.ones((2, 3)), np.zeros(3)).tolist() == [0.0, 0.0]
    assert expected(np.empty((0, 3)), np.zeros(3)).tolist() == []
