"""A whole schedule command's work on the smoke preset's teacher."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ado_nas.adaptive import contest, finding, learning, narrowing, tuning
from ado_nas.adaptive.choice import Choice, Judged
from ado_nas.adaptive.finding import schedule_model
from ado_nas.adaptive.goal import ScheduleGoal
from ado_nas.adaptive.narrowing import by_width
from ado_nas.adaptive.recipe import SCHEDULE, load_recipe
from ado_nas.adaptive.refine import Refinement
from ado_nas.adaptive.saved import saved
from ado_nas.adaptive.scheduler import AdaptiveScheduler
from ado_nas.adaptive.slimming import SHARES
from ado_nas.bench import open_bench, task_of
from ado_nas.diffusion.sampling import noise
from ado_nas.errors import NegativeVerdict
from ado_nas.modelfolder import Model, load_model
from ado_nas.progress import silent
from ado_nas.specs import CLOSED_FORMS, SamplerSpec, SupernetSpec, TrajectorySpec
from studies.config import resolve

GOAL = ScheduleGoal(
    ("ddim", "heun"), (3,), Refinement(iterations=4, batch=4, direct=3), samples=100
)


@pytest.fixture(scope="module", autouse=True)
def _few_and_short() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "FINE", 10)
        patch.setattr(learning, "COUNT", 32)
        patch.setattr(tuning, "PATIENCE", 0.0)
        yield


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def model(workspace: Path) -> Model:
    task = resolve("smoke").task
    unet = dataclasses.replace(task.teacher.unet, widths=(8, 8))
    teacher = dataclasses.replace(task.teacher, unet=unet, iterations=20)
    task = dataclasses.replace(task, teacher=teacher, reference=SamplerSpec(nfe=9))
    folder = open_bench(task, workspace).teacher.folder
    assert folder is not None
    return load_model(folder)


@pytest.fixture(scope="module")
def found(model: Model, workspace: Path) -> dict[str, Any]:
    return schedule_model(model, GOAL, workspace)


@pytest.mark.slow
def test_every_closed_form_and_the_learned_one_are_judged(found: dict[str, Any]) -> None:
    for solver in ("ddim", "heun"):
        rows = [row for row in found["rows"] if row["solver"] == solver]
        assert [row["schedule"] for row in rows[:-1]] == list(CLOSED_FORMS)
        assert [row["learned"] for row in rows] == [False] * 4 + [True]
        assert {row["nfe"] for row in rows} == {3}
    for row in found["rows"]:
        low, high = row["retention_interval"]
        assert 0 < low <= row["retention"] <= high and row["latency_ms"] > 0
    assert found["reference"]["nfe"] == 9


@pytest.mark.slow
def test_best_is_saved_with_the_model_and_used(found: dict[str, Any], model: Model) -> None:
    assert model.folder is not None
    path = model.folder / SCHEDULE
    assert found["path"] == str(path)
    recipe, best = load_recipe(path, model), found["best"]
    assert (recipe.solver, recipe.schedule) == (best["solver"], best["schedule"])
    np.testing.assert_array_equal(recipe.levels, best["recipe"]["levels"])
    provenance = json.loads(path.read_text())["provenance"]
    assert provenance["judged"]["gap"] == best["gap"] != best["confirmed"]["gap"]
    assert provenance["judged"]["confirmed"] == best["confirmed"]
    low, high = best["confirmed"]["retention_interval"]
    assert 0 < low <= best["confirmed"]["retention"] <= high
    assert set(provenance["digests"]) == {"data", "teacher", "trajectories", "features"}


@pytest.mark.slow
def test_what_was_found_before_is_not_done_again(
    found: dict[str, Any], model: Model, workspace: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    place = tmp_path / "other.json"
    again = schedule_model(
        model, GOAL, workspace, place, lambda stage, *_, **__: said.append(stage)
    )
    assert again["rows"] == found["rows"]
    assert set(said) == {"learning levels", "learning schedules", "schedules"}
    kept = Path(found["path"])
    assert load_recipe(place, model).facts() == load_recipe(kept, model).facts()


@pytest.mark.slow
def test_latency_chooses_a_batch_and_an_unreachable_one_names_the_closest(
    found: dict[str, Any], model: Model, workspace: Path, tmp_path: Path, own_lock: Path
) -> None:
    slow = max(row["latency_ms"] for row in found["rows"]) * 40
    goal = dataclasses.replace(GOAL, latency_ms=slow)
    tuned = schedule_model(model, goal, workspace, tmp_path / "s.json")["tuned"]
    assert tuned["latency_ms"] <= slow and tuned["batch"] >= 1 and tuned["confirmed_ms"] > 0
    goal = dataclasses.replace(GOAL, latency_ms=1e-4)
    with pytest.raises(NegativeVerdict, match="closest is") as caught:
        schedule_model(model, goal, workspace, tmp_path / "none.json")
    assert "ms" in str(caught.value) and not (tmp_path / "none.json").exists()


@pytest.fixture(scope="module")
def supernet(model: Model, workspace: Path) -> Model:
    task = dataclasses.replace(task_of(model), supernet=SupernetSpec(iterations=4, batch=8))
    small = TrajectorySpec(count=32, levels=6)
    found = open_bench(dataclasses.replace(task, trajectories=small), workspace).supernet
    assert found is not None
    return found


@pytest.mark.slow
def test_supernet_may_run_narrow_at_some_levels_within_a_time(
    found: dict[str, Any],
    supernet: Model,
    workspace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Judged] = []

    def settle(rows: list[Judged], *_: Any, **__: Any) -> Any:
        seen.extend(rows)
        narrow = next(row for row in rows if row.recipe.shares)
        return SimpleNamespace(choice=Choice(narrow, 2, 1.0), facts=lambda: {"target_ms": 9.0})

    prices = np.array([0.3, 0.5, 0.75, 1.0])
    monkeypatch.setattr(narrowing, "call_prices", lambda *_: prices)
    monkeypatch.setattr(finding, "by_width", lambda found: by_width(found, (0.2, 0.6, 1.3)))
    monkeypatch.setattr(finding, "settle", settle)
    monkeypatch.setattr(finding, "measured_call_times", lambda *_, **__: None)
    monkeypatch.setattr(finding, "stopwatch", lambda *_: lambda *__: 1.5)
    goal = ScheduleGoal(("ddim",), (2,), None, samples=100, latency_ms=9.0)
    told = schedule_model(supernet, goal, workspace, tmp_path / "s.json")
    assert told["reference"] == found["reference"]  # its teacher's
    plain, narrow = told["rows"][:5], told["rows"][5:]
    assert 1 <= len(narrow) <= 2 and all("calls" not in row for row in plain)
    for row, judged in zip(narrow, seen[5:], strict=True):
        assert (row["solver"], row["schedule"], row["learned"]) == ("ddim", "widths", True)
        shares = judged.recipe.shares or (1.0,) * row["nfe"]
        paid = sum(prices[list(SHARES).index(share)] for share in shares)
        assert row["calls"] == judged.calls == pytest.approx(paid) and paid <= 1.3
        low, high = row["retention_interval"]
        assert 0 < low <= row["retention"] <= high and row["latency_ms"] > 0
    kept = load_recipe(tmp_path / "s.json", supernet)
    assert list(kept.shares) == told["best"]["step_widths"] and min(kept.shares) < 1
    images, spent = saved(supernet, tmp_path / "s.json")(noise(0, 4, (8, 8, 1)), None, silent)
    assert images.shape == (4, 8, 8, 1) and set(spent) == {kept.nfe}


@pytest.mark.slow
def test_steps_by_content_are_compared_at_equal_mean_and_used_where_they_prove_better(
    model: Model, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = functools.partial(contest.learn_content, counts=(3, 4, 5), learned=64)
    monkeypatch.setattr(contest, "learn_content", few)
    goal = dataclasses.replace(GOAL, solvers=("ddim",), mean_nfe=4.0)
    told = schedule_model(model, goal, workspace, tmp_path / "s.json")["content"]
    fixed = told["fixed"]
    assert told["mean_nfe"] == fixed["mean_nfe"] and 3 <= told["mean_nfe"] <= 5
    assert {row["nfe"] for row in fixed["schedules"]} == {
        math.floor(told["mean_nfe"]),
        math.ceil(told["mean_nfe"]),
    }
    assert sum(int(n) * share for n, share in told["shares"].items()) == pytest.approx(
        told["mean_nfe"]
    )
    floor = finding.opened(model, goal, workspace).reference["floor"]
    assert told["ratio"] == pytest.approx((fixed["gap"] + floor) / (told["gap"] + floor))
    assert told["better"] == (told["ratio_interval"][0] > 1)
    assert told["latency_ms"] > 0 and fixed["latency_ms"] > 0
    scheduler = AdaptiveScheduler.load(Path(told["path"]))
    for better in (True, False):
        judged = {**told, "better": better}
        monkeypatch.setattr(finding, "contest", lambda *_, kept=judged: (scheduler, kept))
        schedule_model(model, goal, workspace, tmp_path / "s.json")
        facts = json.loads((tmp_path / "s.json").read_text())
        assert facts["kind"] == ("content" if better else "fixed")
        start, labels = noise(0, 20, (8, 8, 1)), np.arange(20, dtype=np.int32) % 10
        images, spent = saved(model, tmp_path / "s.json")(start, labels, silent)
        wanted, evaluations = scheduler.sample(model, start, labels)
        assert np.array_equal(images, wanted) is better
        assert np.array_equal(spent, evaluations) is better
