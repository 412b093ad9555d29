"""A view in three dimensions as a still: Matplotlib draws what the page lets one turn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from reports.charts import Chart
from reports.palette import LIGHT
from reports.strokes import MARKERS, legend, numbers, plain

AXES = "xyz"


def relief(figure: Figure, chart: Chart) -> None:
    """Draw a chart of three-dimensional scatters, seen from where the page first shows it.

    Args:
        figure: where it goes, empty but for its title.
        chart: its layout has one scene.
    """
    scene = chart.figure["layout"]["scene"]
    own = figure.add_subplot(projection="3d", proj_type="ortho")
    for name in AXES:
        _axis(own, name, scene[f"{name}axis"])
    own.set_box_aspect([scene["aspectratio"][name] for name in AXES], zoom=1.1)
    eye = scene["camera"]["eye"]
    around = math.degrees(math.atan2(eye["y"], eye["x"]))
    own.view_init(math.degrees(math.asin(eye["z"] / math.hypot(*eye.values()))), around)
    for trace in chart.figure["data"]:
        _trace(own, trace, scene)
    legend(figure, chart)


def _axis(own: Any, name: str, asked: Mapping[str, Any]) -> None:
    """Ticks, title and range; logarithms are taken here, for Matplotlib has no such axis."""
    axis = getattr(own, f"{name}axis")
    if asked.get("type") == "log":
        axis.set_ticks(np.log10(asked["tickvals"]), asked["ticktext"])
    getattr(own, f"set_{name}lim")(*asked["range"])
    axis.set_label_text(plain(asked["title"]["text"]))
    axis.set_pane_color((1, 1, 1, 0))


def _trace(own: Any, trace: Mapping[str, Any], scene: Mapping[str, Any]) -> None:
    if not trace["x"]:
        return
    color, marker = LIGHT[trace["meta"]["role"]], trace.get("marker") or {}
    places = [_scaled(numbers(trace[name]), scene[f"{name}axis"]) for name in AXES]
    if bars := trace.get("error_z"):
        low, high = places[2] - bars["arrayminus"], places[2] + bars["array"]
        for x, y, *ends in zip(places[0], places[1], low, high, strict=True):
            own.plot([x, x], [y, y], ends, color=color, linewidth=1)
    symbol, filled = MARKERS[marker.get("symbol", "circle")]
    lines = trace["mode"] == "lines"
    own.plot(
        *places,
        linestyle="-" if lines else "none",
        linewidth=0.8,
        marker=None if lines else symbol,
        markersize=marker.get("size", 6),
        markerfacecolor=color if filled else "none",
        color=color,
        alpha=trace.get("opacity", 1.0),
    )


def _scaled(values: list[float], asked: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    return np.log10(values) if asked.get("type") == "log" else np.array(values)
