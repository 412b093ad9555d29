"""The report of a study: one HTML file that needs nothing else, a CSV and a JSON document."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from reports import charts, evidence, gallery, headline, listing, shell
from reports.charts import Chart
from reports.commands import DEFAULT_WORKSPACE
from reports.document import write_json
from reports.markup import Html, element, join
from reports.table import write_csv
from studies.record import StudyRecord

LINKS = (
    ("Choose", "front"),
    ("Samples", "samples"),
    ("Believe", "notes"),
    ("Repeat", "repeat"),
)


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
    files = [element("a", name, href=name) for name in ("trials.csv", "report.json")]
    return shell.whole(
        f"{record.name} · ADO-NAS report",
        join(["ADO-NAS report · study ", element("b", record.name)]),
        LINKS,
        _sections(record, folder, workspace, *drawn),
        shell.footer(join(files, ", ")),
        [c for group in drawn for c in group],
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
        shell.section("notes", "What the figures mean", evidence.notes(record)),
        shell.section(
            "repeat",
            "Repeat it",
            evidence.reproduce(record, workspace),
            evidence.environment(record),
        ),
    ]


def _summary(record: StudyRecord, grids: list[gallery.Grid]) -> Html:
    pair = [gallery.card(g) for g in grids[:2]] if record.best is not None else []
    numbers = headline.key_numbers(record)
    return shell.summary(headline.sentence(record), headline.subtitle(record), pair, numbers)


def _choose(record: StudyRecord, views: list[Chart]) -> Html:
    plots = [charts.place(c) for c in views]
    return shell.section(
        "front",
        "Choose a model",
        charts.reading(record) if plots else None,
        charts.legend(views) if plots else None,
        element("div", *plots, class_="plots") if plots else None,
        listing.front_table(record),
    )


def _samples(grids: list[gallery.Grid]) -> Html:
    text = "The same place in every grid starts from the same noise."
    return shell.section(
        "samples",
        "Samples from equal noise",
        element(
            "p", text if len(grids) > 1 else "There is no student to show beside the teacher."
        ),
        gallery.wall(grids),
    )


def _search(record: StudyRecord, folder: Path, workspace: Path, growth: list[Chart]) -> Html:
    return shell.section(
        "search",
        "How the search went",
        element("p", evidence.progress_line(record)),
        *map(charts.place, growth),
        listing.trial_table(record, folder, workspace),
    )
