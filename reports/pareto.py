"""Quality against latency and against size: the pictures that a student is chosen from."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from reports import hover, wording
from reports.marks import bars, style, ticks
from reports.measurements import (
    Measurements,
    cost,
    final,
    front,
    real,
    retention_interval,
    searched,
)
from reports.palette import LIGHT
from studies.record import StudyRecord

AXES = {"latency_ms": "Latency, ms per image (log)", "size_mb": "Model size, MB (log)"}
STRIP = (0.0, 0.07)  # where trials without a score lie, under the plot proper


def pareto(record: StudyRecord, axis: str) -> go.Figure:
    """Retention against one cost, each kind of trial apart, on log-spaced costs.

    Args:
        record: the study.
        axis: ``latency_ms`` or ``size_mb``.

    Returns:
        A figure whose traces carry their role in ``meta`` and trial numbers in ``customdata``.
        Front members stand at their re-measured figures; trials stopped before scoring lie in a
        strip below.
    """
    stopped = _stopped(record, axis)
    figure = go.Figure(layout=_layout(axis, bool(stopped.x)))
    others = [t for t in record.trials if t.state == "complete" and t.number not in record.front]
    scored = [(t, f) for t in others if (f := searched(record, t))]
    members = front(record)
    figure.add_trace(_trials("dominated", [f for t, f in scored if t.feasible], axis, record))
    figure.add_trace(_trials("infeasible", [f for t, f in scored if not t.feasible], axis, record))
    figure.add_trace(_training_free(record, axis))
    figure.add_trace(_staircase(members, axis))
    figure.add_trace(_trials("front", members, axis, record))
    figure.add_trace(_reference(record, axis))
    figure.add_trace(_pick(record, axis))
    if stopped.x:
        figure.add_trace(stopped)
    _limits(figure, record)
    figure.update_xaxes(ticks([x for trace in figure.data for x in trace.x]))
    return figure


def staircase(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The best quality to be had at each cost or less.

    Args:
        points: pairs of cost and quality; less cost and more quality are better.

    Returns:
        The pairs that raise the quality as the cost grows, by cost.
    """
    best: list[tuple[float, float]] = []
    for spent, quality in sorted(points, key=lambda p: (p[0], -p[1])):
        if not best or quality > best[-1][1]:
            best.append((spent, quality))
    return best


def _trials(role: str, found: list[Measurements], axis: str, record: StudyRecord) -> go.Scatter:
    shown = [f for f in found if f.retention is not None]
    return go.Scatter(
        x=[getattr(f, axis) for f in shown],
        y=[f.retention for f in shown],
        error_y=bars([(f.retention or 0.0, f.retention_interval) for f in shown], role)
        if role == "front"
        else None,
        hovertext=[hover.scored(record.trial(f.number), f) for f in shown],
        customdata=[f.number for f in shown],
        **style(role),
    )


def _training_free(record: StudyRecord, axis: str) -> go.Scatter:
    size = real(record.reference, "size_mb")
    rows = [{**p, "size_mb": size} for p in record.training_free]
    rows = [p for p in rows if real(p, axis) is not None and real(p, "retention") is not None]
    return go.Scatter(
        x=[p[axis] for p in rows],
        y=[p["retention"] for p in rows],
        error_y=bars(
            [(p["retention"], retention_interval(record, p)) for p in rows], "training_free"
        ),
        hovertext=[hover.teacher(p, "Teacher, no training") for p in rows],
        **style("training_free"),
    )


def _reference(record: StudyRecord, axis: str) -> go.Scatter:
    there = real(record.reference, axis) is not None
    return go.Scatter(
        x=[record.reference[axis]] if there else [],
        y=[1.0] if there else [],
        hovertext=[hover.teacher({**record.reference, "retention": 1.0}, "Reference")]
        if there
        else [],
        **style("teacher"),
    )


def _pick(record: StudyRecord, axis: str) -> go.Scatter:
    """A ring around the picked trial; it does not answer to the pointer."""
    found = final(record, record.trial(record.best)) if record.best is not None else None
    there = found is not None and found.retention is not None
    return go.Scatter(
        x=[getattr(found, axis)] if there else [],
        y=[found.retention] if there and found else [],
        mode="markers",
        meta={"role": "front"},
        hoverinfo="skip",
        marker={
            "symbol": "circle-open",
            "size": 21,
            "color": LIGHT["front"],
            "line": {"width": 2},
        },
    )


def _staircase(members: list[Measurements], axis: str) -> go.Scatter:
    steps = staircase(
        [(getattr(f, axis), f.retention) for f in members if f.retention is not None]
    )
    return go.Scatter(
        x=[s[0] for s in steps],
        y=[s[1] for s in steps],
        mode="lines",
        meta={"role": "front"},
        hoverinfo="skip",
        opacity=0.45,
        line={"shape": "hv", "width": 1.5, "color": LIGHT["front"]},
    )


def _stopped(record: StudyRecord, axis: str) -> go.Scatter:
    rows = [t for t in record.trials if t.state in ("pruned", "infeasible")]
    rows = [t for t in rows if cost(t, axis) is not None]
    return go.Scatter(
        x=[cost(t, axis) for t in rows],
        y=[0] * len(rows),
        yaxis="y2",
        hovertext=[hover.stopped(t, axis) for t in rows],
        customdata=[t.number for t in rows],
        **style("stopped"),
    )


def _limits(figure: go.Figure, record: StudyRecord) -> None:
    """A line at the reference's quality and one at the least that was asked for."""
    figure.add_hline(
        y=1.0, line={"width": 1, "dash": "dot", "color": LIGHT["teacher"]}, layer="below"
    )
    least = real(wording.flat(record.config), "limits.min_retention")
    if least:
        figure.add_hline(
            y=least, line={"width": 1, "dash": "dot", "color": LIGHT["infeasible"]}, layer="below"
        )


def _layout(axis: str, strip: bool) -> dict[str, Any]:
    layout: dict[str, Any] = {
        "height": 400,
        "margin": {"l": 58, "r": 14, "t": 12, "b": 52},
        "showlegend": False,
        "hovermode": "closest",
        "template": "none",
        "xaxis": {"type": "log", "title": {"text": AXES[axis]}},
        "yaxis": {
            "title": {"text": "Retention (1 = the reference)"},
            "rangemode": "tozero",
            "domain": [STRIP[1] + 0.05, 1.0] if strip else [0.0, 1.0],
        },
    }
    if strip:
        layout["xaxis"]["anchor"] = "y2"
        layout["yaxis2"] = {
            "domain": list(STRIP),
            "range": [-1, 1],
            "tickvals": [0],
            "ticktext": ["stopped"],
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
        }
    return layout
