from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ado_nas.errors import SpecError
from ado_nas.mending import mended
from ado_nas.specs import ATTENTION, UNetSpec, to_dict

DEFAULT = {f.name: getattr(UNetSpec(), f.name) for f in dataclasses.fields(UNetSpec)}


@pytest.mark.parametrize(
    ("wrong", "rule", "right"),
    [
        ({"widths": (30, 64)}, "multiple of 4", "widths = [32, 64]"),
        ({"widths": (12, 20), "groups": 8}, "groups 8 does not divide", "groups = 4, head_dim"),
        ({"blocks": (1, 2, 1)}, "one entry for each of 2 levels", "blocks = [1, 2]"),
        ({"attention": ("full",)}, "one entry for each of 2", 'attention = ["full", "full"]'),
        ({"widths": (8, 8)}, "head_dim that divides it, not 16", "head_dim = 8"),
        ({"resolution": 18, "patch": 2}, "does not divide by 4", "resolution = 16"),
        ({"resolution": 1}, "does not divide by 2", "resolution = 2"),
        ({"window": 1}, "at least 2 pixels", "window = 2"),
        ({"cross_attention_width": 64}, "reserved", "cross_attention_width = 0"),
    ],
)
def test_impossible_network_is_refused_by_its_rule_with_the_nearest_valid_one(
    wrong: dict[str, Any], rule: str, right: str
) -> None:
    with pytest.raises(SpecError) as refused:
        UNetSpec(**wrong)
    message = str(refused.value)
    assert rule in message
    assert f"nearest valid: {right}" in message


NUMBERS = st.integers(-2, 70)


@settings(max_examples=300, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "widths": st.lists(NUMBERS, max_size=4).map(tuple),
            "blocks": st.lists(NUMBERS, max_size=4).map(tuple),
            "attention": st.lists(st.sampled_from(ATTENTION), max_size=4).map(tuple),
            "groups": NUMBERS,
            "head_dim": NUMBERS,
            "patch": st.integers(-1, 4),
            "resolution": NUMBERS,
            "window": NUMBERS,
        }
    )
)
def test_what_is_mended_is_valid_and_needs_no_more(drawn: dict[str, Any]) -> None:
    fields = {**DEFAULT, **drawn}
    found = UNetSpec(**{**fields, **mended(fields)})
    assert mended({f: getattr(found, f) for f in to_dict(found)}) == {}
