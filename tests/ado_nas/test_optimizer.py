from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import ado_nas
from ado_nas.bench import open_bench, task_of
from ado_nas.distillation.attempts import RESULT, Attempt, Shop
from ado_nas.distillation.optimize import check, optimize
from ado_nas.errors import ConfigError, ModelError
from ado_nas.files import read_json
from ado_nas.measure.cost import cost
from ado_nas.modelfolder import load_model, save_model
from ado_nas.models.unet import named_parameters
from ado_nas.optimization import OptimizationSpec
from ado_nas.progress import silent
from ado_nas.reference import measure_reference
from ado_nas.specs import (
    DistillationSpec,
    QualitySpec,
    SamplerSpec,
    SupernetSpec,
    TaskSpec,
    UNetSpec,
    from_dict,
)
from studies.config import resolve

TRAINING = DistillationSpec(iterations=10, batch=16, learning_rate=1e-2)
SPEC = OptimizationSpec(quality_threshold=0.2, noise_sets=2, training=TRAINING)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def task() -> TaskSpec:
    found = resolve("smoke").task
    teacher = dataclasses.replace(found.teacher, iterations=20)
    quality, reference = QualitySpec(64, 64), SamplerSpec(nfe=9)
    return dataclasses.replace(found, teacher=teacher, quality=quality, reference=reference)


@pytest.fixture(scope="module")
def teacher(workspace: Path, task: TaskSpec) -> Path:
    folder = open_bench(task, workspace).teacher.folder
    assert folder is not None
    return folder


@pytest.fixture(scope="module")
def config(teacher: Path, task: TaskSpec, workspace: Path) -> ado_nas.DiffusionOptimizationConfig:
    return ado_nas.DiffusionOptimizationConfig(
        str(teacher),
        optimization_stages=2,
        target_steps=2,
        quality_threshold=0.2,
        workspace=workspace,
        task=task,
        optimization=SPEC,
    )


def test_facade_works_as_the_specification_names_it(
    config: ado_nas.DiffusionOptimizationConfig,
) -> None:
    optimizer = ado_nas.AdaptiveDiffusionOptimizer(config)
    metrics = optimizer.optimize_diffusion_model()
    assert isinstance(metrics, ado_nas.OptimizationMetrics)
    assert (metrics.original_steps, metrics.optimized_steps) == (9, 2)
    assert metrics.quality_score >= 0.2
    assert metrics.inference_speedup > 2
    stages = optimizer.progressive_distillation()
    assert [(s.stage_number, s.output_steps) for s in stages][-1] == (len(stages), 2)
    assert stages[0].teacher_model.card["kind"] == "teacher"
    assert len(stages[-1].student_model.levels) == 3


def test_fields_that_are_given_count_more_than_the_optimization(
    teacher: Path, task: TaskSpec
) -> None:
    def goal(**given: Any) -> tuple[int, float, int]:
        asked = ado_nas.DiffusionOptimizationConfig(str(teacher), task=task, **given)
        spec = ado_nas.AdaptiveDiffusionOptimizer(asked)._spec
        return spec.target_steps, spec.quality_threshold, spec.stage_count

    assert goal() == (4, 0.95, 3)
    assert goal(target_steps=2, optimization_stages=0) == (2, 0.95, 0)
    spec = OptimizationSpec(target_steps=3, quality_threshold=0.5, stage_count=1)
    assert goal(optimization=spec) == (3, 0.5, 1)
    assert goal(optimization=spec, quality_threshold=0.8) == (3, 0.8, 1)


