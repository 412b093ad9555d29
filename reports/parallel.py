"""Every scored trial as a line through its choices and its scores."""

from __future__ import annotations

import html
import math
from typing import Any

import plotly.graph_objects as go

from reports import wording
from reports.effects import choices
from reports.marks import broken
from reports.measurements import Measurements, role, searched
from reports.palette import LIGHT
from studies.record import StudyRecord, TrialRecord

SCORES = {"latency_ms": "Latency, ms", "size_mb": "Size, MB", "retention": "Retention"}
LINES = {"dominated": (0.9, 0.35), "infeasible": (0.9, 0.35), "front": (1.8, 0.9)}
SPREAD = 0.07  # of an axis: lines through one choice lie so far apart at most
TICKS = 4  # on an axis of scores


def parallel(record: StudyRecord) -> go.Figure | None:
    """Parallel coordinates: one vertical axis a dimension, then latency, size and retention.

    The lines are ordinary ones, so that they print, follow the page's colors and need no WebGL.

    Args:
        record: the study.

    Returns:
        The figure, costs on logarithmic axes, trials by role; None where fewer than two trials
        were scored.
    """
    found = [(t, f) for t in record.trials if (f := searched(record, t)) and f.retention]
    found = [(t, f) for t, f in found if t.state == "complete"]
    levels = choices([t for t, _ in found])
    if len(found) < 2:
        return None
    ranges = {name: _range(name, [f for _, f in found]) for name in SCORES}
    figure = go.Figure(layout=_layout(levels))
    for kind, (width, opacity) in LINES.items():
        ours = [(t, f) for t, f in found if role(record, t) == kind]
        figure.add_trace(_lines(record, ours, kind, levels, ranges, width, opacity))
    for place, (name, values) in enumerate(levels.items()):
        for i, choice in enumerate(values):
            _label(figure, place, _height(i, len(values)), choice)
        _title(figure, place, name.replace("_", " "))
    for place, (name, title) in enumerate(SCORES.items(), start=len(levels)):
        low, high = ranges[name]
        for i in range(TICKS):
            share = i / (TICKS - 1)
            value = low + share * (high - low)
            shown = value if name == "retention" else math.exp(value)
            _label(figure, place, share, wording.number(shown, 2))
        _title(figure, place, title)
    return figure


def _lines(
    record: StudyRecord,
    found: list[tuple[TrialRecord, Measurements]],
    role: str,
    levels: dict[str, list[str]],
    ranges: dict[str, tuple[float, float]],
    width: float,
    opacity: float,
) -> go.Scatter:
    heights = ((t.number, _heights(t, scores, levels, ranges)) for t, scores in found)
    return go.Scatter(
        **broken((number, list(enumerate(own))) for number, own in heights),
        mode="lines",
        meta={"role": role},
        hovertemplate="trial %{customdata}<extra></extra>",
        opacity=opacity,
        line={"width": width, "color": LIGHT[role]},
    )


def _heights(
    trial: TrialRecord,
    scores: Measurements,
    levels: dict[str, list[str]],
    ranges: dict[str, tuple[float, float]],
) -> list[float]:
    """Where the trial's line crosses each axis; choices are spread a little by trial number."""
    shift = ((trial.number * 0.618034) % 1 - 0.5) * SPREAD
    found = [
        _height(values.index(str(trial.params[name])), len(values)) + shift
        for name, values in levels.items()
    ]
    for name, (low, high) in ranges.items():
        value = _scaled(name, scores)
        found.append((value - low) / (high - low) if high > low else 0.5)
    return [round(h, 4) for h in found]


def _height(place: int, count: int) -> float:
    return (place + 0.5) / count


def _scaled(name: str, scores: Measurements) -> float:
    value = float(getattr(scores, name))
    return value if name == "retention" else math.log(value)


def _range(name: str, found: list[Measurements]) -> tuple[float, float]:
    values = [_scaled(name, f) for f in found]
    return min(values), max(values)


def _label(figure: go.Figure, x: float, y: float, text: str) -> None:
    figure.add_annotation(
        name="label",
        x=x,
        y=y,
        text=html.escape(text),
        showarrow=False,
        xanchor="left",
        xshift=4,
        font={"size": 11},
    )


def _title(figure: go.Figure, x: float, text: str) -> None:
    figure.add_annotation(
        name="title",
        x=x,
        y=1.09,
        text=f"<b>{html.escape(text)}</b>",
        showarrow=False,
        font={"size": 11},
    )
    figure.add_shape(
        type="line", name="rule", x0=x, x1=x, y0=0, y1=1, line={"width": 1}, layer="below"
    )


def _layout(levels: dict[str, list[str]]) -> dict[str, Any]:
    last = len(levels) + len(SCORES) - 1
    return {
        "height": 420,
        "margin": {"l": 28, "r": 28, "t": 8, "b": 8},
        "showlegend": False,
        "hovermode": "closest",
        "template": "none",
        "xaxis": {"range": [-0.3, last + 0.6], "visible": False, "fixedrange": True},
        "yaxis": {"range": [-0.05, 1.16], "visible": False, "fixedrange": True},
    }
