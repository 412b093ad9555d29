"""The benchmark of the search, with an evaluator that learns nothing."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ado_nas.errors import ConfigError
from ado_nas.progress import silent
from ado_nas.specs import TaskSpec
from benchmarks import arena, search
from benchmarks.plainloop import Plan
from objectives.scores import Limits
from studies.axes import LOWEST_RETENTION
from studies.config import SearchConfig, check
from studies.identity import FREE, PLACES

FAKES = Path(__file__).parents[1] / "fakes"
BEGUN = 5000.0
SIZES = search.Sizes(seeds=2, trials=2, plain_seeds=1, plain_trials=2, plain_iterations=8)


def test_each_component_is_left_out_alone_and_of_a_search_that_can_be_run() -> None:
    base = dataclasses.replace(search._preset(), trials=SIZES.trials)
    wanted = {
        "trajectories": {"space", "evaluator"},
        "learned levels": {"space"},
        "inheritance": {"task"},
        "pruner": {"pruner"},
        "anchors": {"space"},
        "sampler": {"sampler"},
        "second worker": {"workers"},
    }
    assert search.WITHOUT.keys() == wanted.keys()
    for kind, change in search.KINDS.items():
        own = check(change(base))
        fields = (f.name for f in dataclasses.fields(own))
        changed = {name for name in fields if getattr(own, name) != getattr(base, name)}
        if kind not in ("ours", "random"):
            assert changed == wanted[kind]
    assert not changed & {*FREE, *PLACES} - {"workers", "sampler", "pruner"}
    closed = search.WITHOUT["learned levels"](base).space
    assert "dp" in base.space.schedule and closed.schedule == ("karras",)
    assert len(closed.anchors) == len(base.space.anchors)


def test_a_row_that_is_not_there_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give 0 to 4"):
        search.run(seed=0, row=5, workspace=tmp_path, progress=silent)
    assert not any(tmp_path.iterdir())


@dataclass
class Canned:
    """An arena whose searches end at once; each takes longer than the last, and finds more."""

    config: SearchConfig
    corner: tuple[float, ...] = (1.0, 2.0, 3.0)
    told: list[tuple[str, int, int, bool]] = field(default_factory=list)

    def searched(self, kind: str, config: SearchConfig, trajectories: bool) -> dict[str, Any]:
        self.told.append((kind, config.seed, config.trials, trajectories))
        return self.plain(config.seed, 1, len(self.told)) | {"kind": kind}

    def plain(self, seed: int, trials: int, iterations: int) -> dict[str, Any]:
        curve = [[float(iterations), float(iterations)]]
        last = {"hypervolume": curve[-1][1], "seconds": curve[-1][0], "curve": curve}
        return {"kind": "plain", "seed": seed, **last}


def test_first_seeds_have_a_plain_loop_and_an_ablation_and_the_others_what_chance_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Canned] = []

    def opened(name: str, config: SearchConfig, *rest: Any) -> Canned:
        made.append(Canned(config))
        return made[-1]

    monkeypatch.setattr(search, "opened", opened)
    given = {"seed": 3, "workspace": tmp_path, "progress": silent, "sizes": SIZES}
    found = search.run(row=None, **given)  # type: ignore[arg-type]
    told = made[0].told
    assert told[:2] == [("ours", 3, 2, True), ("random", 3, 2, True)]
    assert [t[0] for t in told[2:9]] == list(search.WITHOUT)
    assert [s["kind"] for s in found["searches"][:3]] == ["ours", "random", "plain"]
    assert [t[0] for t in told[2:9] if not t[3]] == ["trajectories"]
    assert told[9:] == [("ours", 4, 2, True), ("random", 4, 2, True)]
    first, second = found["rows"]
    assert (first["seed"], first["hypervolume"], first["random_hypervolume"]) == (3, 1.0, 2.0)
    assert (first["plain_hypervolume"], first["time_ratio"]) == (8.0, None)
    assert (second["seed"], second["hypervolume"]) == (4, 10.0) and "time_ratio" not in second
    assert found["hypervolume_gain"]["mean"] == -1.0 and len(found["searches"]) == 12
    assert found["ablation"]["trajectories"]["seconds_ratio"]["mean"] == 3.0
    json.dumps(found, allow_nan=False)
    assert [r["seed"] for r in search.run(row=1, **given)["rows"]] == [4]  # type: ignore[arg-type]


def test_rows_of_several_machines_become_the_result_of_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arena = Canned(SearchConfig())
    monkeypatch.setattr(search, "opened", lambda *_: arena)
    given = {"seed": 3, "workspace": tmp_path, "progress": silent, "sizes": SIZES}
    around = {"name": "search", "environment": {"device": "one"}}
    whole = search.run(row=None, **given)  # type: ignore[arg-type]
    arena.told.clear()
    parts = [around | search.run(row=row, **given) for row in (0, 1)]  # type: ignore[arg-type]
    found = search.joined([search.joined(parts[:1]), parts[1]])
    assert found == search.joined(parts)
    assert found.pop("parts") == [
        {"seeds": [seed], "corner": [1.0, 2.0, 3.0], "environment": {"device": "one"}}
        for seed in (3, 4)
    ]
    assert found | {"corner": [1.0, 2.0, 3.0]} == whole | {"name": "search"}
    with pytest.raises(ConfigError, match="a seed is in two"):
        search.joined([parts[0], parts[0]])
    with pytest.raises(ConfigError, match="not of equal sizes"):
        search.joined([parts[0], parts[1] | {"sizes": {}}])


def judged_so(
    channel: None, task: TaskSpec, workspace: Path, folders: list[Path], latencies: Path
) -> dict[str, Any]:
    """Students of which each is better than the one before, and the last has no images."""
    models = [{"gap": 9.0 - i, "latency_ms": 10.0, "size_mb": 0.1} for i in range(len(folders))]
    return {"reference_gap": 10.0, "models": [*models[:-1], None]}


def looped(channel: None, plan: Plan, workspace: Path, place: Path) -> list[tuple[float, str]]:
    """A plain loop of two seconds, begun at `BEGUN`."""
    assert (plan.trials, plan.distillation.iterations) == (3, 8) and not plan.task.inherit
    return [(BEGUN + i, str(place / str(i))) for i in range(plan.trials)]


@pytest.mark.slow
def test_a_search_is_kept_and_its_time_begins_with_the_trajectories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(FAKES))
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # locks of its own
    monkeypatch.setattr(arena, "judged", judged_so)
    monkeypatch.setattr(arena, "run_plain", looped)
    monkeypatch.setattr(arena, "call", lambda target, *args, progress: target(Here(), *args))
    monkeypatch.setattr(arena.Arena, "trajectories", 1000.0)
    base = SearchConfig(study="fake", evaluator="fake_evaluation", finalists=0, track=False)
    config = dataclasses.replace(base, trials=3, limits=Limits(min_retention=LOWEST_RETENTION))
    begun = time.time()
    made = arena.opened("search", config, 0, tmp_path, silent)
    found = made.searched("second worker", dataclasses.replace(config, workers=1), True)
    took = time.time() - begun
    monkeypatch.setattr(arena, "time", SimpleNamespace(time=lambda: BEGUN))
    plain = made.plain(0, 3, 8)
    assert (found["trials"], found["scored"], plain["scored"]) == (3, 2, 2)
    at = [
        1000,
        *(seconds for seconds, _ in found["curve"]),
        found["seconds"],
        round(1000 + took, 1),
    ]
    assert len(at) == 5 and at == sorted(at)  # in tenths of a second
    assert [seconds for seconds, _ in plain["curve"]] == [0.0, 1.0] and plain["seconds"] == 2.0
    assert plain["hypervolume"] == found["hypervolume"] == found["curve"][1][1]  # judged alike
    # The teacher's gap of 10 and floor of 1, at the least retention; its latency and size.
    sides = (11 / LOWEST_RETENTION / 9, 400 / 10, 2.4 / 0.1)
    assert found["hypervolume"] == pytest.approx(math.prod(map(math.log, sides)), abs=1e-4)
    log = (tmp_path / "evaluated.log").read_text()
    assert made.searched("second worker", config, True) == found
    assert (tmp_path / "evaluated.log").read_text() == log and len(log.splitlines()) == 3


class Here:
    """The channel of a process that is this one."""

    progress = staticmethod(silent)
