from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ado_nas import runtime
from ado_nas.errors import ConfigError
from ado_nas.measure.cost import cost
from ado_nas.progress import silent
from benchmarks import workers
from benchmarks.workers import Way
from search_spaces.candidate import build
from search_spaces.space import anchors
from studies.config import SearchConfig, resolve

FAKES = Path(__file__).parents[1] / "fakes"


def row(way: Way, rate: float, latencies: Sequence[float]) -> dict[str, Any]:
    found = {spec: ms for spec, ms in zip("ab", latencies, strict=True)}
    return {**dataclasses.asdict(way), "trials_per_hour": rate, "latencies_ms": found}


def test_verdict_compares_rates_and_the_latencies_of_one_candidate() -> None:
    ways = workers.WAYS
    rows = [
        row(ways[0], 100.0, [1.0, 4.0]),
        row(ways[1], 150.0, [1.02, 4.0]),
        row(ways[2], 170.0, [1.0, 4.2]),
    ]
    found = workers.verdict(rows, Way(2, 1))
    assert found["default_ratio"] == 1.7 and found["default_is_fastest"]
    assert found["latency_spread"] == pytest.approx(0.05)
    assert found["latency_bias"] == pytest.approx(0.0247)  # the root of 1.05
    slower = workers.verdict(rows, Way(1, 2))
    assert slower["default_ratio"] == 1.5 and not slower["default_is_fastest"]
    assert slower["fastest"] == {"workers": 2, "streams": 1}


def test_list_is_fixed_by_the_seed_and_holds_different_candidates() -> None:
    config = resolve("digits")
    found = workers.listed(config, config.space, 6, 3)
    assert found == workers.listed(config, config.space, 6, 3)
    assert found.space.anchors != workers.listed(config, config.space, 6, 4).space.anchors
    listed = anchors(found.space)
    assert len(listed) == found.trials == 6 and found.pruner == "none"
    base = config.task.teacher.unet
    unets = [build(config.space, choices, base, config.distillation).unet for choices in listed]
    macs = [cost(unet).macs for unet in unets]
    assert macs == sorted(macs, reverse=True) and macs[0] > macs[-1]
    small = dataclasses.replace(
        config.space, widths=("16-16",), norm=("rms",), steps=(1,), anchors=()
    )
    with pytest.raises(ConfigError, match="this space has 2"):
        workers.listed(config, small, 6, 3)


@pytest.mark.skipif(runtime.machine_cores() < 2, reason="needs two cores")
def test_default_way_keeps_every_core_busy_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = workers.default_way()
    assert found.workers == runtime.default_workers()
    assert found.workers * found.streams <= max(2, runtime.machine_cores())
    monkeypatch.setenv("ADO_CORES", "1")
    assert workers.default_way() == Way(1, 1)


def test_a_row_that_is_not_there_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give 0 to"):
        workers.run(seed=0, row=9, workspace=tmp_path, progress=silent)
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_each_way_searches_the_same_candidates_and_leaves_no_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(FAKES))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(workers, "WAYS", (Way(1, 1), Way(2, 1)))
    config = SearchConfig(study="fake", evaluator="fake_evaluation")
    workspace = tmp_path / "ws"
    workspace.mkdir()
    (workspace / "fake.json").write_text('{"seconds": 0.5}')

    def run(row: int | None) -> dict[str, Any]:
        given = {"seed": 0, "workspace": workspace, "progress": silent, "config": config}
        return workers.run(row=row, candidates=2, rounds=1, **given)  # type: ignore[arg-type]

    found = run(None)
    rows = found["rows"]
    assert [(r["workers"], r["streams"]) for r in rows][:2] == [(1, 1), (2, 1)]
    for one in rows:
        assert one["trials"] == 2
        assert one["seconds"] > (0.4 if one["workers"] == 2 else 0.9)
        assert one["trials_per_hour"] == pytest.approx(7200 / one["seconds"], rel=0.01)
        assert one["latencies_ms"] == rows[0]["latencies_ms"]
    assert found["latency_spread"] == 0.0
    assert len((workspace / "evaluated.log").read_text().splitlines()) == 2 * len(rows)
    assert not any((workspace / "studies").iterdir())
    assert run(1)["rows"] == rows[1:2]  # kept
