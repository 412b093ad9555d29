"""What makes the figures believable: how and on what they were made, and how to repeat them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reports import finalists, wording
from reports.commands import commands, taking
from reports.markup import Child, Html, element, table
from reports.measurements import real
from studies.record import StudyRecord
from studies.selection import KNEE, RULE, corner

_LONG = ("samples", "replicates", "resolutions")  # of the reference, told elsewhere or to machines


def notes(record: StudyRecord) -> Html:
    """What the figures mean and what they cannot tell.

    Args:
        record: the study.

    Returns:
        A list of sentences.
    """
    found = [
        _gap(record),
        _retention(record),
        _latency(record),
        _again(record),
        _seeds(record),
        _pick(record),
        _knee(record),
        _carried(record),
    ]
    return element("ul", *(element("li", text) for text in found if text), class_="notes")


def progress_line(record: StudyRecord) -> str:
    """How many trials ended how, and where the time went."""
    states = [f"{n} {name}" for name, n in record.states.items() if n]
    spent = [f"{name} {wording.duration(s)}" for name, s in record.seconds.items()]
    ended = f"{wording.count(len(record.trials), 'trial')}: {', '.join(states)}." if states else ""
    total = wording.duration(sum(record.seconds.values()))
    return f"{ended} {f'Took {total}: ' + ', '.join(spent) + '.' if spent else ''}".strip()


def reproduce(record: StudyRecord, workspace: Path) -> Html:
    """The commands that repeat the study and use its pick, and how the pick is loaded.

    Args:
        record: the study.
        workspace: where it lies.

    Returns:
        A list of commands with what each is for.
    """
    return element(
        "dl",
        *(
            child
            for purpose, lines in (*commands(record, workspace), *taking(record, workspace))
            for child in (
                element("dt", purpose),
                element("dd", element("code", lines, tabindex=0)),
            )
        ),
        class_="commands",
    )


def environment(record: StudyRecord) -> Html:
    """Where it ran, the reference, the digests of what went in, and the resolved settings.

    Args:
        record: the study.

    Returns:
        Tables that open on demand.
    """
    parts = (
        ("Environment", record.environment),
        (
            "Reference",
            {k: v for k, v in record.reference.items() if k not in _LONG},
        ),
        ("Digests", record.digests),
        ("Settings", record.config),
    )
    return element(
        "div", *(_facts(title, values) for title, values in parts if values), class_="facts"
    )


def _facts(title: str, values: Mapping[str, Any]) -> Html:
    rows = [
        element("tr", element("th", key, scope="row"), element("td", _value(value)))
        for key, value in wording.flat(values).items()
    ]
    listing = table(["Name", "Value"], rows, label=title)
    return element("details", element("summary", title), listing)


def _value(value: Any) -> Child:
    if isinstance(value, float):
        return wording.number(value, 6)
    if isinstance(value, (list, tuple)):
        return ", ".join(str(_value(v)) for v in value)
    return str(value)


def _gap(record: StudyRecord) -> str:
    samples = wording.flat(record.config).get("task.quality.samples")
    count = f"{samples:,} generated images" if isinstance(samples, int) else "generated images"
    noise = real(record.reference, "gaussian_gap")
    scale = (
        " Pixel noise with the data's own mean and covariance has a gap of "
        f"{wording.number(noise)}, the reference {wording.number(real(record.reference, 'gap'))}."
        if noise is not None
        else ""
    )
    return (
        f"Gap is the Fréchet distance of {count} to held-out real ones in a fixed feature "
        f"network, less its bias at that sample count; smaller is better.{scale}"
    )


def _retention(record: StudyRecord) -> str:
    floor, gap = real(record.reference, "floor"), real(record.reference, "gap")
    text = (
        "Retention is (reference gap + floor) / (student gap + floor): 1 equals the reference, "
        "more is better."
    )
    if floor is None:
        return text
    text += (
        f" The floor, {wording.number(floor)}, is what two sets of real images differ by; "
        "differences below it mean nothing."
    )
    if gap is not None and gap < floor:
        text += (
            " The reference itself lies below the floor, so small differences in retention "
            "cannot be told here."
        )
    return text


def _latency(record: StudyRecord) -> str:
    batch = wording.flat(record.config).get("task.latency_batch")
    size = f" in batches of {batch}" if batch else ""
    turns = (
        ", in turns with a step of the teacher and relative to it, so that slow minutes of the "
        "machine do not count"
        if "step_ms" in record.reference
        else ""
    )
    return (
        f"Latency is the whole way from noise to image, per image{size}, the median of repeated "
        f"evaluations with nothing else running{turns}, on {wording.device(record.environment)}. "
        "It says nothing about another device."
    )


def _again(record: StudyRecord) -> str:
    # Not what `final` says: of a finalist that is the verdict of its trainings from other seeds.
    verdicts = [record.remeasured.get(n, {}).get("repeated") for n in record.front]
    measured = [v for v in verdicts if v is not None]
    if not measured:
        return (
            "The front was not measured again; a search's own winners look better than they are."
        )
    members = wording.count(len(measured), "front member")
    return (
        f"{sum(measured)} of {members} repeated when measured again on other noise and the other "
        "half of the held-out images. Brackets are 95% intervals."
        f"{_overtaken(len(record.dominated))}"
    )


def _overtaken(count: int) -> str:
    if not count:
        return ""
    verb = "is" if count == 1 else "are"
    return (
        f" By these figures {wording.count(count, 'front member')} {verb} dominated by another "
        "one, and marked so."
    )


def _carried(record: StudyRecord) -> str:
    taken = [str(t.attributes["from"]).rpartition(":")[0] for t in record.trials if t.carried]
    if not taken:
        return ""
    names = " and ".join(dict.fromkeys(taken))
    return (
        f"{wording.count(len(taken), 'trial')} came with their scores from {names}, a study with "
        "equal teacher, data, trajectories, features and device; they count in no budget."
    )


def _pick(record: StudyRecord) -> str:
    named = "" if record.best is None else f", trial {record.best},"
    return f"The pick{named} is, {RULE}."


def _knee(record: StudyRecord) -> str:
    found = corner(record)
    return "" if found is None else f"The knee, trial {found}, is {KNEE}."


def _seeds(record: StudyRecord) -> str:
    others = "The others were each" if record.finalists else "Each student was"
    once = (
        f"{others} trained once, with one seed: their intervals cover other noise and other "
        "held-out images, for student and reference together, not the luck of training."
    )
    if not record.finalists:
        return once
    return (
        f"{finalists.summary(record)} Their figures are means over these seeds, and their "
        f"intervals cover the luck of training. {once}"
    )
