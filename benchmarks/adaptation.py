"""Pruned or grown while training, against trained small: equal size in the end, equal wall time.

All inherit from the digits preset's teacher as trials do. The small network trains for the
preset's iterations; the others get as many as fit in the same seconds, told by a pilot at two
lengths, and every learning rate schedule runs to its end.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ado_nas.errors import ConfigError
from ado_nas.progress import Progress
from ado_nas.specs import Candidate, SamplerSpec, TaskSpec

if TYPE_CHECKING:
    from objectives.bench import Bench

METHODS = {"pruned": "prune", "grown": "grow", "small": "none"}
SEEDS = 3
PILOTS = (40, 160)  # iterations, for what a run costs at once and what each iteration costs
WIDTHS, STEPS = (16, 16), 2


def run(
    *,
    seed: int,
    row: int | None,
    workspace: Path,
    progress: Progress,
    task: TaskSpec | None = None,
    iterations: int = 0,
    pilots: tuple[int, int] = PILOTS,
) -> dict[str, Any]:
    """Train each way with each seed.

    Args:
        seed: the first of three.
        row: one of seed x method; None all.
        workspace: teacher, trajectories and features are kept in its cache.
        progress: told of each row.
        task: data and teacher; None for those of the digits preset.
        iterations: of the small network; 0 for the preset's.
        pilots: two lengths whose seconds tell those of others.

    Returns:
        rows: seed, method, widths, size_mb, seconds, iterations, gap, gap_low, gap_high,
        changes_accepted, changes_refused; the median over the seeds of a method's gap over that
        of trained small (`median_gap_ratio`), and of its seconds (`median_seconds_ratio`). Where
        the gate kept a network larger than the small one, its row does not count there.

    Raises:
        ConfigError: no such row.
    """
    from objectives.bench import open_bench
    from studies.config import resolve

    every = [(seed + i, method) for i in range(SEEDS) for method in METHODS]
    if row is not None and not 0 <= row < len(every):
        raise ConfigError(f"row {row}: give 0 to {len(every) - 1}")
    preset = resolve("digits")
    bench = open_bench(task or preset.task, workspace, progress)
    small = _candidate(bench, preset.distillation, iterations or preset.distillation.iterations)
    budget = _Budget(bench, small, pilots)
    rows = []
    for number, method in every if row is None else every[row : row + 1]:
        rows.append(_row(bench, budget.fitting(method), method, number))
        progress(f"seed {number}, {method}", len(rows), len(every) if row is None else 1)
    return {"rows": rows, "budget_seconds": round(budget.seconds, 2), **_verdict(rows)}


def _candidate(bench: Bench, distillation: Any, iterations: int) -> Candidate:
    teacher = bench.task.teacher.unet
    levels = len(WIDTHS)
    unet = dataclasses.replace(
        teacher,
        widths=WIDTHS,
        blocks=(1,) * levels,
        attention=("none",) * levels,
        norm="rms",
        time_width=32,
        middle=False,
    )
    learned = dataclasses.replace(distillation, steps=STEPS, iterations=iterations)
    return Candidate(unet.canonical, learned, SamplerSpec("ddim", "dp", STEPS))


class _Budget:
    """The seconds of the small network's training, and what fits in them."""

    def __init__(self, bench: Bench, small: Candidate, pilots: tuple[int, int]) -> None:
        self._small = small
        _trained(bench, small, 0, pilots[0])  # warms up
        self._costs = {m: _line(bench, _by(small, m), pilots) for m in METHODS}
        once, each = self._costs["small"]
        self.seconds = once + each * small.distillation.iterations

    def fitting(self, method: str) -> Candidate:
        """The candidate trained by this method for as long as the small one."""
        once, each = self._costs[method]
        candidate = _by(self._small, method)
        return _lasting(candidate, max(1, round((self.seconds - once) / each)))


def _by(candidate: Candidate, method: str) -> Candidate:
    learned = dataclasses.replace(candidate.distillation, adaptation=METHODS[method])
    return dataclasses.replace(candidate, distillation=learned)


def _lasting(candidate: Candidate, iterations: int) -> Candidate:
    learned = dataclasses.replace(candidate.distillation, iterations=iterations)
    return dataclasses.replace(candidate, distillation=learned)


def _line(bench: Bench, candidate: Candidate, pilots: tuple[int, int]) -> tuple[float, float]:
    """Seconds a run takes at once, and for each iteration."""
    short, long = (_trained(bench, candidate, 0, n)[1] for n in pilots)
    each = max((long - short) / (pilots[1] - pilots[0]), 1e-6)
    return max(short - each * pilots[0], 0.0), each


def _trained(bench: Bench, candidate: Candidate, seed: int, iterations: int) -> tuple[Any, float]:
    """The trained network with its decisions, and the seconds its training took."""
    from ado_nas.distillation.student import Lessons
    from ado_nas.models.inherit import inherit
    from ado_nas.models.unet import build_unet
    from objectives.adaptation import beginning, course

    candidate = _lasting(candidate, iterations)
    unet, teacher = build_unet(candidate.unet, seed), bench.teacher.unet
    inherit(unet, teacher)
    adapted = beginning(unet, teacher, candidate, seed)
    sampler = candidate.sampler
    lessons = Lessons(bench.bank, bench.bank.schedule(sampler.schedule, sampler.nfe))
    started = time.perf_counter()
    for _ in course(adapted, lessons, candidate, seed):
        pass
    return adapted, time.perf_counter() - started


def _row(bench: Bench, candidate: Candidate, method: str, seed: int) -> dict[str, Any]:
    from ado_nas.diffusion.sampling import generate
    from ado_nas.measure.cost import cost
    from objectives.adaptation import decisions

    adapted, seconds = _trained(bench, candidate, seed, candidate.distillation.iterations)
    path = bench.bank.schedule(candidate.sampler.schedule, candidate.sampler.nfe)
    start, labels = bench.start(bench.task.quality.noise_seed), bench.labels()
    levels = bench.bank.levels[path]
    quality = bench.judge.score(generate(adapted.unet, "ddim", levels, start, labels))
    low, high = quality.gap_interval
    found = decisions(adapted)
    return {
        "seed": seed,
        "method": method,
        "widths": "-".join(map(str, adapted.unet.spec.widths)),
        "size_mb": round(cost(adapted.unet.spec).size_mb, 4),
        "seconds": round(seconds, 2),
        "iterations": candidate.distillation.iterations,
        "gap": round(quality.gap, 4),
        "gap_low": round(low, 4),
        "gap_high": round(high, 4),
        "changes_accepted": found.get("changes_accepted", 0),
        "changes_refused": found.get("changes_refused", 0),
    }


def _verdict(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A method over trained small, seed by seed and at equal size; None without both."""

    def ratio(name: str, method: str) -> float | None:
        small = {
            (r["seed"], r["size_mb"]): r[name]
            for r in rows
            if r["method"] == "small" and r[name] > 0
        }
        own = {(r["seed"], r["size_mb"]): r[name] for r in rows if r["method"] == method}
        found = [value / small[key] for key, value in own.items() if key in small]
        return round(statistics.median(found), 4) if found else None

    others = [method for method in METHODS if method != "small"]
    return {
        "median_gap_ratio": {m: ratio("gap", m) for m in others},
        "median_seconds_ratio": {m: ratio("seconds", m) for m in others},
    }
