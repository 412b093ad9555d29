"""Small studies by hand, for what needs no more than a front."""

from __future__ import annotations

import dataclasses
from typing import Any

from studies.record import Finalist, StudyRecord, TrialRecord


def trial(
    number: int, retention: float, latency: float, size: float = 1.0, memory: float = 5.0
) -> TrialRecord:
    """A front member; the reference has a gap of 9 over a floor of 1."""
    return TrialRecord(
        number=number,
        state="complete",
        params={},
        values={"gap": 10 / retention - 1, "latency_ms": latency, "size_mb": size},
        constraints={},
        attributes={"retention": retention, "peak_memory_mb": memory},
        spec_hash="",
        folder="",
    )


def study(*front: TrialRecord, **fields: Any) -> StudyRecord:
    """A study of these members alone."""
    record = StudyRecord(
        name="s",
        config={},
        trials=front,
        front=tuple(t.number for t in front),
        best=None,
        reference={"gap": 9.0, "floor": 1.0},
        training_free=(),
        environment={},
        digests={},
        hypervolume=0.0,
        reference_point=(0.0, 0.0, 0.0),
    )
    return dataclasses.replace(record, **fields)


def finalist(number: int, retention: float, repeated: bool) -> Finalist:
    """A finalist of one seed."""
    figures = {"gap": 10 / retention - 1, "retention": retention, "latency_ms": 1.0}
    return Finalist(number, ({"seed": 1, "repeated": repeated},), figures, repeated)
