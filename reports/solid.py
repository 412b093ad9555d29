"""Retention over latency and size at once: the Pareto views in three dimensions."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go

from reports import charts, hover
from reports.charts import Chart
from reports.marks import SIZES, bars, style, ticks, upward
from reports.markup import Html, element
from reports.measurements import Measurements, pick, real, retention_interval
from reports.palette import LIGHT, SYMBOLS
from reports.pareto import AXES, MEMBERS, by_role, free_points
from studies.record import StudyRecord

COSTS = ("latency_ms", "size_mb")
MARKS = SYMBOLS | {
    "unrepeated": "cross",
    "overtaken": "square",
    "infeasible": "square-open",
    "teacher": "diamond",
}
"""Plotly has fewer marks in space, and takes its x from a font that not everybody has."""

EYE = {"x": -1.1, "y": -0.95, "z": 0.5}  # low costs in front, the good corner to the left and up
SCALE = 0.6  # of marks in the plane: Plotly draws those in space larger
READING = (
    "The trials of both views above, with latency, size and retention at once; trials without a "
    "score are left out. Good students are at the upper corner in front. A thin line joins each "
    "front member to its place on the floor. Drag to turn the view, or use the arrow keys."
)
WITHOUT = (
    "This view needs WebGL, which this browser lacks or has turned off. The two views above and "
    "the tables hold the same figures."
)


def solid_charts(record: StudyRecord) -> list[Chart]:
    """The view in 3-D; none for a study without a scored trial.

    Args:
        record: the study.

    Returns:
        One chart or none.
    """
    if not any(by_role(record).values()):
        return []
    title = "Retention against latency and size"
    return [charts.chart("solid", title, solid(record), symbols=MARKS)]


def solid_view(shown: list[Chart]) -> Html | None:
    """The view, drawn when it is opened: setting WebGL up takes a while.

    Args:
        shown: of `solid_charts`.

    Returns:
        A ``details`` element, or None where there is nothing to show.
    """
    if not shown:
        return None
    return element(
        "details",
        element("summary", "All three at once, in 3-D"),
        element("p", READING, class_="muted"),
        charts.legend(shown),
        *map(charts.place, shown),
        element("p", WITHOUT, class_="without", hidden=True),
        class_="solid",
    )


def solid(record: StudyRecord) -> go.Figure:
    """Retention over latency and size, each kind of trial apart, costs on logarithmic axes.

    Args:
        record: the study.

    Returns:
        A figure whose traces carry their role in ``meta`` and trial numbers in ``customdata``.
        The ring around the pick and the outline of each limit, empty here, say in ``meta`` which
        ``axes`` and which ``limit`` they show, for the page's script.
    """
    found = by_role(record)
    figure = go.Figure()
    for role in ("dominated", "infeasible"):
        figure.add_trace(_trials(role, found[role], record))
    figure.add_trace(_training_free(record))
    figure.add_trace(_stems([f for role in MEMBERS for f in found[role]]))
    for role in MEMBERS:
        figure.add_trace(_trials(role, found[role], record))
    figure.add_trace(_reference(record))
    figure.add_trace(_pick(record))
    figure.update_layout(_layout(figure))
    for axis in COSTS:
        figure.add_trace(_limit(axis))
    return figure


def _trials(role: str, found: list[Measurements], record: StudyRecord) -> go.Scatter3d:
    return go.Scatter3d(
        x=[f.latency_ms for f in found],
        y=[f.size_mb for f in found],
        z=[f.retention for f in found],
        error_z=bars([(f.retention or 0.0, f.retention_interval) for f in found], role)
        if role in MEMBERS
        else None,
        hovertext=[hover.scored(record.trial(f.number), f) for f in found],
        customdata=[f.number for f in found],
        **_style(role),
    )


def _training_free(record: StudyRecord) -> go.Scatter3d:
    rows, role = free_points(record, COSTS), "training_free"
    return go.Scatter3d(
        x=[p["latency_ms"] for p in rows],
        y=[p["size_mb"] for p in rows],
        z=[p["retention"] for p in rows],
        error_z=bars([(p["retention"], retention_interval(record, p)) for p in rows], role),
        hovertext=[hover.teacher(p, "Teacher, no training") for p in rows],
        **_style(role),
    )


def _reference(record: StudyRecord) -> go.Scatter3d:
    costs = [real(record.reference, name) for name in COSTS]
    there = None not in costs
    return go.Scatter3d(
        x=costs[:1] if there else [],
        y=costs[1:] if there else [],
        z=[1.0] if there else [],
        hovertext=[hover.teacher({**record.reference, "retention": 1.0}, "Reference")],
        **_style("teacher"),
    )


def _stems(members: list[Measurements]) -> go.Scatter3d:
    """A line from each member down to the floor, where its costs can be read."""
    ends = [(f.latency_ms, f.size_mb, end) for f in members for end in (f.retention, 0.0, None)]
    return go.Scatter3d(
        x=[e[0] for e in ends],
        y=[e[1] for e in ends],
        z=[e[2] for e in ends],
        mode="lines",
        meta={"role": "front"},
        hoverinfo="skip",
        opacity=0.45,
        line={"width": 1.5, "color": LIGHT["front"]},
    )


def _pick(record: StudyRecord) -> go.Scatter3d:
    """A ring around the picked trial; it does not answer to the pointer."""
    found = pick(record)
    there = found is not None and found.retention is not None
    return go.Scatter3d(
        x=[found.latency_ms] if there and found else [],
        y=[found.size_mb] if there and found else [],
        z=[found.retention] if there and found else [],
        mode="markers",
        meta={"role": "front", "axes": [*COSTS, "retention"]},
        hoverinfo="skip",
        marker={"symbol": "circle-open", "size": SCALE * 20, "color": LIGHT["front"]},
    )


def _limit(axis: str) -> go.Scatter3d:
    return go.Scatter3d(
        x=[],
        y=[],
        z=[],
        mode="lines",
        meta={"role": "infeasible", "limit": axis},
        hoverinfo="skip",
        line={"width": 3, "color": LIGHT["infeasible"]},
    )


def _style(role: str) -> dict[str, Any]:
    """As in the plane; a line around a mark would have another color here."""
    marker = {"symbol": MARKS[role], "size": SCALE * SIZES[role], "color": LIGHT[role]}
    return {**style(role), "marker": marker}


def _layout(figure: go.Figure) -> dict[str, Any]:
    x, y, z = ([v for t in figure.data for v in t[name] if v is not None] for name in "xyz")
    return {
        "height": 560,
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "showlegend": False,
        "template": "none",
        "scene": {
            "xaxis": _costs("latency_ms", x),
            "yaxis": _costs("size_mb", y),
            "zaxis": {
                "title": {"text": "Retention (1 = the reference)"},
                "range": upward([1.0, *z]),
            },
            "aspectmode": "manual",
            "aspectratio": {"x": 1.5, "y": 1.25, "z": 1.0},
            "camera": {"eye": EYE, "projection": {"type": "orthographic"}},
        },
    }


def _costs(axis: str, values: list[float]) -> dict[str, Any]:
    """A logarithmic axis with round ticks and some room at both ends."""
    low, high = math.log10(min(values)), math.log10(max(values))
    room = max(0.06 * (high - low), 0.12)  # enough for one tick
    span = [low - room, high + room]
    marked = ticks(values)
    inside = [
        (value, text)
        for value, text in zip(marked["tickvals"], marked["ticktext"], strict=True)
        if span[0] <= math.log10(value) <= span[1]
    ]
    return {
        "type": "log",
        "title": {"text": AXES[axis]},
        "range": span,
        "tickvals": [value for value, _ in inside],
        "ticktext": [text for _, text in inside],
    }
