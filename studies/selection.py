"""Which member of the front is picked as the best, by a rule that can be said in a sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from studies.record import TrialRecord

ENOUGH = 0.9  # retention at which a student counts as good as the reference
RULE = (
    f"of the front members that keep at least {ENOUGH:.0%} of the reference's quality, also when "
    "measured again, the one with the largest product of speedup and compression; "
    "if there is none, the one with the highest retention"
)


def pick(
    front: Iterable[TrialRecord], remeasured: Mapping[int, Mapping[str, Any]] | None = None
) -> int | None:
    """The number of the best front member; see `RULE`.

    Args:
        front: feasible, non-dominated complete trials.
        remeasured: what the re-measurement found, by trial number.

    Returns:
        A trial number, or None where the front is empty.
    """
    again = remeasured or {}
    members = list(front)
    if not members:
        return None
    kept = {t.number: _retention(t, again.get(t.number, {})) for t in members}
    enough = [t for t in members if kept[t.number] >= ENOUGH]
    if enough:
        return min(enough, key=lambda t: (_cost(t), -kept[t.number], t.number)).number
    return max(members, key=lambda t: (kept[t.number], -t.number)).number


def _retention(trial: TrialRecord, again: Mapping[str, Any]) -> float:
    """The lower of both measurements: a front is picked for its luck as well as for its merit."""
    first = float(trial.attributes.get("retention", 0.0))
    return min(first, float(again.get("retention", first)))


def _cost(trial: TrialRecord) -> float:
    """Log latency plus log size: minus log speedup and compression, but for a constant."""
    return math.log(trial.values["latency_ms"]) + math.log(trial.values["size_mb"])
