"""The report of a study: one HTML file that needs nothing else, a CSV and a JSON document."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ado_nas.files import check_place, replacing
from reports import (
    charts,
    evidence,
    finalists,
    gallery,
    headline,
    limits,
    listing,
    resolutions,
    shell,
    solid,
    why,
)
from reports.charts import Chart
from reports.commands import DEFAULT_WORKSPACE
from reports.document import write_json
from reports.markup import Html, element, join, json_script
from reports.opinions import opinion_table
from reports.table import write_csv
from studies.record import StudyRecord

GROWTH = (
    "The hypervolume that the front covers, larger is better. The dashed line is what it would "
    "have been on average, had these same trials come in random order: a search that learns is "
    "above it. It is no search at random."
)
LINKS = (
    ("Choose", "front"),
    ("Samples", "samples"),
    ("Why", "why"),
    ("Believe", "notes"),
    ("Repeat", "repeat"),
)


@dataclass(frozen=True)
class ReportPaths:
    """The files of a report; figures where they were asked for."""

    html: Path
    csv: Path
    json: Path
    figures: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Drawn:
    """The figures of a report."""

    views: list[Chart]
    solid: list[Chart]
    growth: list[Chart]
    why: why.Reasons

    @property
    def every(self) -> list[Chart]:
        return [*self.views, *self.solid, *self.why.charts.values(), *self.growth]


def write_report(
    record: StudyRecord,
    folder: Path,
    workspace: Path = Path(DEFAULT_WORKSPACE),
    figures: Path | None = None,
) -> ReportPaths:
    """Write report.html, trials.csv and report.json, each whole or not at all.

    Args:
        record: the study; empty, failed and unfinished ones are reported as such.
        folder: where the files go; made where it is missing.
        workspace: what relative paths in the record start from, and what the commands name.
        figures: where every figure goes as SVG and PNG as well.

    Returns:
        The paths written.

    Raises:
        ConfigError: no figures can be written there; nothing is written then.
    """
    if figures is not None:
        check_place("--figures", figures, folder=True)
    drawn = _draw(record)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "report.html"
    with replacing(target) as partial:
        partial.write_text(_page(record, folder, workspace, drawn), encoding="utf-8")
    csv, document = (
        write_csv(record, folder / "trials.csv"),
        write_json(record, folder / "report.json"),
    )
    stills: list[Path] = []
    if figures is not None:
        from reports.stills import write_stills  # Matplotlib takes a second to import

        stills = write_stills(drawn.every, figures)
    return ReportPaths(target, csv, document, tuple(stills))


def _draw(record: StudyRecord) -> _Drawn:
    return _Drawn(
        charts.pareto_charts(record),
        solid.solid_charts(record),
        charts.growth_charts(record),
        why.reasons(record),
    )


def _page(record: StudyRecord, folder: Path, workspace: Path, drawn: _Drawn) -> str:
    """The report as one HTML document, with styles, script, figures, images and Plotly inside."""
    purse = gallery.Purse()
    grids = gallery.grids(record, workspace, purse)
    corners = gallery.corners(record, workspace, purse)
    files = [element("a", name, href=name) for name in ("trials.csv", "report.json")]
    return shell.whole(
        f"{record.name} · ADO-NAS report",
        join(["ADO-NAS report · study ", element("b", record.name)]),
        LINKS,
        _sections(record, folder, workspace, grids, drawn),
        shell.footer(join(files, ", ")),
        drawn.every,
        json_script("samples-data", corners),
        [json_script("limits", limits.choices(record)), shell.script("limits")],
    )


def _sections(
    record: StudyRecord,
    folder: Path,
    workspace: Path,
    grids: list[gallery.Grid],
    drawn: _Drawn,
) -> list[Html]:
    return [
        _summary(record, grids),
        _choose(record, drawn),
        *_finalists(record),
        _samples(grids),
        why.why_section(record, drawn.why),
        *filter(None, [why.parts_section(record, drawn.why)]),
        _search(record, folder, workspace, drawn.growth),
        shell.section(
            "notes", "What the figures mean", evidence.notes(record), opinion_table(record)
        ),
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


def _choose(record: StudyRecord, drawn: _Drawn) -> Html:
    plots = [charts.place(c) for c in drawn.views]
    return shell.section(
        "front",
        "Choose a model",
        charts.reading(record) if plots else None,
        charts.legend(drawn.views) if plots else None,
        element("div", *plots, class_="plots") if plots else None,
        limits.sliders(record),
        solid.solid_view(drawn.solid),
        listing.front_table(record),
        resolutions.resolution_table(record),
    )


def _finalists(record: StudyRecord) -> list[Html]:
    found = finalists.section(record)
    return [shell.section("finalists", "Trained again", found)] if found else []


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
        element("p", GROWTH, class_="muted") if growth else None,
        charts.legend(growth, charts.GROWTH) if growth else None,
        *map(charts.place, growth),
        listing.trial_table(record, folder, workspace),
    )
