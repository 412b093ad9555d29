"""The facade of adaptive sampling, on a teacher of a few iterations."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ado_nas
from ado_nas import scheduling
from ado_nas.adaptive import content, learning, tuning
from ado_nas.adaptive.complexity import STATISTICS, Budgets
from ado_nas.adaptive.content import only
from ado_nas.adaptive.goal import ScheduleGoal
from ado_nas.adaptive.recipe import load_recipe
from ado_nas.adaptive.refine import Refinement
from ado_nas.adaptive.scheduler import AdaptiveScheduler
from ado_nas.bench import open_bench
from ado_nas.diffusion.sampling import generate, noise
from ado_nas.errors import ConfigError, ModelError
from ado_nas.modelfolder import Model, load_model, save_model
from ado_nas.models.unet import UNet
from ado_nas.specs import SamplerSpec
from studies.config import resolve
from tests.fakes.fake_schedules import by_content


@pytest.fixture
def model(tmp_path: Path, unet: UNet) -> Model:
    save_model(tmp_path / "model", unet, SamplerSpec(nfe=9), np.array([9.0, 1.0, 0.0]), {})
    return load_model(tmp_path / "model")


@pytest.fixture
def scheduler(model: Model) -> AdaptiveScheduler:
    return by_content(model)


@pytest.mark.usefixtures("own_lock")
def test_saved_scheduler_samples_the_same(
    model: Model, scheduler: AdaptiveScheduler, tmp_path: Path
) -> None:
    scheduler.save(tmp_path / "content.json")
    start = noise(0, 9, (8, 8, 1))
    images, spent = scheduler.sample(model, start)
    again, counts = AdaptiveScheduler.load(tmp_path / "content.json").sample(model, start)
    np.testing.assert_array_equal(again, images)
    np.testing.assert_array_equal(counts, spent)
    for n, levels in scheduler.schedules.levels.items():
        plain = generate(model.unet, "ddim", levels, start[spent == n]) if n in spent else None
        if plain is not None:
            np.testing.assert_allclose(images[spent == n], plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "text"),
    [({"weights_sha256": "other"}, "another model"), ({"resolution": 16}, "learned at 16 px")],
)
def test_scheduler_of_another_model_is_refused(
    model: Model, scheduler: AdaptiveScheduler, change: dict[str, Any], text: str
) -> None:
    other = dataclasses.replace(scheduler, made_for={**scheduler.made_for, **change})
    with pytest.raises(ModelError, match=text):
        other.sample(model, noise(0, 1, (8, 8, 1)))


@pytest.mark.parametrize(
    "change",
    [
        {"levels": {}},
        {"levels": {"2": [20.0, 2.0, 0.0], "4": [20.0, 3.0, 1.0, 0.2, 0.0]}},
        {"levels": {"2": [20.0, 2.0, 1.0], "4": [20.0, 2.0, 1.0, 0.2, 0.0]}},
        {"levels": {"2": [20.0, 2.0, 0.0], "4": [20.0, 2.0, 0.2, 1.0, 0.0]}},
        {"levels": {"2": [20.0, 2.0, 0.0]}},  # the rule's budgets are 2 and 4
        {"solver": "heun"},
        {"solver": []},
        {"rule": {}},
        {"rule": None},
        {"model": None},
    ],
    ids=str,
)
def test_file_without_a_whole_scheduler_is_refused(
    scheduler: AdaptiveScheduler, tmp_path: Path, change: dict[str, Any]
) -> None:
    path = tmp_path / "content.json"
    scheduler.save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError, match=r"content\.json: no adaptive scheduler"):
        AdaptiveScheduler.load(path)
    with pytest.raises(ModelError, match="no adaptive scheduler"):
        AdaptiveScheduler.load(tmp_path / "none.json")


def test_statistics_that_are_not_named_tell_nothing() -> None:
    seen = np.ones((2, 4))
    np.testing.assert_array_equal(only(seen, ("change",)), [[0, 1, 0, 0]] * 2)
    np.testing.assert_array_equal(only(seen, STATISTICS), seen)


def test_facade_says_what_it_cannot_do(model: Model) -> None:
    with pytest.raises(ModelError, match="no model"):
        ado_nas.AdaptiveSamplingOptimizer().learn_schedule()
    with pytest.raises(ConfigError, match="did you mean 'change'"):  # before any model is opened
        ado_nas.AdaptiveSamplingOptimizer().learn_schedule(("chang",))
    with pytest.raises(ConfigError, match="reference of 0 NFE"):
        ado_nas.AdaptiveSamplingOptimizer(0, model)
    with pytest.raises(ConfigError, match="cannot be timed here"):
        ado_nas.AdaptiveSamplingOptimizer(9, model).optimize_noise_schedule("m9")


def test_facade_asks_for_the_fastest_or_for_a_latency_and_names_the_reference(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    goals: list[ScheduleGoal] = []

    def schedule_model(_: Model, goal: ScheduleGoal, *__: Any, **___: Any) -> dict[str, Any]:
        goals.append(goal)
        return {}

    monkeypatch.setattr(scheduling, "schedule_model", schedule_model)
    for given in (None, 3.0):
        goal = ScheduleGoal(("ddim",), latency_ms=given)
        optimizer = ado_nas.AdaptiveSamplingOptimizer(7, model, goal)
        optimizer.optimize_noise_schedule()
        optimizer.optimize_noise_schedule("this", 2.0)
    asked = [(goal.latency_ms, goal.fastest) for goal in goals]
    assert asked == [(None, True), (2.0, False), (3.0, False), (2.0, False)]
    assert {goal.reference_nfe for goal in goals} == {7}
    assert ado_nas.AdaptiveSamplingOptimizer().base_steps == 50


@pytest.mark.slow
@pytest.mark.usefixtures("own_lock")
def test_facade_works_as_the_specification_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "FINE", 24)
    monkeypatch.setattr(learning, "COUNT", 32)
    monkeypatch.setattr(tuning, "PATIENCE", 0.0)
    task = resolve("smoke").task
    unet = dataclasses.replace(task.teacher.unet, widths=(8, 8))
    teacher = dataclasses.replace(task.teacher, unet=unet, iterations=20)
    task = dataclasses.replace(task, teacher=teacher, reference=SamplerSpec(nfe=9))
    folder = open_bench(task, tmp_path).teacher.folder
    assert folder is not None
    goal = ScheduleGoal(("ddim",), (3,), Refinement(iterations=2, batch=4, direct=3), samples=100)
    optimizer = ado_nas.AdaptiveSamplingOptimizer(9, folder, goal, tmp_path)
    found = optimizer.learn_schedule(mean_steps=5.0)
    assert isinstance(found, ado_nas.AdaptiveScheduler)
    spec = load_model(folder).unet.spec
    start = noise(5, 60, (spec.resolution, spec.resolution, spec.in_channels))
    images, spent = found.sample(load_model(folder), start)
    assert images.shape == start.shape and 3 <= spent.mean() <= 8
    same = optimizer.learn_schedule((), mean_steps=5.0)
    assert len(set(same.sample(load_model(folder), start)[1])) == 1
    optimizer = ado_nas.AdaptiveSamplingOptimizer(7, folder, goal, tmp_path)
    told = optimizer.optimize_noise_schedule()
    best, fastest = told["best"], told["fastest"]
    assert best["nfe"] == 3 and told["reference"]["nfe"] == 7 and fastest["latency_ms"] > 0
    kept = load_recipe(folder / "schedule.json", load_model(folder))
    assert kept.batch == fastest["batch"] == best["recipe"]["batch"]


def test_each_count_keeps_what_proves_best(monkeypatch: pytest.MonkeyPatch) -> None:
    def proposed(*seconds: float) -> Budgets:
        levels = {n: np.array([10.0, v, 0.0]) for n, v in enumerate(seconds, 2)}
        return Budgets("ddim", levels)

    monkeypatch.setattr(content, "checked_gap", lambda _, recipe, __: recipe.levels[1])
    worth, found = content._best(None, [proposed(2.0, 3.0), proposed(1.0, 4.0)], 8)  # type: ignore[arg-type]
    assert {n: levels[1] for n, levels in found.levels.items()} == {2: 1.0, 3: 3.0}
    assert worth == pytest.approx(np.log(3) / 2)
