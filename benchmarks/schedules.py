"""Every solver with every schedule at few evaluations: closed forms against the learned one.

Ten hours on two quiet cores, nine of them for `shapes16`, whose teacher is the larger one. What
was run one solver at a time, also on several machines, becomes one result by
``python -m benchmarks.schedules RESULT ... > JOINED``.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ado_nas.adaptive.comparison import Comparison, comparison, possible
from ado_nas.adaptive.learning import closed_forms
from ado_nas.adaptive.recipe import GENERALIZED
from ado_nas.adaptive.refine import Refinement
from ado_nas.errors import ConfigError
from ado_nas.progress import Progress
from ado_nas.specs import FLOW_SOLVERS, TaskSpec
from studies.config import resolve

PRESETS = ("digits", "shapes16")
SOLVERS = (*FLOW_SOLVERS, GENERALIZED)
COUNTS = (3, 4, 5, 6, 8, 12)
RATIOS_AT = (5, 6)  # evaluations
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
        row: one solver of one preset, by its place, presets first; None all.
        workspace: its cache keeps teachers, what was learned, and finished rows, so that a run
            that was stopped goes on.
        progress: told of each solver and number of evaluations.
        tasks: by name, other than the presets'.
        solvers: their names.
        counts: network evaluations; Heun's method takes the next lower odd number.
        refinement: other than the default.

    Returns:
        rows: data, solver, schedule, learned, nfe, gap, gap_interval, retention,
        retention_interval, latency_ms, and of the learned ones `levels_only`, the best in which
        nothing but levels was learned, beside the best of all; what `told` makes of them; by data
        the reference's gap and the floor.

    Raises:
        ConfigError: no such row.
    """
    tasks = tasks or {name: resolve(name).task for name in PRESETS}
    cases = [(name, solver) for name in tasks for solver in solvers]
    if row is not None and not 0 <= row < len(cases):
        raise ConfigError(f"row {row}: give 0 to {len(cases) - 1}, a solver of a preset")
    wanted = cases if row is None else [cases[row]]
    parts = [(*case, nfe) for case in wanted for nfe in possible(case[1], counts)]
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
        form; worse: those, at any number, that are worse beyond both intervals; fewest: by data
        the fewest evaluations that keep 0.95 of the reference.
    """
    ratios = _ratios(rows)
    names = dict.fromkeys(r["data"] for r in rows)
    return {
        "ratios": [r for r in ratios if r["nfe"] in RATIOS_AT],
        "worse": [r for r in ratios if r["worse"]],
        "fewest": {name: _fewest([r for r in rows if r["data"] == name]) for name in names},
    }


def joined(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One result of several, each of solvers of its own: what is compared is of one solver.

    Args:
        results: what the command printed for single rows, on one machine or on several, or what
            this function made of them.

    Returns:
        As `run`, with ``parts`` (data, solvers, reference and environment of each).

    Raises:
        ConfigError: the results are of other seeds, or share a solver of the same data.
    """
    if any(one["seed"] != results[0]["seed"] for one in results):
        raise ConfigError("the results are not of one seed")
    parts = [part for one in results for part in one.get("parts") or [_part(one)]]
    pairs = [tuple(pair) for part in parts for pair in part["solvers"]]
    if len(set(pairs)) < len(pairs):
        raise ConfigError("a solver is in two of the results")
    rows = [row for one in results for row in one["rows"]]
    reference = {name: of for one in results for name, of in one["reference"].items()}
    known = {k: results[0][k] for k in ("name", "seed")}
    return {**known, "rows": rows, **told(rows), "reference": reference, "parts": parts}


def _part(one: dict[str, Any]) -> dict[str, Any]:
    solvers = dict.fromkeys((row["data"], row["solver"]) for row in one["rows"])
    return {"solvers": list(solvers), **{k: one[k] for k in ("reference", "environment")}}


def _rows(found: Comparison, name: str, solver: str, nfe: int) -> list[Row]:
    learned, rows = found.learned(solver, nfe), list[Row]()
    if solver != GENERALIZED:  # which is another solver, corrected, without levels of its own
        rows += [found.row(recipe) for recipe in closed_forms(found.bench, solver, nfe)]
        rows.append({**found.row(learned.levels_only), "learned": True, "levels_only": True})
    rows.append({**found.row(learned.recipe), "learned": True})
    about = {"data": name, "levels_only": False}
    return [about | {k: v for k, v in row.items() if k != "recipe"} for row in rows]


def _ratios(rows: Sequence[Row]) -> list[Row]:
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


def _fewest(rows: Sequence[Row]) -> Row | None:
    good = [r for r in rows if r["retention"] >= 0.95]
    if not good:
        return None
    best = min(good, key=lambda r: (r["nfe"], -r["retention"]))
    return {k: best[k] for k in ("solver", "schedule", "nfe", "retention", "retention_interval")}


if __name__ == "__main__":
    results = [json.loads(Path(name).read_text()) for name in sys.argv[1:]]
    print(json.dumps(joined(results), indent=2))
