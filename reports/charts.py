"""The interactive figures in the page: their data, their places and the one legend they share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reports.hypervolume import growth
from reports.markup import Html, element
from reports.measurements import has_scores, real
from reports.palette import ROLES, SYMBOLS, variable
from reports.pareto import pareto
from reports.wording import flat, fraction
from studies.record import StudyRecord

OPEN = 'fill="none" stroke="currentColor" stroke-width="1.6"'
GLYPHS = {
    "circle": '<circle cx="8" cy="8" r="5" fill="currentColor"/>',
    "circle-open": f'<circle cx="8" cy="8" r="4" {OPEN}/>',
    "circle-x-open": f'<circle cx="8" cy="8" r="5" {OPEN}/><path d="M5 5l6 6M11 5l-6 6" {OPEN}/>',
    "circle-cross-open": f'<circle cx="8" cy="8" r="5" {OPEN}/><path d="M8 3v10M3 8h10" {OPEN}/>',
    "x-thin-open": f'<path d="M4 4l8 8M12 4l-8 8" {OPEN}/>',
    "cross": '<path d="M6 2h4v4h4v4h-4v4H6v-4H2V6h4z" fill="currentColor"/>',
    "cross-open": f'<path d="M6 2h4v4h4v4h-4v4H6v-4H2V6h4z" {OPEN}/>',
    "square": '<path d="M3 3h10v10H3z" fill="currentColor"/>',
    "square-open": f'<path d="M3.5 3.5h9v9h-9z" {OPEN}/>',
    "triangle-up": '<path d="M8 2l6 11H2z" fill="currentColor"/>',
    "triangle-up-open": f'<path d="M8 3l5.5 10h-11z" {OPEN}/>',
    "triangle-down": '<path d="M8 14L2 3h12z" fill="currentColor"/>',
    "triangle-down-open": f'<path d="M8 13L2.5 3h11z" {OPEN}/>',
    "diamond": '<path d="M8 2l6 6-6 6-6-6z" fill="currentColor"/>',
    "line-ns-open": f'<path d="M8 2v12" {OPEN}/>',
    "diamond-open": f'<path d="M8 2l6 6-6 6-6-6z" {OPEN}/>',
    "star": '<path d="M8 1l2.1 4.6 5 .5-3.8 3.3 1.1 4.9L8 11.7l-4.4 2.6 1.1-4.9L.9 6.1l5-.5z" '
    'fill="currentColor"/>',
}


GROWTH = {"front": "This study", "dominated": "The same trials in random order, on average"}


@dataclass(frozen=True)
class Chart:
    """One figure: the id of its place, what it shows, and Plotly's JSON; its roles and marks."""

    identifier: str
    title: str
    figure: dict[str, Any]
    roles: Mapping[str, str] = field(default_factory=lambda: ROLES)
    symbols: Mapping[str, str] = field(default_factory=lambda: SYMBOLS)


def pareto_charts(record: StudyRecord) -> list[Chart]:
    """Retention against latency and against size; none for a study without trials.

    Args:
        record: the study.

    Returns:
        Two charts or none.
    """
    if not record.trials:
        return []
    return [
        chart("latency", "Retention against latency", pareto(record, "latency_ms")),
        chart("size", "Retention against model size", pareto(record, "size_mb")),
    ]


def growth_charts(record: StudyRecord) -> list[Chart]:
    """Hypervolume over trials; none where no scored trial is within the limits.

    Args:
        record: the study.

    Returns:
        One chart or none.
    """
    if not any(has_scores(t) and t.feasible for t in record.trials):
        return []
    return [chart("growth", "Hypervolume over trials", growth(record), GROWTH)]


def chart(
    name: str,
    title: str,
    figure: Any,
    roles: Mapping[str, str] = ROLES,
    symbols: Mapping[str, str] = SYMBOLS,
) -> Chart:
    """A figure of Plotly's, ready for a page.

    Args:
        name: unlike that of any other figure in the page.
        title: what it shows.
        figure: the figure.
        roles: what its marks mean.
        symbols: the mark of each role.

    Returns:
        The chart; what is not finite in it is null.
    """
    return Chart(f"plot-{name}", title, json.loads(figure.to_json()), roles, symbols)


def place(shown: Chart) -> Html:
    """Where a figure is drawn, with its title.

    Args:
        shown: the figure.

    Returns:
        A ``figure`` element that the page's script fills.
    """
    described = f"{shown.title}. The tables of this page hold the same figures."
    plot = element(
        "div",
        id=shown.identifier,
        class_="plot",
        role="img",
        aria_label=described,
        tabindex=0 if "scene" in shown.figure["layout"] else None,
        style=f"min-height:{shown.figure['layout']['height']}px",
    )
    return element("figure", element("figcaption", shown.title), plot, class_="chart")


def legend(charts: list[Chart], roles: Mapping[str, str] = ROLES) -> Html:
    """What each mark means, for the marks that occur.

    Args:
        charts: the figures that share it.
        roles: what each role is called.

    Returns:
        A list.
    """
    found = {t["meta"]["role"] for c in charts for t in c.figure["data"] if t.get("x")}
    symbols = {role: symbol for c in charts for role, symbol in c.symbols.items()}
    entries = [
        element("li", _glyph(symbols[role]), text, style=f"--role:var({variable(role)})")
        for role, text in roles.items()
        if role in found
    ]
    return element("ul", *entries, class_="legend")


def reading(record: StudyRecord) -> Html:
    """How the Pareto views are read.

    Args:
        record: the study.

    Returns:
        A paragraph.
    """
    least = real(flat(record.config), "limits.min_retention")
    asked = f" The lower dotted line is the least retention asked for, {fraction(least)}."
    return element(
        "p",
        "Up and to the left is better. The upper dotted line is the reference's quality.",
        asked if least else None,
        " Bars are 95% intervals, cut at the edge; the ringed point is the pick."
        if record.front
        else None,
    )


def _glyph(symbol: str) -> Html:
    return Html(f'<svg viewBox="0 0 16 16" aria-hidden="true">{GLYPHS[symbol]}</svg>')
