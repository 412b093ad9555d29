"""Scripts that regenerate every number the README quotes: ``python cli.py benchmark NAME``.

A benchmark is a module of this package with a function

    run(*, seed: int, row: int | None, workspace: Path, progress: Progress) -> dict[str, Any]

that returns ``rows`` (a list of flat dictionaries) and what else belongs to the figures; the
command adds ``name``, ``seed`` and ``environment``. `row` asks for one row, by its place.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ado_nas.errors import ConfigError, nearest


@dataclass(frozen=True)
class Benchmark:
    """One entry of the list."""

    module: str
    minutes: float  # on two cores
    summary: str


BENCHMARKS: dict[str, Benchmark] = {
    "runtime": Benchmark(
        "benchmarks.runtime", 2, "a training step and a sampling pass: stock MLX, ours, PyTorch"
    ),
    "predictor": Benchmark(
        "benchmarks.predictor", 3, "latency as predicted before building, against measured"
    ),
    "memory": Benchmark(
        "benchmarks.memory", 1, "peak memory as predicted before building, against measured"
    ),
    "fidelity": Benchmark(
        "benchmarks.fidelity", 40, "whether trials rank candidates as training to the end does"
    ),
    "attention": Benchmark(
        "benchmarks.attention", 2, "time and peak memory of each kind of attention, by map size"
    ),
    "adaptation": Benchmark(
        "benchmarks.adaptation", 5, "pruned or grown while training, against trained small"
    ),
    "inheritance": Benchmark(
        "benchmarks.inheritance", 15, "students from scratch, sliced, and from a supernet"
    ),
    "distillation": Benchmark(
        "benchmarks.distillation", 70, "ways of distilling at equal compute, for 1, 2, 4 steps"
    ),
    "schedules": Benchmark(
        "benchmarks.schedules", 600, "solvers and noise levels at few evaluations, learned or not"
    ),
    "adaptive": Benchmark(
        "benchmarks.adaptive", 40, "steps by content against the best fixed schedules"
    ),
    "curriculum": Benchmark(
        "benchmarks.curriculum", 60, "rising resolutions against a constant one; one model, sizes"
    ),
    "overhead": Benchmark(
        "benchmarks.overhead", 2, "what a trial costs beside building, training and scoring"
    ),
    "pruner": Benchmark(
        "benchmarks.pruner", 1, "compute saved and hypervolume lost by pruners, on recorded trials"
    ),
    "workers": Benchmark(
        "benchmarks.workers", 40, "trials an hour by workers and streams, on the same candidates"
    ),
    "search": Benchmark(
        "benchmarks.search", 300, "the search against a plain loop, chance, and itself with less"
    ),
    "scale": Benchmark(
        "benchmarks.scale", 3, "show, report, suggestion and decision at 100 to 10,000 trials"
    ),
    "rl": Benchmark(
        "benchmarks.rl", 12, "a learned policy of evaluations by image, against fixed schedules"
    ),
    "quality": Benchmark(
        "benchmarks.quality", 10, "the ladder of known damage: what the quality measures resolve"
    ),
}


def find(name: str) -> Callable[..., dict[str, Any]]:
    """The `run` function of a benchmark.

    Raises:
        ConfigError: no benchmark of that name.
    """
    if name not in BENCHMARKS:
        raise ConfigError(f"no benchmark is called {name!r}; {nearest(name, BENCHMARKS)}")
    run: Callable[..., dict[str, Any]] = importlib.import_module(BENCHMARKS[name].module).run
    return run
