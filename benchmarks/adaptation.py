"""Pruned or grown while training, against trained small: equal size in the end, equal wall time.

All inherit from the digits preset's teacher as trials do. The small network trains for the
preset's iterations; the others get as many as fit in the same seconds, told by a pilot, and every
learning rate schedule runs to its end. The ways take turns of a fiftieth of their training, each
on its own clock, so that a machine that slows down slows all of them down.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ado_nas.errors import ConfigError
from ado_nas.progress import Progress
from ado_nas.specs import Candidate, SamplerSpec, TaskSpec

if TYPE_CHECKING:
    from ado_nas.bench import Bench
    from ado_nas.distillation.adaptation import Adapted

METHODS = {"pruned": "prune", "grown": "grow", "small": "none"}
SEEDS = 3
TURNS = 50
WIDTHS, STEPS = (16, 16), 2


def run(
    *,
    seed: int,
    row: int | None,
    workspace: Path,
    progress: Progress,
    task: TaskSpec | None = None,
    iterations: int = 0,
) -> dict[str, Any]:
    """Train each way with each seed.

    Args:
        seed: the first of three.
        row: one of seed x method; None all.
        workspace: teacher, trajectories and features are kept in its cache.
        progress: told of each row.
        task: data and teacher; None for those of the digits preset.
        iterations: of the small network; 0 for the preset's.

    Returns:
        rows: seed, method, widths, size_mb, seconds, iterations, gap, gap_low, gap_high,
        changes_accepted, changes_refused; the median over the seeds of a method's gap over that
        of trained small (`median_gap_ratio`), and of its seconds (`median_seconds_ratio`). Where
        the gate kept a network larger than the small one, its row does not count there.

    Raises:
        ConfigError: no such row.
    """
    from ado_nas.bench import open_bench
    from studies.config import resolve

    every = [(seed + i, method) for i in range(SEEDS) for method in METHODS]
    if row is not None and not 0 <= row < len(every):
        raise ConfigError(f"row {row}: give 0 to {len(every) - 1}")
    preset = resolve("digits")
    bench = open_bench(task or preset.task, workspace, progress)
    small = _candidate(bench, preset.distillation, iterations or preset.distillation.iterations)
    chosen = every if row is None else every[row : row + 1]
    counts = _counts(bench, small)
    rows = []
    for number in sorted({number for number, _ in chosen}):
        ways = {m: _by(small, m, counts[m]) for n, m in chosen if n == number}
        for method, (adapted, seconds) in _race(bench, ways, number).items():
            rows.append(_row(bench, ways[method], adapted, seconds, method, number))
            progress(f"seed {number}, {method}", len(rows), len(chosen))
    return {"rows": rows, **_verdict(rows)}


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


def _by(small: Candidate, method: str, iterations: int) -> Candidate:
    """The candidate, come by another way and trained for so long."""
    learned = dataclasses.replace(
        small.distillation, adaptation=METHODS[method], iterations=iterations
    )
    return dataclasses.replace(small, distillation=learned)


def _counts(bench: Bench, small: Candidate) -> dict[str, int]:
    """By method, the iterations that take as long as those of the small network."""
    total = small.distillation.iterations
    _race(bench, {"small": _by(small, "small", TURNS)}, 0)  # warms up
    found = _race(bench, {m: _by(small, m, total) for m in METHODS}, 0)
    least = {method: seconds for method, (_, seconds) in found.items()}
    return {m: max(1, round(total * least["small"] / least[m])) for m in METHODS}


def _race(
    bench: Bench, candidates: dict[str, Candidate], seed: int
) -> dict[str, tuple[Adapted, float]]:
    """By method, the trained network with its decisions, and the seconds its training took."""
    runs, clocks = {}, dict.fromkeys(candidates, 0.0)
    for method, candidate in candidates.items():
        adapted, course = _begun(bench, candidate, seed)
        runs[method] = adapted, course, candidate.distillation.iterations
    for turn in range(TURNS):
        for method, (_, course, total) in runs.items():
            steps = total * (turn + 1) // TURNS - total * turn // TURNS
            started = time.perf_counter()
            # The last turn runs out, for the averaged weights are loaded after the last iteration.
            for _ in itertools.islice(course, None if turn + 1 == TURNS else steps):
                pass
            clocks[method] += time.perf_counter() - started
    return {method: (run[0], clocks[method]) for method, run in runs.items()}


def _begun(
    bench: Bench, candidate: Candidate, seed: int
) -> tuple[Adapted, Iterator[tuple[int, float]]]:
    """A network before its training, and the training."""
    from ado_nas.distillation.student import Lessons
    from ado_nas.models.inherit import inherit
    from ado_nas.models.unet import build_unet
    from objectives.adaptation import beginning, course

    unet = build_unet(candidate.unet, seed)
    inherit(unet, bench.teacher.unet)
    adapted = beginning(unet, bench, candidate, seed)
    sampler = candidate.sampler
    lessons = Lessons(bench.bank, bench.bank.schedule(sampler.schedule, sampler.nfe))
    return adapted, course(adapted, lessons, candidate, seed, bench.teacher.unet)


def _row(
    bench: Bench, candidate: Candidate, adapted: Adapted, seconds: float, method: str, seed: int
) -> dict[str, Any]:
    from ado_nas.diffusion.sampling import generate
    from ado_nas.measure.cost import cost
    from objectives.adaptation import decisions

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
