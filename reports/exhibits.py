"""Our Pareto figures as optuna-dashboard keeps them: with title and legend, and not too long."""

from __future__ import annotations

import dataclasses
from typing import Any

import plotly.graph_objects as go

from reports import wording
from reports.palette import ROLES
from reports.pareto import pareto
from studies.record import StudyRecord

MOST = 300  # trials shown beside the front: all that reads the study reads its figures, too
TITLES = {
    "latency_ms": "Retention against latency",
    "size_mb": "Retention against model size",
}
NAMES = {"latency_ms": "ado-latency", "size_mb": "ado-size"}


def exhibits(record: StudyRecord) -> dict[str, go.Figure]:
    """The figures of a study, by the name a dashboard keeps them under.

    Args:
        record: the study.

    Returns:
        Retention against latency and against size; nothing for a study without trials.
    """
    shown, left = thinned(record)
    return {NAMES[axis]: exhibit(shown, axis, left) for axis in NAMES} if shown.trials else {}


def exhibit(record: StudyRecord, axis: str, left: int = 0) -> go.Figure:
    """One Pareto figure that stands alone.

    Args:
        record: the study.
        axis: ``latency_ms`` or ``size_mb``.
        left: how many trials beside the front were left out.

    Returns:
        The figure, with a title and a legend; as wide and high as its place.
    """
    figure = pareto(record, axis)
    for trace in figure.data:
        trace.name = "The pick" if "axis" in trace.meta else ROLES[trace.meta["role"]]
        trace.showlegend = bool(trace.x) and trace.mode == "markers"
    said = "The reference has 1; up and to the left is better; bars are 95% intervals"
    if left:
        said += f"; without {wording.count(left, 'trial')} beside the front"
    title = f"{TITLES[axis]}<br><sub>{said}</sub>"
    figure.update_layout(height=None, autosize=True, showlegend=True, **_frame(title))
    return figure


def thinned(record: StudyRecord, most: int = MOST) -> tuple[StudyRecord, int]:
    """A study with its front and an even choice of its other trials.

    Args:
        record: the study.
        most: how many others.

    Returns:
        The study, and how many trials were left out.
    """
    others = [t for t in record.trials if t.number not in record.front and t.state != "running"]
    kept = {others[i * len(others) // most].number for i in range(most)} if others else set()
    kept |= set(record.front)
    trials = tuple(t for t in record.trials if t.number in kept)
    return dataclasses.replace(record, trials=trials), max(0, len(others) - most)


def _frame(title: str) -> dict[str, Any]:
    return {
        "title": {"text": title, "x": 0.02, "xanchor": "left", "font": {"size": 16}},
        "margin": {"l": 58, "r": 14, "t": 66, "b": 100},
        "yaxis": {"title": {"text": "Retention"}},  # a longer one would run into the title
        "legend": {"orientation": "h", "y": -0.32, "yanchor": "top", "font": {"size": 11}},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
    }
