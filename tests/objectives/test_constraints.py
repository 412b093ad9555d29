"""Limits as violations."""

from __future__ import annotations

import pytest

from objectives.constraints import NAMES, reason, violations
from objectives.scores import Limits

LIMITS = Limits(max_latency_ms=2.0, max_size_mb=1.0, max_memory_mb=100.0, min_retention=0.5)


def test_violations_are_relative_and_always_the_same_names() -> None:
    found = violations(LIMITS, {"latency_ms": 3.0, "size_mb": 0.5, "retention": 0.4})
    assert tuple(found) == NAMES
    assert found["latency"] == pytest.approx(0.5) and found["size"] == pytest.approx(-0.5)
    assert found["retention"] == pytest.approx(0.1)
    assert found["memory"] == 0.0  # not measured yet


def test_no_limit_is_never_violated() -> None:
    found = violations(Limits(min_retention=0.0), {"latency_ms": 1e9, "retention": 0.0})
    assert all(value <= 0 for value in found.values())


def test_reason_names_the_violated_limits_only() -> None:
    text = reason(violations(LIMITS, {"latency_ms": 3.0, "size_mb": 0.5}))
    assert "latency" in text and "50%" in text and "size" not in text
    assert reason({"latency": 0.0}) == ""
    low = violations(LIMITS, {"latency_ms": 3.0, "retention": 0.38})
    assert reason(low) == "latency over its limit by 50%, retention under its limit by 0.12"
