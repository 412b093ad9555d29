"""Every solver with every schedule at few evaluations: closed forms against the learned one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ado_nas.adaptive.comparison import Comparison, comparison, possible
from ado_nas.adaptive.learning import closed_forms
from ado_nas.adaptive.recipe import GENERALIZED
from ado_nas.adaptive.refine import Refinement
from ado_nas.errors import ConfigError
from ado_nas.progress import Progress
from ado_nas.specs import CLOSED_FORMS, FLOW_SOLVERS, TaskSpec
from studies.config import resolve

PRESETS = ("digits", "shapes16")
SOLVERS = (*FLOW_SOLVERS, GENERALIZED)
COUNTS = (3, 4, 5, 6, 8, 12)
Case = tuple[str, str, int, str]  # preset, solver, NFE, schedule


def run(
    *,
    seed: int,
    row: int | None,
    workspace: Path,
    progress: Progress,
    tasks: dict[str, TaskSpec] | None = None,
    solvers: tuple[str, ...] = SOLVERS,
    counts: tuple[int, ...] = COUNTS,
    refinement: Refinement | None = None,
) -> dict[str, Any]:
    """Judge and time every row.

    Args:
        seed: of the refinement's batches.
        row: one of them, presets first, then solvers, NFE and schedules; None all.
        workspace: its cache keeps teachers, what was learned, and finished rows, so that a run
            that was stopped goes on.
        progress: told of each row.
        tasks: by name, other than the presets'.
        solvers: their names.
        counts: network evaluations; Heun's method takes the next lower odd number.
        refinement: other than the default.

    Returns:
        rows: data, solver, schedule, learned, nfe, gap, gap_interval, retention,
        retention_interval, latency_ms, and of the learned ones `levels_only`, the best in which
        nothing but levels was learned, beside the best of all; for each solver at 5 and 6 NFE the
        `ratios` of the learned gap to the best closed form's; whether any learned row is `worse`
        than that beyond both intervals; by data the fewest evaluations that keep 0.95 of the
        reference (`fewest`), the reference's gap and the floor.

    Raises:
        ConfigError: no such row.
    """
    tasks = tasks or {name: resolve(name).task for name in PRESETS}
    cases = [
        (name, solver, nfe, schedule)
        for name in tasks
        for solver in solvers
        for nfe in possible(solver, counts)
        for schedule in (("told",) if solver == GENERALIZED else (*CLOSED_FORMS, "levels", "told"))
    ]
    if row is not None and not 0 <= row < len(cases):
        raise ConfigError(f"row {row}: give 0 to {len(cases) - 1}")
    chosen = cases if row is None else [cases[row]]
    refinement = refinement or dataclasses.replace(Refinement(), seed=seed)
    opened: dict[str, Comparison] = {}
    rows = []
    for case in chosen:
        name = case[0]
        if name not in opened:
            opened[name] = comparison(tasks[name], workspace, refinement, progress)
        rows.append(_row(opened[name], case))
        progress("schedules", len(rows), len(chosen), f"{name} {case[1]} {case[2]} NFE")
    ratios = _ratios(rows)
    return {
        "rows": rows,
        "ratios": [r for r in ratios if r["nfe"] in (5, 6)],
        "worse": [r for r in ratios if r["worse"]],
        "fewest": {name: _fewest([r for r in rows if r["data"] == name]) for name in opened},
        "reference": {
            name: {k: found.reference[k] for k in ("solver", "nfe", "gap", "floor", "latency_ms")}
            for name, found in opened.items()
        },
    }


def _row(found: Comparison, case: Case) -> dict[str, Any]:
    name, solver, nfe, schedule = case
    if schedule in ("levels", "told"):
        learned = found.learned(solver, nfe)
        recipe = learned.recipe if schedule == "told" else learned.levels_only
        row = {**found.row(recipe), "learned": True}
    else:
        forms = {r.schedule: r for r in closed_forms(found.bench, solver, nfe)}
        row = found.row(forms[schedule])
    kept = {k: v for k, v in row.items() if k != "recipe"}
    return {"data": name, **kept, "levels_only": schedule == "levels"}


def _ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for row in rows:
        if not row["learned"]:
            continue
        same = [
            r
            for r in rows
            if not r["learned"]
            and (r["data"], r["solver"], r["nfe"]) == (row["data"], row["solver"], row["nfe"])
            and r["gap"] is not None
        ]
        if same and row["gap"] is not None:
            best = min(same, key=lambda r: r["gap"])
            found.append(
                {
                    **{k: row[k] for k in ("data", "solver", "nfe", "schedule", "levels_only")},
                    "ratio": row["gap"] / best["gap"],
                    "against": best["schedule"],
                    "worse": row["gap_interval"][0] > best["gap_interval"][1],
                }
            )
    return found


def _fewest(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    good = [r for r in rows if r["retention"] >= 0.95]
    if not good:
        return None
    best = min(good, key=lambda r: (r["nfe"], -r["retention"]))
    return {k: best[k] for k in ("solver", "schedule", "nfe", "retention", "retention_interval")}
