from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import wording


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.41378, "0.414"),
        (13.62, "13.6"),
        (9.996, "10.0"),
        (1380.4, "1,380"),
        (0.0, "0"),
        (2.5e-6, "2.50e-06"),
        (None, wording.ABSENT),
        (math.nan, wording.ABSENT),
    ],
)
def test_number_has_three_digits_when_written(value: float | None, text: str) -> None:
    assert wording.number(value) == text


@given(st.floats(1e-4, 9e6))
def test_number_stays_within_half_a_digit_when_read_back(value: float) -> None:
    assert float(wording.number(value).replace(",", "")) == pytest.approx(value, rel=0.0051)


def test_change_is_told_by_a_ratio_that_is_never_below_one() -> None:
    sign = wording.TIMES
    told = {
        x: (wording.faster(x), wording.smaller(x))
        for x in (4.0, 1.04, 0.96, 0.5, 0.0, None, math.nan)
    }
    assert told[4.0] == (f"4.0{sign} faster", f"4.0{sign} smaller")
    assert told[1.04] == told[0.96] == ("as fast", "of the same size")
    assert told[0.5] == (f"2.0{sign} slower", f"2.0{sign} larger")
    assert told[0.0] == (f"0.0{sign} faster", f"0.0{sign} smaller")
    unknown = f"{wording.ABSENT} faster", f"{wording.ABSENT} smaller"
    assert told[None] == told[math.nan] == unknown


def test_times_and_fraction_when_large_small_or_missing() -> None:
    assert [wording.times(v) for v in (38.2, 9.96, 6.24, None)] == [
        "38\u00d7",
        "10\u00d7",
        "6.2\u00d7",
        wording.ABSENT,
    ]
    assert [wording.fraction(v) for v in (0.938, None)] == ["0.94", wording.ABSENT]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.4 s"),
        (41.2, "41 s"),
        (312, "5 min 12 s"),
        (59.7, "1 min 0 s"),
        (7500, "2 h 5 min"),
    ],
)
def test_duration_takes_the_fitting_unit(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


def test_sampler_is_named_in_full_when_known_or_not() -> None:
    facts = {"solver": "dpmpp_2m", "schedule": "karras", "nfe": 50}
    assert wording.sampler(facts) == "DPM++(2M), Karras levels, 50 network evaluations (NFE)"
    assert wording.sampler({"solver": "new", "guidance": 1.5}) == "new, guidance 1.5"


def test_device_has_a_name_or_says_that_it_has_none() -> None:
    assert wording.device({"device": "M4"}) == "M4"
    assert wording.device({}) == "an unnamed device"


def test_flat_joins_names_with_dots_when_nested() -> None:
    assert wording.flat({"a": {"b": {"c": 1}}, "d": [1]}) == {"a.b.c": 1, "d": [1]}
