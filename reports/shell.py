"""What every page has around its content: the head, the links, the figures and their script."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib import resources
from typing import Any

from plotly.offline import get_plotlyjs

from reports.charts import Chart
from reports.headline import KeyNumber
from reports.markup import Child, Html, element, json_script
from reports.palette import DARK, LIGHT, variables

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)
"""Lets the browser itself refuse every request; Plotly needs inline styles and data URIs."""


def whole(
    title: str,
    eyebrow: Html,
    links: Sequence[tuple[str, str]],
    sections: Sequence[Html],
    footer: Html,
    charts: Sequence[Chart],
    data: Html | None = None,
    scripts: Sequence[Html] = (),
) -> str:
    """A page that needs nothing but itself.

    Args:
        title: of the browser's tab.
        eyebrow: the line above the content.
        links: text and id of each section that the reader can jump to; the first one is also
            what the keyboard skips to.
        sections: the content.
        footer: the last line.
        charts: the figures whose places are in the sections.
        data: what the page's script reads besides the figures.
        scripts: what comes after it; see `script`.

    Returns:
        The document, with styles, script, figures and Plotly inside.
    """
    figures, labels = _labeled_once(charts)
    body = element(
        "body",
        element("a", f"Skip to the {links[0][1]}", href=f"#{links[0][1]}", class_="skip"),
        _header(eyebrow, links),
        element("main", *sections),
        footer,
        json_script("figures", figures),
        json_script("labels", labels),
        element("script", _plotly(), type="text/plain", id="plotly") if charts else None,
        data,
        script("page"),
        *scripts,
    )
    return "<!doctype html>\n" + element("html", _head(title), body, lang="en")


def script(name: str) -> Html:
    """A script of the assets.

    Args:
        name: of its file, without the ending.

    Returns:
        A ``script`` element.
    """
    return element("script", Html(_asset(f"{name}.js")))


def section(identifier: str, title: str, *children: Html | None) -> Html:
    """A part of the page with its heading.

    Args:
        identifier: what links name.
        title: the heading.
        children: the content; None is left out.

    Returns:
        A ``section`` element.
    """
    return element("section", element("h2", title), *children, id=identifier)


def summary(
    sentence: Html, lead: Html, grids: Sequence[Html], numbers: Sequence[KeyNumber]
) -> Html:
    """The answer, above everything else.

    Args:
        sentence: the headline.
        lead: what it is measured against.
        grids: cards of samples that stand side by side; may be none.
        numbers: large numbers; may be none.

    Returns:
        A ``section`` element.
    """
    return element(
        "section",
        element("h1", sentence),
        element("p", lead, class_="lead"),
        element("div", *grids, class_="pair") if grids else None,
        element("ul", *map(_number, numbers), class_="numbers") if numbers else None,
        class_="summary",
    )


def footer(*data: Child) -> Html:
    """The last line of a page.

    Args:
        data: where the same figures lie as data; may be nothing.

    Returns:
        A ``footer`` element.
    """
    said = ["The same figures as data: ", *data, ". "] if data else []
    return element("footer", *said, "This page asks nothing of any network.")


def _labeled_once(charts: Sequence[Chart]) -> tuple[dict[str, Any], list[str]]:
    """The figures by identifier, and the labels of their points, which name their places there.

    Figures show the same trials, whose labels are most of what there is to say of them.
    """
    places: dict[str, int] = {}

    def named(trace: dict[str, Any]) -> dict[str, Any]:
        words = trace.get("hovertext")
        if not isinstance(words, list):
            return trace
        return {**trace, "hovertext": [places.setdefault(w, len(places)) for w in words]}

    figures = {
        c.identifier: {**c.figure, "data": [named(t) for t in c.figure["data"]]} for c in charts
    }
    return figures, list(places)


def _head(title: str) -> Html:
    colors = (
        f":root{{color-scheme:light dark;{variables(LIGHT)}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{variables(DARK)}}}}}"
    )
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("link", rel="icon", href="data:,"),
        element("style", Html(colors + _asset("page.css"))),
    )


def _header(eyebrow: Html, links: Sequence[tuple[str, str]]) -> Html:
    return element(
        "header",
        element("p", eyebrow, class_="eyebrow"),
        element(
            "nav",
            *(element("a", text, href=f"#{to}") for text, to in links),
            aria_label="Sections",
        ),
    )


def _number(number: KeyNumber) -> Html:
    return element(
        "li",
        element("b", number.value),
        element("span", number.label),
        element("small", number.interval) if number.interval else None,
        element("p", number.detail),
    )


def _asset(name: str) -> str:
    return resources.files("reports").joinpath("assets", name).read_text(encoding="utf-8")


@functools.cache
def _plotly() -> Html:
    return Html(get_plotlyjs())
