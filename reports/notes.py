"""What a dashboard says of a study and of each trial: Markdown, with what people typed escaped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from reports import headline, wording
from reports.markup import plain
from reports.measurements import Measurements, final, has_scores, real
from studies.record import StudyRecord, TrialRecord

LIMITS = {
    "limits.min_retention": ("retention at least", ""),
    "limits.max_latency_ms": ("latency at most", " ms an image"),
    "limits.max_size_mb": ("size at most", " MB"),
    "limits.max_memory_mb": ("peak memory at most", " MB"),
}
WARNING = (
    "**Trust our figures *Retention against latency* and *against model size*, further down the "
    "study's first page, not the one called Pareto Front.** That one is the dashboard's own, in "
    "logarithms and as the search first measured; where another program than "
    "`python cli.py dashboard` shows it, it takes students over a limit for good ones, too."
)


def escaped(text: str) -> str:
    """Text as Markdown that shows it as it is; it belongs in the middle of a line."""
    return re.sub(r"([\\`*_\[\]<>#|~&!])", r"\\\1", " ".join(text.split()))


def trial_note(record: StudyRecord, trial: TrialRecord, image: str = "") -> str:
    """What a trial came to, with its samples.

    Args:
        record: the study, for its reference and what was measured again.
        trial: one that has ended.
        image: address of its sample grid; empty where it has none.

    Returns:
        Markdown.
    """
    found = final(record, trial) if has_scores(trial) else None
    said = _gains(trial, found) if found else _end(trial)
    return f"![Samples of trial {trial.number}]({image})\n\n{said}" if image else said


def study_note(record: StudyRecord) -> str:
    """What was searched, on what and under which limits, and the pick so far.

    Args:
        record: the study.

    Returns:
        Markdown that changes as the pick does, not with every trial.
    """
    facts = "\n".join(f"- **{name}:** {said}" for name, said in _facts(record).items() if said)
    return "\n\n".join([*_pick(record), facts, WARNING])


def _gains(trial: TrialRecord, found: Measurements) -> str:
    within = wording.interval(found.retention_interval, wording.fraction)
    kept = f"**Retention {wording.fraction(found.retention)}**" + (
        f" ({within})" if within else ""
    )
    words = [
        kept,
        f"{wording.faster(found.speedup)} ({wording.number(found.latency_ms)} ms an image)",
        f"{wording.smaller(found.compression)} ({wording.number(found.size_mb)} MB)",
    ]
    said = ", ".join(words) + (", measured again." if found.remeasured else ".")
    if trial.state == "duplicate":
        said += f"\n\nIt is {escaped(trial.reason)}."
    over = ", ".join(escaped(name) for name, v in trial.constraints.items() if v > 0)
    return f"{said}\n\n**Over the limit** of {over}." if over else said


def _end(trial: TrialRecord) -> str:
    if trial.reason:
        return f"**Stopped before scoring:** {escaped(trial.reason)}."
    return f"**Stopped before scoring** ({escaped(trial.state)})."


def _pick(record: StudyRecord) -> list[str]:
    if record.best is None:
        return ["No student is picked yet."]
    words = (headline.sentence(record), headline.subtitle(record))
    said, more = (escaped(plain(text)) for text in words)
    return [f"**The pick so far.** {said}", more]


def _facts(record: StudyRecord) -> dict[str, str]:
    config = wording.flat(record.config)
    side = config.get("task.data.resolution")
    data = f"{config.get('task.data.name', '')}, {side} px" if side else ""
    reference = wording.sampler(record.reference)
    return {
        "Searched": escaped(_space(record.config.get("space", {}))),
        "Data": escaped(data),
        "Teacher": escaped(_teacher(config, record.reference)),
        "Reference": escaped(f"the teacher with {reference}" if reference else ""),
        "Device": escaped(wording.device(record.environment)),
        "Objectives": "quality gap, latency and model size, each as small as can be",
        "Limits": escaped(_limits(config)),
    }


def _space(space: Mapping[str, Any]) -> str:
    """The dimensions that leave a choice, with how many each has."""
    lists = {n: v for n, v in space.items() if isinstance(v, list) and n != "anchors"}
    return ", ".join(f"{name} ({len(v)})" for name, v in lists.items() if len(v) > 1)


def _teacher(config: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    folder = str(config.get("task.teacher_folder") or "")
    widths = config.get("task.teacher.unet.widths")
    if folder:
        name = f"the model in {folder}"
    else:
        name = f"U-Net of widths {'-'.join(map(str, widths))}" if widths else ""
    size = real(reference, "size_mb")
    return ", ".join(w for w in (name, f"{wording.number(size)} MB" if size else "") if w)


def _limits(config: Mapping[str, Any]) -> str:
    given = {key: real(config, key) for key in LIMITS}
    said = [f"{LIMITS[k][0]} {v:g}{LIMITS[k][1]}" for k, v in given.items() if v]
    return ", ".join(said) or "none"
