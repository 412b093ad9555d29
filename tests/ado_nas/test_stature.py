"""Sizes on the way of a network that changes: valid, monotone, and at the target in the end."""

from __future__ import annotations

import dataclasses
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from ado_nas.specs import ADAPTATIONS, UNetSpec
from ado_nas.stature import start, towards

TEACHER = UNetSpec(widths=(32, 64), blocks=(2, 2), attention=("none", "none"))


def specs() -> st.SearchStrategy[UNetSpec]:
    widths = st.lists(st.integers(1, 12), min_size=1, max_size=3)

    def made(units: list[int], blocks: int, attended: bool, head: int, groups: int) -> UNetSpec:
        sizes = tuple(groups * head * u for u in units)
        return UNetSpec(
            widths=sizes,
            blocks=(blocks,) * len(sizes),
            attention=("none",) * (len(sizes) - 1) + ("full" if attended else "none",),
            head_dim=head,
            groups=groups,
        )

    return st.builds(
        made,
        widths,
        st.integers(1, 4),
        st.booleans(),
        st.sampled_from([4, 8]),
        st.sampled_from([1, 4]),
    )


@settings(max_examples=150, deadline=None)
@given(specs(), specs(), st.sampled_from(ADAPTATIONS), st.integers(1, 4))
def test_every_way_leads_to_the_target_and_never_back(
    target: UNetSpec, teacher: UNetSpec, adaptation: str, points: int
) -> None:
    first = now = start(target, teacher, adaptation)
    for left in range(points, 0, -1):
        after = towards(now, target, left)
        for a, b, goal in zip(now.widths, after.widths, target.widths, strict=True):
            assert min(a, goal) <= b <= max(a, goal)
        now = after
    assert now == target
    known = dict(zip((16 // 2**i for i in range(3)), teacher.widths, strict=False))
    for level, (a, b) in enumerate(zip(first.widths, target.widths, strict=True)):
        if adaptation == "prune":
            assert b <= a <= max(b, math.floor(1.5 * b), 4)
            assert a <= max(b, known.get(16 // 2**level, 0))  # no wider than the teacher
        elif adaptation == "grow":
            assert a <= b


def test_pruning_starts_half_as_wide_again_and_growing_at_half() -> None:
    target = dataclasses.replace(TEACHER, widths=(16, 24), blocks=(1, 1))
    wide = start(target, TEACHER, "prune")
    assert (wide.widths, wide.blocks) == ((24, 36), (2, 2))
    small = start(target, TEACHER, "grow")
    assert (small.widths, small.blocks) == ((8, 12), (1, 1))


def test_doubling_is_one_change() -> None:
    target = dataclasses.replace(TEACHER, widths=(16, 24), blocks=(2, 2))
    assert towards(start(target, TEACHER, "grow"), target, 3) == target


def test_there_is_nothing_to_prune_where_the_teacher_is_no_larger() -> None:
    assert start(TEACHER, TEACHER, "prune") == TEACHER


def test_equal_levels_stay_equal_when_the_teachers_are_not() -> None:
    target = dataclasses.replace(TEACHER, widths=(16, 16))
    teacher = dataclasses.replace(TEACHER, widths=(20, 64))
    assert start(target, teacher, "prune").widths == (20, 20)


def test_a_shortcut_is_not_lost_on_the_way() -> None:
    now = dataclasses.replace(TEACHER, widths=(24, 32))
    target = dataclasses.replace(TEACHER, widths=(24, 16))
    assert towards(now, target, 2).widths == (24, 16)  # not by (24, 24)
