"""What each choice costs: a typical student's latency, size and gap with it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from reports.hypervolume import SMALLEST_FLOOR
from reports.measurements import has_scores, real
from studies.axes import VALUES, axes, natural
from studies.record import StudyRecord, TrialRecord

Floats = NDArray[np.float64]
LEVEL = 0.95  # of the intervals
ALIKE = 1e-6  # rounding, where it is asked whether the trials can tell two choices apart


@dataclass(frozen=True)
class Typical:
    """A figure of a typical student with its interval."""

    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Effect:
    """What one choice of one dimension comes to; no figures where the trials cannot tell."""

    dimension: str
    choice: str
    trials: int
    figures: dict[str, Typical]  # gap, latency_ms and size_mb


def effects(record: StudyRecord, at: str = "") -> list[Effect]:
    """The scores of a typical student with each choice, all else as in the average trial.

    An additive model of all dimensions is fitted to the logarithms that the search minimizes, by
    least squares. So the choices of the other dimensions, which a sampler does not try equally
    often, do not count for or against a choice as they do in plain means; where every
    combination was tried equally often both are the same.

    Args:
        record: the study; its scored trials are used.
        at: an attribute that is held at its average as well; trials without it are left out.

    Returns:
        One entry a choice, by dimension in the order of the space, the cheapest choice first.
        Intervals (95%, Student's t) take the errors to be alike and independent. A choice has no
        figures where others always came with it, or where no trial is left to tell chance from.
    """
    trials = [t for t in record.trials if t.state == "complete" and has_scores(t)]
    if at:
        trials = [t for t in trials if real(t.attributes, at) is not None]
    levels = choices(trials)
    if not levels:
        return []
    floor = max(real(record.reference, "floor") or 0.0, SMALLEST_FLOOR)
    points = np.array([axes(t.values, floor) for t in trials])
    extra = [[real(t.attributes, at) or 0.0] for t in trials] if at else [[] for _ in trials]
    columns = _columns(trials, levels)
    fit = _Fit(np.hstack([columns, np.array(extra).reshape(len(trials), -1)]), points)
    found = []
    places = [(name, choice) for name, values in levels.items() for choice in values]
    for place, (name, choice) in enumerate(places, start=1):
        ours = [i for i, (other, _) in enumerate(places, start=1) if other == name]
        row = fit.design.mean(axis=0)
        row[ours] = 0.0
        row[place] = 1.0
        count = sum(str(t.params[name]) == choice for t in trials)
        found.append(Effect(name, choice, count, _figures(fit, row, floor)))
    return found


def choices(trials: Sequence[TrialRecord]) -> dict[str, list[str]]:
    """The choices that were tried of each dimension with several, numbers in their order.

    Args:
        trials: dimensions that some of them lack are left out.

    Returns:
        Choices as text, by dimension.
    """
    shared = [n for n in trials[0].params if all(n in t.params for t in trials)] if trials else []
    seen = {n: {t.params[n] for t in trials} for n in shared}
    order = {n: sorted(v, key=_order) for n, v in seen.items()}
    return {n: [str(c) for c in v] for n, v in order.items() if len(v) > 1}


def _order(choice: object) -> list[tuple[bool, float, str]]:
    """By the numbers in it, so that 8-16 comes before 16-32."""
    parts = re.split(r"(\d+(?:\.\d+)?)", str(choice))
    return [(i % 2 == 0, float(p) if i % 2 else 0.0, p) for i, p in enumerate(parts) if p]


class _Fit:
    """Least squares of several columns at once, by the pseudo-inverse as choices overlap."""

    def __init__(self, design: Floats, points: Floats) -> None:
        self.design = design
        inverse = np.linalg.pinv(design)
        self.coefficients = inverse @ points
        self.spread = inverse @ inverse.T
        self.told = inverse @ design  # what a row must be unchanged by to be told at all
        self.freedom = len(design) - int(np.linalg.matrix_rank(design))
        left = points - design @ self.coefficients
        self.noise = np.sqrt((left**2).sum(axis=0) / max(self.freedom, 1))

    def at(self, row: Floats) -> tuple[Floats, Floats] | None:
        """Values and half widths of their intervals; None where the trials cannot tell."""
        if self.freedom < 1 or np.abs(row @ self.told - row).max() > ALIKE:
            return None
        reach = float(student.ppf((1 + LEVEL) / 2, self.freedom))
        half = reach * self.noise * math.sqrt(float(row @ self.spread @ row))
        return row @ self.coefficients, half


def _columns(trials: Sequence[TrialRecord], levels: dict[str, list[str]]) -> Floats:
    """A column of ones, then one a choice."""
    chosen = [
        [float(str(t.params[name]) == choice) for t in trials]
        for name, values in levels.items()
        for choice in values
    ]
    return np.array([[1.0] * len(trials), *chosen]).T


def _figures(fit: _Fit, row: Floats, floor: float) -> dict[str, Typical]:
    told = fit.at(row)
    if told is None:
        return {}
    middle, half = told
    value, low, high = (_natural(end, floor) for end in (middle, middle - half, middle + half))
    return {n: Typical(value[n], (low[n], high[n])) for n in VALUES}


def _natural(point: Floats, floor: float) -> dict[str, float]:
    gap, latency, size = (float(v) for v in point)
    return {n: max(0.0, v) for n, v in natural((gap, latency, size), floor).items()}
