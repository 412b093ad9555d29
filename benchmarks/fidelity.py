"""Whether a trial ranks candidates as training them to the end does, and which choices it wrongs.

Each candidate is evaluated twice as a search evaluates it: with the digits preset's iterations,
and with several times as many. Every choice of every dimension is in some candidates.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ado_nas.errors import ConfigError
from ado_nas.files import read_json
from ado_nas.modelfolder import CARD
from ado_nas.progress import Progress
from ado_nas.specs import Candidate, DistillationSpec, TaskSpec, UNetSpec, digest, from_dict
from objectives.scores import Evaluator, Limits
from search_spaces.candidate import draw, params_of
from search_spaces.chooser import Choice, RandomChooser
from search_spaces.space import Space

JUDGED = 24
FULL = 3  # times the iterations of a trial
SCHEMA = 2  # raise it when candidates come to other scores
DRAWN = 10  # candidates for each that is taken, to cover all choices
SPACE = Space(
    widths=("8-16", "16-16", "16-24", "24-16", "24-24"),
    patch=(2, 4),
    blocks=("1", "1-2"),
    attention=("none", "low", "low:linear", "all:window"),
    head_dim=(8, 16),
    conv=("full", "separable"),
    norm=("rms", "group"),
    activation=("relu", "hardswish"),
    resample=("conv-conv", "pool-nearest", "fold-fold"),
    middle=(False, True),
    skip=("concat", "add"),
    time_width=(32, 64),
    steps=(1, 2, 3),
    schedule=("karras", "dp"),
    step_widths=("even", "wide-first", "wide-last"),
    adaptation=("none", "prune", "grow"),
)


def run(
    *,
    seed: int,
    row: int | None,
    workspace: Path,
    progress: Progress,
    task: TaskSpec | None = None,
    judged: int = JUDGED,
    iterations: int = 0,
) -> dict[str, Any]:
    """Evaluate candidates as trials and at full budget.

    Args:
        seed: of the candidates and of their training.
        row: one of them; None all.
        workspace: its cache holds what a search needs; finished evaluations are kept there too,
            so that a run that was stopped goes on.
        progress: told after each evaluation.
        task: data and teacher; None for those of the digits preset.
        judged: how many candidates.
        iterations: of a trial; 0 for the preset's.

    Returns:
        rows: candidate, its choices, trial_gap, full_gap, bias (log of trial over full, with the
        floor in both); kendall_tau of the two gaps; by dimension and choice the mean `bias`
        beside the mean of all, positive where a trial shows a choice as worse than it is.

    Raises:
        ConfigError: no such row.
    """
    from objectives.evaluation import open_evaluator, prepare
    from studies.config import resolve

    if row is not None and not 0 <= row < judged:
        raise ConfigError(f"row {row}: give 0 to {judged - 1}")
    preset = resolve("digits")
    task = task or preset.task
    facts = prepare(task, workspace, progress)
    learning = dataclasses.replace(
        preset.distillation, iterations=iterations or preset.distillation.iterations
    )
    base: UNetSpec = _teacher(facts)
    candidates = covering(seed, judged, base, learning)
    evaluator = open_evaluator(task, workspace)
    floor = facts["reference"]["floor"]
    rows = []
    for candidate in candidates if row is None else candidates[row : row + 1]:
        folder = workspace / "benchmarks" / "fidelity" / digest(SCHEMA, task)
        rows.append(_row(evaluator, candidate, seed, folder, floor))
        progress("candidates, twice each", len(rows), len(candidates) if row is None else 1)
    return {"rows": rows, "full_over_trial": FULL, **_verdict(rows)}


def covering(seed: int, count: int, base: UNetSpec, learning: DistillationSpec) -> list[Candidate]:
    """Random candidates, chosen so that each choice of each dimension comes as often as it can.

    Args:
        seed: of the draws.
        count: how many.
        base: the teacher's network.
        learning: how all of them learn.

    Returns:
        Different candidates.
    """
    chooser = RandomChooser(seed)
    pool = {
        c.hash: c for c in (draw(SPACE, chooser, base, learning) for _ in range(DRAWN * count))
    }
    choices = {key: list(params_of(c, SPACE).items()) for key, c in pool.items()}
    seen: Counter[tuple[str, Choice]] = Counter()
    found: list[Candidate] = []
    while len(found) < count:
        # The first time of each choice counts most.
        best = max(choices, key=lambda key: sum(2.0 ** -seen[item] for item in choices[key]))
        found.append(pool[best])
        seen.update(choices.pop(best))
    return found


def _teacher(facts: dict[str, Any]) -> UNetSpec:
    return from_dict(TaskSpec, facts["task"]).teacher.unet


def _row(
    evaluator: Evaluator, candidate: Candidate, seed: int, folder: Path, floor: float
) -> dict[str, Any]:
    longer = dataclasses.replace(
        candidate.distillation, iterations=FULL * candidate.distillation.iterations
    )
    full = dataclasses.replace(candidate, distillation=longer)
    trial_gap = _gap(evaluator, candidate, seed, folder)
    full_gap = _gap(evaluator, full, seed, folder)
    bias = None
    if trial_gap is not None and full_gap is not None:
        bias = round(math.log((trial_gap + floor) / (full_gap + floor)), 4)
    return {
        "candidate": candidate.hash,
        **params_of(candidate, SPACE),
        "trial_gap": trial_gap,
        "full_gap": full_gap,
        "bias": bias,
    }


def _gap(evaluator: Evaluator, candidate: Candidate, seed: int, folder: Path) -> float | None:
    """Of the evaluation, or of the one that is there; None where it did not come to a score."""
    place = folder / f"{candidate.hash}-{seed}"
    place.mkdir(parents=True, exist_ok=True)
    card = read_json(place / CARD)
    if not card:
        evaluator(candidate, seed=seed, folder=place, limits=Limits(), report=lambda *_: False)
        card = read_json(place / CARD)
    return round(card["figures"]["gap"], 4) if card else None


def _verdict(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    from scipy.stats import kendalltau

    scored = [r for r in rows if r["bias"] is not None]
    if len(scored) < 3:
        return {"kendall_tau": None, "bias": {}}
    tau = kendalltau([r["trial_gap"] for r in scored], [r["full_gap"] for r in scored]).statistic
    mean = float(np.mean([r["bias"] for r in scored]))
    bias = {
        d.name: {
            str(choice): round(float(np.mean(found)) - mean, 4)
            for choice in d.choices
            if (found := [r["bias"] for r in scored if r[d.name] == choice])
        }
        for d in SPACE.dimensions
    }
    return {"kendall_tau": round(float(tau), 4), "mean_bias": round(mean, 4), "bias": bias}
