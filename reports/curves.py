"""The trade-off of one optimization as figures: what settings cost and what attempts kept."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from reports import hover, wording
from reports.marks import bars, style, ticks
from reports.measurements import bounds, real
from reports.palette import LIGHT
from reports.pareto import AXES

COSTS = {**AXES, "steps": "Steps (log)"}
ROLES = {
    "front": "Student that passed the gate",
    "infeasible": "Student that the gate refused",
    "training_free": "Teacher with fewer steps, no training",
    "teacher": "Reference",
}
"""What the marks are called here; a role gives color and shape, see `palette`."""

ACTIONS = {
    "passed": "kept",
    "doubled": "iterations doubled",
    "inserted": "stage inserted",
    "narrowed": "refused",
    "stopped": "stopped",
}
"""What followed an attempt."""

LEAST_SPAN = 1.4  # ratio of the largest cost to the smallest that fills an axis
PLACES = ("", "2", "3")  # what Plotly calls the axes of each plot
DRAWN = ("training_free", "infeasible", "front", "teacher")  # the last on top


def role(row: Mapping[str, Any]) -> str:
    """How a row is drawn: a student by what the gate found, the others by their kind."""
    if row.get("kind") == "reference":
        return "teacher"
    if row.get("kind") == "training_free":
        return "training_free"
    return "infeasible" if row.get("passed") is False else "front"


def tradeoff_figure(found: Mapping[str, Any]) -> go.Figure:
    """Retention against latency, size and steps, side by side, all costs logarithmic.

    Args:
        found: the trade-off as `optimize` writes it.

    Returns:
        Three plots in a row; every trace has its role in ``meta`` and the rows' ids in
        ``customdata``, the ring around the chosen student aside. A row without the cost of a plot
        or without a retention is not in that plot.
    """
    figure = go.Figure(layout=_layout())
    rows = list(enumerate(found.get("rows") or []))
    for place, axis in zip(PLACES, COSTS, strict=True):
        here = {"xaxis": f"x{place}", "yaxis": f"y{place}"}
        shown = [(i, r) for i, r in rows if (real(r, axis) or 0) > 0 and _kept(r) is not None]
        for name in DRAWN:
            figure.add_trace(
                _points([(i, r) for i, r in shown if role(r) == name], name, axis, here)
            )
        figure.add_trace(_ring([r for _, r in shown if r.get("chosen")], axis, here))
        figure.layout[f"xaxis{place}"].update(
            title={"text": COSTS[axis]}, **_scale([float(r[axis]) for _, r in shown])
        )
        _level(figure, 1.0, "teacher", place)
        if least := real(found, "quality_threshold"):
            _level(figure, least, "infeasible", place)
    return figure


def stages_figure(found: Mapping[str, Any]) -> go.Figure:
    """Retention of every attempt with its interval, from the first at the top to the last.

    Args:
        found: the trade-off.

    Returns:
        One line an attempt, what followed it at the right; passed and refused ones apart.
    """
    tried = list(enumerate(found.get("stages") or []))
    figure = go.Figure(layout=_lines([s for _, s in tried]))
    for name, passed in (("front", True), ("infeasible", False)):
        own = [(i, s) for i, s in tried if bool(s.get("passed")) is passed]
        shown = [(i, s) for i, s in own if _kept(s) is not None]
        figure.add_trace(
            go.Scatter(
                x=[_kept(s) for _, s in shown],
                y=[i for i, _ in shown],
                error_x=bars([(_kept(s) or 0.0, bounds(s, "retention")) for _, s in shown], name),
                hovertext=[hover.attempt(i + 1, s) for i, s in shown],
                customdata=[f"attempt-{i + 1}" for i, _ in shown],
                **style(name),
            )
        )
    for i, stage in tried:
        _annotate(figure, i, action(stage))
    if least := real(found, "quality_threshold"):
        figure.add_vline(x=least, name="infeasible", line=_dots("infeasible"), layer="above")
    return figure


def action(stage: Mapping[str, Any]) -> str:
    """What followed an attempt, in words."""
    return ACTIONS.get(str(stage.get("action")), str(stage.get("action") or wording.ABSENT))


def goal(stage: Mapping[str, Any]) -> str:
    """From where to where an attempt was to lead, such as 50 → 7 steps."""
    if stage.get("kind") == "size":
        sizes = (wording.number(real(stage, n)) for n in ("input_mb", "output_mb"))
        return f"{' → '.join(sizes)} MB"
    steps = (wording.whole(real(stage, n)) for n in ("input_steps", "output_steps"))
    return f"{' → '.join(steps)} steps"


def _scale(costs: list[float]) -> dict[str, Any]:
    """Ticks, and room at both sides where all costs are nearly the same."""
    if not costs or max(costs) >= LEAST_SPAN * min(costs):
        return ticks(costs)
    ends = min(costs) / LEAST_SPAN, max(costs) * LEAST_SPAN
    return {**ticks(list(ends)), "range": [math.log10(end) for end in ends]}


def _points(
    rows: list[tuple[int, Mapping[str, Any]]], name: str, axis: str, here: dict[str, str]
) -> go.Scatter:
    return go.Scatter(
        x=[r[axis] for _, r in rows],
        y=[r["retention"] for _, r in rows],
        error_y=bars([(r["retention"], bounds(r, "retention")) for _, r in rows], name),
        hovertext=[hover.setting(r) for _, r in rows],
        customdata=[f"row-{i}" for i, _ in rows],
        **style(name),
        **here,
    )


def _ring(rows: list[Mapping[str, Any]], axis: str, here: dict[str, str]) -> go.Scatter:
    """A ring around the chosen student; it does not answer to the pointer."""
    return go.Scatter(
        x=[r[axis] for r in rows],
        y=[r["retention"] for r in rows],
        mode="markers",
        meta={"role": "front"},
        hoverinfo="skip",
        marker={
            "symbol": "circle-open",
            "size": 21,
            "color": LIGHT["front"],
            "line": {"width": 2},
        },
        **here,
    )


def _level(figure: go.Figure, height: float, name: str, place: str) -> None:
    figure.add_shape(
        type="line",
        name=name,
        x0=0,
        x1=1,
        y0=height,
        y1=height,
        xref=f"x{place} domain",
        yref=f"y{place}",
        line=_dots(name),
        layer="above",
    )


def _dots(name: str) -> dict[str, Any]:
    return {"width": 1, "dash": "dot", "color": LIGHT[name]}


def _annotate(figure: go.Figure, place: int, text: str) -> None:
    figure.add_annotation(
        x=1,
        xref="x domain",
        xanchor="left",
        xshift=8,
        y=place,
        text=html.escape(text),
        showarrow=False,
    )


def _kept(row: Mapping[str, Any]) -> float | None:
    return real(row, "retention")


def _layout() -> dict[str, Any]:
    layout: dict[str, Any] = {
        "height": 380,
        "margin": {"l": 58, "r": 14, "t": 12, "b": 52},
        "showlegend": False,
        "hovermode": "closest",
        "template": "none",
        "grid": {
            "rows": 1,
            "columns": len(PLACES),
            "pattern": "independent",
            "xgap": 0.14,
            "ygap": 0.26,
        },
    }
    for place in PLACES:
        layout[f"xaxis{place}"] = {"type": "log"}
        layout[f"yaxis{place}"] = {"matches": "y"}
    layout["yaxis"] = {"title": {"text": "Retention (1 = the reference)"}}
    return layout


def _lines(tried: list[Mapping[str, Any]]) -> dict[str, Any]:
    names = [f"{i}. {html.escape(goal(s))}" for i, s in enumerate(tried, 1)]
    return {
        "height": 76 + 32 * max(len(tried), 1),
        "margin": {"l": 58, "r": 130, "t": 8, "b": 52},
        "showlegend": False,
        "hovermode": "closest",
        "template": "none",
        "xaxis": {"title": {"text": "Retention (1 = the reference)"}},
        "yaxis": {
            "range": [len(tried) - 0.4, -0.6],
            "tickvals": list(range(len(tried))),
            "ticktext": names,
            "automargin": True,
            "fixedrange": True,
        },
    }
