"""What the pointer shows over a point; Plotly reads a little markup there, so text is escaped."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from reports import measurements, wording
from reports.measurements import Measurements, real, spread
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
            f"<b>Trial {trial.number}</b>"
            + (", re-measured" if found.remeasured else "")
            + (", dominated by now" if found.dominated else ""),
            kept + (f" ({within})" if within else "") + f", gap {wording.number(found.gap)}",
            f"{wording.number(found.latency_ms)} ms, {wording.faster(found.speedup)}",
            f"{wording.number(found.size_mb)} MB, {wording.smaller(found.compression)}",
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


def setting(row: Mapping[str, Any]) -> str:
    """The label of one setting of a trade-off.

    Args:
        row: its figures.

    Returns:
        Lines in Plotly's markup.
    """
    name = _lines(html.escape(str(row.get("label") or "Unnamed")))
    return "<br>".join(
        [
            "<br>".join(f"<b>{line}</b>" for line in name) + _standing(row),
            *_lines(html.escape(wording.setting(row))),
            f"retention {_with_interval(row, 'retention', wording.fraction)}",
            f"gap {_with_interval(row, 'gap', wording.number)}",
            f"{wording.number(real(row, 'latency_ms'))} ms per image, "
            f"{wording.number(real(row, 'size_mb'))} MB",
        ]
    )


def attempt(number: int, stage: Mapping[str, Any]) -> str:
    """The label of one attempt at a stage.

    Args:
        number: of the attempt, from 1.
        stage: its figures.

    Returns:
        Lines in Plotly's markup.
    """
    seconds, rounds = real(stage, "training_s"), stage.get("iterations")
    trained = [str(stage.get("method") or "")]
    trained.append(wording.count(rounds, "iteration") if isinstance(rounds, int) else "")
    trained.append(wording.duration(seconds) if seconds is not None else "")
    place = html.escape(str(stage.get("stage", wording.ABSENT)))
    return "<br>".join(
        [
            f"<b>Attempt {number}, stage {place}</b>{_standing(stage)}",
            *_lines(html.escape(", ".join(w for w in trained if w))),
            f"retention {_with_interval(stage, 'retention', wording.number)}",
            f"sliced Wasserstein {wording.number(real(stage, 'sliced'))}, "
            f"allowed {wording.number(real(stage, 'sliced_allowed'))}",
            *_lines(html.escape(str(stage.get("note") or ""))),
        ]
    )


def _standing(row: Mapping[str, Any]) -> str:
    if row.get("chosen"):
        return ", chosen"
    if row.get("passed") is None:
        return ""
    return ", passed the gate" if row["passed"] else ", refused by the gate"


def _with_interval(row: Mapping[str, Any], name: str, write: Any) -> str:
    within = wording.interval(spread(row, name), write)
    return str(write(real(row, name))) + (f" ({within})" if within else "")


def _lines(text: str, width: int = 46) -> list[str]:
    """Lines short enough for a hover label; long words stay whole."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + len(word) < width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
