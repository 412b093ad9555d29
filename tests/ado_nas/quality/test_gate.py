from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from ado_nas.quality.gate import Verdict, verdict
from ado_nas.quality.intervals import GROUPS, Replicates, pooled_interval, ratio_interval
from ado_nas.quality.judge import Quality

FLOOR = 1.0


def quality(gap: float, sliced: float = 1.0, spread: float = 0.001, seed: int = 0) -> Quality:
    rng = np.random.default_rng(seed)
    generated = (gap + spread * rng.standard_normal(GROUPS)).tolist()
    real = (gap + spread * rng.standard_normal(GROUPS)).tolist()
    values: dict[str, Any] = {f.name: 0.0 for f in dataclasses.fields(Quality)}
    values |= {"gap": gap, "gap_interval": (0.0, 0.0), "replicates": Replicates(generated, real)}
    values |= {"floor": FLOOR, "sliced": sliced, "sliced_floor": 0.1, "samples": 100}
    return Quality(**values)


def reference(gap: float = 9.0, sliced: float = 1.0, seed: int = 50) -> dict[str, Any]:
    return dataclasses.asdict(quality(gap, sliced, seed=seed))


def decided(
    references: list[dict[str, Any]], students: list[Quality], threshold: float
) -> Verdict:
    return verdict(references, [dataclasses.asdict(s) for s in students], threshold)


def test_student_that_keeps_enough_passes_with_its_numbers() -> None:
    students = [quality(gap, seed=k) for k, gap in enumerate((9.2, 9.4, 9.0, 9.2))]
    found = decided([reference(seed=50 + k) for k in range(4)], students, 0.95)
    assert found.passed and not found.reason
    assert found.retention == pytest.approx(10.0 / 10.2)
    assert found.retention_low < found.retention < found.retention_high


def test_mean_below_the_threshold_fails() -> None:
    found = decided([reference()] * 4, [quality(9.7)] * 4, 0.95)
    assert not found.passed and "below 0.95" in found.reason


def test_estimate_that_is_too_uncertain_fails() -> None:
    wide = [quality(9.0, spread=0.4, seed=k) for k in range(4)]
    found = decided([reference()] * 4, wide, 0.95)
    assert found.retention >= 0.95 and not found.passed
    assert found.retention_low < 0.9 and "as low as" in found.reason


def test_worse_sliced_distance_fails_only_beyond_its_interval() -> None:
    references = [reference() for _ in range(4)]
    even = [quality(9.0, s) for s in (1.20, 1.21, 1.20, 1.19)]
    found = decided(references, even, 0.95)
    assert not found.passed and "sliced" in found.reason
    assert found.sliced == pytest.approx(1.2)
    assert found.sliced_allowed == pytest.approx(1.1 / 0.95 - 0.1)
    uneven = [quality(9.0, s) for s in (0.4, 2.0, 0.9, 1.5)]
    assert decided(references, uneven, 0.95).passed


def test_one_noise_set_pooled_is_the_ratio_interval() -> None:
    a, b = quality(9.0, spread=0.05, seed=1), quality(8.0, spread=0.05, seed=2)
    first, second = (a.gap, a.replicates), (b.gap, b.replicates)
    assert pooled_interval([first], [second], FLOOR) == ratio_interval(first, second, FLOOR)


def test_more_noise_sets_narrow_the_part_of_the_noise_alone() -> None:
    rng = np.random.default_rng(0)
    none = [0.0] * GROUPS

    def sets(count: int, over_noise: bool) -> list[tuple[float, Replicates]]:
        spread = (9.0 + 0.05 * rng.standard_normal((count, GROUPS))).tolist()
        flat = [9.0 + x for x in none]
        real = spread[0]
        return [
            (9.0, Replicates(s, flat) if over_noise else Replicates(flat, real)) for s in spread
        ]

    def width(count: int, over_noise: bool) -> float:
        even = [(9.0, Replicates([9.0] * GROUPS, [9.0] * GROUPS))] * count
        low, high = pooled_interval(sets(count, over_noise), even, FLOOR)
        return high - low

    noise = np.mean([width(16, True) for _ in range(20)]) / np.mean(
        [width(1, True) for _ in range(20)]
    )
    real = np.mean([width(16, False) for _ in range(20)]) / np.mean(
        [width(1, False) for _ in range(20)]
    )
    assert noise == pytest.approx(1 / 4, rel=0.15)
    assert real == pytest.approx(1.0, rel=0.15)
