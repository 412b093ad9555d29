"""What is said where no student passed the gate: how near it came, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports import wording
from reports.measurements import bounds, real


def sentence(found: Mapping[str, Any]) -> str:
    """That nothing passed, and what the best attempt kept.

    Args:
        found: a trade-off without a student that passed.

    Returns:
        One sentence.
    """
    tried = found.get("stages") or []
    if not tried:
        return "Nothing was trained: there is no student to compare."
    least = wording.fraction(real(found, "quality_threshold"))
    start = f"No student passed the gate at retention {least}: "
    judged = [stage for stage in tried if real(stage, "retention") is not None]
    amount = wording.count(len(tried), "attempt")
    if not judged:
        return f"{start}none of {amount} could be judged."
    whose = f"the best of {amount}" if len(tried) > 1 else "the only attempt"
    best = max(judged, key=lambda stage: float(stage["retention"]))
    steps, kept = best.get("output_steps"), wording.fraction(real(best, "retention"))
    within = wording.interval(bounds(best, "retention"), wording.fraction)
    return (
        f"{start}{whose} kept {kept}"
        + (f" [{within}]" if within else "")
        + (f" with {wording.count(steps, 'step')}" if isinstance(steps, int) else "")
        + "."
    )


def advice(found: Mapping[str, Any]) -> str:
    """Why the last attempt failed, and what may help.

    Args:
        found: a trade-off without a student that passed.

    Returns:
        Up to three sentences.
    """
    tried = found.get("stages") or []
    if not tried:
        return "Run it again; it goes on where it stands."
    why = str(tried[-1].get("note") or "")
    said = f"The last attempt: {why}. " if why else ""
    if any(row.get("chosen") for row in found.get("rows") or []):
        said += "The best of them was kept all the same. "
    return f"{said}Give the stages more iterations, aim at more steps, or lower the threshold."
