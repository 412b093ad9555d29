"""Sample grids of the reference and of the front, drawn from equal noise, inside the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from reports import wording
from reports.markup import Html, element, join
from reports.measurements import Measurements, front
from studies.record import StudyRecord

SHOWN = 12  # grids that are shown without being asked for
BUDGET_BYTES = 1_300_000  # of PNG in all, so that page and Plotly stay within 8 MB


@dataclass(frozen=True)
class Grid:
    """One grid of samples; `source` is a data URI, or "" where there is no readable image."""

    title: str
    detail: str
    source: str
    alternative: str
    anchor: str = ""
    trial: int | None = None


@dataclass
class Purse:
    """Bytes of images that the page may still take."""

    left: int = BUDGET_BYTES


def grids(record: StudyRecord, workspace: Path, purse: Purse) -> list[Grid]:
    """The reference's grid, then the pick's, then the other front members' by latency.

    Args:
        record: the study.
        workspace: what relative paths in the record start from.
        purse: what the page may still take.

    Returns:
        One grid each; the first is always the reference.
    """
    samples = str(record.reference.get("samples") or "")
    nfe = record.reference.get("nfe", wording.ABSENT)
    reference = Grid(
        "Reference: the teacher",
        f"{nfe} network evaluations, {wording.number(record.reference.get('latency_ms'))} ms",
        data_uri(workspace / samples, purse) if samples else "",
        "Samples of the teacher",
    )
    members = sorted(front(record), key=lambda f: f.number != record.best)
    return [reference, *(_member(record, found, workspace, purse) for found in members)]


def corners(record: StudyRecord, workspace: Path, purse: Purse) -> dict[str, str]:
    """A corner of every other scored trial's grid, for the pointer, as long as they fit.

    Args:
        record: the study.
        workspace: what relative paths in the record start from.
        purse: what the page may still take.

    Returns:
        Data URIs by trial number; those of the front have a grid in the page.
    """
    found: dict[str, str] = {}
    for trial in record.trials:
        if not trial.folder or trial.number in record.front:
            continue
        source = data_uri(workspace / trial.folder / "samples.png", purse, corner=True)
        if source:
            found[str(trial.number)] = source
    return found


def wall(found: list[Grid]) -> Html:
    """All grids, the first dozen at once and the others on demand.

    Args:
        found: the grids, the most interesting first.

    Returns:
        One or two galleries.
    """
    first = element("div", *map(card, found[:SHOWN]), class_="gallery")
    others = found[SHOWN:]
    if not others:
        return first
    summary = element("summary", f"{wording.count(len(others), 'more front member')}")
    more = element("details", summary, element("div", *map(card, others), class_="gallery"))
    return join([first, more])


def data_uri(path: Path, purse: Purse, corner: bool = False) -> str:
    """An image file as a data URI, re-encoded so that nothing but pixels gets into the page.

    Args:
        path: a PNG or another image that Pillow reads.
        purse: what the page may still take; lowered by what this image takes.
        corner: whether the upper left quarter will do.

    Returns:
        The URI, or "" where the file is missing, is no image or no longer fits.
    """
    buffer = io.BytesIO()
    try:
        with Image.open(path) as image:
            shown = image if image.mode in ("L", "RGB") else image.convert("RGB")
            if corner:
                shown = shown.crop((0, 0, shown.width // 2, shown.height // 2))
            shown.save(buffer, "PNG", optimize=True)
    except (OSError, ValueError, SyntaxError):
        return ""
    data = buffer.getvalue()
    if len(data) > purse.left:
        return ""
    purse.left -= len(data)
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii")


def card(grid: Grid) -> Html:
    """A grid with its caption; says so where there is no image.

    Args:
        grid: title, detail and image.

    Returns:
        A ``figure`` element.
    """
    picture = (
        element(
            "img",
            src=grid.source,
            alt=grid.alternative,
            class_="samples",
            data_trial=grid.trial,
        )
        if grid.source
        else element("div", "No sample grid was kept.", class_="samples missing")
    )
    title = (
        element("a", grid.title, href=grid.anchor)
        if grid.anchor
        else Html(element("span", grid.title))
    )
    caption = element("figcaption", element("strong", title), element("span", grid.detail))
    return element("figure", picture, caption, class_="grid")


def _member(record: StudyRecord, found: Measurements, workspace: Path, purse: Purse) -> Grid:
    trial = record.trial(found.number)
    path = workspace / trial.folder / "samples.png"
    return Grid(
        f"Trial {found.number}" + (", the pick" if found.number == record.best else ""),
        f"{wording.faster(found.speedup)}, {wording.smaller(found.compression)}, "
        f"retention {wording.fraction(found.retention)}",
        data_uri(path, purse) if trial.folder else "",
        f"Samples of trial {found.number} from the same noise",
        f"#trial-{found.number}",
        found.number,
    )
