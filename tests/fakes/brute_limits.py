"""Limits on a study, and what they leave of it, for tests of the report's sliders."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np

from reports.limits import COSTS, candidates
from reports.measurements import cost
from studies import pareto
from studies.axes import axes
from studies.record import StudyRecord, TrialRecord


def front_within(record: StudyRecord, limits: dict[str, float]) -> set[int]:
    """The front of all trials within limits, by brute force."""

    def fits(trial: TrialRecord) -> bool:
        costs = {name: cost(trial, name) for name in limits}
        return all(c is not None and c <= limits[n] for n, c in costs.items())

    alive = [t for t in record.trials if t.state == "complete" and t.feasible and fits(t)]
    points = np.array([axes(t.values, record.reference["floor"]) for t in alive]).reshape(-1, 3)
    return {t.number for t, on in zip(alive, pareto.front(points), strict=True) if on}


def some_limits(record: StudyRecord, count: int) -> Iterator[dict[str, float]]:
    """Limits at figures of candidates, drawn."""
    draw = random.Random(3)
    known = {n: sorted(c for t in candidates(record) if (c := cost(t, n))) for n in COSTS}
    for _ in range(count):
        names = draw.sample(list(COSTS), draw.randint(0, 3))
        yield {n: draw.choice(known[n]) for n in names}
