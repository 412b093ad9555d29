from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.palette import DARK, LIGHT, ROLES, SYMBOLS
from reports.pareto import MEMBERS, pareto, staircase
from studies.record import StudyRecord

MakeStudy = Callable[..., StudyRecord]
POINTS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=12)


@given(POINTS)
def test_staircase_is_the_best_quality_up_to_each_cost(points: list[tuple[int, int]]) -> None:
    steps = staircase([(float(c), float(q)) for c, q in points])
    for cost, _ in points:
        best = max(q for c, q in points if c <= cost)
        assert max(q for c, q in steps if c <= cost) == best
    assert steps == sorted(set(steps))
    assert [q for _, q in steps] == sorted({q for _, q in steps})


def drawn(record: StudyRecord, axis: str) -> dict[str, list[int]]:
    """Trial numbers by role."""
    found: dict[str, list[int]] = {}
    for trace in pareto(record, axis).data:
        if trace.customdata is not None:
            found.setdefault(trace.meta["role"], []).extend(trace.customdata)
    return found


@pytest.mark.parametrize("axis", ["latency_ms", "size_mb"])
def test_every_trial_stands_once_under_its_role(make_study: MakeStudy, axis: str) -> None:
    record = make_study()
    found = drawn(record, axis)
    scored = [t for t in record.trials if "gap" in t.values and t.number not in record.front]
    lost = [n for n in record.front if not record.remeasured[n]["repeated"]]
    assert sorted(found.get("unrepeated", [])) == sorted(lost)
    past = set(record.dominated) - set(lost)
    assert sorted(found.get("overtaken", [])) == sorted(past)
    assert sorted(found["front"]) == sorted(set(record.front) - set(lost) - past)
    assert sorted(found["dominated"]) == [t.number for t in scored if t.feasible]
    assert sorted(found["infeasible"]) == [t.number for t in scored if not t.feasible]
    stopped = [t.number for t in record.trials if t.state in ("pruned", "infeasible")]
    assert sorted(found["stopped"]) == stopped
    first = next(t for t in record.trials if t.state == "complete")
    twin = dataclasses.replace(first, number=999, state="duplicate")
    twice = drawn(dataclasses.replace(record, trials=(*record.trials, twin)), axis)
    assert twice == found


def test_front_stands_at_the_second_measurement_with_its_interval(make_study: MakeStudy) -> None:
    record = make_study()
    roles = MEMBERS
    seen = set()
    for trace in pareto(record, "latency_ms").data:
        if trace.meta["role"] not in roles or trace.customdata is None:
            continue
        for number, y, up, down in zip(
            trace.customdata, trace.y, trace.error_y.array, trace.error_y.arrayminus, strict=True
        ):
            again = record.remeasured[number]
            assert y == again["retention"]
            assert [y - down, y + up] == pytest.approx(again["retention_interval"])
            seen.add(number)
    assert seen == set(record.front)


def test_training_free_points_have_the_interval_of_their_gap(make_study: MakeStudy) -> None:
    record = make_study()
    trace = next(t for t in pareto(record, "size_mb").data if t.meta["role"] == "training_free")
    assert set(trace.x) == {2.61}
    for point, y, up in zip(record.training_free, trace.y, trace.error_y.array, strict=True):
        assert y + up == pytest.approx((9.9 + 2) / (point["gap_interval"][0] + 2))


def test_figure_names_units_on_both_axes(make_study: MakeStudy) -> None:
    layout = pareto(make_study(), "latency_ms").layout
    assert "ms per image" in layout.xaxis.title.text
    assert "1 = the reference" in layout.yaxis.title.text


def test_hover_escapes_what_a_person_typed(make_study: MakeStudy) -> None:
    record = make_study()
    bad = "<a href='x'>&"
    trials = tuple(
        dataclasses.replace(t, params={"width": bad}, reason=bad) for t in record.trials
    )
    for trace in pareto(dataclasses.replace(record, trials=trials), "latency_ms").data:
        for text in trace.hovertext or ():
            assert not re.search(r"<(?!/?b>|br>)", text)


def test_figure_is_drawn_when_nothing_is_known() -> None:
    empty: dict[str, Any] = {}
    record = StudyRecord("x", empty, (), (), None, empty, (), empty, {}, 0.0, (0.0, 0.0, 0.0))
    assert all(not trace.x for trace in pareto(record, "size_mb").data)


def test_every_role_has_color_and_mark() -> None:
    assert set(ROLES) == set(SYMBOLS) <= set(LIGHT) == set(DARK)
    assert len(set(SYMBOLS.values())) == len(SYMBOLS)


def contrast(first: str, second: str) -> float:
    """WCAG 2.1 contrast ratio of two hexadecimal colors."""

    def luminance(color: str) -> float:
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colors", [LIGHT, DARK])
def test_text_and_marks_stand_out_from_the_paper(colors: dict[str, str]) -> None:
    for role in ("ink", "muted", "link"):
        assert contrast(colors[role], colors["paper"]) >= 4.5
        assert contrast(colors[role], colors["panel"]) >= 4.5
    for role in ROLES:
        assert contrast(colors[role], colors["paper"]) >= 3
