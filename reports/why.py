"""The sections that explain the front: why it looks so, and what its parts came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reports import accuracy, charts, influence, rungs, steps
from reports.charts import Chart
from reports.effects import Effect, effects
from reports.inheritance import inheritance_table
from reports.markup import Html, element
from reports.parallel import parallel
from reports.shell import section
from studies.importance import ENOUGH
from studies.record import StudyRecord

SHARES = (
    "Shares of the variance that each dimension explains (fANOVA on the logarithms that the "
    "search minimized). “Chance alone” is a made-up dimension without any meaning: what is not "
    "clearly above it says nothing."
)
EFFECTS = (
    "What a typical student comes to with each choice, all else as in the average trial, with 95% "
    "intervals. Choices whose intervals overlap were not told apart by this study."
)
MISSING = " Those not shown came with the same others too often to be told from them."
UNTOLD = (
    "What a single choice costs cannot be told from so few trials: they leave none to tell it "
    "from chance, or from the choices that came with it."
)
RUNGS = (
    "Retention while trials trained, on fewer images than the final one: stopped trials end at "
    "a cross, the others at what they came to."
)
STEPS = (
    "The teacher's own samplers without any training, a line for each solver and schedule, and "
    "the students. Up and to the left is better."
)


@dataclass(frozen=True)
class Reasons:
    """What a study says about its dimensions, worked out once; the charts by name."""

    shares: influence.Shares
    costs: list[Effect]
    charts: dict[str, Chart]


def reasons(record: StudyRecord) -> Reasons:
    """Work out what the study has something for.

    Args:
        record: the study.

    Returns:
        Shares, effects and the figures of both sections.
    """
    shares, costs = influence.shares(record), effects(record)
    drawn = {
        "importance": (
            "What each dimension decides",
            influence.shares_figure(shares),
            influence.BARS,
        )
        if shares
        else None,
        "effects": ("What each choice costs", influence.effects_figure(costs))
        if _told(costs)
        else None,
        "parallel": _titled("Every scored trial", parallel(record)),
        "rungs": _titled("Retention while training", rungs.rung_figure(record)),
        "predictions": _titled("Predicted against measured", accuracy.accuracy_figure(record)),
        "steps": _titled("Retention against steps", steps.steps_figure(record)),
    }
    found = {name: charts.chart(name, *shown) for name, shown in drawn.items() if shown}
    return Reasons(shares, costs, found)


def why_section(record: StudyRecord, found: Reasons) -> Html:
    """Why the front looks as it does.

    Args:
        record: the study.
        found: of `reasons`.

    Returns:
        The section; a study with too few trials says so.
    """
    shares, costs, by_name = found.shares, found.costs, found.charts
    few = f"With fewer than {ENOUGH} scored trials nothing can be told about single dimensions."
    parallels = by_name.get("parallel")
    return section(
        "why",
        "Why",
        element("p", SHARES if shares else few),
        *_shown(by_name, "importance"),
        influence.shares_table(shares) if shares else None,
        element("p", _effects_said(costs), class_="muted") if costs else None,
        *_shown(by_name, "effects"),
        influence.effects_table(costs) if _told(costs) else None,
        inheritance_table(record),
        charts.legend([parallels]) if parallels else None,
        *_shown(by_name, "parallel"),
        _left_out(record),
    )


def _told(costs: list[Effect]) -> bool:
    return any(e.figures for e in costs)


def _effects_said(costs: list[Effect]) -> str:
    if not _told(costs):
        return UNTOLD
    return EFFECTS if all(e.figures for e in costs) else EFFECTS + MISSING


def parts_section(record: StudyRecord, found: Reasons) -> Html | None:
    """What the parts came to: rungs, predictions, steps and schedules; None for a study of none.

    Args:
        record: the study.
        found: of `reasons`.
    """
    by_name = found.charts
    shown = [c for name, c in by_name.items() if name in ("rungs", "predictions", "steps")]
    if not shown:
        return None
    return section(
        "parts",
        "The parts",
        charts.legend(shown),
        element("p", RUNGS, class_="muted") if "rungs" in by_name else None,
        *_shown(by_name, "rungs"),
        *_predictions(record, by_name),
        element("p", STEPS, class_="muted") if "steps" in by_name else None,
        *_shown(by_name, "steps"),
        steps.free_table(record),
    )


def _predictions(record: StudyRecord, by_name: dict[str, Chart]) -> list[Html]:
    if "predictions" not in by_name:
        return []
    return [
        accuracy.accuracy_said(record),
        *_shown(by_name, "predictions"),
        accuracy.accuracy_table(record),
    ]


def _titled(title: str, figure: Any) -> tuple[str, Any] | None:
    return None if figure is None else (title, figure)


def _shown(by_name: dict[str, Chart], name: str) -> list[Html]:
    return [charts.place(by_name[name])] if name in by_name else []


def _left_out(record: StudyRecord) -> Html | None:
    if not record.left_out:
        return None
    lines = [element("li", f"Because of the device, {text}.") for text in record.left_out]
    return element(
        "div",
        element("h3", "What the device took from the space"),
        element("ul", *lines, class_="notes"),
    )
