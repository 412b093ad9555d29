"""What the pointer shows over a point; Plotly reads a little markup there, so text is escaped."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from reports import measurements, wording
from reports.measurements import Measurements, real
from studies.record import TrialRecord


def scored(trial: TrialRecord, found: Measurements) -> str:
    """The label of a scored trial.

    Args:
        trial: for its settings.
        found: its figures.

    Returns:
        Lines in Plotly's markup.
    """
    kept = f"retention {wording.fraction(found.retention)}"
    within = wording.interval(found.retention_interval, wording.fraction)
    settings = ", ".join(f"{k} {v}" for k, v in trial.params.items())
    return "<br>".join(
        [
            f"<b>Trial {trial.number}</b>" + (", re-measured" if found.remeasured else ""),
            kept + (f" ({within})" if within else "") + f", gap {wording.number(found.gap)}",
            f"{wording.number(found.latency_ms)} ms, {wording.times(found.speedup)} faster",
            f"{wording.number(found.size_mb)} MB, {wording.times(found.compression)} smaller",
            *_lines(html.escape(settings)),
        ]
    )


def teacher(point: Mapping[str, Any], title: str) -> str:
    """The label of the teacher under some sampler.

    Args:
        point: solver, schedule, nfe and what they came to.
        title: the first line.

    Returns:
        Lines in Plotly's markup.
    """
    return "<br>".join(
        [
            f"<b>{title}</b>",
            *_lines(html.escape(wording.sampler(point))),
            f"retention {wording.fraction(real(point, 'retention'))}, "
            f"gap {wording.number(real(point, 'gap'))}",
            f"{wording.number(real(point, 'latency_ms'))} ms, "
            f"{wording.number(real(point, 'size_mb'))} MB",
        ]
    )


def stopped(trial: TrialRecord, axis: str) -> str:
    """The label of a trial that ended before it was scored.

    Args:
        trial: for its cost and reason.
        axis: ``latency_ms`` or ``size_mb``, the cost that is shown.

    Returns:
        Lines in Plotly's markup.
    """
    unit = "ms" if axis == "latency_ms" else "MB"
    why = html.escape(trial.reason or trial.state)
    cost = f"{wording.number(measurements.cost(trial, axis))} {unit}"
    return "<br>".join(
        [f"<b>Trial {trial.number}</b>, stopped before scoring", *_lines(why), cost]
    )


def _lines(text: str, width: int = 46) -> list[str]:
    """Lines short enough for a hover label; long words stay whole."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + len(word) < width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
