"""Whether a policy learned by reinforcement spends evaluations better than fixed schedules do.

For each seed a policy is trained by PPO to decide after each evaluation how many more an image
gets. On noise that it has never seen it is compared at its own mean number of evaluations (NFE)
with the cheapest schedules (dynamic programming), the complexity rule, a policy that draws its
actions, uniform levels, those of Karras et al., and what it did itself, done to other images.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ado_nas.adaptive.countdown import LIMIT
from ado_nas.bench import open_bench
from ado_nas.errors import ConfigError
from ado_nas.files import read_json, write_json
from ado_nas.progress import Progress
from ado_nas.quality.intervals import Replicates, ratio_interval
from ado_nas.specs import TaskSpec, digest
from benchmarks.policies import BUDGETS, LEVELS, Arena, Made

OTHERS = ("dp", "complexity", "random", "uniform", "karras", "shuffled")
POLICIES = ("ppo", *OTHERS)
SEEDS = 3
SOLVER = "dpmpp_2m"
MEAN_NFE = 4.5
PRACTICED = 1024  # images
SCHEMA = 2


def run(
    *,
    seed: int,
    row: int | None,
    workspace: Path,
    progress: Progress,
    task: TaskSpec | None = None,
    solver: str = SOLVER,
    mean_nfe: float = MEAN_NFE,
    practiced: int = PRACTICED,
    training: dict[str, Any] | None = None,
    seeds: int = SEEDS,
) -> dict[str, Any]:
    """Train a policy for each seed and compare it.

    Args:
        seed: the first one, of the policy, of random actions and of mixing schedules.
        row: one of them, seeds first; None all. Any row of a seed needs its ppo row first.
        workspace: its cache keeps teacher and trajectories; finished rows and trained policies
            are kept too, so that a run that was stopped goes on.
        progress: told of each training and row.
        task: other than the digits preset's.
        solver: of one evaluation a step.
        mean_nfe: that the policy is trained for; the others get what it really spends.
        practiced: images that are learned from.
        training: fields of `PpoSpec` other than their defaults.
        seeds: how many.

    Returns:
        rows: seed, policy, nfe (spent on average), gap with its interval, error (mean squared
        distance in the feature network to the teacher's own end of the same noise) with its
        interval, images by NFE, seconds of training; against each other policy PPO's `gap_ratio`
        and `error_ratio` over all seeds, and in how many `seeds` the gap's ratio (with the floor
        in both) and the error's difference are below beyond their 95% intervals on common noise
        (`gap_below`, `error_below`); `above_random` and `above_uniform`, whether PPO's gap and
        error are lower in every seed (None where rows are missing); `floor`, and the gap of the
        teacher's own ends.

    Raises:
        ConfigError: no such row, or the extra rl is missing.
    """
    from ado_nas.adaptive.ppo import PpoSpec
    from studies.config import resolve

    cases = [(seed + i, p) for i in range(seeds) for p in POLICIES]
    if row is not None and not 0 <= row < len(cases):
        raise ConfigError(f"row {row}: give 0 to {len(cases) - 1}")
    spec = PpoSpec(**(training or {}))
    bench = open_bench(task or resolve("digits").task, workspace, progress)
    arena = Arena(bench, workspace, solver, mean_nfe, practiced, spec, progress)
    found = []
    chosen = cases if row is None else [cases[row]]
    for case in chosen:
        found.append(_played(arena, *case))
        progress("policies compared", len(found), len(chosen), f"{case[1]}, seed {case[0]}")
    return {
        "rows": [f["row"] for f in found],
        "solver": solver,
        "wanted_nfe": mean_nfe,
        "floor": round(bench.judge.floor(bench.task.quality.samples), 4),
        "teacher_gap": round(bench.judge.gap(np.array(arena.held.states[-1])), 4),
        **_verdict(found, bench.judge.floor(bench.task.quality.samples)),
    }


def _played(arena: Arena, seed: int, policy: str) -> dict[str, Any]:
    """The row of a policy and the errors of its images, worked out once."""
    settings = arena.solver, arena.mean_nfe, arena.practiced, arena.training, BUDGETS, LEVELS
    task = arena.bench.task
    about = arena.bench.digests, task.quality, task.reference.guidance, LIMIT, *settings
    place = arena.workspace / "benchmarks" / "rl" / digest("rl", SCHEMA, about, seed)
    found: dict[str, Any] | None = read_json(place / f"{policy}.json")
    if found is not None:
        return found
    if policy == "ppo":
        seconds = arena.learn(seed, place)
        found = _judged(arena, arena.ppo(place))
        found["row"]["training_seconds"] = round(seconds, 1)
    else:
        mean = _played(arena, seed, "ppo")["row"]["nfe"]
        if policy == "shuffled":
            found = _judged(arena, arena.shuffled(place, seed))
        else:
            found = _judged(arena, getattr(arena, policy)(mean, seed))
    found["row"] = {"seed": seed, "policy": policy, **found["row"]}
    write_json(place / f"{policy}.json", found)
    return found


def _judged(arena: Arena, made: Made) -> dict[str, Any]:
    images, spent = made
    quality = arena.bench.judge.score(images)
    errors = arena.truth.errors(images)
    mean, half = float(errors.mean()), 1.96 * float(errors.std() / np.sqrt(len(errors)))
    row = {
        "nfe": round(float(spent.mean()), 4),
        "gap": round(quality.gap, 4),
        "gap_interval": [round(v, 4) for v in quality.gap_interval],
        "error": round(mean, 4),
        "error_interval": [round(mean - half, 4), round(mean + half, 4)],
        "images_by_nfe": np.bincount(spent).tolist(),
        "training_seconds": None,
    }
    parts = dataclasses.asdict(quality.replicates)
    return {"row": row, "errors": errors.tolist(), "replicates": parts}


def _verdict(found: list[dict[str, Any]], floor: float) -> dict[str, Any]:
    by_case = {(f["row"]["seed"], f["row"]["policy"]): f for f in found}
    ppo = {seed: own for (seed, policy), own in by_case.items() if policy == "ppo"}
    verdict: dict[str, Any] = {"ppo_against": {}, "above_random": None, "above_uniform": None}
    for other in OTHERS:
        both = [seed for seed in ppo if (seed, other) in by_case]
        pairs = [(ppo[seed], by_case[seed, other]) for seed in both]
        if not pairs:
            continue
        verdict["ppo_against"][other] = _against(pairs, floor)
        if f"above_{other}" in verdict and len(pairs) == len(ppo):
            verdict[f"above_{other}"] = all(
                own["row"][k] < its["row"][k] for own, its in pairs for k in ("gap", "error")
            )
    return verdict


def _against(pairs: list[tuple[dict[str, Any], dict[str, Any]]], floor: float) -> dict[str, Any]:
    def ratio(name: str) -> float:
        own, its = (sum(pair[i]["row"][name] for pair in pairs) for i in (0, 1))
        return round(own / max(its, 1e-9), 4)

    gaps = errors = 0
    for pair in pairs:
        above, below = ((f["row"]["gap"], Replicates(**f["replicates"])) for f in pair)
        gaps += ratio_interval(above, below, floor)[1] < 1
        apart = np.array(pair[1]["errors"]) - np.array(pair[0]["errors"])
        errors += bool(apart.mean() > 1.96 * apart.std() / np.sqrt(len(apart)))
    return {
        "gap_ratio": ratio("gap"),
        "error_ratio": ratio("error"),
        "gap_below": gaps,
        "error_below": errors,
        "seeds": len(pairs),
    }
