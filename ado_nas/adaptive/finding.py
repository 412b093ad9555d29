"""The schedule of one model: learned, compared, chosen for a goal, and saved with the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ado_nas.adaptive.calltimes import measured_call_times
from ado_nas.adaptive.choice import Judged
from ado_nas.adaptive.comparison import Comparison, best_row, compare, comparison, possible
from ado_nas.adaptive.learning import CHECK_SEED, CHECKED, fine
from ado_nas.adaptive.recipe import (
    GENERALIZED,
    SCHEDULE,
    SOLVERS,
    load_recipe,
    recipe_of,
    save_recipe,
)
from ado_nas.adaptive.refine import Refinement
from ado_nas.adaptive.tuning import converted, settle, stopwatch
from ado_nas.bench import task_of
from ado_nas.device import environment
from ado_nas.errors import ConfigError, ModelError, nearest
from ado_nas.modelfolder import Model
from ado_nas.progress import Progress, silent
from ado_nas.specs import TaskSpec, to_dict


@dataclass(frozen=True)
class ScheduleGoal:
    """What is compared to find a schedule."""

    solvers: tuple[str, ...] = ("ddim", "dpmpp_2m", "ipndm_3")
    counts: tuple[int, ...] = (4, 5, 6, 8)  # network evaluations
    refinement: Refinement | None = field(default_factory=Refinement)
    samples: int = 1000  # images that each is judged on
    latency_ms: float | None = None  # that an image may take, end to end; None for no limit

    def __post_init__(self) -> None:
        known = [name for name in SOLVERS if name != "consistency"]
        for name in self.solvers:
            if name not in known:
                raise ConfigError(f"no solver {name!r} to schedule; {nearest(name, known)}")
        if not self.solvers or not self.counts or min(self.counts) < 1:
            counts = ",".join(map(str, self.counts))
            raise ConfigError(
                f"solvers {','.join(self.solvers)} and NFE {counts}: give at least one of each, "
                "NFE from 1"
            )
        if self.latency_ms is not None:
            converted(self.latency_ms)  # refuses what is no time
        if self.samples < 100:
            raise ConfigError(f"samples {self.samples}: give at least 100")


def check(model: Model) -> TaskSpec:
    """The task whose judge compares a model's schedules.

    Args:
        model: as loaded from its folder.

    Returns:
        The task, with the model as its teacher.

    Raises:
        ModelError: the model is a student, which knows its own levels alone, or does not name its
            data.
    """
    if model.card.get("kind") == "student":
        raise ModelError(
            f"{model.folder} is a student of {len(model.levels) - 1} steps and knows no other "
            "levels; give the teacher, or train a student with another schedule"
        )
    return task_of(model)


def opened(
    model: Model, goal: ScheduleGoal, workspace: Path, progress: Progress = silent
) -> Comparison:
    """Everything that schedules of a model are learned and judged with.

    Args:
        model: as loaded from its folder.
        goal: samples and refinement.
        workspace: its cache is used.
        progress: told about each part.

    Raises:
        ModelError: see `check`.
    """
    task = check(model)
    quality = dataclasses.replace(task.quality, samples=goal.samples)
    task = dataclasses.replace(task, quality=quality, trajectories=fine(task.trajectories))
    return comparison(task, workspace, goal.refinement, progress)


def schedule_model(
    model: Model,
    goal: ScheduleGoal,
    workspace: Path,
    out: Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Learn, compare, choose and save.

    Args:
        model: as loaded from its folder.
        goal: what is compared.
        workspace: its cache is used; what was learned and judged before is not done again.
        out: where the schedule is saved; None for the model's folder.
        progress: told about each part.

    Returns:
        ``rows``, each with solver, schedule, learned, nfe, gap, gap_interval, retention,
        retention_interval and latency_ms; ``best``, the chosen one, with its levels;
        ``reference``; ``path``, where it was saved; and, where a latency was asked for,
        ``tuned``: what was chosen for it in batches of which size, as measured, with
        ``confirmed_ms``, timed once more.

    Raises:
        ConfigError: the goal cannot be asked for.
        ModelError: the model cannot be scheduled.
        NegativeVerdict: nothing meets the latency; it names what comes closest.
    """
    found = opened(model, goal, workspace, progress)
    rows = list(_rows(found, goal))
    tuned: dict[str, Any] = {}
    if goal.latency_ms is None:
        best = best_row(rows)
    else:
        best, tuned = _tuned(found, rows, goal.latency_ms)
    path = _saved(found, model, {**best, **tuned}, goal, out)
    reference = {k: found.reference[k] for k in ("solver", "nfe", "gap", "floor", "latency_ms")}
    return {
        "model": str(model.folder),
        "rows": [_told(row) for row in rows],
        "best": {**_told(best), "recipe": best["recipe"]},
        "reference": reference,
        "path": str(path),
        **tuned,
    }


def _tuned(
    found: Comparison, rows: list[dict[str, Any]], target_ms: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The row that keeps most within the latency, and how it was found."""
    model, guidance = found.bench.teacher, found.bench.task.reference.guidance
    judged = [Judged(recipe_of(row["recipe"]), row["retention"]) for row in rows]
    found.progress("call times", 0, 1)
    table = measured_call_times(model.unet, guidance=guidance)
    measure = stopwatch(model, guidance)
    settled = settle(judged, table, target_ms, measure, progress=found.progress)
    choice = settled.choice
    place = next(i for i, row in enumerate(judged) if row is choice.row)
    confirmed = measure(choice.row, choice.batch)
    return rows[place], {"tuned": {**settled.facts(), "confirmed_ms": confirmed}}


def _rows(found: Comparison, goal: ScheduleGoal) -> Iterator[dict[str, Any]]:
    most = len(found.bank.levels) - 2
    if max(goal.counts) > most:
        raise ConfigError(f"NFE {max(goal.counts)}: schedules are learned for at most {most}")
    each = {solver: 1 if solver == GENERALIZED else 5 for solver in goal.solvers}
    total = sum(len(possible(solver, goal.counts)) * n for solver, n in each.items())
    for done, row in enumerate(compare(found, goal.solvers, goal.counts), 1):
        found.progress("schedules", done, total, f"{row['solver']} {row['nfe']} NFE")
        yield row


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k not in ("recipe", "checks")}


def _saved(
    found: Comparison, model: Model, row: dict[str, Any], goal: ScheduleGoal, out: Path | None
) -> Path:
    assert model.folder is not None
    path = out or model.folder / SCHEDULE
    provenance = {
        "digests": found.bench.digests,
        "trajectories": found.bank.key,
        "checked_on": {"noise_seed": CHECK_SEED, "images": min(goal.samples, CHECKED)},
        "checks": row.get("checks", []),
        "goal": to_dict(goal),
        "judged": _told(row),
        "environment": environment(),
    }
    save_recipe(path, model, recipe_of(row["recipe"]), provenance)
    load_recipe(path, model)  # what cannot be read back was not saved
    return path
