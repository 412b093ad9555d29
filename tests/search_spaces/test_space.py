from __future__ import annotations

from typing import Any

import pytest

from ado_nas.errors import SpecError
from ado_nas.specs import from_dict, to_dict
from search_spaces.space import Space, anchors, numbers


def test_space_has_no_dimension_where_there_is_no_choice() -> None:
    space = Space(patch=(1,), schedule=("dp",))
    assert [d.name for d in space.dimensions] == [
        "widths", "blocks", "attention", "activation", "steps",
    ]  # fmt: skip


def test_space_stays_flat_and_small_by_default() -> None:
    assert len(Space().dimensions) <= 12


def test_space_survives_the_round_trip() -> None:
    space = Space(widths=("8-16",), anchors=("steps=1",))
    assert from_dict(Space, to_dict(space)) == space


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"widths": ()}, "at least one choice"),
        ({"steps": (1, 1)}, "each once"),
        ({"attention": ("lo",)}, "did you mean 'low'"),
        ({"activation": ("swish",)}, "did you mean 'hardswish'"),
        ({"schedule": ("karas",)}, "did you mean 'karras'"),
        ({"widths": ("8x16",)}, "whole numbers joined by dashes"),
        ({"feature_weight": (0.3, -1.0)}, "feature_weight -1.0: give a number"),
        ({"feature_weight": (0.3,), "adaptation": ("none", "prune")}, "add 0.0 to feature_weight"),
        ({"feature_weight": (0.3,), "step_widths": ("wide-last",)}, "add 0.0 to feature_weight"),
        ({"anchors": ("step=1",)}, "did you mean 'steps'"),
        ({"anchors": ("steps=9",)}, "has no '9'"),
    ],
)
def test_space_refuses_when_a_choice_cannot_be(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        Space(**fields)


def test_numbers_reads_a_pattern() -> None:
    assert numbers("16-32-64") == (16, 32, 64)


def test_anchors_fill_the_middle_when_a_dimension_is_not_named() -> None:
    space = Space(widths=("8-16", "16-32", "32-64"), anchors=("steps=1", "widths=8-16 patch=2"))
    first, second = anchors(space)
    assert (first["widths"], first["steps"]) == ("16-32", 1)
    assert (second["widths"], second["patch"]) == ("8-16", 2)


def test_nothing_is_tried_first_when_the_anchors_say_none() -> None:
    assert anchors(Space(anchors=("none",))) == []
    with pytest.raises(SpecError, match="no dimension 'none'"):
        Space(anchors=("none", "steps=1"))


def test_anchors_are_cheapest_middle_and_dearest_when_none_are_named() -> None:
    found = anchors(Space())
    assert [a["widths"] for a in found] == ["8-16", "16-32", "32-64"]
