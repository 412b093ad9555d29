from __future__ import annotations

import json
import math
import re
from typing import Any

import plotly.graph_objects as go
import pytest

from reports.curves import (
    ACTIONS,
    COSTS,
    PLACES,
    ROLES,
    goal,
    role,
    stages_figure,
    tradeoff_figure,
)
from reports.palette import SYMBOLS
from reports.wording import ABSENT


def points(figure: go.Figure, place: str) -> dict[str, tuple[Any, ...]]:
    """Role, cost, retention and both ends of the bar by the id of the row, in one of the plots."""
    return {
        name: (trace.meta["role"], x, y, y - down, y + up)
        for trace in figure.data
        if trace.customdata and trace.xaxis == f"x{place}" and trace.yaxis == f"y{place}"
        for name, x, y, up, down in zip(
            trace.customdata,
            trace.x,
            trace.y,
            trace.error_y.array,
            trace.error_y.arrayminus,
            strict=True,
        )
    }


@pytest.mark.parametrize(("place", "axis"), [*zip(PLACES, COSTS, strict=True)])
def test_every_row_stands_once_in_every_plot(
    tradeoff: dict[str, Any], place: str, axis: str
) -> None:
    found = points(tradeoff_figure(tradeoff), place)
    for i, row in enumerate(tradeoff["rows"]):
        ends = row["retention_low"], row["retention_high"]
        assert found.pop(f"row-{i}") == (
            role(row),
            row[axis],
            row["retention"],
            *map(pytest.approx, ends),
        )
    assert found == {}


def test_chosen_row_alone_has_a_ring(tradeoff: dict[str, Any]) -> None:
    chosen = tradeoff["rows"][-1]
    rings = [t for t in tradeoff_figure(tradeoff).data if t.customdata is None]
    assert [t.x for t in rings] == [(chosen[axis],) for axis in COSTS]
    assert all(t.y == (chosen["retention"],) for t in rings)


def test_lines_stand_at_the_reference_and_at_the_threshold(tradeoff: dict[str, Any]) -> None:
    shapes = tradeoff_figure(tradeoff).layout.shapes
    assert [(s.y0, s.y1) for s in shapes] == [(1.0, 1.0), (0.95, 0.95)] * 3
    assert [s.x0 for s in stages_figure(tradeoff).layout.shapes] == [0.95]


def test_row_is_left_out_where_its_figure_is_missing(tradeoff: dict[str, Any]) -> None:
    tradeoff["rows"][1]["retention"] = math.nan
    tradeoff["rows"][2]["latency_ms"] = None
    tradeoff["rows"][3]["retention_high"] = math.inf
    figure = tradeoff_figure(tradeoff)
    latency, size = points(figure, ""), points(figure, "2")
    assert "row-1" not in {**latency, **size}
    assert "row-2" not in latency and "row-2" in size
    assert latency["row-3"][2:] == (0.93, 0.93, 0.93)
    json.loads(figure.to_json(), parse_constant=pytest.fail)


def test_axis_has_room_when_all_costs_are_equal(tradeoff: dict[str, Any]) -> None:
    for row in tradeoff["rows"]:
        row["size_mb"] = 2.61
    low, high = tradeoff_figure(tradeoff).layout.xaxis2.range
    assert low + high == pytest.approx(2 * math.log10(2.61)) and low < high


def test_stages_stand_in_order_with_interval_and_action(tradeoff: dict[str, Any]) -> None:
    figure, stages = stages_figure(tradeoff), tradeoff["stages"]
    found = {
        y: (t.meta["role"], x, x - down, x + up)
        for t in figure.data
        for x, y, up, down in zip(t.x, t.y, t.error_x.array, t.error_x.arrayminus, strict=True)
    }
    for i, stage in enumerate(stages):
        name = "front" if stage["passed"] else "infeasible"
        ends = stage["retention_low"], stage["retention_high"]
        assert found[i] == (name, stage["retention"], *map(pytest.approx, ends))
    assert [a.text for a in figure.layout.annotations] == [ACTIONS[s["action"]] for s in stages]
    labels = "1. 50 → 7 steps", "2. 7 → 4 steps", "3. 7 → 4 steps", "4. 2.61 → 0.652 MB"
    assert figure.layout.yaxis.ticktext == labels


def test_figures_are_drawn_when_nothing_is_known() -> None:
    assert all(not t.x for t in tradeoff_figure({}).data)
    assert all(not t.x for t in stages_figure({"stages": [{}]}).data)
    assert goal({}) == f"{ABSENT} → {ABSENT} steps"


def test_every_role_has_its_mark() -> None:
    assert set(ROLES) <= set(SYMBOLS)


def test_labels_are_escaped(tradeoff: dict[str, Any]) -> None:
    bad = "<a href='x'>&"
    tradeoff["rows"] = [row | {"label": bad, "solver": bad} for row in tradeoff["rows"]]
    tradeoff["stages"] = [
        s | {"note": bad, "method": bad, "action": bad, "stage": bad} for s in tradeoff["stages"]
    ]
    traces = (*tradeoff_figure(tradeoff).data, *stages_figure(tradeoff).data)
    said = [text for trace in traces for text in trace.hovertext or ()]
    said += [a.text for a in stages_figure(tradeoff).layout.annotations]
    assert said and all(bad not in text for text in said)
    assert not any(re.search(r"<(?!/?b>|br>)", text) for text in said)
