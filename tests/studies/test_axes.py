from __future__ import annotations

import math

import pytest

from studies.axes import axes, natural, reference_point


def test_natural_inverts_axes() -> None:
    values = {"gap": 3.5, "latency_ms": 12.0, "size_mb": 0.4}
    assert natural(axes(values, 0.7), 0.7) == pytest.approx(values)


def test_reference_point_is_where_retention_is_the_least_allowed() -> None:
    reference = {"gap": 9.0, "floor": 1.0, "latency_ms": 400.0, "size_mb": 2.0}
    corner = natural(reference_point(reference, 0.5), 1.0)
    retention = (9.0 + 1.0) / (corner["gap"] + 1.0)
    assert retention == pytest.approx(0.5)
    assert corner["latency_ms"] == pytest.approx(400)
    assert corner["size_mb"] == pytest.approx(2)


def test_reference_point_is_finite_when_any_quality_is_allowed() -> None:
    reference = {"gap": 9.0, "floor": 1.0, "latency_ms": 400.0, "size_mb": 2.0}
    assert all(map(math.isfinite, reference_point(reference, 0.0)))
