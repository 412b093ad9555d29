from __future__ import annotations

import numpy as np
import pytest

from ado_nas.quality import frechet, intervals

RNG = np.random.default_rng(2)
WIDTH = 8
SHIFT = 0.35 * np.ones(WIDTH)
STRETCH = np.linspace(0.8, 1.3, WIDTH)


def test_interval_covers_the_true_distance_nineteen_times_in_twenty() -> None:
    truth = frechet.distance(
        frechet.gaussian(np.zeros(WIDTH), np.eye(WIDTH), 1),
        frechet.gaussian(SHIFT, np.diag(STRETCH**2), 1),
    )
    hits = 0
    for _ in range(200):
        real = intervals.sample(RNG.standard_normal((300, WIDTH)))
        fake = intervals.sample(RNG.standard_normal((500, WIDTH)) * STRETCH + SHIFT)
        low, high = intervals.interval(real, fake)
        hits += low <= truth <= high
    assert 0.90 <= hits / 200 <= 0.995


def test_interval_is_as_wide_as_the_spread_of_the_gap() -> None:
    gaps, widths = [], []
    for _ in range(100):
        real = intervals.sample(RNG.standard_normal((300, WIDTH)))
        fake = intervals.sample(RNG.standard_normal((300, WIDTH)) * STRETCH + SHIFT)
        units = real.unit_bias, fake.unit_bias
        gaps.append(intervals.corrected(real.whole, fake.whole, *units))
        low, high = intervals.interval(real, fake)
        widths.append((high - low) / 2 / 2.093)
    assert np.mean(widths) == pytest.approx(np.std(gaps), rel=0.25)


def test_interval_is_open_for_samples_too_few_to_group() -> None:
    few = intervals.sample(RNG.standard_normal((20, WIDTH)))
    assert intervals.interval(few, few) == (0.0, float("inf"))


def test_floor_from_splits_holds_for_other_sample_sizes() -> None:
    pool = RNG.standard_normal((800, WIDTH))
    found = intervals.null(pool, intervals.gap_measure, (400, 1000), draws=200)
    fresh = [
        intervals.gap_measure(
            RNG.standard_normal((400, WIDTH)), RNG.standard_normal((1000, WIDTH))
        )
        for _ in range(300)
    ]
    assert found.floor + found.bias == pytest.approx(np.quantile(fresh, 0.95), rel=0.3)
    assert abs(found.bias) < found.floor
