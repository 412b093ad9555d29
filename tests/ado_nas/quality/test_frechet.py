from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from ado_nas.errors import DataError
from ado_nas.quality import frechet

RNG = np.random.default_rng(0)


def gaussian_unit_bias(covariance: np.ndarray) -> float:
    values = np.linalg.eigvalsh(covariance)
    return frechet._second_order(values, np.outer(values, values) + np.diag(values**2))


def _features(n: int, d: int, decay: float = 0.8) -> np.ndarray:
    mixing = RNG.standard_normal((d, d)) * decay ** np.arange(d)
    return RNG.standard_normal((n, d)) @ mixing.T + RNG.standard_normal(d)


@pytest.mark.parametrize(("d", "n"), [(3, 50), (16, 200), (64, 500)])
def test_distance_equals_scipys_root_in_float64(d: int, n: int) -> None:
    x, y = _features(n, d), _features(n + 7, d)
    c1, c2 = np.cov(x.T), np.cov(y.T)
    shift = x.mean(0) - y.mean(0)
    wanted = shift @ shift + np.trace(c1 + c2 - 2 * np.real(sqrtm(c1 @ c2)))
    assert frechet.distance(frechet.fit(x), frechet.fit(y)) == pytest.approx(wanted, rel=1e-6)


def test_distance_is_zero_for_one_sample_and_symmetric_for_two() -> None:
    x, y = (frechet.fit(_features(100, 8)) for _ in range(2))
    assert frechet.distance(x, x) < 1e-9
    assert frechet.distance(x, y) == pytest.approx(frechet.distance(y, x))


def test_distance_survives_covariances_without_full_rank() -> None:
    x = _features(10, 30)
    y = np.concatenate([x[:, :20], np.zeros((10, 10))], axis=1)
    c1, c2 = np.cov(x.T), np.cov(y.T)
    roots = np.sqrt(np.maximum(np.linalg.eigvals(c1 @ c2).real, 0)).sum()
    shift = x.mean(0) - y.mean(0)
    wanted = shift @ shift + np.trace(c1 + c2) - 2 * roots
    assert frechet.distance(frechet.fit(x), frechet.fit(y)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("heavy", [False, True])
def test_bias_equals_simulation_when_both_are_equal(heavy: bool) -> None:
    d, n, m = 24, 600, 400
    scale = 0.85 ** np.arange(d)

    def draw(count: int) -> np.ndarray:
        if heavy:
            return np.maximum(RNG.standard_normal((count, d)), 0) ** 1.5 * scale
        return RNG.standard_normal((count, d)) * scale

    found = [frechet.distance(frechet.fit(draw(n)), frechet.fit(draw(m))) for _ in range(120)]
    unit = frechet.unit_bias(draw(20_000))
    assert unit * (1 / n + 1 / m) == pytest.approx(np.mean(found), rel=0.06)
    if not heavy:
        assert gaussian_unit_bias(np.diag(scale**2)) == pytest.approx(unit, rel=0.03)


def test_bias_has_its_closed_form_when_isotropic() -> None:
    d, variance = 10, 2.5
    wanted = variance * (d + d * (d + 1) / 4)
    assert gaussian_unit_bias(variance * np.eye(d)) == pytest.approx(wanted)


def test_bias_estimated_from_the_samples_themselves_centers_the_gap() -> None:
    d, n = 16, 300
    gaps = []
    for _ in range(150):
        x, y = (RNG.gamma(1.5, size=(n, d)) * 0.9 ** np.arange(d) for _ in range(2))
        bias = (frechet.unit_bias(x) + frechet.unit_bias(y)) / n
        gaps.append(frechet.distance(frechet.fit(x), frechet.fit(y)) - bias)
    raw = frechet.unit_bias(RNG.gamma(1.5, size=(20_000, d)) * 0.9 ** np.arange(d)) * 2 / n
    assert abs(np.mean(gaps)) < 0.1 * raw


def test_fit_refuses_what_it_cannot_fit() -> None:
    with pytest.raises(DataError, match="1 images are too few"):
        frechet.fit(np.zeros((1, 4)))
    with pytest.raises(DataError, match="not finite"):
        frechet.fit(np.full((4, 4), np.nan))
