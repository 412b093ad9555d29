"""The schedule of one model: learned, compared, chosen for a goal, and saved with the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ado_nas.adaptive.calltimes import measured_call_times
from ado_nas.adaptive.choice import Judged
from ado_nas.adaptive.comparison import KEPT, Comparison, best_row, compare, possible
from ado_nas.adaptive.contest import contest
from ado_nas.adaptive.fastest import fastest
from ado_nas.adaptive.goal import ScheduleGoal, is_supernet, opened
from ado_nas.adaptive.learning import CHECK_SEED, CHECKED
from ado_nas.adaptive.narrowing import by_width
from ado_nas.adaptive.recipe import (
    GENERALIZED,
    SCHEDULE,
    load_recipe,
    recipe_of,
    save_recipe,
)
from ado_nas.adaptive.scheduler import AdaptiveScheduler
from ado_nas.adaptive.tuning import converted, settle, stopwatch
from ado_nas.device import environment
from ado_nas.modelfolder import Model
from ado_nas.progress import Progress, silent
from ado_nas.specs import to_dict


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
        ``rows``, each with solver, schedule, cost, learned, nfe, gap, gap_interval, retention,
        retention_interval and latency_ms; ``best``, the chosen one, with its levels and, as
        ``confirmed``, its gap and retention with their intervals on noise and images that nothing
        was chosen by, and a ``note`` where they leave in doubt why it was chosen; ``reference``;
        ``path``, where it was saved; and, where a latency was asked for, ``tuned``: what was
        chosen for it in batches of which size, as measured, with ``confirmed_ms``, timed once
        more and not above the target; or, where the fastest was, ``fastest``: its batch and
        time, as measured. Where a mean number of evaluations was asked for,
        ``content``: what `contest` found, with the ``path`` of the steps by content; where they
        proved better than the fixed schedules, they are what is saved at ``path``, too.

    Raises:
        ConfigError: the goal cannot be asked for.
        ModelError: the model cannot be scheduled.
        NegativeVerdict: nothing meets the latency; it names what comes closest.
    """
    found = opened(model, goal, workspace, progress)
    rows = list(_rows(found, goal))
    timed: dict[str, Any] = {}
    if goal.latency_ms is None and not goal.fastest:
        best = best_row(rows)
    else:
        if is_supernet(model):
            rows += by_width(found)
        best, timed = _timed(found, rows, goal.latency_ms)
    best = {**best, "confirmed": _confirmed(found, best, goal)}
    assert model.folder is not None
    path = out or model.folder / SCHEDULE
    judged = {**_told(best), **timed}
    _save(path, model, best, _provenance(found, goal, judged, best.get("checks", [])))
    content = {} if goal.mean_nfe is None else _by_content(found, goal, goal.mean_nfe, path)
    reference = {k: found.reference[k] for k in ("solver", "nfe", "gap", "floor", "latency_ms")}
    return {
        "model": str(model.folder),
        "rows": [_told(row) for row in rows],
        "best": {**_told(best), "recipe": best["recipe"]},
        "reference": reference,
        "path": str(path),
        **timed,
        **content,
    }


def _by_content(
    found: Comparison, goal: ScheduleGoal, mean_nfe: float, path: Path
) -> dict[str, Any]:
    """Steps by content, saved beside the schedule, and in its place where they proved better."""
    scheduler, judged = contest(found, goal.solvers, mean_nfe)
    beside = path.with_name(f"{path.stem}-content.json")
    provenance = _provenance(found, goal, judged)
    for place in (beside, path) if judged["better"] else (beside,):
        scheduler.save(place, provenance)
        AdaptiveScheduler.load(place)  # what cannot be read back was not saved
    return {"content": {**judged, "path": str(beside)}}


def _timed(
    found: Comparison, rows: list[dict[str, Any]], target_ms: float | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The row that keeps most within a latency, or the fastest that keeps enough, with its batch.

    Beside it, how it was found: as ``tuned``, or as ``fastest``.
    """
    model, guidance = found.bench.teacher, found.bench.task.reference.guidance
    if target_ms is None:
        rows = [row for row in rows if row["retention"] >= KEPT] or [best_row(rows)]
    judged = [Judged(recipe_of(row["recipe"]), row["retention"], row.get("calls")) for row in rows]
    found.progress("call times", 0, 1)
    table = measured_call_times(model.unet, guidance=guidance)
    measure = stopwatch(model, guidance)
    if target_ms is None:
        choice = fastest(judged, table, measure, found.progress)
        about = {"images_per_second": converted(choice.ms), "call_times": table.facts()}
        told = {"fastest": {**choice.facts(), **about}}
    else:
        settled = settle(judged, table, target_ms, measure, progress=found.progress)
        choice, told = settled.choice, {"tuned": settled.facts()}
    best = next(row for row, one in zip(rows, judged, strict=True) if one is choice.row)
    return {**best, "recipe": {**best["recipe"], "batch": choice.batch}}, told


def _confirmed(found: Comparison, best: Mapping[str, Any], goal: ScheduleGoal) -> dict[str, Any]:
    """The chosen row judged afresh, and what of the choice that leaves in doubt."""
    again = found.confirmed(dataclasses.replace(recipe_of(best["recipe"]), batch=None))
    note, low = "", (again["retention_interval"] or (0.0,))[0]
    if goal.latency_ms is None and best["retention"] >= KEPT and low < KEPT:
        note = f"chosen because it keeps {KEPT:g}, which is not sure: it may keep only {low:.3g}"
    return {**again, "note": note}


def _rows(found: Comparison, goal: ScheduleGoal) -> Iterator[dict[str, Any]]:
    each = {solver: 1 if solver == GENERALIZED else 5 for solver in goal.solvers}
    total = sum(len(possible(solver, goal.counts)) * n for solver, n in each.items())
    for done, row in enumerate(compare(found, goal.solvers, goal.counts), 1):
        found.progress("schedules", done, total, f"{row['solver']} {row['nfe']} NFE")
        yield row


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k not in ("recipe", "checks")}


def _provenance(
    found: Comparison, goal: ScheduleGoal, judged: Mapping[str, Any], checks: Sequence[Any] = ()
) -> dict[str, Any]:
    return {
        "digests": found.bench.digests,
        "trajectories": found.bank.key,
        "checked_on": {"noise_seed": CHECK_SEED, "images": min(goal.samples, CHECKED)},
        "checks": list(checks),
        "goal": to_dict(goal),
        "judged": dict(judged),
        "environment": environment(),
    }


def _save(path: Path, model: Model, row: Mapping[str, Any], provenance: dict[str, Any]) -> None:
    save_recipe(path, model, recipe_of(row["recipe"]), provenance)
    load_recipe(path, model)  # what cannot be read back was not saved
