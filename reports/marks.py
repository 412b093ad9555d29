"""What figures of trials share: how a role's points look, their intervals, the ticks of costs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from reports.palette import LIGHT, SYMBOLS

SIZES = {
    "front": 11,
    "unrepeated": 11,
    "overtaken": 11,
    "dominated": 7,
    "infeasible": 8,
    "stopped": 9,
    "training_free": 9,
    "teacher": 15,
}


def style(role: str) -> dict[str, Any]:
    """How the points of a role are drawn.

    Args:
        role: of `palette.SYMBOLS`.

    Returns:
        Arguments of a scatter trace, the role in ``meta``.
    """
    marker: dict[str, Any] = {"symbol": SYMBOLS[role], "size": SIZES[role], "color": LIGHT[role]}
    if SYMBOLS[role].endswith("open"):
        marker["line"] = {"width": 1.6}
    return {"mode": "markers", "meta": {"role": role}, "hoverinfo": "text", "marker": marker}


def bars(values: list[tuple[float, tuple[float, float] | None]], role: str) -> dict[str, Any]:
    """Error bars from intervals; a point without one has a bar of no length.

    Args:
        values: each point with its interval.
        role: whose color they have.

    Returns:
        The ``error_x`` or ``error_y`` of a scatter trace.
    """
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(0.0, b[1] - v) if b else 0.0 for v, b in values],
        "arrayminus": [max(0.0, v - b[0]) if b else 0.0 for v, b in values],
        "thickness": 1,
        "width": 0,
        "color": LIGHT[role],
    }


def ticks(costs: list[float]) -> dict[str, Any]:
    """Round costs written in full: enough in a narrow range, few enough in a wide one.

    Args:
        costs: of all points on a logarithmic axis.

    Returns:
        Arguments of that axis.
    """
    found = [c for c in costs if c > 0] or [0.1, 10.0]
    low, high = math.floor(math.log10(min(found))) - 1, math.ceil(math.log10(max(found))) + 1
    span = max(found) / min(found)
    steps = (1, 1.5, 2, 3, 4, 5, 6, 8) if span < 4 else (1, 2, 5) if span < 2000 else (1,)
    values = [step * 10.0**power for power in range(low, high) for step in steps]
    return {"tickvals": values, "ticktext": [f"{value:g}" for value in values]}


def upward(heights: Iterable[float | None]) -> list[float] | None:
    """The range of an axis from 0 to just above the highest point; bars that go on are cut.

    Args:
        heights: of all points; None is a gap.

    Returns:
        Both ends; None without points.
    """
    top = max((y for y in heights if y is not None), default=0.0)
    return [0.0, 1.12 * top] if top > 0 else None


def broken(lines: Iterable[tuple[int, Sequence[tuple[float, float]]]]) -> dict[str, Any]:
    """Many lines as one trace, with a gap after each.

    Args:
        lines: of each trial its number and its points (x, y).

    Returns:
        ``x``, ``y`` and, as ``customdata``, the trial's number, of a scatter trace.
    """
    x: list[float | None] = []
    y: list[float | None] = []
    numbers: list[int | None] = []
    for number, points in lines:
        x += [*(across for across, _ in points), None]
        y += [*(up for _, up in points), None]
        numbers += [number] * len(points) + [None]
    return {"x": x, "y": y, "customdata": numbers}
