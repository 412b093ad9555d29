"""How the front grew over the trials."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go

from reports.measurements import has_scores, real
from reports.palette import LIGHT
from studies import pareto
from studies.axes import axes
from studies.record import StudyRecord, TrialRecord

SMALLEST_FLOOR = 1e-9  # of a study without one; a gap of 0 has a logarithm too


def history(record: StudyRecord) -> list[tuple[int, float]]:
    """Hypervolume after each scored trial, from the search's own scores.

    Args:
        record: the study.

    Returns:
        Pairs of trial number and hypervolume under the study's reference point, in the three
        natural logarithms that were optimized; a trial over a limit adds nothing.
    """
    floor = real(record.reference, "floor") or 0.0
    scored = [t for t in record.trials if t.state == "complete" and has_scores(t)]
    scored.sort(key=lambda t: t.number)
    points = np.array([_logs(t, floor) for t in scored], dtype=np.float64).reshape(-1, 3)
    volumes = pareto.history(points, np.array(record.reference_point, dtype=np.float64))
    return [(t.number, float(volume)) for t, volume in zip(scored, volumes, strict=True)]


def growth(record: StudyRecord) -> go.Figure:
    """Hypervolume over trials as a stepped line.

    Args:
        record: the study.

    Returns:
        The figure, its trace with the role ``front`` in ``meta``.
    """
    steps = history(record)
    figure = go.Figure(
        layout={
            "height": 260,
            "margin": {"l": 58, "r": 14, "t": 12, "b": 52},
            "showlegend": False,
            "template": "none",
            "xaxis": {"title": {"text": "Trial"}, "rangemode": "nonnegative"},
            "yaxis": {"title": {"text": "Hypervolume (log units³)"}, "rangemode": "tozero"},
        }
    )
    figure.add_trace(
        go.Scatter(
            x=[n for n, _ in steps],
            y=[v for _, v in steps],
            mode="lines+markers",
            meta={"role": "front"},
            line={"shape": "hv", "width": 2, "color": LIGHT["front"]},
            marker={"size": 5, "color": LIGHT["front"]},
            customdata=[n for n, _ in steps],
            hovertemplate="after trial %{x}<br>hypervolume %{y:.3f}<extra></extra>",
        )
    )
    return figure


def _logs(trial: TrialRecord, floor: float) -> tuple[float, float, float]:
    """What was minimized; beyond every reference point where a limit is missed."""
    if not trial.feasible:
        return math.inf, math.inf, math.inf
    return axes(trial.values, max(floor, SMALLEST_FLOOR))
