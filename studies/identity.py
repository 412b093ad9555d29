"""What a study is about: settings that must not change when it is resumed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ado_nas.errors import StudyError
from ado_nas.specs import to_dict
from studies.config import SearchConfig

FREE = (
    *("preset", "study", "trials", "timeout_s", "workers", "sampler", "startup", "patience"),
    *("pruner", "grace", "factor", "recycle"),
    *("finalists", "finalist_seeds", "warm_start"),
    "optimization",  # of no matter to a search
)
PLACES = ("storage", "artifacts", "track")
DEVICE = ("device", "kind", "architecture", "cores", "dtype", "runtime", "blas")
"""What of the recorded environment latencies depend on: they are never put on one front."""


def settings(config: SearchConfig) -> dict[str, Any]:
    """The settings that results depend on, flat: ``task.data.seed`` and so on.

    Args:
        config: of a search.

    Returns:
        Plain values by dotted name, without those that may change on resume.
    """
    kept = {k: v for k, v in to_dict(config).items() if k not in FREE + PLACES}
    return flat(kept)


def completed(before: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a study that an older version made, with those that came later.

    Args:
        before: as the study holds them, flat.

    Returns:
        What it lacks at the default, which is what the older version did; of the space nothing,
        for a dimension that came later was not searched.
    """
    defaults = settings(SearchConfig())
    return {**{k: v for k, v in defaults.items() if not k.startswith("space.")}, **before}


def surroundings(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The device and the digests of data, teacher, trajectories and features, flat.

    Args:
        facts: what the preparation found; see `objectives.scores.EvaluationModule`.

    Returns:
        Plain values by dotted name.
    """
    environment = facts.get("environment", {})
    device = {k: environment[k] for k in DEVICE if k in environment}
    return flat({"device": device, "digest": dict(facts.get("digests", {}))})


def refuse_changes(
    name: str, before: Mapping[str, Any], now: Mapping[str, Any], taken: Iterable[str]
) -> None:
    """Refuse to resume a study under other settings.

    Args:
        name: of the study.
        before: what it was made with, flat.
        now: what is asked for, flat.
        taken: names of studies that exist.

    Raises:
        StudyError: they differ; says where and proposes a free name.
    """
    differing = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
    if not differing:
        return
    shown = [f"{k} was {before.get(k)!r} and is now {now.get(k)!r}" for k in differing[:3]]
    more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
    raise StudyError(
        f"study {name!r} was made differently: {'; '.join(shown)}{more}; "
        f"start another with --study {free_name(name, taken)}"
    )


def free_name(name: str, taken: Iterable[str]) -> str:
    """The first of ``name-2``, ``name-3``, ... that is not taken."""
    used = set(taken)
    return next(n for i in range(2, len(used) + 3) if (n := f"{name}-{i}") not in used)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted names; lists and scalars stay, empty tables go."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        inner = isinstance(value, Mapping)
        found |= flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return found
