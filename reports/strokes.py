"""Plotly's marks, lines and words as Matplotlib draws them."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.charts import Chart
from reports.palette import LIGHT

MARKERS = {
    "circle": ("o", True),
    "circle-open": ("o", False),
    "x-thin-open": ("x", False),
    "circle-x-open": ("X", True),
    "circle-cross-open": ("P", False),
    "x": ("x", False),
    "line-ns-open": ("|", False),
    "diamond": ("D", True),
    "diamond-open": ("D", False),
    "square": ("s", True),
    "square-open": ("s", False),
    "cross": ("P", True),
    "star": ("*", True),
}
"""Plotly's marks as Matplotlib's, and whether they are filled."""

DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}


def legend(figure: Figure, chart: Chart) -> None:
    """Say below a figure what its marks mean, where it has more than one kind.

    Args:
        figure: as drawn.
        chart: what it shows.
    """
    found = {t["meta"]["role"] for t in chart.figure["data"] if t.get("x")}
    handles = []
    for role, text in chart.roles.items():
        if role in found:
            symbol, filled = MARKERS[chart.symbols[role]]
            face = LIGHT[role] if filled else "none"
            handles.append(
                Line2D([], [], color=LIGHT[role], ls="none", marker=symbol, mfc=face, label=text)
            )
    if len(handles) > 1:
        figure.legend(
            handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8
        )


def numbers(values: Sequence[float | None]) -> list[float]:
    """Figures as Matplotlib takes them, with a gap where there is none."""
    return [float("nan") if v is None else float(v) for v in values]


def plain(text: str) -> str:
    """Plotly's markup as plain text."""
    return html.unescape(re.sub(r"</?b>", "", str(text)))
