"""The report of a study: one HTML file that needs nothing else, a CSV and a JSON document."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from plotly.offline import get_plotlyjs

from reports import charts, evidence, gallery, headline, listing
from reports.charts import Chart
from reports.commands import DEFAULT_WORKSPACE
from reports.document import write_json
from reports.markup import Html, element, join, json_script
from reports.palette import DARK, LIGHT, variables
from reports.table import write_csv
from studies.record import StudyRecord

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)
"""Lets the browser itself refuse every request; Plotly needs inline styles and data URIs."""


@dataclass(frozen=True)
class ReportPaths:
    """The three files of a report."""

    html: Path
    csv: Path
    json: Path


def write_report(
    record: StudyRecord, folder: Path, workspace: Path = Path(DEFAULT_WORKSPACE)
) -> ReportPaths:
    """Write report.html, trials.csv and report.json, each whole or not at all.

    Args:
        record: the study; empty, failed and unfinished ones are reported as such.
        folder: where the files go; made where it is missing.
        workspace: what relative paths in the record start from, and what the commands name.

    Returns:
        The paths written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "report.html"
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.write_text(page(record, folder, workspace), encoding="utf-8")
    os.replace(temporary, target)
    csv, document = (
        write_csv(record, folder / "trials.csv"),
        write_json(record, folder / "report.json"),
    )
    return ReportPaths(target, csv, document)


def page(record: StudyRecord, folder: Path, workspace: Path) -> str:
    """The report as one HTML document.

    Args:
        record: the study.
        folder: where it will lie, for relative links.
        workspace: what relative paths in the record start from.

    Returns:
        The document, with styles, script, figures, images and Plotly inside.
    """
    drawn = charts.pareto_charts(record), charts.growth_charts(record)
    figures = {c.identifier: c.figure for group in drawn for c in group}
    body = element(
        "body",
        element("a", "Skip to the front", href="#front", class_="skip"),
        _header(record),
        element("main", *_sections(record, folder, workspace, *drawn)),
        _footer(),
        json_script("figures", figures),
        element("script", _plotly()) if figures else None,
        element("script", Html(_asset("page.js"))),
    )
    return "<!doctype html>\n" + element("html", _head(record), body, lang="en")


def _head(record: StudyRecord) -> Html:
    colors = (
        f":root{{color-scheme:light dark;{variables(LIGHT)}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{variables(DARK)}}}}}"
    )
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{record.name} · ADO-NAS report"),
        element("link", rel="icon", href="data:,"),
        element("style", Html(colors + _asset("page.css"))),
    )


def _header(record: StudyRecord) -> Html:
    links = (
        ("Choose", "front"),
        ("Samples", "samples"),
        ("Believe", "notes"),
        ("Repeat", "repeat"),
    )
    return element(
        "header",
        element("p", "ADO-NAS report · study ", element("b", record.name), class_="eyebrow"),
        element(
            "nav",
            *(element("a", text, href=f"#{to}") for text, to in links),
            aria_label="Sections",
        ),
    )


def _sections(
    record: StudyRecord, folder: Path, workspace: Path, views: list[Chart], growth: list[Chart]
) -> list[Html]:
    grids = gallery.grids(record, workspace)
    return [
        _summary(record, grids),
        _choose(record, views),
        _samples(grids),
        _search(record, folder, workspace, growth),
        _section("notes", "What the figures mean", evidence.notes(record)),
        _section(
            "repeat",
            "Repeat it",
            evidence.reproduce(record, workspace),
            evidence.environment(record),
        ),
    ]


def _summary(record: StudyRecord, grids: list[gallery.Grid]) -> Html:
    numbers = [_number(n) for n in headline.key_numbers(record)]
    pair = [gallery.card(g) for g in grids[:2]] if record.best is not None else []
    return element(
        "section",
        element("h1", headline.sentence(record)),
        element("p", headline.subtitle(record), class_="lead"),
        element("div", *pair, class_="pair") if pair else None,
        element("ul", *numbers, class_="numbers") if numbers else None,
        class_="summary",
    )


def _number(number: headline.KeyNumber) -> Html:
    return element(
        "li",
        element("b", number.value),
        element("span", number.label),
        element("small", number.interval) if number.interval else None,
        element("p", number.detail),
    )


def _choose(record: StudyRecord, views: list[Chart]) -> Html:
    plots = [charts.place(c) for c in views]
    return _section(
        "front",
        "Choose a model",
        charts.reading(record) if plots else None,
        charts.legend(views) if plots else None,
        element("div", *plots, class_="plots") if plots else None,
        listing.front_table(record),
    )


def _samples(grids: list[gallery.Grid]) -> Html:
    text = "The same place in every grid starts from the same noise."
    return _section(
        "samples",
        "Samples from equal noise",
        element(
            "p", text if len(grids) > 1 else "There is no student to show beside the teacher."
        ),
        gallery.wall(grids),
    )


def _search(record: StudyRecord, folder: Path, workspace: Path, growth: list[Chart]) -> Html:
    return _section(
        "search",
        "How the search went",
        element("p", evidence.progress_line(record)),
        *map(charts.place, growth),
        listing.trial_table(record, folder, workspace),
    )


def _section(identifier: str, title: str, *children: Html | None) -> Html:
    return element("section", element("h2", title), *children, id=identifier)


def _footer() -> Html:
    files = [element("a", name, href=name) for name in ("trials.csv", "report.json")]
    return element(
        "footer",
        "The same figures as data: ",
        join(files, ", "),
        ". This page asks nothing of any network.",
    )


def _asset(name: str) -> str:
    return resources.files("reports").joinpath("assets", name).read_text(encoding="utf-8")


@functools.cache
def _plotly() -> Html:
    return Html(get_plotlyjs())
