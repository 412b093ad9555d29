"""Every solver with every schedule at few evaluations: closed forms against the learned one.

About eleven hours of one core, eight of them for `shapes16`, whose teacher is the larger one. What
was run a row at a time, also on several machines, becomes one result by
``python -m benchmarks.schedules RESULT ... > JOINED``.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ado_nas.adaptive.comparison import KEPT, Comparison, comparison, possible
from ado_nas.adaptive.learning import closed_forms
from ado_nas.adaptive.recipe import GENERALIZED
from ado_nas.adaptive.refine import Refinement
from ado_nas.errors import ConfigError
from ado_nas.progress import Progress
from ado_nas.specs import FLOW_SOLVERS, TaskSpec
from benchmarks.joining import main
from studies.config import resolve

PRESETS = ("digits", "shapes16")
SOLVERS = (*FLOW_SOLVERS, GENERALIZED)
COUNTS = (3, 4, 5, 6, 8, 12)
RATIOS_AT = (5, 6)  # evaluations
RATIO = ("ratio", "ratio_interval")
Row = dict[str, Any]


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
    """Judge and time every schedule of every solver.

    Args:
        seed: of the refinement's batches.
        row: one solver of one preset at one number of evaluations, by its place: by preset, then
            by solver; None all.
        workspace: its cache keeps teachers, what was learned, and finished rows, so that a run
            that was stopped goes on.
        progress: told of each solver and number of evaluations.
        tasks: by name, other than the presets'.
        solvers: their names.
        counts: network evaluations; Heun's method takes the next lower odd number.
        refinement: other than the default.

    Returns:
        rows: data, solver, schedule, learned, nfe, gap, gap_interval, retention,
        retention_interval, latency_ms; `levels_only`, of the learned ones the best in which
        nothing but levels was learned, beside the best of all. As the best of many owe some of
        that to the noise they were chosen on, the learned ones and the best closed form of each
        solver and number have `confirmed` (gap and retention with intervals, on other noise and
        the other half of the real images), and the former the `ratio` of these gaps to the one
        they are `against`, with an interval on common noise. What `told` makes of them; by data
        the reference's gap and the floor.

    Raises:
        ConfigError: no such row.
    """
    tasks = tasks or {name: resolve(name).task for name in PRESETS}
    parts = [(name, s, nfe) for name in tasks for s in solvers for nfe in possible(s, counts)]
    if row is not None:
        if not 0 <= row < len(parts):
            raise ConfigError(f"row {row}: give 0 to {len(parts) - 1}, a solver's of a preset")
        parts = [parts[row]]
    refinement = refinement or dataclasses.replace(Refinement(), seed=seed)
    opened: dict[str, Comparison] = {}
    rows: list[Row] = []
    for place, (name, solver, nfe) in enumerate(parts, 1):
        if name not in opened:
            opened[name] = comparison(tasks[name], workspace, refinement, progress)
        rows += _rows(opened[name], name, solver, nfe)
        progress("schedules", place, len(parts), f"{name} {solver} {nfe} NFE")
    kept = "solver", "nfe", "gap", "floor", "latency_ms"
    reference = {name: {k: found.reference[k] for k in kept} for name, found in opened.items()}
    return {"rows": rows, **told(rows), "reference": reference}


def told(rows: Sequence[Row]) -> dict[str, Any]:
    """What the rows of some solvers say.

    Args:
        rows: as `run` makes them.

    Returns:
        ratios: of each learned gap at 5 and 6 evaluations to that of the solver's best closed
        form; worse: those, at any number, that are worse beyond the interval; fewest: by data
        the fewest evaluations that keep 0.95 of the reference, with the whole 95% interval. All
        by confirmed figures.
    """
    kept = "data", "solver", "nfe", "schedule", "levels_only", "against", *RATIO
    ratios = [{k: r[k] for k in kept} for r in rows if r.get("ratio_interval")]
    names = dict.fromkeys(r["data"] for r in rows)
    return {
        "ratios": [r for r in ratios if r["nfe"] in RATIOS_AT],
        "worse": [r for r in ratios if r["ratio_interval"][0] > 1],
        "fewest": {name: _fewest([r for r in rows if r["data"] == name]) for name in names},
    }


def joined(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One result of several: what is compared is of one solver and number of evaluations.

    Args:
        results: what the command printed for single rows, on one machine or on several, or what
            this function made of them.

    Returns:
        As `run`, rows in its order, with ``parts`` (cells, which are data, solver and number of
        evaluations, reference and environment of each).

    Raises:
        ConfigError: the results are of other seeds, or share a cell.
    """
    if any(one["seed"] != results[0]["seed"] for one in results):
        raise ConfigError("the results are not of one seed")
    parts = [part for one in results for part in one.get("parts") or [_part(one)]]
    cells = [tuple(cell) for part in parts for cell in part["cells"]]
    if double := {cell for cell in cells if cells.count(cell) > 1}:
        raise ConfigError(f"{' '.join(map(str, min(double)))} NFE is in two of the results")
    rows = sorted((row for one in results for row in one["rows"]), key=_place)
    reference = {name: of for one in results for name, of in one["reference"].items()}
    known = {k: results[0][k] for k in ("name", "seed")}
    return {**known, "rows": rows, **told(rows), "reference": reference, "parts": parts}


def _part(one: dict[str, Any]) -> dict[str, Any]:
    cells = dict.fromkeys((row["data"], row["solver"], row["nfe"]) for row in one["rows"])
    return {"cells": list(cells), **{k: one[k] for k in ("reference", "environment")}}


def _place(row: Row) -> tuple[str, int, int]:
    return row["data"], SOLVERS.index(row["solver"]), row["nfe"]


def _rows(found: Comparison, name: str, solver: str, nfe: int) -> list[Row]:
    learned, rows, best = found.learned(solver, nfe), list[Row](), None
    chosen = [learned.recipe]
    if solver != GENERALIZED:  # which is another solver, corrected, without levels of its own
        closed = {recipe.schedule: recipe for recipe in closed_forms(found.bench, solver, nfe)}
        rows += [found.row(recipe) for recipe in closed.values()]
        scored = [row for row in rows if row["gap"] is not None]
        if scored:
            known = min(scored, key=lambda row: row["gap"])
            best = closed[known["schedule"]]
            known["confirmed"] = found.confirmed(best)
        chosen.insert(0, learned.levels_only)
    for recipe in chosen:
        row = {**found.row(recipe), "learned": True, "confirmed": found.confirmed(recipe)}
        row["levels_only"] = len(chosen) == 2 and recipe is chosen[0]
        if best is not None:
            row |= {"against": best.schedule, **found.ratio(recipe, best)}
        rows.append(row)
    about = {"data": name, "levels_only": False}
    return [about | {k: v for k, v in row.items() if k != "recipe"} for row in rows]


def _fewest(rows: Sequence[Row]) -> Row | None:
    judged = [r for r in rows if r.get("confirmed")]
    good = [r for r in judged if (r["confirmed"]["retention_interval"] or (0.0,))[0] >= KEPT]
    if not good:
        return None
    best = min(good, key=lambda r: (r["nfe"], -r["confirmed"]["retention"]))
    figures = {k: best["confirmed"][k] for k in ("retention", "retention_interval")}
    return {**{k: best[k] for k in ("solver", "schedule", "nfe")}, **figures}


if __name__ == "__main__":
    main(joined, sys.argv[1:])
