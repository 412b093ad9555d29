"""Several studies on one page: each device for itself, each study with its own color and mark."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ado_nas.errors import ConfigError
from ado_nas.files import replacing
from reports import charts, comparison, gallery, shell, wording
from reports.charts import Chart
from reports.commands import DEFAULT_WORKSPACE
from reports.markup import Child, Html, element, join, table
from reports.measurements import pick
from reports.palette import STUDIES, study_role
from reports.rivals import Rivals, rival_charts, rivals
from studies.folders import study_folder
from studies.record import StudyRecord

HEADERS = (
    "Study",
    "Pick",
    "Retention",
    "Gap",
    "Latency, ms",
    "Faster",
    "Size, MB",
    "Smaller",
    "Repeated",
    "Trained",
    "Front",
    "On joint front",
    "Search",
)
READING = (
    "The front of each study. Up and to the left is better; the line goes through the best of "
    "those drawn together. The dotted line is the reference's quality, bars are 95% intervals, "
    "cut at the edge, and the pick of each study is ringed."
)
APART = (
    "Studies are drawn together where device, batch, data, feature network and teacher are the "
    "same, for only there do retentions and latencies mean the same. Devices never share a front."
)
JOINT = (
    "“On joint front” counts the front members that no member of the other studies beats in gap, "
    "latency and size at once; a dash where no other study compares."
)
Drawn = list[tuple[Rivals, list[Chart]]]


def write_comparison(
    records: Sequence[StudyRecord], path: Path, workspace: Path = Path(DEFAULT_WORKSPACE)
) -> Path:
    """Write the page, whole or not at all.

    Args:
        records: the studies, of different names, in the order in which they are shown.
        path: the HTML file.
        workspace: what relative paths in the records start from.

    Returns:
        The path written.

    Raises:
        ConfigError: there are more studies than marks to tell them apart by, or the file cannot
            be written.
    """
    if len(records) > len(STUDIES):
        raise ConfigError(
            f"{len(records)} studies are more than a page can tell apart; give at most "
            f"{len(STUDIES)}, or leave out --html"
        )
    text = _page(records, path.parent, workspace)
    try:
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror}); give the name of a file"
        ) from error
    return path


def _page(records: Sequence[StudyRecord], folder: Path, workspace: Path) -> str:
    groups = rivals(records)
    drawn = [(group, rival_charts(group, f"group{i}")) for i, group in enumerate(groups, 1)]
    devices = list(dict.fromkeys(group.device for group in groups))
    rows = _rows(records, folder, workspace)
    sections = [
        _device(f"device-{i}", device, [d for d in drawn if d[0].device == device], rows)
        for i, device in enumerate(devices, 1)
    ]
    return shell.whole(
        "ADO-NAS comparison",
        join(["ADO-NAS comparison · ", element("b", _names(records))]),
        [("Devices", "device-1"), ("Samples", "samples")],
        [_summary(records, devices), *sections, _samples(records, workspace)],
        shell.footer(),
        [chart for _, own in drawn for chart in own],
    )


def _summary(records: Sequence[StudyRecord], devices: list[str]) -> Html:
    where = f"on {devices[0]}" if len(devices) == 1 else f"on {len(devices)} devices"
    title = join([element("em", f"{len(records)} studies"), f" side by side, {where}."])
    return shell.summary(title, Html(element("span", APART)), [], [])


def _device(identifier: str, device: str, drawn: Drawn, rows: dict[str, Html]) -> Html:
    """All that was measured on one device: a pair of figures for each group, then the table."""
    names = [record.name for group, _ in drawn for record in group.records]
    return shell.section(
        identifier,
        device[:1].upper() + device[1:],
        element("p", READING) if any(own for _, own in drawn) else None,
        *(part for group, own in drawn for part in _group(group, own, len(drawn) > 1)),
        table(HEADERS, [rows[name] for name in names], JOINT, f"Studies on {device}"),
    )


def _group(group: Rivals, own: list[Chart], apart: bool) -> list[Html]:
    if not own:
        return []
    title = [element("h3", _names(group.records))] if apart else []
    places = element("div", *map(charts.place, own), class_="plots")
    return [*title, charts.legend(own, group.roles), places]


def _rows(records: Sequence[StudyRecord], folder: Path, workspace: Path) -> dict[str, Html]:
    """The row of each study, by name."""
    places = {record.name: i for i, record in enumerate(records)}
    return {
        row["study"]: _row(study_role(places[row["study"]]), row, folder, workspace)
        for row in comparison.rows(records)
    }


def _row(role: str, row: dict[str, Any], folder: Path, workspace: Path) -> Html:
    within = wording.interval(row["retention_interval"], wording.fraction)
    repeated = {None: wording.ABSENT, True: "✓ yes", False: "✗ no"}[row["repeated"]]
    kept = join(
        [wording.fraction(row["retention"]), element("small", f"[{within}]") if within else None]
    )
    cells: list[Child] = [
        wording.whole(row["pick"]),
        kept,
        wording.number(row["gap"]),
        wording.number(row["latency_ms"]),
        wording.times(row["speedup"]),
        wording.number(row["size_mb"]),
        wording.times(row["compression"]),
        repeated,
        row["trained"],
        row["front"],
        wording.whole(row["on_joint_front"]),
        wording.ABSENT if row["seconds"] is None else wording.duration(row["seconds"]),
    ]
    head = element("th", _name(row["study"], folder, workspace), scope="row")
    return element("tr", head, *(element("td", c) for c in cells), id=role, tabindex=-1)


def _name(study: str, folder: Path, workspace: Path) -> Child:
    """The study's name, linked to its report where that exists."""
    target = study_folder(workspace, study) / "report" / "report.html"
    if not target.is_file():
        return study
    return element("a", study, href=quote(os.path.relpath(target.resolve(), folder.resolve())))


def _samples(records: Sequence[StudyRecord], workspace: Path) -> Html:
    """The pick of each study; a page of a dozen has room for all of them."""
    purse = gallery.Purse()
    cards = [gallery.card(_grid(record, workspace, purse)) for record in records]
    text = "Studies of equal data and noise drew the same place of their grids from equal noise."
    return shell.section(
        "samples",
        "Samples of the picks",
        element("p", text),
        element("div", *cards, class_="gallery"),
    )


def _grid(record: StudyRecord, workspace: Path, purse: gallery.Purse) -> gallery.Grid:
    best = pick(record)
    if best is None:
        return gallery.Grid(record.name, "no pick", "", "")
    folder = record.trial(best.number).folder
    cost = f"{wording.number(best.latency_ms)} ms, {wording.number(best.size_mb)} MB"
    return gallery.Grid(
        f"{record.name}, trial {best.number}",
        f"{cost}, retention {wording.fraction(best.retention)}",
        gallery.data_uri(workspace / folder / "samples.png", purse) if folder else "",
        f"Samples of the pick of {record.name}",
    )


def _names(records: Sequence[StudyRecord]) -> str:
    return ", ".join(record.name for record in records)
