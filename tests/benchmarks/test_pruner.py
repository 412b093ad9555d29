"""The replay of recorded trials, on a table whose figures are known."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from ado_nas.errors import ConfigError
from ado_nas.progress import silent
from benchmarks import pruner

REFERENCE = {"gap": 1.0, "floor": 0.5, "latency_ms": 50.0, "size_mb": 5.0}
RUNGS = (8, 16, 32)


def recorded(gap: float, latency: float, size: float, early: float = 3.0) -> dict[str, Any]:
    """A trial of 10 seconds whose gap at the rungs is so many times the last one."""
    rungs = [
        {
            "iteration": rung,
            "gap": early * gap,
            "retention": 1.5 / (early * gap + 0.5),
            "retention_high": 1.5 / (early * gap + 0.5),
            "landing": gap,
            "train_s": 1.0,
            "look_s": 0.1,
        }
        for rung in RUNGS
    ]
    costs = {"latency_ms": latency, "size_mb": size, "build_s": 1.0}
    ends = {"train_s": 5.0, "score_s": 1.0, "gap": gap}
    return {"params": {"steps": 1}, **costs, "rungs": rungs, **ends}


def written(path: Path, trials: list[dict[str, Any]]) -> Path:
    table = {"reference": REFERENCE, "min_retention": 0.1, "iterations": 64, "rungs": [*RUNGS]}
    path.write_text(json.dumps({**table, "trials": trials}))
    return path


def test_replay_counts_seconds_of_the_stopped_and_their_looks(tmp_path: Path) -> None:
    table = pruner.load(written(tmp_path / "t.json", [recorded(g, g, 1.0) for g in (1, 2, 4)]))
    assert table.rungs == (16, 32)
    assert pruner.replay(table, table.trials, None) == {
        "stopped": 0,
        "compute_saved": 0.0,
        "hypervolume_lost": 0.0,
    }
    bad = table.trials[2].entries[16].point
    found = pruner.replay(table, table.trials, lambda own, _: own.point == bad)
    assert found["stopped"] == 1
    # 30 s without; two of 10.2 s with the looks, and one stopped at its first rung.
    assert found["compute_saved"] == pytest.approx(1 - (2 * 10.2 + 3.1) / 30, abs=1e-4)
    assert found["hypervolume_lost"] == 0.0  # others dominate it
    best = table.trials[0].entries[16].point
    assert (
        pruner.replay(table, table.trials, lambda own, _: own.point == best)["hypervolume_lost"]
        > 0.3
    )


def test_pruner_sees_only_what_came_before_and_no_end_of_its_own(tmp_path: Path) -> None:
    table = pruner.load(written(tmp_path / "t.json", [recorded(g, 1.0, 1.0) for g in (1, 2, 4)]))
    seen: list[tuple[float | None, int, list[bool]]] = []

    def stops(own: pruner.Entry, others: Any) -> bool:
        seen.append((own.final, len(others), [o.final is not None for o in others]))
        return len(others) == 1

    pruner.replay(table, table.trials, stops)
    assert seen == [
        *[(None, 0, [])] * 2,
        (None, 1, [True]),
        (None, 2, [True, False]),
        (None, 1, [True]),
    ]


def test_benchmark_prunes_what_is_dominated_and_loses_nothing_by_it(tmp_path: Path) -> None:
    draw = random.Random(0)
    good = [recorded(1 + i, 9.0 - i, 1.0) for i in range(8)]
    dominated = [recorded(draw.uniform(9, 12), 9.0, 2.0) for _ in range(24)]
    path = written(tmp_path / "t.json", good + dominated)
    found = pruner.run(seed=0, row=None, workspace=tmp_path, progress=silent, table=path)
    assert found["trials"] == 32 and len(found["rows"]) == 5 * (2 + 27)
    assert found["hypervolume_lost"] == 0.0 and 0.2 < found["compute_saved"] < 0.7
    assert {r["compute_saved"] for r in found["rows"] if r["pruner"] == "none"} == {0.0}
    assert found["kendall_tau"]["16"]["gap"] == pytest.approx(1.0)
    assert 0 <= found["median_saved"] < 1
    (one,) = pruner.run(seed=0, row=30, workspace=tmp_path, progress=silent, table=path)["rows"]
    assert one == found["rows"][30]


def test_benchmark_refuses_when_there_is_no_table_or_no_row(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"python -m benchmarks\.rungs"):
        pruner.load(tmp_path / "none.json")
    path = written(tmp_path / "t.json", [recorded(g, g, g) for g in (1, 2, 4)])
    with pytest.raises(ConfigError, match="give 0 to 144"):
        pruner.run(seed=0, row=145, workspace=tmp_path, progress=silent, table=path)
    other = json.loads(path.read_text()) | {"rungs": [10]}
    path.write_text(json.dumps(other))
    with pytest.raises(ConfigError, match=r"rungs \[10\]"):
        pruner.load(path)
