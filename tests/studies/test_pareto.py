from __future__ import annotations

import numpy as np
import pytest
from optuna._hypervolume import compute_hypervolume
from optuna.study._multi_objective import _is_pareto_front

from studies.pareto import contributions, front, history, hypervolume, layers


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("ties", [False, True])
def test_front_and_hypervolume_agree_with_optuna_on_random_sets(
    dimensions: int, ties: bool
) -> None:
    rng = np.random.default_rng(dimensions)
    for size in (1, 2, 3, 5, 17, 60):
        for _ in range(10):
            points = rng.random((size, dimensions))
            if ties:
                points = np.round(points, 1)
            kept = front(points)
            wanted = _is_pareto_front(points, assume_unique_lexsorted=False)
            assert kept.tolist() == wanted.tolist()
            corner = np.full(dimensions, 1.05)
            wanted_volume = compute_hypervolume(points, corner)
            assert hypervolume(points, corner) == pytest.approx(wanted_volume, rel=1e-12)


def test_front_keeps_equal_points_and_infinite_ones_lose() -> None:
    points = np.array([[1.0, 1.0], [1.0, 1.0], [np.inf, 0.5], [np.inf, 1.0]])
    assert front(points).tolist() == [True, True, True, False]
    assert front(np.empty((0, 3))).tolist() == []


def test_hypervolume_is_that_of_known_boxes() -> None:
    corner = np.array([2.0, 2.0, 2.0])
    assert hypervolume(np.array([[1.0, 1.0, 1.0]]), corner) == 1.0
    assert hypervolume(np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]), corner) == 3.0
    assert hypervolume(np.array([[2.0, 0.0, 0.0], [3.0, 0.0, 0.0]]), corner) == 0.0
    assert hypervolume(np.empty((0, 3)), corner) == 0.0


def test_hypervolume_agrees_with_sampling() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((12, 3))
    darts = rng.random((40_000, 3))
    hit = (points[:, None] <= darts[None]).all(axis=2).any(axis=0).mean()
    assert hypervolume(points, np.ones(3)) == pytest.approx(hit, abs=0.01)


def test_hypervolume_refuses_when_there_are_four_dimensions() -> None:
    with pytest.raises(ValueError, match="4 dimensions"):
        hypervolume(np.zeros((1, 4)), np.ones(4))


def test_history_ends_with_the_hypervolume_and_never_falls() -> None:
    rng = np.random.default_rng(1)
    points, corner = rng.random((30, 3)), np.ones(3)
    volumes = history(points, corner)
    assert (np.diff(volumes) >= 0).all()
    for i in (0, 7, 29):
        assert volumes[i] == pytest.approx(hypervolume(points[: i + 1], corner), rel=1e-12)


def test_layers_are_the_fronts_peeled_off_one_by_one() -> None:
    rng = np.random.default_rng(2)
    for size in (0, 1, 7, 40):
        for points in (rng.random((size, 3)), np.round(rng.random((size, 3)), 1)):
            left, wanted = np.arange(size), np.full(size, -1)
            for level in range(size):
                kept = front(points[left])
                wanted[left[kept]] = level
                left = left[~kept]
            assert layers(points).tolist() == wanted.tolist()


def test_contribution_is_what_the_hypervolume_loses_without_the_point() -> None:
    rng = np.random.default_rng(3)
    for size in (1, 2, 6, 30):
        for points in (1.2 * rng.random((size, 3)), np.round(1.2 * rng.random((size, 3)), 1)):
            corner = np.ones(3)
            whole = hypervolume(points, corner)
            without = [hypervolume(np.delete(points, i, axis=0), corner) for i in range(size)]
            assert contributions(points, corner) == pytest.approx(whole - np.array(without))
