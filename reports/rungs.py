"""How trials stood while they trained: a line each, ending where a trial was stopped."""

from __future__ import annotations

import json
from typing import Any

import plotly.graph_objects as go

from reports import wording
from reports.marks import broken
from reports.measurements import real, role
from reports.palette import LIGHT
from studies.record import StudyRecord, TrialRecord

ATTRIBUTE = "rungs"  # JSON text: for each rung its iteration, gap and retention
LINES = {
    "dominated": (1.2, 0.6),
    "infeasible": (1.2, 0.6),
    "stopped": (1.4, 0.9),
    "front": (2.0, 0.9),
}


def reached(trial: TrialRecord) -> list[tuple[float, float]]:
    """How a trial stood at each rung.

    Args:
        trial: any; what it holds may be older than rungs, or damaged.

    Returns:
        Iterations and retention, rising by iterations.
    """
    try:
        found = json.loads(str(trial.attributes.get(ATTRIBUTE, "[]")))
    except ValueError:
        return []
    tables = [r for r in found if isinstance(r, dict)] if isinstance(found, list) else []
    pairs = [(real(r, "iteration"), real(r, "retention")) for r in tables]
    return sorted((i, kept) for i, kept in pairs if i is not None and kept is not None)


def rung_figure(record: StudyRecord) -> go.Figure | None:
    """Retention over iterations, trials that were stopped, that went on and the front apart.

    Args:
        record: the study.

    Returns:
        The figure, or None where no trial was looked at while it trained.
    """
    total = real(wording.flat(record.config), "distillation.iterations")
    curves = {t.number: _curve(t, total) for t in record.trials if reached(t)}
    if not curves:
        return None
    figure = go.Figure(layout=_layout())
    for kind, (width, opacity) in LINES.items():
        ours = [t for t in record.trials if t.number in curves and role(record, t) == kind]
        figure.add_trace(_trace(ours, curves, kind, width, opacity))
    return figure


def _curve(trial: TrialRecord, total: float | None) -> list[tuple[float, float]]:
    """The rungs, and what it came to in the end."""
    found, final = reached(trial), real(trial.attributes, "retention")
    if trial.state == "complete" and total is not None and final is not None:
        found.append((total, final))
    return found


def _trace(
    trials: list[TrialRecord],
    curves: dict[int, list[tuple[float, float]]],
    role: str,
    width: float,
    opacity: float,
) -> go.Scatter:
    return go.Scatter(
        **broken((trial.number, curves[trial.number]) for trial in trials),
        mode="lines+markers",
        meta={"role": role},
        hovertemplate="<b>Trial %{customdata}</b><br>after %{x} iterations retention %{y:.2f}"
        "<extra></extra>",
        opacity=opacity,
        line={
            "width": width,
            "color": LIGHT[role],
            "dash": "dot" if role == "stopped" else "solid",
        },
        marker={"size": 5, "color": LIGHT[role], "symbol": "x" if role == "stopped" else "circle"},
    )


def _layout() -> dict[str, Any]:
    return {
        "height": 340,
        "margin": {"l": 58, "r": 14, "t": 12, "b": 52},
        "showlegend": False,
        "hovermode": "closest",
        "template": "none",
        "xaxis": {"title": {"text": "Iterations of training"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "Retention (1 = the reference)"}, "rangemode": "tozero"},
    }
