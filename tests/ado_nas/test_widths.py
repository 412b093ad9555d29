from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ado_nas.specs import UNetSpec
from ado_nas.widths import drawn, narrowed, narrowest

SPEC = UNetSpec(widths=(24, 64), attention=("none", "full"), head_dim=16, time_width=128)


def test_narrowed_takes_the_nearest_width_that_a_level_can_have() -> None:
    assert narrowed(SPEC, 0.75).widths == (20, 48)
    assert narrowed(SPEC, 0.25).widths == (8, 16)
    assert narrowed(SPEC, 0.01).widths == (4, 16)
    assert narrowed(SPEC, 1.0) == SPEC
    flat = dataclasses.replace(SPEC, attention=("none", "none"), groups=8)
    assert narrowed(flat, 0.3).widths == (8, 16)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.01, 1))
def test_drawn_networks_are_valid_and_between_narrowest_and_widest(
    seed: int, least: float
) -> None:
    found = drawn(SPEC, least, np.random.default_rng(seed))
    low = narrowest(SPEC, least)
    for a, w, b in zip(low.widths, found.widths, SPEC.widths, strict=True):
        assert a <= w <= b
    assert low.time_width <= found.time_width <= SPEC.time_width
    assert dataclasses.replace(found, widths=SPEC.widths, time_width=128) == SPEC


def test_every_width_is_drawn_in_the_long_run() -> None:
    rng = np.random.default_rng(0)
    found = {drawn(SPEC, 0.25, rng).widths for _ in range(300)}
    assert found == {(a, b) for a in range(8, 25, 4) for b in range(16, 65, 16)}
