"""Quality against steps: the teacher's own samplers and schedules, and the students."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from reports import hover, wording
from reports.marks import bars, style, ticks, upward
from reports.markup import Child, Html, element, join, table
from reports.measurements import real, retention_interval, role, searched
from reports.palette import LIGHT
from studies.record import StudyRecord

Point = dict[str, Any]


def steps_figure(record: StudyRecord) -> go.Figure | None:
    """Retention over steps, a line for each of the teacher's samplers, points for the students.

    Args:
        record: the study.

    Returns:
        The figure, or None where neither training-free points nor numbers of steps are known.
    """
    figure = go.Figure(layout=_layout())
    lines = _lines(record)
    for name, points in lines.items():
        figure.add_trace(_line(record, name, points))
    for kind in ("dominated", "infeasible", "front"):
        figure.add_trace(_students(record, kind))
    drawn = [x for trace in figure.data for x in trace.x]
    if not drawn:
        return None
    figure.update_xaxes(ticks(drawn))
    figure.update_yaxes(range=upward(y for trace in figure.data for y in trace.y))
    return figure


def free_table(record: StudyRecord) -> Html | None:
    """The training-free points by latency; None where there is none."""
    if not record.training_free:
        return None
    points = sorted(record.training_free, key=lambda p: real(p, "latency_ms") or 0.0)
    heads: list[Child] = ["Sampler", "NFE", "Retention", "Gap", "Latency, ms"]
    listing = table(heads, [_row(record, p) for p in points], label="Training-free points")
    return element("details", element("summary", "Training-free points as a table"), listing)


def _lines(record: StudyRecord) -> dict[str, list[Point]]:
    """The training-free points of each solver and schedule, by steps."""
    found: dict[str, list[Point]] = {}
    for point in sorted(record.training_free, key=lambda p: real(p, "nfe") or 0.0):
        if real(point, "nfe") is not None and real(point, "retention") is not None:
            found.setdefault(_sampler(point), []).append(point)
    return found


def _sampler(point: Point) -> str:
    return wording.sampler({k: point[k] for k in ("solver", "schedule") if k in point})


def _line(record: StudyRecord, name: str, points: list[Point]) -> go.Scatter:
    dashes = {"karras": "solid", "logsnr": "dash", "dp": "dot"}
    shown = style("training_free")
    return go.Scatter(
        x=[p["nfe"] for p in points],
        y=[p["retention"] for p in points],
        error_y=bars(
            [(p["retention"], retention_interval(record, p)) for p in points], "training_free"
        ),
        hovertext=[hover.teacher(p, "Teacher, no training") for p in points],
        line={
            "width": 1.2,
            "color": LIGHT["training_free"],
            "dash": dashes.get(str(points[0].get("schedule")), "dashdot"),
        },
        name=name,
        **{**shown, "mode": "lines+markers"},
    )


def _students(record: StudyRecord, kind: str) -> go.Scatter:
    found = [(t, f) for t in record.trials if (f := searched(record, t))]
    shown = [
        (t, f)
        for t, f in found
        if t.state == "complete"
        and f.retention is not None
        and real(t.params, "steps")
        and role(record, t) == kind
    ]
    return go.Scatter(
        x=[t.params["steps"] for t, _ in shown],
        y=[f.retention for _, f in shown],
        hovertext=[hover.scored(t, f) for t, f in shown],
        customdata=[t.number for t, _ in shown],
        **style(kind),
    )


def _row(record: StudyRecord, point: Point) -> Html:
    within = wording.interval(retention_interval(record, point), wording.fraction)
    kept = join(
        [
            wording.fraction(real(point, "retention")),
            element("small", f"[{within}]") if within else None,
        ]
    )
    return element(
        "tr",
        element("th", _sampler(point), scope="row"),
        element("td", wording.whole(real(point, "nfe"))),
        element("td", kept),
        element("td", wording.number(real(point, "gap"))),
        element("td", wording.number(real(point, "latency_ms"))),
    )


def _layout() -> dict[str, Any]:
    return {
        "height": 360,
        "margin": {"l": 58, "r": 14, "t": 12, "b": 52},
        "showlegend": False,
        "hovermode": "closest",
        "template": "none",
        "xaxis": {"type": "log", "title": {"text": "Network evaluations an image (log)"}},
        "yaxis": {"title": {"text": "Retention (1 = the reference)"}},
    }
