from __future__ import annotations

import numpy as np
import pytest

from ado_nas.quality import frechet, intervals
from ado_nas.quality.intervals import Replicates, Sample

WIDTH = 8
SHIFT = 0.35 * np.ones(WIDTH)
STRETCH = np.linspace(0.8, 1.3, WIDTH)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(2)


def interval(real: Sample, fake: Sample) -> tuple[float, float]:
    gap = intervals.corrected(real.whole, fake.whole, real.unit_bias, fake.unit_bias)
    return intervals.interval(gap, intervals.replicates(real, fake))


def test_interval_covers_the_true_distance_nineteen_times_in_twenty(
    rng: np.random.Generator,
) -> None:
    truth = frechet.distance(
        frechet.gaussian(np.zeros(WIDTH), np.eye(WIDTH), 1),
        frechet.gaussian(SHIFT, np.diag(STRETCH**2), 1),
    )
    hits = 0
    for _ in range(200):
        real = intervals.sample(rng.standard_normal((300, WIDTH)))
        fake = intervals.sample(rng.standard_normal((500, WIDTH)) * STRETCH + SHIFT)
        low, high = interval(real, fake)
        hits += low <= truth <= high
    assert 0.90 <= hits / 200 <= 0.995


def test_interval_is_as_wide_as_the_spread_of_the_gap(rng: np.random.Generator) -> None:
    gaps, widths = [], []
    for _ in range(300):
        real = intervals.sample(rng.standard_normal((300, WIDTH)))
        fake = intervals.sample(rng.standard_normal((300, WIDTH)) * STRETCH + SHIFT)
        units = real.unit_bias, fake.unit_bias
        gaps.append(intervals.corrected(real.whole, fake.whole, *units))
        low, high = interval(real, fake)
        widths.append((high - low) / 2 / 2.093)
    assert np.mean(widths) == pytest.approx(np.std(gaps), rel=0.2)


def test_interval_is_open_for_samples_too_few_to_group(rng: np.random.Generator) -> None:
    few = intervals.sample(rng.standard_normal((20, WIDTH)))
    assert interval(few, few) == (0.0, float("inf"))


def test_interval_of_images_drawn_by_class_in_turn_is_as_wide_as_other_noise_makes_it(
    rng: np.random.Generator,
) -> None:
    classes = 3 * rng.standard_normal((10, WIDTH))
    held = classes[rng.integers(0, 10, 500)] + rng.standard_normal((500, WIDTH))
    real = intervals.sample(held)
    gaps, widths = [], []
    for _ in range(300):
        drawn = classes[np.arange(600) % 10] + SHIFT + rng.standard_normal((600, WIDTH))
        fake = intervals.sample(drawn)
        gaps.append(intervals.corrected(real.whole, fake.whole, real.unit_bias, fake.unit_bias))
        parts = intervals.replicates(real, fake)
        low, high = intervals.interval(gaps[-1], Replicates(parts.generated, [0.0] * 20))
        widths.append((high - low) / 2 / 2.093)
    assert np.mean(widths) == pytest.approx(np.std(gaps), rel=0.2)


def test_ratio_interval_covers_the_true_ratio_and_gains_from_common_images(
    rng: np.random.Generator,
) -> None:
    def fit(features: np.ndarray) -> Sample:
        return intervals.sample(features)

    def gap(fake: Sample) -> tuple[float, Replicates]:
        found = intervals.corrected(real.whole, fake.whole, real.unit_bias, fake.unit_bias)
        return found, intervals.replicates(real, fake)

    eye = frechet.gaussian(np.zeros(WIDTH), np.eye(WIDTH), 1)
    far, farther = (frechet.gaussian(k * SHIFT, np.diag(STRETCH**2), 1) for k in (1, 1.1))
    truth = (frechet.distance(eye, far) + 0.1) / (frechet.distance(eye, farther) + 0.1)
    hits, widths, apart = 0, [], []
    for _ in range(200):
        real = fit(rng.standard_normal((300, WIDTH)))
        drawn = rng.standard_normal((500, WIDTH)) * STRETCH
        first, second = gap(fit(drawn + SHIFT)), gap(fit(drawn + 1.1 * SHIFT))
        other = gap(fit(rng.standard_normal((500, WIDTH)) * STRETCH + 1.1 * SHIFT))
        low, high = intervals.ratio_interval(first, second, 0.1)
        hits += low <= truth <= high
        widths.append(high - low)
        low, high = intervals.ratio_interval(first, other, 0.1)
        apart.append(high - low)
    assert 0.90 <= hits / 200 <= 0.995
    assert np.mean(widths) < 0.5 * np.mean(apart)


def test_floor_from_splits_holds_for_other_sample_sizes(rng: np.random.Generator) -> None:
    pool = rng.standard_normal((800, WIDTH))
    found = intervals.null(pool, intervals.gap_measure, (400, 1000), draws=200)
    fresh = [
        intervals.gap_measure(
            rng.standard_normal((400, WIDTH)), rng.standard_normal((1000, WIDTH))
        )
        for _ in range(300)
    ]
    assert found.floor + found.bias == pytest.approx(np.quantile(fresh, 0.95), rel=0.3)
    assert abs(found.bias) < found.floor
