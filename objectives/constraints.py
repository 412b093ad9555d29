"""Limits as violations: at most 0 where a limit is met, relative to the limit where it is not."""

from __future__ import annotations

import re

from objectives.scores import Limits

NAMES = ("latency", "size", "memory", "retention", "training")


def names(limits: Limits) -> tuple[str, ...]:
    """The constraints in force: the limits that are set, retention, and training itself.

    All trials of a study have the same ones, which samplers with a model of each rely on.
    """
    limited = {
        "latency": limits.max_latency_ms,
        "size": limits.max_size_mb,
        "memory": limits.max_memory_mb,
    }
    return tuple(n for n in NAMES if limited.get(n, True))


def violations(limits: Limits, figures: dict[str, float]) -> dict[str, float]:
    """How far figures are over the limits; what is not measured yet counts as met.

    Args:
        limits: what is allowed.
        figures: any of latency_ms, size_mb, peak_memory_mb, retention, and retention by
            resolution, such as retention_8px.

    Returns:
        A number for each of `names`; positive is a violation: of the others a share of the limit,
        of retention a difference.
    """
    pairs = {
        "latency": ("latency_ms", limits.max_latency_ms),
        "size": ("size_mb", limits.max_size_mb),
        "memory": ("peak_memory_mb", limits.max_memory_mb),
    }
    found = dict.fromkeys(names(limits), 0.0)
    for name, (key, limit) in pairs.items():
        if limit and key in figures:
            found[name] = figures[key] / limit - 1
    if "retention" in figures:
        kept = [figures["retention"]]
        if limits.every_resolution:
            kept += [v for k, v in figures.items() if re.fullmatch(r"retention_\d+px", k)]
        found["retention"] = limits.min_retention - min(kept)
    return found


def reason(found: dict[str, float]) -> str:
    """The violated limits in words; empty where all are met."""
    return ", ".join(
        # A difference of retentions, a share of the other limits; see `violations`.
        f"{name} under its limit by {v:.2g}"
        if name == "retention"
        else f"{name} over its limit by {v:.0%}"
        for name, v in found.items()
        if v > 0
    )
