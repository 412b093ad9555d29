"""How well candidates were told before they were built: a figure, a sentence and a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from reports import wording
from reports.marks import style, ticks
from reports.markup import Html, element, table
from reports.measurements import cost
from reports.palette import LIGHT
from reports.predictions import QUANTITIES, Told, errors, told
from studies.record import StudyRecord, TrialRecord

KINDS = ("dominated", "infeasible", "stopped", "front")
PLACES = ("", "2", "3")  # what Plotly calls the axes of each plot
ROOM = 1.15  # beyond the outermost points
READING = (
    "What was told of each candidate before it was built, from operators and from the trials "
    "before it; on the dotted line the prediction was right."
)


def accuracy_figure(record: StudyRecord) -> go.Figure | None:
    """A plot for each quantity, on logarithmic axes: on the line the prediction was right.

    Args:
        record: the study.

    Returns:
        The figure, or None where nothing was told.
    """
    found = told(record)
    if not found:
        return None
    figure = go.Figure(layout=_layout(len(found)))
    for place, (name, own) in zip(PLACES, found.items(), strict=False):
        ends = [f for t in own for f in (t.predicted, t.measured)]
        low, high = min(ends) / ROOM, max(ends) * ROOM
        figure.add_trace(_identity(low, high, place))
        for role in KINDS:
            figure.add_trace(_points(name, [t for t in own if t.role == role], role, place))
        quantity = QUANTITIES[name]
        for axis, what in ((f"xaxis{place}", "measured"), (f"yaxis{place}", "predicted")):
            figure.layout[axis].update(
                type="log",
                title={"text": f"{quantity.title}, {what}, {quantity.unit} (log)"},
                range=[float(np.log10(low)), float(np.log10(high))],
                **ticks(ends),
            )
    return figure


def accuracy_said(record: StudyRecord) -> Html:
    """How far predictions were off, and what was ruled out by them alone.

    Args:
        record: the study.

    Returns:
        A paragraph.
    """
    words = [
        f"{QUANTITIES[name].title} was off by {own['median_error']:.0%} at the median of "
        f"{wording.count(int(own['trials']), 'trial')} and by no more than {own['error_90']:.0%} "
        "in nine of ten."
        for name, own in errors(record).items()
    ]
    alone = [t for t in record.trials if _ruled_out(t)]
    if alone:
        were = "were" if len(alone) > 1 else "was"
        words.append(
            f"{wording.count(len(alone), 'candidate')} {were} not built at all, predicted to be "
            "over a limit by more than the error."
        )
    return element("p", " ".join([READING, *words]), class_="muted")


def accuracy_table(record: StudyRecord) -> Html:
    """The same figures as a table that opens on demand."""
    found = told(record)
    by_trial: dict[int, dict[str, Told]] = {}
    for name, own in found.items():
        for one in own:
            by_trial.setdefault(one.trial.number, {})[name] = one
    rows = [
        element(
            "tr",
            element("th", element("a", str(number), href=f"#trial-{number}"), scope="row"),
            *(_cell(own.get(name)) for name in found),
        )
        for number, own in sorted(by_trial.items())
    ]
    heads = ["Trial", *(f"{QUANTITIES[n].title}, {QUANTITIES[n].unit}" for n in found)]
    listing = table(heads, rows, label="Predictions")
    return element("details", element("summary", "Predictions as a table"), listing)


def _cell(one: Told | None) -> Html:
    if one is None:
        return element("td", wording.ABSENT)
    measured = f"{wording.number(one.measured)} measured, off by {one.error:+.0%}"
    return element("td", wording.number(one.predicted), element("small", measured))


def _ruled_out(trial: TrialRecord) -> bool:
    names = ("latency_ms", "peak_memory_mb")
    known = any(f"predicted_{name}" in trial.attributes for name in names)
    return trial.state == "infeasible" and known and cost(trial, "latency_ms") is None


def _identity(low: float, high: float, place: str) -> go.Scatter:
    return go.Scatter(
        x=[low, high],
        y=[low, high],
        xaxis=f"x{place}",
        yaxis=f"y{place}",
        mode="lines",
        meta={"role": "muted"},
        hoverinfo="skip",
        line={"width": 1, "dash": "dot", "color": LIGHT["muted"]},
    )


def _points(name: str, own: list[Told], role: str, place: str) -> go.Scatter:
    unit = QUANTITIES[name].unit
    return go.Scatter(
        x=[t.measured for t in own],
        y=[t.predicted for t in own],
        xaxis=f"x{place}",
        yaxis=f"y{place}",
        hovertemplate="<b>Trial %{customdata}</b><br>%{y:.3~g} "
        f"{unit} predicted<br>%{{x:.3~g}} {unit} measured<extra></extra>",
        customdata=[t.trial.number for t in own],
        **style(role),
    )


def _layout(count: int) -> dict[str, Any]:
    layout: dict[str, Any] = {
        "height": 400,
        "margin": {"l": 58, "r": 14, "t": 12, "b": 52},
        "showlegend": False,
        "hovermode": "closest",
        "template": "none",
    }
    if count > 1:
        layout["grid"] = {"rows": 1, "columns": count, "pattern": "independent", "xgap": 0.2}
    return layout | {f"{a}axis{p}": {} for p in PLACES[:count] for a in "xy"}
