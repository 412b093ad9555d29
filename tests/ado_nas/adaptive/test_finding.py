"""A whole schedule command's work on the smoke preset's teacher."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ado_nas.adaptive import learning, tuning
from ado_nas.adaptive.finding import ScheduleGoal, check, schedule_model
from ado_nas.adaptive.recipe import SCHEDULE, load_recipe, recipe_for
from ado_nas.adaptive.refine import Refinement
from ado_nas.bench import open_bench
from ado_nas.errors import ConfigError, ModelError, NegativeVerdict
from ado_nas.modelfolder import Model, load_model
from ado_nas.specs import CLOSED_FORMS, SamplerSpec
from studies.config import resolve

GOAL = ScheduleGoal(("ddim", "heun"), (3,), Refinement(iterations=4, batch=4), samples=100)


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
    teacher = dataclasses.replace(task.teacher, iterations=20)
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
    recipe, best = recipe_for(model), found["best"]
    assert (recipe.solver, recipe.schedule) == (best["solver"], best["schedule"])
    np.testing.assert_array_equal(recipe.levels, best["recipe"]["levels"])
    provenance = json.loads(path.read_text())["provenance"]
    assert provenance["judged"]["gap"] == best["gap"]
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
    assert again["rows"] == found["rows"] and set(said) == {"schedules"}
    assert load_recipe(place, model).facts() == recipe_for(model).facts()


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


@pytest.mark.slow
def test_student_is_refused(model: Model) -> None:
    student = dataclasses.replace(model, card={**model.card, "kind": "student"})
    with pytest.raises(ModelError, match="knows no other levels"):
        check(student)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"solvers": ("ddmi",)}, "did you mean 'ddim'"),
        ({"solvers": ("consistency",)}, "no solver 'consistency'"),
        ({"counts": (0, 4)}, "NFE from 1"),
        ({"counts": ()}, "NFE from 1"),
        ({"samples": 5}, "samples 5"),
        ({"latency_ms": 0.0}, "above 0"),
        ({"latency_ms": float("nan")}, "above 0"),
    ],
)
def test_bad_goal_is_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        dataclasses.replace(GOAL, **change)
