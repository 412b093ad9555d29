"""Why the front looks as it does: what each dimension decides, and what each choice costs."""

from __future__ import annotations

import html
from typing import Any

import plotly.graph_objects as go

from reports import wording
from reports.effects import Effect, Typical
from reports.hypervolume import SMALLEST_FLOOR
from reports.marks import bars, style, ticks
from reports.markup import Child, Html, element, join, table
from reports.measurements import real
from reports.palette import LIGHT
from studies.importance import CHANCE, importances
from studies.record import StudyRecord

TITLES = {"gap": "Gap", "latency_ms": "Latency, ms an image", "size_mb": "Size, MB"}
PLACES = ("", "2", "3")  # what Plotly calls the axes of each plot
BARS = {"front": "A dimension of the space", "dominated": "Chance alone"}
Shares = dict[str, dict[str, float]]


def shares(record: StudyRecord) -> Shares:
    """What each dimension decides about each objective; see `studies.importance.importances`."""
    floor = max(real(record.reference, "floor") or 0.0, SMALLEST_FLOOR)
    return importances([t for t in record.trials if t.state == "complete"], floor)


def shares_figure(found: Shares) -> go.Figure:
    """One panel an objective with a bar for each dimension, the most important at the top.

    Args:
        found: of `shares`, not empty.

    Returns:
        The figure; the bar of chance is drawn as what is dominated.
    """
    names = _dimensions(found)
    words = [_dimension(n) for n in names]
    figure = go.Figure(layout=_panels(len(found), 66 + 25 * len(names), words))
    for place, (objective, own) in zip(PLACES, found.items(), strict=False):
        for role, chance in (("front", False), ("dominated", True)):
            shown = [n for n in names if (n == CHANCE) is chance]
            figure.add_trace(
                go.Bar(
                    orientation="h",
                    x=[own.get(n, 0.0) for n in shown],
                    y=[names.index(n) for n in shown],
                    xaxis=f"x{place}",
                    yaxis=f"y{place}",
                    width=0.62,
                    meta={"role": role},
                    marker={"color": LIGHT[role]},
                    hovertemplate="%{x:.0%}<extra></extra>",
                )
            )
        figure.layout[f"xaxis{place}"].update(
            title={"text": f"{TITLES[objective].partition(',')[0]}: share of variance"},
            range=[0, 1],
            tickformat=".0%",
            tickvals=[0, 0.5, 1],
        )
    return figure


def shares_table(found: Shares) -> Html:
    """The same shares as a table."""
    rows = [
        element(
            "tr",
            element("th", _dimension(name), scope="row"),
            *(element("td", f"{own.get(name, 0.0):.0%}") for own in found.values()),
        )
        for name in reversed(_dimensions(found))
    ]
    heads = ["Dimension", *(TITLES[o].partition(",")[0] for o in found)]
    return _on_demand("Shares as a table", table(heads, rows, label="Importances"))


def effects_figure(found: list[Effect]) -> go.Figure:
    """One panel an objective with a point and its interval for each choice.

    Args:
        found: of `reports.effects.effects`, some of them with figures.

    Returns:
        The figure, costs on logarithmic axes; a choice without figures is left out.
    """
    told = [e for e in found if e.figures]
    labels = [f"{_dimension(e.dimension)}: {e.choice}" for e in told]
    figure = go.Figure(layout=_panels(len(TITLES), 66 + 21 * len(told), labels, down=True))
    for place, (name, title) in zip(PLACES, TITLES.items(), strict=True):
        shown = [e.figures[name] for e in told]
        figure.add_trace(
            go.Scatter(
                x=[t.value for t in shown],
                y=list(range(len(shown))),
                error_x=bars([(t.value, t.interval) for t in shown], "front"),
                hovertext=[_hover(e, name) for e in told],
                xaxis=f"x{place}",
                yaxis=f"y{place}",
                **style("front"),
            )
        )
        ends = [end for t in shown for end in (t.value, *t.interval) if end > 0]
        log = {"type": "log", **ticks(ends)} if name != "gap" else {"rangemode": "tozero"}
        figure.layout[f"xaxis{place}"].update(title={"text": title}, **log)
    return figure


def effects_table(found: list[Effect]) -> Html:
    """The same figures as a table."""
    rows = [
        element(
            "tr",
            element("th", f"{_dimension(e.dimension)}: {e.choice}", scope="row"),
            element("td", str(e.trials)),
            *(element("td", cell(e.figures.get(name))) for name in TITLES),
        )
        for e in found
    ]
    heads = ["Choice", "Trials", *TITLES.values()]
    return _on_demand("Choices as a table", table(heads, rows, label="What each choice costs"))


def cell(typical: Typical | None) -> Child:
    """A figure of a typical student with its interval, as tables show it; a dash for none."""
    if typical is None:
        return wording.ABSENT
    within = wording.interval(typical.interval)
    return join([wording.number(typical.value), element("small", f"[{within}]")])


def _on_demand(title: str, listing: Html) -> Html:
    return element("details", element("summary", title), listing)


def _dimensions(found: Shares) -> list[str]:
    """All of them, the one with the largest share in any objective last, as plots count up."""
    names = {n for own in found.values() for n in own}
    return sorted(names, key=lambda n: (max(own.get(n, 0.0) for own in found.values()), n))


def _dimension(name: str) -> str:
    return "chance alone" if name == CHANCE else name.replace("_", " ")


def _hover(effect: Effect, name: str) -> str:
    typical = effect.figures[name]
    within = wording.interval(typical.interval)
    return (
        f"<b>{html.escape(_dimension(effect.dimension))}: {html.escape(effect.choice)}</b>, "
        f"{wording.count(effect.trials, 'trial')}<br>{TITLES[name]}: "
        f"{wording.number(typical.value)} ({within})"
    )


def _panels(count: int, height: int, names: list[str], down: bool = False) -> dict[str, Any]:
    """Plots side by side over one list of names."""
    words = [html.escape(n) for n in names]
    span = [-0.6, len(names) - 0.4]
    layout: dict[str, Any] = {
        "height": height,
        "margin": {"l": 58, "r": 14, "t": 8, "b": 52},
        "showlegend": False,
        "hovermode": "closest",
        "template": "none",
        "grid": {"rows": 1, "columns": count, "pattern": "independent", "xgap": 0.16},
    }
    for place in PLACES[:count]:
        layout[f"xaxis{place}"] = {}
        layout[f"yaxis{place}"] = {
            "range": span[::-1] if down else span,
            "tickvals": list(range(len(names))),
            "ticktext": words if not place else [""] * len(names),
            "automargin": not place,
            "fixedrange": True,
        }
    return layout
