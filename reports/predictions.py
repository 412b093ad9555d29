"""What was told of candidates before they were built, against what was measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.measurements import cost, real, role
from studies.record import StudyRecord, TrialRecord

Pair = tuple[float, float]  # as predicted, as measured


@dataclass(frozen=True)
class Quantity:
    """Something that is told of a candidate: its name, its unit, and both figures of a trial."""

    title: str
    unit: str
    pair: Callable[[TrialRecord], Pair | None]


@dataclass(frozen=True)
class Told:
    """One candidate of which something was told, and what it came to."""

    trial: TrialRecord
    role: str
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        """Relative to what was measured."""
        return self.predicted / self.measured - 1


def _of(name: str) -> Callable[[TrialRecord], Pair | None]:
    return lambda trial: _pair(real(trial.attributes, f"predicted_{name}"), cost(trial, name))


def _training(trial: TrialRecord) -> Pair | None:
    """Of the batch that took the most."""
    try:
        plans = json.loads(str(trial.attributes.get("memory_plan", "{}")))["plans"]
        most = max(plans, key=lambda plan: plan["measured_mb"])
        return _pair(most["predicted_mb"], most["measured_mb"])
    except (ValueError, TypeError, KeyError):  # none, one of an older study, or a damaged one
        return None


QUANTITIES = {
    "latency_ms": Quantity("Latency", "ms per image", _of("latency_ms")),
    "peak_memory_mb": Quantity("Memory of sampling", "MB", _of("peak_memory_mb")),
    "training_memory_mb": Quantity("Memory of training", "MB", _training),
}
"""What can be told, by the name of its measured figure."""


def told(record: StudyRecord) -> dict[str, list[Told]]:
    """The candidates of which something was told and then measured.

    Args:
        record: the study; older ones stored no predictions.

    Returns:
        By name of `QUANTITIES`, without those that have none; trials whose scores are another
        trial's are left out.
    """
    trials = [t for t in record.trials if t.state != "duplicate"]
    found = {
        name: [Told(t, role(record, t), *pair) for t in trials if (pair := quantity.pair(t))]
        for name, quantity in QUANTITIES.items()
    }
    return {name: own for name, own in found.items() if own}


def errors(record: StudyRecord) -> dict[str, dict[str, float]]:
    """How far predictions were off.

    Args:
        record: the study.

    Returns:
        By quantity: ``trials``, how many; ``median_error`` and ``error_90``, which nine in ten
        stay under, as shares of what was measured.
    """
    return {
        name: {
            "trials": len(own),
            "median_error": float(np.median([abs(t.error) for t in own])),
            "error_90": float(np.quantile([abs(t.error) for t in own], 0.9, method="higher")),
        }
        for name, own in told(record).items()
    }


def _pair(predicted: Any, measured: Any) -> Pair | None:
    both = {"predicted": predicted, "measured": measured}
    found = [real(both, name) or 0.0 for name in both]
    return (found[0], found[1]) if min(found) > 0 else None
