"""How the front grew over the trials and over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from reports.chance import expected
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
    scored, points = _scored(record)
    volumes = pareto.history(points, np.array(record.reference_point, dtype=np.float64))
    return [(t.number, float(volume)) for t, volume in zip(scored, volumes, strict=True)]


def random_order(record: StudyRecord) -> list[float]:
    """What `history` would be on average, had the same trials come in random order.

    Args:
        record: the study.

    Returns:
        One hypervolume a scored trial. A search that learned is above it: its good trials came
        early. It is no search at random, which would have drawn other trials.
    """
    _, points = _scored(record)
    return [float(v) for v in expected(points, np.array(record.reference_point))]


def over_time(record: StudyRecord) -> list[tuple[float, float]]:
    """Hypervolume after each scored trial, in the order in which they ended.

    Args:
        record: the study.

    Returns:
        Pairs of minutes since the first trial started, pauses between runs included, and
        hypervolume; nothing where a scored trial has no time.
    """
    scored, points = _scored(record)
    starts = {t.number: _time(t) for t in record.trials if t.started}
    if not scored or any(t.number not in starts for t in scored):
        return []
    first = min(starts.values())
    ends = np.array([(starts[t.number] + t.seconds - first) / 60 for t in scored])
    order = np.argsort(ends, kind="stable")
    volumes = pareto.history(points[order], np.array(record.reference_point, dtype=np.float64))
    return [(float(m), float(v)) for m, v in zip(ends[order], volumes, strict=True)]


def growth(record: StudyRecord) -> go.Figure:
    """Hypervolume over trials, and over minutes where times are known, as stepped lines.

    Args:
        record: the study.

    Returns:
        The figure; the study's own trace has the role ``front``, that of random order
        ``dominated`` in ``meta``.
    """
    steps, timed = history(record), over_time(record)
    figure = go.Figure(layout=_layout(bool(timed)))
    order = list(range(1, len(steps) + 1))
    figure.add_trace(_line(order, random_order(record), "dominated", "%{x} trials"))
    figure.add_trace(_line(order, [v for _, v in steps], "front", "%{x} trials"))
    if timed:
        after = _line([m for m, _ in timed], [v for _, v in timed], "front", "%{x:.1f} min")
        figure.add_trace(after.update(xaxis="x2", yaxis="y2"))
    return figure


def _line(x: Sequence[float], volumes: Sequence[float], role: str, after: str) -> go.Scatter:
    return go.Scatter(
        x=list(x),
        y=list(volumes),
        mode="lines",
        meta={"role": role},
        line={
            "shape": "hv",
            "width": 2,
            "color": LIGHT[role],
            "dash": "solid" if role == "front" else "dash",
        },
        hovertemplate=f"after {after}<br>hypervolume %{{y:.3f}}<extra></extra>",
    )


def _layout(timed: bool) -> dict[str, Any]:
    layout: dict[str, Any] = {
        "height": 280,
        "margin": {"l": 58, "r": 14, "t": 12, "b": 52},
        "showlegend": False,
        "template": "none",
        "xaxis": {"title": {"text": "Scored trials"}, "rangemode": "nonnegative"},
        "yaxis": {"title": {"text": "Hypervolume (log units³)"}, "rangemode": "tozero"},
    }
    if timed:
        layout["grid"] = {"rows": 1, "columns": 2, "pattern": "independent", "xgap": 0.12}
        layout["xaxis2"] = {"title": {"text": "Minutes"}, "rangemode": "tozero"}
        layout["yaxis2"] = {"rangemode": "tozero"}
    return layout


def _scored(record: StudyRecord) -> tuple[list[TrialRecord], NDArray[np.float64]]:
    """The scored trials by number, and what was minimized."""
    floor = real(record.reference, "floor") or 0.0
    scored = [t for t in record.trials if t.state == "complete" and has_scores(t)]
    scored.sort(key=lambda t: t.number)
    points = np.array([_logs(t, floor) for t in scored], dtype=np.float64).reshape(-1, 3)
    return scored, points


def _time(trial: TrialRecord) -> float:
    return datetime.fromisoformat(trial.started).timestamp()


def _logs(trial: TrialRecord, floor: float) -> tuple[float, float, float]:
    """What was minimized; beyond every reference point where a limit is missed."""
    if not trial.feasible:
        return math.inf, math.inf, math.inf
    return axes(trial.values, max(floor, SMALLEST_FLOOR))
