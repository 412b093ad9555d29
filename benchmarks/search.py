"""Our search against the plain loop, against itself without each component, and against chance.

Every search is on the teacher of the `digits` preset, and all of their students are judged again
alike (`benchmarks.judging`). Compute is wall time, for every loop has the whole machine; by
multiply-accumulates one that keeps a core waiting would look cheap. What all need, data, teacher
and feature network, is there before the clock starts. Drawing the trajectories counts.

Five hours on two quiet cores: 28 searches of 16 trials, four minutes each with what is measured
and judged again (2 hours); three without trajectories, whose iterations take a third longer (15
minutes); three plain loops of 16 trials at three to four minutes (3 hours).

Rows that were run one at a time, also on several machines, for only searches of one seed are
compared, become one result by ``python -m benchmarks.search RESULT ... > JOINED``.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ado_nas.errors import ConfigError
from ado_nas.progress import Progress
from benchmarks.arena import Arena, closed, opened
from benchmarks.joining import main
from benchmarks.verdicts import ablated, row_of, verdict
from search_spaces.space import UNANCHORED
from studies.axes import LOWEST_RETENTION
from studies.config import SearchConfig, resolve


@dataclass(frozen=True)
class Sizes:
    """How much is searched."""

    seeds: int = 5
    trials: int = 16  # of every search but the plain loop
    plain_seeds: int = 3  # so many of the seeds have a plain loop and an ablation
    plain_trials: int = 16
    plain_iterations: int = 2000  # four times ours: fresh weights learn in several stages


SIZES = Sizes()
Change = Callable[[SearchConfig], SearchConfig]


def _task(config: SearchConfig, **fields: Any) -> SearchConfig:
    return dataclasses.replace(config, task=dataclasses.replace(config.task, **fields))


def _space(config: SearchConfig, **fields: Any) -> SearchConfig:
    return dataclasses.replace(config, space=dataclasses.replace(config.space, **fields))


def _levels(config: SearchConfig) -> SearchConfig:
    return dataclasses.replace(config, space=closed(config.space))


ONLINE = "trajectories"
WITHOUT: dict[str, Change] = {
    ONLINE: lambda c: dataclasses.replace(_levels(c), evaluator="benchmarks.online"),
    "learned levels": _levels,
    "inheritance": lambda c: _task(c, inherit=False),
    "pruner": lambda c: dataclasses.replace(c, pruner="none"),
    "anchors": lambda c: _space(c, anchors=UNANCHORED),
    "sampler": lambda c: dataclasses.replace(c, sampler="random"),
    "second worker": lambda c: dataclasses.replace(c, workers=1),
}
"""What is left out, each alone; without trajectories there are no levels learned from them and
nothing to compare at rungs, either."""

KINDS: dict[str, Change] = {
    "ours": lambda c: c,
    "random": lambda c: _space(dataclasses.replace(c, sampler="random"), anchors=UNANCHORED),
    **WITHOUT,
}


def run(
    *,
    seed: int,
    row: int | None,
    workspace: Path,
    progress: Progress,
    config: SearchConfig | None = None,
    sizes: Sizes = SIZES,
) -> dict[str, Any]:
    """Search in every way from each seed.

    Args:
        seed: the first one.
        row: one of the seeds, by its place; None all.
        workspace: its cache keeps the teacher. Each search that has ended is kept, too, and one
            that was stopped goes on.
        progress: told by the searches themselves.
        config: other than the digits preset.
        sizes: how much.

    Returns:
        rows: of each seed hypervolume, random_hypervolume and seconds of ours; where there is a
        plain loop its plain_hypervolume, plain_seconds and plain_at_equal_time (its hypervolume
        when ours had ended), seconds_to_plain (until ours had its last hypervolume; None for
        never) and time_ratio (of those until the plain loop had it to these; near_ratio, to 99%
        of it); what `verdict` and `ablated` make of them; all searches with their curves; corner
        and sizes.

    Raises:
        ConfigError: no such row.
    """
    if row is not None and not 0 <= row < sizes.seeds:
        raise ConfigError(f"row {row}: give 0 to {sizes.seeds - 1}, the place of a seed")
    base = dataclasses.replace(config or _preset(), trials=sizes.trials)
    about = sizes.plain_trials, sizes.plain_iterations
    arena = opened("search", base, about, workspace, progress)
    places = range(sizes.seeds) if row is None else [row]
    cases = [(seed + place, kind) for place in places for kind in _kinds(sizes, place)]
    searches: list[dict[str, Any]] = []
    for own, kind in cases:
        searches.append(_searched(arena, sizes, own, kind))
        progress("searches", len(searches), len(cases), f"{kind}, seed {own}")
    return {**told(searches), "corner": list(arena.corner), "sizes": dataclasses.asdict(sizes)}


def told(searches: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What `run` returns, of searches that have ended."""
    seeds = dict.fromkeys(s["seed"] for s in searches)
    rows = [row_of(own, {s["kind"]: s for s in searches if s["seed"] == own}) for own in seeds]
    return {
        "rows": rows,
        **verdict(rows),
        "ablation": ablated(searches, list(WITHOUT)),
        "searches": searches,
    }


def joined(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One result of several, each of seeds of its own: what is compared is of one seed.

    Args:
        results: what the command printed for single rows, on one machine or on several, or what
            this function made of them.

    Returns:
        As `run`, with ``parts`` (seeds, corner and environment of each).

    Raises:
        ConfigError: the results are not of as much searching, or share a seed.
    """
    if any(one["sizes"] != results[0]["sizes"] for one in results):
        raise ConfigError("the results are not of equal sizes")
    parts = [part for one in results for part in one.get("parts") or [_part(one)]]
    seeds = [own for part in parts for own in part["seeds"]]
    if len(set(seeds)) < len(seeds):
        raise ConfigError("a seed is in two of the results")
    searches = [search for one in results for search in one["searches"]]
    known = {k: results[0][k] for k in ("name", "sizes")}
    return {**known, **told(searches), "parts": parts}


def _part(one: dict[str, Any]) -> dict[str, Any]:
    seeds = [row["seed"] for row in one["rows"]]
    return {"seeds": seeds, "corner": one["corner"], "environment": one["environment"]}


def _kinds(sizes: Sizes, place: int) -> list[str]:
    """What is searched from the seed of that place."""
    return ["ours", "random", *(["plain", *WITHOUT] if place < sizes.plain_seeds else [])]


def _searched(arena: Arena, sizes: Sizes, seed: int, kind: str) -> dict[str, Any]:
    if kind == "plain":
        return arena.plain(seed, sizes.plain_trials, sizes.plain_iterations)
    config = KINDS[kind](dataclasses.replace(arena.config, seed=seed))
    return arena.searched(kind, config, trajectories=kind != ONLINE)


def _preset() -> SearchConfig:
    # At the default's least retention the plain loop would end with nothing to be compared with.
    flags = {"min_retention": LOWEST_RETENTION, "finalists": 0, "track": False}
    return resolve("digits", flags=flags)


if __name__ == "__main__":
    main(joined, sys.argv[1:])
