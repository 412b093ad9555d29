"""Limits that the reader moves: what the page's script needs to pick and list under them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from reports import wording
from reports.hypervolume import SMALLEST_FLOOR
from reports.markup import Html, element
from reports.measurements import cost, final, has_scores, real
from studies import pareto
from studies.axes import axes
from studies.record import StudyRecord, TrialRecord
from studies.selection import ENOUGH, standing

COSTS = {
    "latency_ms": ("Latency", "ms an image"),
    "size_mb": ("Size", "MB"),
    "peak_memory_mb": ("Peak memory", "MB"),
}
"""What can be limited, with its name and unit."""


def candidates(record: StudyRecord) -> list[TrialRecord]:
    """The trials that are on the front under some limits, by latency.

    A trial that another one equals or beats in quality, latency, size and memory is not: where
    the limits let it in, they let in the other one.

    Args:
        record: the study.

    Returns:
        The front, and with it what only a limit of memory brings up.
    """
    scored = [t for t in record.trials if t.state == "complete" and t.feasible and has_scores(t)]
    memory = [[_memory(t)] for t in scored]
    points = np.array([_point(record, t) for t in scored]).reshape(-1, 3)
    whole = np.hstack([points, np.array(memory, dtype=np.float64).reshape(-1, 1)])
    kept = pareto.front(whole)
    found = [t for t, on in zip(scored, kept, strict=True) if on or t.number in record.front]
    return sorted(found, key=lambda t: (t.values["latency_ms"], t.number))


def choices(record: StudyRecord) -> dict[str, Any]:
    """The candidates as data: what `studies.selection.best` looks at, and what is said of each.

    Args:
        record: the study.

    Returns:
        ``enough``, the retention of the rule; ``trials`` with number, kept, cost and repeated
        (see `studies.selection.Standing`), point (what a front compares), costs by name (as the
        search measured them), marks (where the picked point lies in the figures) and said; and
        ``stops``, by cost the values that a limit can have.
    """
    found = candidates(record)
    stops = {name: _stops(found, name) for name in COSTS}
    return {
        "enough": ENOUGH,
        "trials": [_choice(record, trial) for trial in found],
        "stops": {name: values for name, values in stops.items() if len(values) > 1},
    }


def sliders(record: StudyRecord) -> Html | None:
    """A slider for each cost in which the candidates differ; the page's script shows them.

    Args:
        record: the study.

    Returns:
        The controls with the sentence that they change, or None where there is no choice.
    """
    stops = choices(record)["stops"]
    if not stops:
        return None
    text = (
        "Move a limit to see what you would take under it. Limits act on the figures of the "
        "search, which every trial has; the rule of the pick stays the same."
    )
    return element(
        "div",
        element("p", text, class_="muted"),
        element(
            "div", *(_slider(name, values) for name, values in stops.items()), class_="ranges"
        ),
        element("p", "", id="limits-said", role="status"),
        element("button", "No limits", type="button", id="limits-reset"),
        id="limits-form",
        class_="limits",
        hidden=True,
    )


def _slider(name: str, values: list[float]) -> Html:
    title, unit = COSTS[name]
    last = len(values) - 1
    control = element(
        "input",
        type="range",
        id=f"limit-{name}",
        name=name,
        min=0,
        max=last,
        value=last,
        step=1,
        data_title=title.lower(),
        data_unit=unit,
    )
    return element(
        "label",
        element("span", title),
        control,
        element("output", "no limit", for_=f"limit-{name}"),
    )


def _choice(record: StudyRecord, trial: TrialRecord) -> dict[str, Any]:
    found = final(record, trial)
    assert found is not None  # candidates have scores
    within = wording.interval(found.retention_interval, wording.fraction)
    said = (
        f"trial {trial.number}: {wording.faster(found.speedup)}, "
        f"{wording.smaller(found.compression)}, at retention "
        f"{wording.fraction(found.retention)}" + (f" [{within}]" if within else "")
    )
    return {
        **asdict(standing(record, trial.number)),
        "point": list(_point(record, trial)),
        "costs": {name: cost(trial, name) for name in COSTS},
        "marks": {
            "latency_ms": found.latency_ms,
            "size_mb": found.size_mb,
            "retention": found.retention,
        },
        "said": said,
    }


def _stops(found: list[TrialRecord], name: str) -> list[float]:
    values = {cost(t, name) for t in found}
    return [] if None in values else sorted(v for v in values if v is not None)


def _point(record: StudyRecord, trial: TrialRecord) -> tuple[float, float, float]:
    floor = real(record.reference, "floor") or 0.0
    return axes(trial.values, max(floor, SMALLEST_FLOOR))


def _memory(trial: TrialRecord) -> float:
    found = cost(trial, "peak_memory_mb")
    return np.inf if found is None else found
