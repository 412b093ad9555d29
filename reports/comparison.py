"""Several studies side by side: devices apart, one front only where figures compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reports import wording
from reports.measurements import Measurements, front, pick, real
from studies.pareto import Points
from studies.record import StudyRecord

SHOWN = ("study", "pick", "retention", "latency_ms", "size_mb", "speedup", "compression")
COUNTED = ("trained", "front", "on_joint_front")


def rows(records: Sequence[StudyRecord]) -> list[dict[str, Any]]:
    """One row a study, those of one device next to each other, in the order they were given.

    Args:
        records: the studies.

    Returns:
        device, study, trained, front and on_joint_front (how many of its front members no member
        of another study dominates, among studies on this device with the same data, feature
        network and batch; None where there is no such study), the pick with its retention,
        retention_interval, gap, latency_ms, size_mb, speedup, compression and repeated, None
        where nothing was picked; hypervolume, seconds of the search, and the digests of data,
        features and teacher.
    """
    order = {device: i for i, device in reversed(list(enumerate(map(_device, records))))}
    joint = _joint(records)
    found = [_row(r, count) for r, count in zip(records, joint, strict=True)]
    return sorted(found, key=lambda row: order[row["device"]])


def by_device(found: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The rows as a terminal shows them, a table for each device.

    Args:
        found: of `rows`.

    Returns:
        Short rows by device.
    """
    tables: dict[str, list[dict[str, Any]]] = {}
    for row in found:
        short = {name: row[name] for name in (*SHOWN, *COUNTED)}
        tables.setdefault(row["device"], []).append(short)
    return tables


def _row(record: StudyRecord, joint: int | None) -> dict[str, Any]:
    best = pick(record)
    names = ("retention", "gap", "latency_ms", "size_mb", "speedup", "compression", "repeated")
    figures = {name: getattr(best, name) if best else None for name in names}
    within = best.retention_interval if best else None
    return {
        "device": _device(record),
        "study": record.name,
        "trained": record.trained,
        "front": len(record.front),
        "on_joint_front": joint,
        "pick": record.best,
        **figures,
        "retention_interval": list(within) if within else None,
        "hypervolume": real({"hypervolume": record.hypervolume}, "hypervolume"),
        "seconds": record.seconds.get("search"),
        **{name: record.digests.get(name) for name in ("data", "features", "teacher")},
    }


def _device(record: StudyRecord) -> str:
    return wording.device(record.environment)


def alike(record: StudyRecord) -> tuple[Any, ...]:
    """What must be equal for gaps and latencies to be compared.

    Args:
        record: the study.

    Returns:
        Its device, batch, and digests of data and feature network.
    """
    batch = wording.flat(record.config).get("task.latency_batch")
    digests = (record.digests.get(name) for name in ("data", "features"))
    return (_device(record), batch, *digests)


def _joint(records: Sequence[StudyRecord]) -> list[int | None]:
    """How many front members of each study none of the others that compare with it dominates."""
    same = [alike(record) for record in records]
    fronts = [_points(front(record)) for record in records]
    counts: list[int | None] = []
    for i, own in enumerate(fronts):
        others = [f for j, f in enumerate(fronts) if j != i and same[j] == same[i]]
        counts.append(sum(not _beaten(m, np.vstack(others)) for m in own) if others else None)
    return counts


def _beaten(point: Points, others: Points) -> bool:
    return bool(((others <= point).all(axis=1) & (others < point).any(axis=1)).any())


def _points(found: Sequence[Measurements]) -> Points:
    rows = [(m.gap, m.latency_ms, m.size_mb) for m in found]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)
