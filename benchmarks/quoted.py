"""The README's table of what lies in `benchmarks/results`: ``python -m benchmarks.quoted``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ado_nas.files import read_json
from benchmarks.verdicts import NEAR

RESULTS = Path(__file__).parent / "results"


def table() -> str:
    """In Markdown: what was measured, what was found, and the benchmark that does it again."""
    lines = ["| measured | found | `benchmark` |", "|---|---|---|"]
    for name, told in TOLD.items():
        lines += [f"| {what} | {found} | `{name}` |" for what, found in told(_result(name))]
    return "\n".join(lines)


def _result(name: str) -> Any:
    found = read_json(RESULTS / f"{name}.json")
    assert found is not None, f"no result of {name}"
    return found


def _search(result: Any) -> Iterator[tuple[str, str]]:
    sizes, rows = result["sizes"], [row for row in result["rows"] if "time_ratio" in row]
    whole, near = (
        ", ".join(f"{row[k]:.0f}" for row in rows) for k in ("time_ratio", "near_ratio")
    )
    yield (
        "on `digits`, time of a search until it has the hypervolume that a plain Optuna loop ends "
        f"with ({sizes['plain_trials']} trials of {sizes['plain_iterations']:,} iterations)",
        f"{whole} times less, by seed; {near} times less than the loop needs for {NEAR:.0%} of it",
    )
    gain = result["hypervolume_gain"]
    volume = sum(row["hypervolume"] for row in result["rows"]) / len(result["rows"])
    yield (
        f"on `digits`, hypervolume after {sizes['trials']} trials ({len(result['rows'])} seeds) "
        "beside random search with our engine and no anchors",
        f"{volume:.1f}, {gain['mean']:.1f} [{gain['low']:.1f}, {gain['high']:.1f}] more",
    )


def _curriculum(result: Any) -> Iterator[tuple[str, str]]:
    ratios = ", ".join(f"{row['time_ratio']:.2f}" for row in result["rows"])
    yield (
        "a teacher of 32 px trained at 16 px first, until as good as at 32 px throughout",
        f"{result['median_time_ratio']:.2f} of the time ({ratios} by seed)",
    )
    sizes = result["resolutions"]
    yield (
        f"one model for {', '.join(str(r['resolution']) for r in sizes)} px",
        f"gaps {', '.join(format(r['ratio'], '.2f') for r in sizes)} of those of models for one "
        "size with equal compute",
    )


def _memory(result: Any) -> Iterator[tuple[str, str]]:
    yield (
        f"peak memory predicted before anything runs ({len(result['rows'])} cases)",
        f"{result['median_error']:.0%} off in the median, at most {result['worst_over']:.0%} over "
        f"and {result['worst_under']:.0%} under, which plans leave room for",
    )


def _pruner(result: Any) -> Iterator[tuple[str, str]]:
    yield (
        f"trials stopped at rungs ({result['trials']} recorded ones replayed)",
        f"{result['compute_saved']:.0%} of the compute saved, "
        f"{result['hypervolume_lost']:.1%} of the hypervolume lost",
    )


def _workers(result: Any) -> Iterator[tuple[str, str]]:
    rates = {(row["workers"], row["streams"]): row["trials_per_hour"] for row in result["rows"]}
    default = result["default"]["workers"], result["default"]["streams"]
    ratios = (f"{rates[default] / rates[1, streams]:.1f}" for streams in (1, 2))
    yield (
        "trials an hour by the default ({} workers of {} stream each) beside one worker of one "
        "stream and of two".format(*default),
        f"{' and '.join(ratios)} times as many; latencies of one candidate at most "
        f"{result['latency_spread']:.0%} apart, their means {result['latency_bias']:.0%}",
    )


def _schedules(result: Any) -> Iterator[tuple[str, str]]:
    each = (f"{of['nfe']} on `{name}`" for name, of in result["fewest"].items() if of)
    what = "fewest evaluations that keep 0.95 of the reference's 50, its 95% interval above that"
    yield f"{what}, no weight trained", ", ".join(each)


def _adaptive(result: Any) -> Iterator[tuple[str, str]]:
    most = max(row["saved_nfe"] for row in result["rows"])
    yield (
        "steps by content beside the best fixed schedule of equal gap",
        f"{most:.1%} of the evaluations saved at most, on `shapes`: not worth it there",
    )


TOLD = {
    "search": _search,
    "curriculum": _curriculum,
    "memory": _memory,
    "pruner": _pruner,
    "workers": _workers,
    "schedules": _schedules,
    "adaptive": _adaptive,
}

if __name__ == "__main__":
    print(table())
