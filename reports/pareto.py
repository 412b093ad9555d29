"""Quality against latency and against size: the pictures that a student is chosen from."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from reports import hover, wording
from reports.marks import bars, style, ticks, upward
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

MEMBERS = ("front", "overtaken", "unrepeated")  # the roles of front members
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
    figure = go.Figure(layout=layout(axis, bool(stopped.x)))
    found = by_role(record)
    figure.add_trace(_trials("dominated", found["dominated"], axis, record))
    figure.add_trace(_trials("infeasible", found["infeasible"], axis, record))
    figure.add_trace(_training_free(record, axis))
    figure.add_trace(_staircase(front(record), axis))
    for role in MEMBERS:
        figure.add_trace(_trials(role, found[role], axis, record))
    figure.add_trace(_reference(record, axis))
    figure.add_trace(_pick(record, axis))
    if stopped.x:
        figure.add_trace(stopped)
    _limits(figure, record)
    figure.update_xaxes(ticks([x for trace in figure.data for x in trace.x]))
    points = [y for trace in figure.data if trace.yaxis != "y2" for y in trace.y]
    figure.update_layout(yaxis={"range": upward([1.0, *points])})
    return figure


def layout(axis: str, strip: bool = False) -> dict[str, Any]:
    """The layout of a view of retention over one cost.

    Args:
        axis: ``latency_ms`` or ``size_mb``.
        strip: whether there is one below for trials without a score.

    Returns:
        Plotly's layout.
    """
    found: dict[str, Any] = {
        "height": 400,
        "margin": {"l": 58, "r": 14, "t": 12, "b": 52},
        "showlegend": False,
        "hovermode": "closest",
        "template": "none",
        "xaxis": {"type": "log", "title": {"text": AXES[axis]}},
        "yaxis": {
            "title": {"text": "Retention (1 = the reference)"},
            "domain": [STRIP[1] + 0.05, 1.0] if strip else [0.0, 1.0],
        },
    }
    if strip:
        found["xaxis"]["anchor"] = "y2"
        found["yaxis2"] = {
            "domain": list(STRIP),
            "range": [-1, 1],
            "tickvals": [0],
            "ticktext": ["stopped"],
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
        }
    return found


def by_role(record: StudyRecord) -> dict[str, list[Measurements]]:
    """The scored trials with a retention, as figures tell them apart.

    Args:
        record: the study.

    Returns:
        Under ``dominated`` and ``infeasible`` the search's own figures, under `MEMBERS` the final
        ones: ``overtaken`` are those that repeated, but that another member dominates by now.
    """
    others = [t for t in record.trials if t.state == "complete" and t.number not in record.front]
    scored = [(t, f) for t in others if (f := searched(record, t))]
    members = front(record)
    found = {
        "dominated": [f for t, f in scored if t.feasible],
        "infeasible": [f for t, f in scored if not t.feasible],
        "front": [f for f in members if f.repeated is not False and not f.dominated],
        "overtaken": [f for f in members if f.repeated is not False and f.dominated],
        "unrepeated": [f for f in members if f.repeated is False],
    }
    return {role: [f for f in own if f.retention is not None] for role, own in found.items()}


def free_points(record: StudyRecord, axes: tuple[str, ...]) -> list[dict[str, Any]]:
    """The training-free points that have a retention and these costs; they are of one size.

    Args:
        record: the study.
        axes: ``latency_ms`` or ``size_mb`` or both.

    Returns:
        The points as the study has them, with ``size_mb``.
    """
    size = real(record.reference, "size_mb")
    rows = [{**p, "size_mb": size} for p in record.training_free]
    return [p for p in rows if all(real(p, n) is not None for n in (*axes, "retention"))]


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
    return go.Scatter(
        x=[getattr(f, axis) for f in found],
        y=[f.retention for f in found],
        error_y=bars([(f.retention or 0.0, f.retention_interval) for f in found], role)
        if role in MEMBERS
        else None,
        hovertext=[hover.scored(record.trial(f.number), f) for f in found],
        customdata=[f.number for f in found],
        **style(role),
    )


def _training_free(record: StudyRecord, axis: str) -> go.Scatter:
    rows = free_points(record, (axis,))
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
        meta={"role": "front", "axis": axis},  # by which the page's script moves it
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
