"""The section on finalists: each with what every seed came to, repeated or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports import wording
from reports.markup import Child, Html, element, join, table
from reports.measurements import bounds, real, searched
from studies.record import Finalist, StudyRecord

NOTE = (
    "A training repeats where its retention reaches the search\u2019s own 95% interval; a "
    "finalist, where the mean of its seeds does and every training could be scored; it is not "
    "known where a bug or crash ended one. The interval "
    "over all seeds adds the luck of training, whose spread is taken as equal for all finalists, "
    "to that of noise and held-out images."
)


def section(record: StudyRecord) -> Html | None:
    """What the finalists came to when they were trained again.

    Args:
        record: the study.

    Returns:
        A sentence and a table, or None for a study without finalists.
    """
    if not record.finalists:
        return None
    seeds = [f"Seed {row['seed']}" for row in record.finalists[0].seeds]  # all have the same
    headers = ["Trial", "Search", *seeds, "All seeds", "Repeated"]
    rows = [_row(record, found) for found in record.finalists]
    listing = table(headers, rows, "Retention of each training", "Finalists")
    return join([element("p", summary(record)), listing, element("p", NOTE, class_="muted note")])


def summary(record: StudyRecord) -> str:
    """How many finalists and trainings repeated, in a sentence."""
    found = record.finalists
    trainings = sum(len(f.seeds) for f in found)
    held = sum(bool(f.repeated) for f in found)
    verb = "was" if len(found) == 1 else "were"
    return (
        f"{wording.count(len(found), 'front member')} {verb} trained again to the end from other "
        f"seeds and measured on noise and held-out images that the search never saw: {held} of "
        f"{len(found)} repeated, and {sum(f.repeats for f in found)} of "
        f"{wording.count(trainings, 'training')}."
    )


def _row(record: StudyRecord, found: Finalist) -> Html:
    own = searched(record, record.trial(found.number))
    cells: list[Child] = [
        _kept(own.retention, own.retention_interval) if own else wording.ABSENT,
        *(_seed(row) for row in found.seeds),
        _kept(real(found.figures, "retention"), bounds(found.figures, "retention")),
        _verdict(found),
    ]
    head = element(
        "th", element("a", str(found.number), href=f"#trial-{found.number}"), scope="row"
    )
    return element("tr", head, *(element("td", c) for c in cells))


def _seed(row: Mapping[str, Any]) -> Html:
    if row["state"] != "complete":
        why = row["reason"] or row["state"]
        return join(
            [element("strong", "\u2717 not scored", class_="warning"), element("small", why)]
        )
    mark = None if row["repeated"] else element("strong", " \u2717", class_="warning")
    return join([_kept(real(row, "retention"), bounds(row, "retention")), mark])


def _kept(value: float | None, interval: tuple[float, float] | None) -> Html:
    within = wording.interval(interval, wording.fraction)
    return join([wording.fraction(value), element("small", f"[{within}]") if within else None])


def _verdict(found: Finalist) -> Child:
    said = f"{found.repeats} of {len(found.seeds)}"
    if found.repeated:
        return f"\u2713 yes, {said}"
    if found.repeated is None:
        return f"not known, {said}"
    return element("strong", f"\u2717 no, {said}", class_="warning")
