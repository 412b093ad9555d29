"""The tables of the page: the front with both measurements, and every trial."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from reports import wording
from reports.limits import candidates
from reports.markup import Child, Html, element, join, table
from reports.measurements import Measurements, cost, final, real, searched
from studies.record import StudyRecord, TrialRecord
from studies.selection import corner as knee

FRONT_HEADERS = (
    "Trial",
    "Retention",
    "Gap",
    "Latency, ms",
    join(["than ", element("span", "training-free", class_="whole")]),
    "Size, MB",
    "Memory, MB",
    "Repeated",
)


def front_table(record: StudyRecord) -> Html:
    """The front by latency, each figure with the search's own below where they differ.

    Args:
        record: the study.

    Returns:
        A table, or a sentence where the front is empty. Rows that only a limit of memory brings
        up are hidden; the page's script shows them.
    """
    found = [final(record, trial) for trial in candidates(record)]
    members = [f for f in found if f]
    if not members:
        return element(
            "p", "The front is empty: no scored trial is within every limit.", class_="muted"
        )
    names = _varying([record.trial(m.number) for m in members])
    corner = knee(record)
    rows = [_front_row(record, found, names, corner) for found in members]
    rows.append(_reference_row(record, len(names)))
    headers: list[Child] = [*FRONT_HEADERS, *map(_title, names)]
    return join(
        [
            table(headers, rows, _same(record, members, names), "Front members"),
            _search_note(members),
        ]
    )


def trial_table(record: StudyRecord, folder: Path, workspace: Path) -> Html:
    """Every trial in a table that opens on demand.

    Args:
        record: the study.
        folder: where the report lies, for links to the trials' folders.
        workspace: what relative paths in the record start from.

    Returns:
        A ``details`` element; its rows have the ids that figures and the front link to.
    """
    if not record.trials:
        return element("p", "There is no trial to list.", class_="muted")
    names = list(dict.fromkeys(name for t in record.trials for name in t.params))
    headers = [
        "Trial",
        "State",
        "Retention",
        "Gap",
        "Latency, ms",
        "Size, MB",
        *map(_title, names),
    ]
    rows = [_trial_row(record, t, names, folder, workspace) for t in record.trials]
    listing = table([*headers, "Seconds", "Spec", "Reason"], rows, label="All trials")
    summary = element("summary", f"All {wording.count(len(record.trials), 'trial')}")
    return element("details", summary, listing, id="trials")


def _front_row(
    record: StudyRecord, found: Measurements, names: list[str], corner: int | None
) -> Html:
    trial = record.trial(found.number)
    own = searched(record, trial) if found.remeasured else None
    kept = wording.interval(found.retention_interval, wording.fraction)
    cells: list[Child] = [
        _twice(
            wording.fraction(found.retention),
            wording.fraction(own.retention) if own else "",
            f"[{kept}]" if kept else "",
        ),
        _twice(wording.number(found.gap), wording.number(own.gap) if own else ""),
        _twice(
            wording.number(found.latency_ms),
            wording.number(own.latency_ms) if own else "",
            wording.faster(found.speedup),
        ),
        wording.times(found.speedup_training_free),
        _twice(wording.number(found.size_mb), "", wording.smaller(found.compression)),
        wording.number(cost(trial, "peak_memory_mb")),
        _repeated(found),
    ]
    head = element("th", *_label(record, found.number, corner), scope="row")
    values = [element("td", _setting(trial.params.get(name))) for name in names]
    return element(
        "tr",
        head,
        *(element("td", c) for c in cells),
        *values,
        class_="pick" if found.number == record.best else None,
        data_number=found.number,
        hidden=found.number not in record.front,
    )


def _reference_row(record: StudyRecord, settings: int) -> Html:
    gap, latency, size = (real(record.reference, n) for n in ("gap", "latency_ms", "size_mb"))
    cells = [wording.fraction(1.0), wording.number(gap), wording.number(latency), ""]
    memory = wording.number(real(record.reference, "peak_memory_mb"))
    cells += [wording.number(size), memory, ""] + [""] * settings
    head = element("th", "Reference", scope="row")
    return element("tr", head, *(element("td", c) for c in cells), class_="reference")


def _label(record: StudyRecord, number: int, corner: int | None) -> list[Child]:
    link = element("a", str(number), href=f"#trial-{number}")
    marks = (("pick", "tag", record.best), ("knee", "knee", corner))
    return [
        link,
        *(element("span", name, class_=kind) for name, kind, at in marks if at == number),
    ]


def _twice(value: str, own: str, below: str = "") -> Html:
    small = element("small", below) if below else None
    before = element("small", f"search {own}", class_="own") if own else None
    return join([value, small, before])


def _repeated(found: Measurements) -> Child:
    lost = element("small", "dominated by now") if found.dominated else None
    if found.repeated is None:
        return join([element("span", "not re-measured", class_="muted"), lost])
    if found.repeated:
        return join(["✓ yes", lost])
    return join([element("strong", "✗ no", class_="warning"), lost])


def _search_note(members: list[Measurements]) -> Html | None:
    if not any(m.remeasured for m in members):
        return None
    return element(
        "p",
        "Large figures were measured again on other noise and other held-out images; “search” is "
        "what the search saw when it chose. Winners of a search look a little better than they "
        "are, so expect a small drop.",
        class_="muted note",
    )


def _varying(trials: list[TrialRecord]) -> list[str]:
    names = dict.fromkeys(name for t in trials for name in t.params)
    return [n for n in names if len({str(t.params.get(n)) for t in trials}) > 1]


def _same(record: StudyRecord, members: list[Measurements], varying: list[str]) -> str:
    params = record.trial(members[0].number).params
    shared = [f"{_title(k).lower()} {_setting(v)}" for k, v in params.items() if k not in varying]
    return f"Shared by all: {', '.join(shared)}." if shared and len(members) > 1 else ""


def _trial_row(
    record: StudyRecord, trial: TrialRecord, names: list[str], folder: Path, workspace: Path
) -> Html:
    found = searched(record, trial)
    state = (
        trial.state if trial.feasible or trial.state != "complete" else "complete, over a limit"
    )
    cells: list[Child] = [
        join(
            [
                state,
                element("span", "front", class_="tag") if trial.number in record.front else None,
            ]
        ),
        wording.fraction(found.retention if found else None),
        wording.number(found.gap if found else None),
        wording.number(found.latency_ms if found else cost(trial, "latency_ms")),
        wording.number(found.size_mb if found else cost(trial, "size_mb")),
        *(_setting(trial.params.get(name)) for name in names),
        wording.number(trial.seconds),
        element("code", trial.spec_hash) if trial.spec_hash else wording.ABSENT,
    ]
    head = element("th", _number(trial, folder, workspace), scope="row")
    reason = element("td", trial.reason, class_="reason")
    row = [head, *(element("td", c) for c in cells), reason]
    return element("tr", *row, id=f"trial-{trial.number}", tabindex=-1)


def _number(trial: TrialRecord, folder: Path, workspace: Path) -> Child:
    """The number, linked to the trial's folder where that exists."""
    target = workspace / trial.folder
    if not trial.folder or not target.is_dir():
        return str(trial.number)
    relative = os.path.relpath(target.resolve(), folder.resolve())
    return element(
        "a", str(trial.number), href=quote(relative) + "/", title="Model, spec and samples"
    )


def _title(name: str) -> str:
    return name.replace("_", " ").replace(".", " ").capitalize()


def _setting(value: Any) -> str:
    if isinstance(value, float):
        return wording.number(value)
    return wording.ABSENT if value is None else str(value)
