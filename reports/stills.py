"""The figures of a report as SVG and PNG files, drawn by Matplotlib: no browser is needed.

Plotly's own export drives a Chrome that it may have to download. What is drawn here is the very
data and layout that the page shows, so both cannot differ in a figure, only in looks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ado_nas.files import replacing
from reports.charts import Chart
from reports.palette import LIGHT
from reports.relief import relief
from reports.strokes import DASHES, MARKERS, legend, numbers, plain

DOTS = 100  # pixels an inch in the page's measures
WIDTH = 760  # of one plot, pixels; plots side by side have `BESIDE` each
BESIDE = 430
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ado-nas",  # the same figure is the same file
    "font.size": 9.0,
    "axes.edgecolor": LIGHT["rule"],
    "axes.labelcolor": LIGHT["muted"],
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "grid.color": LIGHT["rule"],
    "text.parse_math": False,  # names that people typed are no formulas
}


def write_stills(charts: Sequence[Chart], folder: Path) -> list[Path]:
    """Write every figure as NAME.svg and NAME.png, on white.

    Args:
        charts: as the page holds them.
        folder: where the files go; made where it is missing.

    Returns:
        The paths written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for chart in charts:
        name = chart.identifier.removeprefix("plot-")
        with rc_context(STYLE):
            drawn = still(chart)
            for path in (folder / f"{name}.svg", folder / f"{name}.png"):
                metadata = {"Date": None} if path.suffix == ".svg" else {}
                with replacing(path) as partial:
                    drawn.savefig(partial, format=path.suffix[1:], dpi=200, metadata=metadata)
                written.append(path)
    return written


def still(chart: Chart) -> Figure:
    """One figure, its title above and what its marks mean below.

    Args:
        chart: its traces are scatters and horizontal bars, or scatters in one scene.

    Returns:
        The figure.
    """
    if "scene" not in chart.figure["layout"]:
        return _flat(chart)
    figure = _titled(chart, WIDTH)
    relief(figure, chart)
    return figure


def _titled(chart: Chart, wide: int) -> Figure:
    size = (wide / DOTS, (chart.figure["layout"]["height"] + 60) / DOTS)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(chart.title, fontweight="bold", color=LIGHT["ink"])
    return figure


def _flat(chart: Chart) -> Figure:
    layout = chart.figure["layout"]
    places = [name.removeprefix("xaxis") for name in layout if re.fullmatch(r"xaxis\d*", name)]
    figure = _titled(chart, WIDTH if len(places) == 1 else BESIDE * len(places))
    strip = layout.get("yaxis2", {}).get("domain") if len(places) == 1 else None
    ratios = [1 - strip[1], strip[1]] if strip else [1.0]
    rows = figure.subplots(
        len(ratios), len(places), squeeze=False, sharex="col", height_ratios=ratios
    )
    axes = {("", ""): rows[0][0]}
    axes |= {(place, place): rows[0][i] for i, place in enumerate(places)}
    if strip:
        axes["", "2"] = rows[1][0]
    for (across, up), own in axes.items():
        _axis(own.xaxis, layout.get(f"xaxis{across}", {}), "x")
        _axis(own.yaxis, layout.get(f"yaxis{up}", {}), "y")
        own.grid(visible=True)
        own.set_axisbelow(True)
    for trace in chart.figure["data"]:
        key = tuple(trace.get(f"{name}axis", name)[1:] for name in "xy")
        _trace(axes[key], trace)
    _shapes(axes, layout)
    _notes(axes["", ""], layout)
    for (across, up), own in axes.items():
        _range(own, layout.get(f"xaxis{across}", {}), "x")
        _range(own, layout.get(f"yaxis{up}", {}), "y")
    if strip:  # its axis is the lower one's
        rows[1][0].set_xlabel(rows[0][0].get_xlabel())
        rows[0][0].set_xlabel("")
    legend(figure, chart)
    return figure


