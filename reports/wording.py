"""How figures and settings are written for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

SOLVERS = {
    "ddim": "DDIM",
    "dpmpp_2m": "DPM++(2M)",
    "dpmpp_3m": "DPM++(3M)",
    "ipndm_2": "iPNDM-2",
    "ipndm_3": "iPNDM-3",
    "ipndm_4": "iPNDM-4",
    "unipc": "UniPC",
    "heun": "Heun",
    "consistency": "consistency sampling",
}
SCHEDULES = {
    "uniform": "uniform timesteps",
    "karras": "Karras levels",
    "logsnr": "logSNR levels",
    "ays": "AYS levels",
    "dp": "learned (DP) levels",
}
ABSENT = "\u2013"  # an en dash, as tables print a missing value
TIMES = "\u00d7"
CLOSE = 0.05  # ratios that print as 1.0 count as equal


def number(value: float | None, digits: int = 3) -> str:
    """A figure with so many significant digits and no exponent between 1e-4 and 1e7.

    Args:
        value: the figure; None or not finite is written as a dash.
        digits: significant digits.

    Returns:
        For example ``0.414``, ``13.6``, ``1,380``.
    """
    if value is None or not math.isfinite(value):
        return ABSENT
    if value == 0:
        return "0"
    rounded = f"{value:.{digits - 1}e}"
    magnitude = int(rounded.partition("e")[2])
    if not -4 <= magnitude < 7:
        return rounded
    return f"{float(rounded):,.{max(0, digits - 1 - magnitude)}f}"


def whole(value: float | None) -> str:
    """A number of steps or of iterations, such as 1,000."""
    return ABSENT if value is None or not math.isfinite(value) else f"{value:,.0f}"


def times(value: float | None) -> str:
    """A ratio with its sign, such as 38 times or 6.2 times; one decimal below ten."""
    if value is None or not math.isfinite(value):
        return ABSENT
    return f"{value:,.0f}{TIMES}" if value >= 9.95 else f"{value:.1f}{TIMES}"


def same(ratio: float | None) -> bool:
    """Whether a ratio would print as 1.0."""
    return ratio is not None and abs(ratio - 1) < CLOSE


def change(ratio: float | None, more: str, less: str, equal: str = "") -> tuple[str, str]:
    """A ratio as people say it, never below one.

    Args:
        ratio: None where it is unknown.
        more: word for above one, such as faster.
        less: word for below one.
        equal: word for what prints as 1.0.

    Returns:
        The ratio with its sign, and the word.
    """
    if same(ratio):
        return times(1.0), equal
    if ratio is not None and 0 < ratio < 1:
        return times(1 / ratio), less
    return times(ratio), more


def faster(speedup: float | None) -> str:
    """How the speed of a model compares with the reference's."""
    if same(speedup):
        return "as fast"
    return " ".join(change(speedup, "faster", "slower"))


def smaller(compression: float | None) -> str:
    """How the size of a model compares with the teacher's."""
    if same(compression):
        return "of the same size"
    return " ".join(change(compression, "smaller", "larger"))


def fraction(value: float | None) -> str:
    """A retention, always with two decimals."""
    return ABSENT if value is None or not math.isfinite(value) else f"{value:.2f}"


def interval(bounds: Sequence[float] | None, write: Any = number) -> str:
    """An interval as ``0.90 to 0.97``.

    Args:
        bounds: low and high, or None.
        write: how one bound is written.

    Returns:
        Both bounds, or "" where there are none.
    """
    return f"{write(bounds[0])} to {write(bounds[1])}" if bounds else ""


def duration(seconds: float) -> str:
    """A time as ``0.4 s``, ``41 s``, ``5 min 12 s`` or ``2 h 5 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def count(amount: int, noun: str) -> str:
    """An amount with its noun, plural where it is not one."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def sampler(facts: Mapping[str, Any]) -> str:
    """A sampler in full.

    Args:
        facts: solver, schedule, nfe and perhaps guidance.

    Returns:
        For example ``DPM++(2M), Karras levels, 50 network evaluations (NFE)``.
    """
    solver, schedule = str(facts.get("solver", "")), str(facts.get("schedule", ""))
    words = [SOLVERS.get(solver, solver), SCHEDULES.get(schedule, schedule)]
    if "nfe" in facts:
        words.append(f"{facts['nfe']} network evaluations (NFE)")
    guidance = facts.get("guidance")
    if isinstance(guidance, (int, float)) and guidance != 1:
        words.append(f"guidance {guidance:g}")
    return ", ".join(w for w in words if w)


def setting(row: Mapping[str, Any]) -> str:
    """A sampler with its number of steps, as far as they are known.

    Args:
        row: perhaps solver, schedule and steps.

    Returns:
        For example ``DPM++(2M), Karras levels, 4 steps``.
    """
    steps = row.get("steps")
    words = [sampler({key: row[key] for key in ("solver", "schedule") if row.get(key)})]
    words.append(count(steps, "step") if isinstance(steps, int) else "")
    return ", ".join(w for w in words if w)


def device(environment: Mapping[str, Any]) -> str:
    """The device that the figures were measured on.

    Args:
        environment: what was recorded with the study.

    Returns:
        A name, or ``an unnamed device`` where none was recorded.
    """
    return str(environment.get("device") or "an unnamed device")


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted names; lists and scalars stay.

    Args:
        values: tables of tables.
        prefix: what every name starts with.

    Returns:
        Values by dotted name, in the order they came.
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found.update(flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found
