"""What pruners save and lose, replayed on recorded trials in several orders.

`benchmarks.rungs` recorded every trial to its end. Here one worker takes them in another order
each time, and a pruner decides at each rung by what came before. Looking at a rung has its price;
where nothing is pruned nobody looks.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from ado_nas.errors import ConfigError
from ado_nas.files import read_json
from ado_nas.progress import Progress
from ado_nas.quality.judge import retention
from studies.axes import Point, axes, reference_point
from studies.config import SearchConfig
from studies.pareto import hypervolume
from studies.pruning import FULL, Entry, Rule, rungs, verdict

TABLE = Path(__file__).parent / "results" / "rungs.json"
ORDERS = 5
MARGIN = 0.1  # log; between the slowest and the largest of them and the corner
QUANTILES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
WEIGHTS = {"equal": (1.0, 1.0, 1.0), "quality twice": (2.0, 1.0, 1.0), "quality": (1.0, 0.0, 0.0)}

Stops = Callable[[Entry, Sequence[Entry]], bool]
"""Whether a trial stops at a rung that others reached before."""


@dataclass(frozen=True)
class Trial:
    """A recorded one; seconds are of the processor."""

    entries: dict[int, Entry]  # by rung, as those of a trial that is complete
    reached: dict[int, float]  # seconds to the rung, nobody having looked
    looks: dict[int, float]  # seconds of looking at the rung
    whole: float  # seconds to the end, judged
    point: Point
    landing: dict[int, float]  # loss, by rung
    steps: int


@dataclass(frozen=True)
class Table:
    """Recorded trials, the rungs that a search would compare them at, and what it asks of them."""

    trials: tuple[Trial, ...]
    rungs: tuple[int, ...]
    rule: Rule
    corner: Point


def run(
    *, seed: int, row: int | None, workspace: Path, progress: Progress, table: Path = TABLE
) -> dict[str, Any]:
    """Replay the recorded trials without a pruner, with ours, and with the median of a sum.

    Args:
        seed: of the orders.
        row: one of the replays; None all.
        workspace: not used.
        progress: told after each replay.
        table: as `benchmarks.rungs` writes it.

    Returns:
        rows: order, pruner, weights, quantile, stopped, compute_saved and hypervolume_lost; over
        the orders the mean ``compute_saved`` and ``hypervolume_lost`` of ours, and
        ``median_saved``, the most that any of the others' settings saves at no more loss; by rung
        and measure the ``kendall_tau`` with the final gap.

    Raises:
        ConfigError: no such row, or no table.
    """
    found = load(table)
    cases = [(order, *case) for order in range(ORDERS) for case in _pruners(found)]
    if row is not None and not 0 <= row < len(cases):
        raise ConfigError(f"row {row}: give 0 to {len(cases) - 1}")
    rows = []
    for order, names, stops in cases if row is None else [cases[row]]:
        shuffled = list(found.trials)
        random.Random(seed * ORDERS + order).shuffle(shuffled)
        rows.append({"order": order, **names, **replay(found, shuffled, stops)})
        progress("replays", len(rows), len(cases) if row is None else 1)
    return {
        "rows": rows,
        "trials": len(found.trials),
        "rungs": list(found.rungs),
        **(_summary(rows) if row is None else {}),
        "kendall_tau": _predictors(found),
    }


def load(path: Path) -> Table:
    """Read a table of recorded trials; those that diverged are left out.

    Args:
        path: as `benchmarks.rungs` writes it.

    Raises:
        ConfigError: it is missing or damaged, or was recorded at other rungs than are searched.
    """
    found, defaults = read_json(path), SearchConfig()
    if found is None:
        raise ConfigError(f"no table {path}; make it with: python -m benchmarks.rungs")
    reference = found["reference"]
    trials = [_trial(t, reference) for t in found["trials"] if "gap" in t]
    climbed = rungs(found["iterations"], defaults.grace, defaults.factor)
    if not set(climbed) <= set(found["rungs"]):
        raise ConfigError(
            f"{path} has rungs {found['rungs']} but {climbed} are wanted; record it again with: "
            "python -m benchmarks.rungs"
        )
    # The teacher's corner lies far from its students: all losses would look small beside it.
    latency, size = (max(t.point[i] for t in trials) + MARGIN for i in (1, 2))
    least = found["min_retention"]
    corner = reference_point(reference, least)[0], latency, size
    return Table(tuple(trials), climbed, Rule(defaults.factor, least, latency, size), corner)


def replay(table: Table, trials: Sequence[Trial], stops: Stops | None) -> dict[str, Any]:
    """Take trials one after the other, each to its end or to the rung where it is stopped.

    Args:
        table: rungs and corner.
        trials: all of them, in order.
        stops: the pruner; None for none.

    Returns:
        ``stopped``, how many; ``compute_saved`` and ``hypervolume_lost``, shares of what all
        trials need and reach without one.
    """
    there: dict[int, list[Entry]] = {rung: [] for rung in table.rungs if stops}
    seconds, kept = 0.0, []
    for trial in trials:
        last = next((r for r in there if stops and stops(_now(trial, r), there[r])), None)
        climbed = [r for r in there if last is None or r <= last]
        seconds += trial.whole if last is None else trial.reached[last]
        seconds += sum(trial.looks[r] for r in climbed)
        for rung in climbed:
            there[rung].append(trial.entries[rung] if last is None else _now(trial, rung))
        if last is None:
            kept.append(trial.point)
    volumes = [_volume(points, table.corner) for points in (kept, [t.point for t in trials])]
    return {
        "stopped": len(trials) - len(kept),
        "compute_saved": round(1 - seconds / sum(t.whole for t in trials), 4),
        "hypervolume_lost": round(1 - volumes[0] / volumes[1], 4),
    }


def median(table: Table, weights: Sequence[float], quantile: float) -> Stops:
    """The rule of the median, on a weighted sum of the objectives.

    Args:
        table: gives each objective its scale, by all trials' ends.
        weights: of log gap, log latency, log size.
        quantile: of the others' sums, above which a trial stops; 0.5 is the median.

    Source: Golovin et al. 2017 (Vizier), section 3.2.1.
    """
    scale = np.array(weights) / np.std([t.point for t in table.trials], axis=0)

    def stops(own: Entry, others: Sequence[Entry]) -> bool:
        sums = [float(scale @ np.array(e.point)) for e in others]
        return len(sums) + 1 >= FULL and bool(
            scale @ np.array(own.point) > np.quantile(sums, quantile)
        )

    return stops


def _pruners(table: Table) -> list[tuple[dict[str, Any], Stops | None]]:
    def pareto(own: Entry, others: Sequence[Entry]) -> bool:
        return bool(verdict(own, others, table.rule))

    none: dict[str, Any] = {"weights": "", "quantile": None}
    found: list[tuple[dict[str, Any], Stops | None]] = [
        ({"pruner": "none", **none}, None),
        ({"pruner": "pareto", **none}, pareto),
    ]
    for name, weights in WEIGHTS.items():
        for quantile in QUANTILES:
            names = {"pruner": "median", "weights": name, "quantile": quantile}
            found.append((names, median(table, weights, quantile)))
    return found


def _trial(found: dict[str, Any], reference: dict[str, float]) -> Trial:
    floor = reference["floor"]
    costs = {name: found[name] for name in ("latency_ms", "size_mb")}
    final = retention(reference["gap"], floor, found["gap"])
    entries, reached, seconds = {}, {}, found["build_s"]
    for rung in found["rungs"]:
        point = axes({**costs, "gap": rung["gap"]}, floor)
        now = Entry(point, rung["retention"], rung["retention_high"], final)
        entries[rung["iteration"]] = now
        seconds += rung["train_s"]
        reached[rung["iteration"]] = seconds
    return Trial(
        entries=entries,
        reached=reached,
        looks={r["iteration"]: r["look_s"] for r in found["rungs"]},
        whole=seconds + found["train_s"] + found["score_s"],
        point=axes({**costs, "gap": found["gap"]}, floor),
        landing={r["iteration"]: r["landing"] for r in found["rungs"]},
        steps=found["params"]["steps"],
    )


def _now(trial: Trial, rung: int) -> Entry:
    """As it stands there, its end being unknown."""
    return dataclasses.replace(trial.entries[rung], final=None)


def _volume(points: Sequence[Point], corner: Point) -> float:
    return hypervolume(np.array(points, dtype=np.float64), np.array(corner))


def _summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over the orders, and the best that a median comes to at no more loss than ours."""
    figures = ("compute_saved", "hypervolume_lost")
    settings: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        settings.setdefault((row["pruner"], row["weights"], row["quantile"]), []).append(row)
    means = {
        key: {f: fmean(r[f] for r in found) for f in figures} for key, found in settings.items()
    }
    ours = means["pareto", "", None]
    least = "hypervolume_lost"
    others = [m for key, m in means.items() if key[0] == "median" and m[least] <= ours[least]]
    return {
        **{f: round(v, 4) for f, v in ours.items()},
        "median_saved": round(max((m["compute_saved"] for m in others), default=0.0), 4),
    }


def _predictors(table: Table) -> dict[str, dict[str, float]]:
    """How well the ranks at a rung agree with those in the end, by the gap and by the loss."""
    from scipy.stats import kendalltau

    def tau(trials: Sequence[Trial], now: Callable[[Trial], float]) -> float:
        ends = [t.point[0] for t in trials]
        return float(kendalltau([now(t) for t in trials], ends).statistic)

    groups = [[t for t in table.trials if t.steps == s] for s in {t.steps for t in table.trials}]
    groups = [g for g in groups if len(g) > 2]
    found = {}
    for rung in table.rungs:
        measures: dict[str, Callable[[Trial], float]] = {
            "gap": lambda t, rung=rung: t.entries[rung].point[0],  # type: ignore[misc]
            "landing": lambda t, rung=rung: t.landing[rung],  # type: ignore[misc]
        }
        found[str(rung)] = {
            **{name: round(tau(table.trials, now), 3) for name, now in measures.items()},
            **{
                f"{name}, equal steps": round(fmean(tau(g, now) for g in groups), 3)
                for name, now in measures.items()
            },
        }
    return found
