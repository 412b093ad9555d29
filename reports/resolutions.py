"""Quality by resolution: where a student is good at one size and bad at another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from reports import wording
from reports.markup import Child, Html, element, join, table
from reports.measurements import bounds, front, real
from studies.record import StudyRecord, TrialRecord

_NAME = re.compile(r"retention(?:_(\d+)px)?")


def by_resolution(record: StudyRecord, trial: TrialRecord) -> list[dict[str, Any]]:
    """How much a student keeps at each resolution, as the search measured it.

    Args:
        record: the study.
        trial: a scored one.

    Returns:
        resolution in px, gap, retention and retention_interval, from the smallest; nothing where
        its own resolution is the only one that was judged.
    """
    own = wording.flat(record.config).get("task.data.resolution", 0)
    found = [_NAME.fullmatch(name) for name in trial.attributes]
    sides = {int(m[1] or own): f"_{m[1]}px" if m[1] else "" for m in found if m}
    if len(sides) < 2:
        return []
    return [{"resolution": side, **_kept(trial, sides[side])} for side in sorted(sides)]


def _kept(trial: TrialRecord, ending: str) -> dict[str, Any]:
    names = ("retention", "retention_low", "retention_high")
    found = {name: trial.attributes.get(f"{name}{ending}") for name in names}
    gap = trial.attributes.get(f"gap{ending}") if ending else trial.values.get("gap")
    within = bounds(found, "retention")
    return {
        "gap": real({"gap": gap}, "gap"),
        "retention": real(found, "retention"),
        "retention_interval": list(within) if within else None,
    }


def resolution_table(record: StudyRecord) -> Html | None:
    """The front's retention at each resolution; None where only one was judged.

    Args:
        record: the study.
    """
    trials = [record.trial(m.number) for m in front(record)]
    found = {t.number: by_resolution(record, t) for t in trials}
    sides = sorted({row["resolution"] for rows in found.values() for row in rows})
    if not sides:
        return None
    heads: list[Child] = ["Trial", "Curriculum", *(f"{side} px" for side in sides)]
    rows = [_row(trial, found[trial.number], sides) for trial in trials]
    text = (
        "How much is kept at each resolution, as the search measured it, with 95% intervals. The "
        "reference at a lower one is its own images averaged down. A student that was not trained "
        "at a resolution is sampled there all the same, and shown for what it is."
    )
    note = element("p", text, class_="muted note")
    listing = table(heads, rows, label="Retention by resolution")
    return join([element("h3", "Quality by resolution"), listing, note])


def _row(trial: TrialRecord, found: list[dict[str, Any]], sides: list[int]) -> Html:
    known = {row["resolution"]: row for row in found}
    cells = [_cell(known[side]) if side in known else wording.ABSENT for side in sides]
    link = element("a", str(trial.number), href=f"#trial-{trial.number}")
    setting = str(trial.params.get("curriculum", wording.ABSENT))
    head = element("th", link, scope="row")
    return element("tr", head, *(element("td", c) for c in (setting, *cells)))


def _cell(row: Mapping[str, Any]) -> Child:
    within = wording.interval(row["retention_interval"], wording.fraction)
    note = element("small", f"[{within}]") if within else None
    return join([wording.fraction(row["retention"]), note])