def test_another_threshold_judges_the_same_students_without_training_them(
    config: ado_nas.DiffusionOptimizationConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ado_nas.AdaptiveDiffusionOptimizer(config).optimized()
    monkeypatch.setattr("ado_nas.distillation.attempts.follow", None)
    lower = dataclasses.replace(config, quality_threshold=0.1)
    again = ado_nas.AdaptiveDiffusionOptimizer(lower).optimized()
    assert [s["key"] for s in again.stages] == [s["key"] for s in first.stages]
    assert {s["threshold"] for s in again.stages} == {0.1}


def test_another_device_or_batch_is_timed_anew_without_training(
    config: ado_nas.DiffusionOptimizationConfig, task: TaskSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ado_nas.AdaptiveDiffusionOptimizer(config).optimized()
    workspace = config.workspace
    place = workspace / "optimized" / "attempts"
    made = from_dict(Attempt, read_json(place / first.stages[0]["key"] / RESULT)["attempt"])
    bench = open_bench(_of(task, Path(config.model_path)), workspace)
    references = [measure_reference(bench, workspace, silent)["reference"]] * SPEC.noise_sets
    monkeypatch.setattr("ado_nas.distillation.attempts.follow", None)
    calls: list[int] = []
    monkeypatch.setattr(
        "ado_nas.distillation.attempts.sampling_figures",
        lambda model, batch, yard: calls.append(batch) or {"latency_ms": 1.23 * yard.ms},
    )
    step = references[0]["step_ms"]

    def latency(batch: int, unit: float = 1.0) -> float:
        other = dataclasses.replace(bench.task, latency_batch=batch)
        beside = [{**references[0], "step_ms": unit * step}, *references[1:]]
        shop = Shop(dataclasses.replace(bench, task=other), SPEC, beside, place, silent)
        return float(shop(made).figures["latency_ms"]) / step

    assert not calls and latency(task.latency_batch) != pytest.approx(1.23) and not calls
    assert [latency(8), latency(8)] == pytest.approx([1.23, 1.23]) and calls == [8]
    assert latency(8, 2.0) == pytest.approx(2.46) and calls == [8, 8]  # the reference's unit
    for name in ("attempts", "optimize"):
        monkeypatch.setattr(f"ado_nas.distillation.{name}.timed_on", lambda: {"device": "other"})
    assert latency(8) == pytest.approx(1.23) and calls == [8, 8, 8]

    def measuring(*_: Any) -> None:
        raise InterruptedError

    monkeypatch.setattr("ado_nas.distillation.optimize.reference_qualities", measuring)
    with pytest.raises(InterruptedError):  # rather than open what the first device found
        ado_nas.AdaptiveDiffusionOptimizer(config).optimized()


def test_what_is_kept_is_told_beside_the_reference_as_it_is_now(
    config: ado_nas.DiffusionOptimizationConfig, task: TaskSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ado_nas.AdaptiveDiffusionOptimizer(config).optimized()
    place = config.workspace / "optimized" / "attempts"
    made = from_dict(Attempt, read_json(place / first.stages[0]["key"] / RESULT)["attempt"])
    bench = open_bench(_of(task, Path(config.model_path)), config.workspace)
    facts = measure_reference(bench, config.workspace, silent)["reference"]
    monkeypatch.setattr("ado_nas.distillation.attempts.follow", None)

    def kept(gap: float) -> float:
        references = [{**facts, "gap": gap}] * SPEC.noise_sets
        found = Shop(bench, SPEC, references, place, silent)(made).figures
        assert found["retention"] == pytest.approx(
            (gap + found["floor"]) / (found["gap"] + found["floor"])
        )
        return float(found["retention"])

    assert kept(2 * facts["gap"]) > kept(facts["gap"])


def test_moved_workspace_holds_what_was_found(
    config: ado_nas.DiffusionOptimizationConfig, task: TaskSpec, tmp_path: Path
) -> None:
    first = ado_nas.AdaptiveDiffusionOptimizer(config).optimized()
    moved = Path(shutil.copytree(config.workspace, tmp_path / "moved"))
    spec = dataclasses.replace(
        SPEC, target_steps=2, quality_threshold=0.2, stage_count=config.optimization_stages
    )
    again = optimize(_of(task, Path(config.model_path)), spec, moved)
    assert again.stages == first.stages
    for place in (again.model, again.tradeoff):
        assert Path(place).is_relative_to(moved) and Path(place).exists()
    kept = json.loads((Path(again.tradeoff).parent / "result.json").read_text())
    assert str(config.workspace) not in json.dumps(kept)
    bench = open_bench(_of(task, Path(config.model_path)), moved)
    samples = measure_reference(bench, moved, silent)["reference"]["samples"]
    assert Path(samples).is_relative_to(moved) and Path(samples).is_file()


def test_exported_model_tells_where_it_came_from_and_samples(
    config: ado_nas.DiffusionOptimizationConfig,
) -> None:
    found = ado_nas.AdaptiveDiffusionOptimizer(config).optimized()
    model = load_model(Path(found.model))
    assert model.card["optimization"]["target_steps"] == 2
    assert model.card["plan"]["stages"] == list(found.plan["stages"])
    assert {"digests", "verdict", "figures", "stages", "confirmation"} <= set(model.card)
    engine = ado_nas.MLXDiffusionEngine(found.model)
    side = model.unet.spec.resolution
    noise = float(model.levels[0]) * mx.random.normal((2, side, side, 1), key=mx.random.key(0))
    images = engine.reverse_diffusion(noise, labels=mx.array([1, 2]))
    assert images.shape == noise.shape and bool(mx.isfinite(images).all())
    rows = json.loads(Path(found.tradeoff).read_text())["rows"]
    assert rows[0]["kind"] == "reference"
    (best,) = (r for r in rows if r["chosen"])
    assert rows[0]["latency_ms"] / best["latency_ms"] == pytest.approx(found.inference_speedup)
    assert all(r["gap_low"] <= r["gap"] <= r["gap_high"] for r in rows)
    for row in rows:
        assert not row["samples"] or (Path(found.tradeoff).parent / row["samples"]).is_file()
    students = [(r["solver"], r["schedule"]) for r in rows if r["kind"] == "student"]
    assert set(students) == {(model.sampler.solver, model.sampler.schedule)} == {("ddim", "dp")}


def test_stages_one_at_a_time_are_those_of_the_whole_run(
    config: ado_nas.DiffusionOptimizationConfig,
    task: TaskSpec,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The card names the data; only the settings that make it small come from the test's task.
    monkeypatch.setattr("ado_nas.optimizer.task_of", lambda model: _of(task, model.folder))
    by_hand = ado_nas.ProgressiveDistillation(config.model_path, 2, SPEC, workspace)
    stages = by_hand.create_distillation_stages(target_steps=2)
    before = stages[0].teacher_model
    for stage in stages:
        before = by_hand.distill_stage(before, stage.student_model, stage)
        assert stage.student_model is before
    whole = ado_nas.AdaptiveDiffusionOptimizer(config).progressive_distillation()
    ours, theirs = (dict(named_parameters(m.unet)) for m in (before, whole[-1].student_model))
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    found = by_hand.analyze_quality_tradeoff()
    assert [s["output_steps"] for s in found["stages"]] == [s.output_steps for s in stages]
    given = dataclasses.replace(SPEC, stages=(3, 2))  # and only the first of them is done
    by_hand = ado_nas.ProgressiveDistillation(config.model_path, 2, given, workspace)
    (first, _) = by_hand.create_distillation_stages(target_steps=2)
    by_hand.distill_stage(first.teacher_model, first.student_model, first)
    found = by_hand.analyze_quality_tradeoff()
    assert [s["output_steps"] for s in found["stages"]] == [3]
    assert found["stages"][0]["input_mb"] == cost(first.teacher_model.unet.spec).size_mb


@pytest.mark.parametrize("adaptation", ["prune", "grow"])
def test_settings_that_only_a_search_follows_are_refused(adaptation: str) -> None:
    training = dataclasses.replace(TRAINING, adaptation=adaptation)
    spec = dataclasses.replace(SPEC, training=training)
    with pytest.raises(ConfigError, match=f"training.adaptation '{adaptation}'.*leave it out"):
        check(TaskSpec(), spec)
    check(TaskSpec(), SPEC)
    with pytest.raises(ConfigError, match=r"task.inherit false: .* leave it out"):
        check(TaskSpec(inherit=False), SPEC)


def test_supernet_that_nothing_starts_from_is_not_trained(
    task: TaskSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[TaskSpec] = []

    def stop(asked: TaskSpec, *_: Any) -> None:
        opened.append(asked)
        raise InterruptedError

    monkeypatch.setattr("ado_nas.distillation.optimize.open_bench", stop)
    asked = dataclasses.replace(task, supernet=SupernetSpec(iterations=5))
    with pytest.raises(InterruptedError):
        optimize(asked, dataclasses.replace(SPEC, target_steps=2), tmp_path)
    assert opened == [task]


def test_second_teacher_takes_the_place_of_the_first(
    config: ado_nas.DiffusionOptimizationConfig,
    task: TaskSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ado_nas.optimizer.task_of", lambda model: _of(task, model.folder))
    first = load_model(Path(config.model_path))
    card = {**first.card, "note": "another"}
    save_model(tmp_path / "another", first.unet, first.sampler, first.levels, card)
    by_hand = ado_nas.ProgressiveDistillation(first, 2, SPEC, config.workspace)
    by_hand.create_distillation_stages(target_steps=2)
    by_hand._decisions.append(None)  # of an attempt that was made
    by_hand.create_distillation_stages(config.model_path, target_steps=2)
    assert by_hand._decisions
    (stage, *_) = by_hand.create_distillation_stages(tmp_path / "another", target_steps=2)
    assert stage.teacher_model.card["note"] == "another"
    with pytest.raises(ConfigError, match="nothing was distilled yet"):
        by_hand.analyze_quality_tradeoff()
    (stage, *_) = by_hand.create_distillation_stages(target_steps=2)
    assert stage.teacher_model.card["note"] == "another"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "stages", "solver"),
    [("chained", [8, 4, 2], "ddim"), ("consistency", [2], "consistency")],
)
def test_other_methods_go_through_the_same_gate(
    config: ado_nas.DiffusionOptimizationConfig, method: str, stages: list[int], solver: str
) -> None:
    training = dataclasses.replace(TRAINING, iterations=2)
    spec = dataclasses.replace(SPEC, method=method, training=training)
    found = ado_nas.AdaptiveDiffusionOptimizer(
        dataclasses.replace(config, optimization=spec, quality_threshold=0.01)
    ).optimized()
    assert [s["output_steps"] for s in found.stages] == stages
    model = load_model(Path(found.model))
    assert model.sampler.solver == solver and len(model.levels) == 3
    assert model.sampler.schedule == ("karras" if method == "chained" else "dp")
    if method == "chained":  # each student visits every other level of the one before
        first = load_model(Path(found.model).parents[1] / "attempts" / found.stages[0]["key"])
        assert np.allclose(model.levels, first.levels[::4])


@pytest.mark.slow
def test_student_of_a_given_size_is_not_larger(
    config: ado_nas.DiffusionOptimizationConfig,
) -> None:
    spec = dataclasses.replace(SPEC, compress="0.2")
    found = ado_nas.AdaptiveDiffusionOptimizer(
        dataclasses.replace(config, optimization=spec, quality_threshold=0.01)
    ).optimized()
    assert found.reached and found.stages[-1]["output_mb"] <= 0.2
    assert found.compression == pytest.approx(
        found.stages[0]["input_mb"] / found.stages[-1]["output_mb"]
    )


def test_task_is_what_the_teachers_card_says(teacher: Path, task: TaskSpec) -> None:
    found = task_of(load_model(teacher))
    assert found.data == task.data
    assert found.reference == task.reference
    assert found.trajectories.sigma_max == pytest.approx(task.trajectories.sigma_max)


def test_card_that_does_not_name_its_data_is_refused(teacher: Path, tmp_path: Path) -> None:
    model = load_model(teacher)
    card: dict[str, Any] = {"kind": "teacher"}
    save_model(tmp_path, model.unet, model.sampler, model.levels, card)
    with pytest.raises(ModelError, match="what data"):
        ado_nas.AdaptiveDiffusionOptimizer(ado_nas.DiffusionOptimizationConfig(str(tmp_path)))


def test_tradeoff_before_anything_was_distilled_is_refused() -> None:
    with pytest.raises(ConfigError, match="distill_stage"):
        ado_nas.ProgressiveDistillation().analyze_quality_tradeoff()
    with pytest.raises(ModelError, match="no teacher"):
        ado_nas.ProgressiveDistillation().create_distillation_stages()


def test_forward_diffusion_adds_noise_of_its_level() -> None:
    spec = UNetSpec(resolution=8, widths=(8, 8), attention=("none", "none"), activation="relu")
    engine = ado_nas.MLXDiffusionEngine(spec)
    x = mx.zeros((64, 8, 8, 1))
    noisy = np.array(engine.forward_diffusion(x, mx.full((64,), 3.0)))
    assert noisy.std() == pytest.approx(3.0, rel=0.05)
    assert np.array_equal(noisy, np.array(engine.forward_diffusion(x, mx.full((64,), 3.0))))


def test_reverse_diffusion_takes_up_the_samplers_levels_below(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = UNetSpec(resolution=8, widths=(8, 8), attention=("none", "none"), activation="relu")
    engine = ado_nas.MLXDiffusionEngine(spec)
    seen: list[np.ndarray] = []

    def watched(unet: Any, solver: str, levels: np.ndarray, start: mx.array, *rest: Any) -> Any:
        seen.append(levels)
        return start

    monkeypatch.setattr("ado_nas.engine.sample_batch", watched)
    engine.reverse_diffusion(mx.ones((1, 8, 8, 1)), 1.0)
    assert seen[0][0] == 1.0 and (seen[0][1:] < 1.0).all() and seen[0][-1] == 0
    with pytest.raises(ConfigError, match="above 0"):
        engine.reverse_diffusion(mx.ones((1, 8, 8, 1)), 0.0)


def _of(task: TaskSpec, folder: Path | None) -> TaskSpec:
    return dataclasses.replace(task, teacher_folder=str(folder))
