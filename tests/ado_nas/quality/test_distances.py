from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.stats import wasserstein_distance

from ado_nas.quality import coverage, kernel, nearest, sliced

RNG = np.random.default_rng(1)


def test_sliced_equals_optimal_assignment_when_sizes_are_equal() -> None:
    x, y = RNG.standard_normal((12, 4)), RNG.standard_normal((12, 4)) + 0.5
    along = sliced.directions(4, 9)
    costs = []
    for u in along.T:
        cost = ((x @ u)[:, None] - (y @ u)[None, :]) ** 2
        rows, columns = linear_sum_assignment(cost)
        costs.append(cost[rows, columns].mean())
    found = sliced.distance(sliced.project(x, along), sliced.project(y, along), 4)
    assert found == pytest.approx(4 * np.mean(costs))


@pytest.mark.parametrize(("n", "m"), [(4, 6), (5, 7), (1, 3), (10, 4)])
def test_sliced_equals_repeated_points_when_sizes_differ(n: int, m: int) -> None:
    x, y = RNG.standard_normal((n, 3)), RNG.standard_normal((m, 3))
    along = sliced.directions(3, 5)
    long_x = np.sort(np.repeat(x @ along, m, axis=0), axis=0)
    long_y = np.sort(np.repeat(y @ along, n, axis=0), axis=0)
    found = sliced.distance(sliced.project(x, along), sliced.project(y, along), 3)
    assert found == pytest.approx(3 * ((long_x - long_y) ** 2).mean())


def test_sliced_agrees_with_scipy_where_one_side_lies_above_the_other() -> None:
    x, shift = RNG.random((20, 1)), 0.75
    assert wasserstein_distance(x[:, 0], x[:, 0] + shift) == pytest.approx(shift)
    ones = np.ones((1, 1))
    assert sliced.distance(np.sort(x @ ones, 0), np.sort(x + shift, 0), 1) == pytest.approx(
        shift**2
    )


def test_sliced_counts_a_shift_with_its_squared_length() -> None:
    x = RNG.standard_normal((50, 8))
    shift = RNG.standard_normal(8)
    along = sliced.directions(8, 4000)
    found = sliced.distance(sliced.project(x, along), sliced.project(x + shift, along), 8)
    assert found == pytest.approx(shift @ shift, rel=0.05)
    np.testing.assert_allclose(np.linalg.norm(along, axis=0), 1)


def test_kernel_equals_a_double_loop() -> None:
    x, y = RNG.standard_normal((7, 5)), RNG.standard_normal((9, 5))

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 5 + 1) ** 3)

    xx = np.mean([k(x[i], x[j]) for i in range(7) for j in range(7) if i != j])
    yy = np.mean([k(y[i], y[j]) for i in range(9) for j in range(9) if i != j])
    xy = np.mean([k(a, b) for a in x for b in y])
    assert kernel.distance(x, y) == pytest.approx(xx + yy - 2 * xy)
    assert kernel.distance(x, y, kernel.within(x)) == pytest.approx(kernel.distance(x, y))


def test_kernel_has_no_bias_for_equal_distributions() -> None:
    pairs = (RNG.standard_normal((2, 40, 6)) for _ in range(300))
    values = np.array([kernel.distance(x, y) for x, y in pairs])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(300)


def test_neighbors_equal_brute_force() -> None:
    x, y = RNG.standard_normal((30, 3)), 0.8 * RNG.standard_normal((25, 3)) + 0.3

    def radius(points: np.ndarray, i: int, k: int) -> float:
        others = np.delete(points, i, axis=0)
        return float(np.sort(np.linalg.norm(others - points[i], axis=1))[k - 1])

    def inside(a: np.ndarray, b: np.ndarray, k: int) -> np.ndarray:
        far = [[np.linalg.norm(p - q) for q in b] for p in a]
        return np.array(far) <= np.array([radius(a, i, k) for i in range(len(a))])[:, None]

    found = coverage.neighbors(x, y)
    assert found.density == pytest.approx(inside(x, y, 5).sum() / (5 * 25))
    assert found.coverage == pytest.approx(inside(x, y, 5).any(1).mean())
    assert found.precision == pytest.approx(inside(x, y, 3).any(0).mean())
    assert found.recall == pytest.approx(inside(y, x, 3).any(0).mean())


def test_coverage_of_equal_distributions_is_one_minus_two_to_the_minus_k() -> None:
    found = [coverage.neighbors(*RNG.standard_normal((2, 400, 4))) for _ in range(10)]
    assert np.mean([f.coverage for f in found]) == pytest.approx(1 - 2**-5, abs=0.01)
    assert np.mean([f.density for f in found]) == pytest.approx(1, abs=0.05)


def test_nearest_distance_equals_brute_force_and_tells_copies() -> None:
    train = RNG.random((40, 4, 4, 1)).astype(np.float32)
    fresh = RNG.random((20, 4, 4, 1)).astype(np.float32)
    wanted = np.median([min(np.linalg.norm(a - b) for b in train) for a in fresh])
    assert nearest.nearest_distance(fresh, train) == pytest.approx(wanted, rel=1e-4)
    assert nearest.memorizing(nearest.nearest_distance(train[:9] + 0.001, train) / wanted)
    assert not nearest.memorizing(1.0)