def _axis(axis: Any, asked: Mapping[str, Any], name: str) -> None:
    """Scale, ticks and title; the range comes after the data."""
    own: Axes = axis.axes
    if asked.get("type") == "log":
        getattr(own, f"set_{name}scale")("log")
        axis.set_minor_locator(NullLocator())
    if "tickvals" in asked and asked["tickvals"] is not None:
        words = asked.get("ticktext") or [_tick(v, asked) for v in asked["tickvals"]]
        axis.set_ticks(asked["tickvals"], [plain(w) for w in words])
    if asked.get("visible") is False:
        axis.set_visible(False)
        for side in own.spines.values():
            side.set_visible(False)
    axis.set_label_text(plain(asked.get("title", {}).get("text", "")))


def _tick(value: float, asked: Mapping[str, Any]) -> str:
    return f"{value:.0%}" if asked.get("tickformat") == ".0%" else f"{value:g}"


def _range(own: Axes, asked: Mapping[str, Any], name: str) -> None:
    limits = getattr(own, f"set_{name}lim")
    if "range" in asked and asked["range"] is not None:
        log = asked.get("type") == "log"
        limits(*(10**end if log else end for end in asked["range"]))
    elif "tickvals" in asked and asked["tickvals"] is not None and asked.get("type") == "log":
        drawn = own.dataLim
        low, high = (drawn.x0, drawn.x1) if name == "x" else (drawn.y0, drawn.y1)
        if 0 < low <= high:
            limits(low / 1.25, high * 1.25)
    elif asked.get("rangemode") in ("tozero", "nonnegative"):
        limits(**{"left" if name == "x" else "bottom": 0})


def _trace(own: Axes, trace: Mapping[str, Any]) -> None:
    color = LIGHT[trace["meta"]["role"]]
    if trace["type"] == "bar":
        own.barh(trace["y"], trace["x"], height=trace["width"], color=color)
        return
    x, y = (numbers(trace.get(name) or []) for name in "xy")
    line, marker = trace.get("line") or {}, trace.get("marker") or {}
    mode, opacity = trace.get("mode", "markers"), trace.get("opacity", 1.0)
    ends = {
        name: [bars["arrayminus"], bars["array"]]
        for name in "xy"
        if (bars := trace.get(f"error_{name}"))
    }
    if ends:
        reach = ends.get("x"), ends.get("y")
        own.errorbar(x, y, xerr=reach[0], yerr=reach[1], fmt="none", ecolor=color, elinewidth=1)
    symbol, filled = MARKERS[marker.get("symbol", "circle")]
    own.plot(
        x,
        y,
        linestyle=DASHES[line.get("dash", "solid")] if "lines" in mode else "none",
        linewidth=line.get("width", 1.5) * 0.72,  # pixels to points
        drawstyle="steps-post" if line.get("shape") == "hv" else "default",
        marker=symbol if "markers" in mode else None,
        markersize=marker.get("size", 6) * 0.6,
        markerfacecolor=color if filled else "none",
        color=color,
        alpha=opacity,
    )


def _shapes(axes: Mapping[tuple[str, str], Axes], layout: Mapping[str, Any]) -> None:
    """Straight lines, along an axis or in the plot's own units."""
    for shape in layout.get("shapes") or []:
        across, up = (str(shape.get(f"{name}ref") or name) for name in "xy")
        own = axes["" if across == "paper" else re.sub(r"\D", "", across), re.sub(r"\D", "", up)]
        drawn = shape["line"]
        asked = {
            "color": drawn.get("color") or LIGHT.get(str(shape.get("name")), LIGHT["rule"]),
            "linestyle": DASHES[drawn.get("dash") or "solid"],
            "linewidth": drawn.get("width", 1),
            "zorder": 0.9,
        }
        if "domain" in across:
            own.axhline(shape["y0"], **asked)
        elif "domain" in up or up == "paper":
            own.axvline(shape["x0"], **asked)
        else:
            own.plot([shape["x0"], shape["x1"]], [shape["y0"], shape["y1"]], **asked)


def _notes(own: Axes, layout: Mapping[str, Any]) -> None:
    for note in layout.get("annotations") or []:
        titled = note["text"].startswith("<b>")
        own.text(
            note["x"],
            note["y"],
            plain(note["text"]),
            fontsize=7.5,
            fontweight="bold" if titled else "normal",
            ha="left" if note.get("xanchor") == "left" else "center",
            va="center",
            color=LIGHT["ink"],
        )
