"""A real evaluation, tiny: one teacher, one student, scored twice."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ado_nas.bench import open_bench
from ado_nas.distillation.adaptation import Measure
from ado_nas.distillation.student import Lessons
from ado_nas.errors import ModelError, NegativeVerdict, StudyError
from ado_nas.measure import predictor, speed
from ado_nas.measure.cost import cost
from ado_nas.measure.latency import Beside, Timing
from ado_nas.measure.predictor import Timed, grid, load_table
from ado_nas.modelfolder import WEIGHTS, load_model
from ado_nas.models.stepped import SteppedUNet
from ado_nas.models.unet import named_parameters
from ado_nas.progress import silent
from ado_nas.reference import pictured
from ado_nas.specs import (
    Candidate,
    CurriculumSpec,
    DataSpec,
    DistillationSpec,
    QualitySpec,
    SamplerSpec,
    SupernetSpec,
    TaskSpec,
    TeacherSpec,
    TrajectorySpec,
    UNetSpec,
    from_dict,
)
from objectives import adaptation as adaptation_of_trials
from objectives import evaluation
from objectives.forecast import Figures, Forecast
from objectives.scores import Limits, Outcome

UNET = UNetSpec(
    resolution=8,
    widths=(16, 32),
    attention=("none", "none"),
    middle=False,
    activation="relu",
    num_classes=10,
)
TASK = TaskSpec(
    data=DataSpec("digits", 8),
    teacher=TeacherSpec(unet=UNET, iterations=40, batch=32, warmup=5),
    trajectories=TrajectorySpec(count=64, levels=8),
    quality=QualitySpec(samples=64, feature_iterations=40),
    reference=SamplerSpec(nfe=8),
    training_free_nfe=(2, 4),
    worst_teacher=0.0,  # forty iterations teach little
    training_free=(("dpmpp_2m", "karras"), ("ddim", "dp")),
)
STUDENT = Candidate(
    unet=dataclasses.replace(UNET, widths=(8, 16)),
    distillation=DistillationSpec(steps=2, iterations=20, batch=32),
    sampler=SamplerSpec("ddim", "dp", 2),
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    workspace = tmp_path_factory.mktemp("workspace")
    return workspace, evaluation.prepare(TASK, workspace)


def evaluate(
    workspace: Path,
    folder: Path,
    candidate: Candidate = STUDENT,
    task: TaskSpec = TASK,
    **kwargs: Any,
) -> Outcome:
    evaluator = evaluation.open_evaluator(task, workspace)
    given = {"seed": 3, "limits": Limits(min_retention=0.0), "report": lambda *_: False}
    return evaluator(candidate, folder=folder, **{**given, **kwargs})


def test_prepared_facts_are_plain_and_complete(prepared: tuple[Path, dict[str, Any]]) -> None:
    workspace, facts = prepared
    assert json.loads(json.dumps(facts)) == facts
    names = {"gap", "floor", "gaussian_gap", "latency_ms", "step_ms", "size_mb", "solver", "nfe"}
    assert names <= set(facts["reference"])
    for name in ("samples", "teacher"):  # of a workspace that may be moved
        place = facts["reference"][name]
        assert not Path(place).is_absolute() and (workspace / place).exists()
    assert [(r["solver"], r["nfe"]) for r in facts["training_free"]] == [
        ("dpmpp_2m", 2),
        ("ddim", 2),
        ("dpmpp_2m", 4),
        ("ddim", 4),
    ]


def test_one_candidate_with_one_seed_scores_the_same_twice(
    prepared: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Beside(Timing(16.0, 0.0, evaluations=20, calls=1), ratio=2.0, ratio_iqr=0.0)
    monkeypatch.setattr(speed, "time_beside", lambda *_, **__: clock)
    first = evaluate(prepared[0], tmp_path / "a")
    second = evaluate(prepared[0], tmp_path / "b")
    assert first.state == "complete" and first.values == second.values
    step = prepared[1]["reference"]["step_ms"]
    assert first.values["latency_ms"] == pytest.approx(2.0 * step / TASK.latency_batch)
    assert first.attributes["latency_clock_ms"] == 16.0 / TASK.latency_batch
    told = ("gap", "sliced", "kernel", "coverage", "loss", "inherited_fraction", "retention")
    for name in told:
        assert first.attributes[name] == second.attributes[name]
    for name in (WEIGHTS, "samples.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    other = evaluate(prepared[0], tmp_path / "c", seed=4)
    assert other.values["gap"] != first.values["gap"]


def test_latency_is_by_the_clock_when_the_reference_has_no_yardstick(
    prepared: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    workspace, facts = prepared
    older = {name: v for name, v in facts["reference"].items() if name != "step_ms"}
    evaluator = evaluation.open_evaluator(TASK, workspace, {**facts, "reference": older})
    given = {"seed": 3, "limits": Limits(min_retention=0.0), "report": lambda *_: False}
    found = evaluator(STUDENT, folder=tmp_path, **given).attributes
    assert found["latency_ms"] == found["latency_clock_ms"]


def test_scores_follow_from_the_reference_and_stand_beside_what_was_told(
    prepared: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    workspace, facts = prepared
    evaluator = evaluation.open_evaluator(TASK, workspace)
    assert isinstance(evaluator, evaluation._Evaluation)
    widths = ((4, 8), (8, 8), (8, 16), (12, 16))
    seen = [Timed(dataclasses.replace(UNET, widths=w), 2, 1.0 + i) for i, w in enumerate(widths)]
    evaluator.forecast.timed.extend(seen)
    limits = Limits(max_memory_mb=1e6, min_retention=0.0)
    outcome = evaluator(STUDENT, seed=3, folder=tmp_path, limits=limits, report=lambda *_: False)
    base, found = facts["reference"], outcome.attributes
    told = Forecast(TASK.latency_batch, evaluator.forecast.tables, seen).told(STUDENT, limits)[0]
    assert {f"predicted_{name}": value for name, value in told.items()}.items() <= found.items()
    assert set(told) == {"latency_ms", "peak_memory_mb"} <= set(found)
    kept = (base["gap"] + found["floor"]) / (found["gap"] + found["floor"])
    assert found["retention"] == pytest.approx(kept)
    assert found["retention_low"] <= kept <= found["retention_high"]
    assert found["speedup"] == pytest.approx(base["latency_ms"] / found["latency_ms"])
    assert found["compression"] == pytest.approx(base["params"] / found["params"])
    assert found["inherited_fraction"] == 1.0
    model = load_model(tmp_path)
    assert model.unet.spec == STUDENT.unet and len(model.levels) == 3


def test_the_reference_is_a_setting_of_the_teacher_and_above_it_there_is_none() -> None:
    costs = {"latency_batch1_ms": 9.0, "size_mb": 4.0, "peak_memory_mb": 50.0}
    settings = [{"retention": kept, "latency_ms": ms} for kept, ms in ((0.5, 4.0), (0.9, 60.0))]
    facts = {"reference": {"latency_ms": 40.0, **costs}, "training_free": settings}
    expected = {0.4: 2.0, 0.8: 20.0, 1.0: 20.0, 1.2: None}
    for kept, over in expected.items():
        found = evaluation.gains(facts, {"retention": kept, "latency_ms": 2.0, **costs})
        assert found.get("speedup_training_free") == over and found["speedup"] == 20.0


def changing(adaptation: str) -> Candidate:
    distillation = dataclasses.replace(STUDENT.distillation, adaptation=adaptation)
    return dataclasses.replace(STUDENT, distillation=distillation)


def test_network_that_changes_while_training_ends_as_its_candidate(
    prepared: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptation_of_trials, "landing", lambda _: lambda _: 1.0)
    compared: list[int] = []

    def report(done: int, scores: dict[str, float]) -> bool:
        compared.extend([done] if "gap" in scores else [])
        return False

    outcome = evaluate(prepared[0], tmp_path, changing("prune"), report=report, rungs=(1, 15))
    assert outcome.state == "complete" and compared == [15]  # not while it is another network
    assert outcome.attributes["params"] == cost(STUDENT.unet).params
    model = load_model(tmp_path)
    assert model.unet.spec == STUDENT.unet
    told = json.loads(outcome.attributes["changes"])
    assert told == model.card["changes"]
    assert len(told) == outcome.attributes["changes_accepted"] > 0
    assert told[-1]["new_widths"] == list(STUDENT.unet.widths)


def test_network_that_the_gate_keeps_large_is_measured_as_it_is(
    prepared: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(_: Lessons) -> Measure:
        qualities = itertools.count(1)
        return lambda _: 2.0 ** next(qualities)

    monkeypatch.setattr(adaptation_of_trials, "landing", refusing)
    told: dict[UNetSpec, float] = {}

    def telling(_: Forecast, candidate: Candidate, __: Limits) -> tuple[Figures, Figures]:
        told[candidate.unet] = float(candidate.unet.widths[0])
        return {"latency_ms": told[candidate.unet]}, {}

    monkeypatch.setattr(Forecast, "told", telling)
    limits = Limits(max_size_mb=cost(STUDENT.unet).size_mb, min_retention=0.0)
    outcome = evaluate(prepared[0], tmp_path, changing("prune"), limits=limits)
    kept = load_model(tmp_path).unet.spec
    assert kept == dataclasses.replace(STUDENT.unet, widths=(12, 24))
    assert outcome.attributes["changes_refused"] == 3
    # What was told of the candidate is not set beside what another network took.
    assert outcome.attributes["predicted_latency_ms"] == list(told.values())[-1]
    assert list(told) == [STUDENT.unet, kept]
    assert outcome.values["size_mb"] == cost(kept).size_mb == outcome.attributes["size_mb"]
    assert outcome.constraints["size"] > 0


@pytest.mark.slow
def test_student_that_learns_feature_maps_is_another_of_the_same_size(
    prepared: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    workspace, facts = prepared
    spread = facts["task"]["teacher"]["unet"]["sigma_data"]
    drawn = from_dict(Candidate, {"unet": {"sigma_data": spread}}, STUDENT)
    learning = from_dict(Candidate, {"distillation": {"feature_weight": 0.5}}, drawn)
    outcome, plain = (
        evaluate(workspace, tmp_path / f, c) for f, c in (("a", learning), ("b", drawn))
    )
    assert outcome.state == "complete" and outcome.values["gap"] != plain.values["gap"]
    assert outcome.attributes["params"] == plain.attributes["params"]
    names = [dict(named_parameters(load_model(tmp_path / f).unet)).keys() for f in "ab"]
    assert names[0] == names[1]


def test_student_of_two_widths_runs_each_step_at_its_own(
    prepared: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    candidate = dataclasses.replace(STUDENT, step_widths=(0.5, 1.0))
    outcome = evaluate(prepared[0], tmp_path, candidate)
    assert outcome.state == "complete"
    narrow = dataclasses.replace(STUDENT.unet, widths=(4, 8))
    found, whole = outcome.attributes, cost(STUDENT.unet)
    assert found["size_mb"] == whole.size_mb
    assert found["macs_per_image"] == cost(narrow).macs + whole.macs
    model = load_model(tmp_path)
    assert isinstance(model.unet, SteppedUNet) and model.unet.shares == (0.5, 1.0)
    bench = open_bench(TASK, prepared[0])
    images = pictured(bench, model.unet, model.sampler, model.levels)
    assert bench.judge.score(images).gap == pytest.approx(outcome.values["gap"], rel=1e-6)


@pytest.mark.slow
def test_students_inherit_from_the_supernet_where_the_task_has_one(
    prepared: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    workspace, facts = prepared
    task = dataclasses.replace(TASK, supernet=SupernetSpec(iterations=3, batch=8))
    reference = dict(evaluation.prepare(task, workspace)["reference"])
    supernet = load_model(workspace / reference.pop("supernet"))
    assert supernet.card["kind"] == "supernet" and reference == facts["reference"]
    outcome = evaluate(workspace, tmp_path / "a", task=task)
    assert outcome.attributes["inherited_from"] == "supernet"
    assert outcome.attributes["inherited_fraction"] == 1.0
    other = evaluate(workspace, tmp_path / "b")
    assert other.attributes["inherited_from"] == "teacher"
    assert outcome.values["gap"] != other.values["gap"]


def test_students_start_fresh_where_the_task_lets_them_inherit_nothing(
    prepared: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    workspace, facts = prepared
    task = dataclasses.replace(TASK, inherit=False)
    assert evaluation.prepare(task, workspace)["reference"] == facts["reference"]
    outcome = evaluate(workspace, tmp_path / "a", task=task)
    assert outcome.attributes["inherited_from"] == "nothing"
    assert outcome.attributes["inherited_fraction"] == 0.0


@pytest.mark.parametrize("limit", ["max_size_mb", "max_latency_ms", "max_memory_mb"])
def test_candidate_over_a_limit_is_not_trained(
    prepared: tuple[Path, dict[str, Any]], tmp_path: Path, limit: str
) -> None:
    reports: list[int] = []
    limits = Limits(**{limit: 1e-6})

    def report(rung: int, scores: dict[str, float]) -> bool:
        reports.append(rung)
        return False

    outcome = evaluate(prepared[0], tmp_path, limits=limits, report=report)
    assert outcome.state == "infeasible" and outcome.reason and reports == []
    assert outcome.constraints[limit.split("_")[1]] > 0
    assert "training_s" not in outcome.attributes and not (tmp_path / WEIGHTS).exists()


def test_low_retention_is_a_violation_of_a_complete_trial(
    prepared: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    outcome = evaluate(prepared[0], tmp_path, limits=Limits(min_retention=1e6))
    assert outcome.state == "complete" and outcome.constraints["retention"] > 0


def test_stopped_and_diverged_trainings_are_pruned_with_a_reason(
    prepared: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    stopped = evaluate(prepared[0], tmp_path, report=lambda rung, _: rung >= 10)
    assert stopped.state == "pruned" and "10 of 20" in stopped.reason
    distillation = dataclasses.replace(STUDENT.distillation, learning_rate=1e30)
    diverged = evaluate(
        prepared[0], tmp_path, dataclasses.replace(STUDENT, distillation=distillation)
    )
    assert diverged.state == "pruned" and diverged.constraints["training"] > 0
    assert diverged.reason


def test_quality_at_a_rung_is_that_of_the_averaged_weights(
    prepared: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    reports: dict[int, dict[str, float]] = {}

    def report(done: int, scores: dict[str, float]) -> bool:
        reports[done] = scores
        return False

    # As many images as are judged in the end, so that the last rung says what the end does.
    outcome = evaluate(prepared[0], tmp_path / "a", report=report, rungs=(7, 20))
    assert list(reports) == [5, 7, 10, 15, 20]
    assert set(reports[5]) == {"loss"}
    assert reports[20]["gap"] == pytest.approx(outcome.values["gap"], rel=1e-4)
    assert reports[20]["retention"] == pytest.approx(outcome.attributes["retention"], rel=1e-4)
    assert reports[7]["gap"] != reports[20]["gap"]
    assert reports[7]["retention_high"] > reports[7]["retention"]
    for name in ("latency_ms", "size_mb"):
        assert reports[7][name] == outcome.values[name]
    # Looking leaves the training as it is.
    alone = evaluate(prepared[0], tmp_path / "b")
    assert alone.values["gap"] == outcome.values["gap"]
    stopped = evaluate(
        prepared[0], tmp_path / "c", report=lambda done, _: done == 7, rungs=(7, 20)
    )
    assert stopped.state == "pruned" and "7 of 20" in stopped.reason
    assert stopped.constraints["training"] == 0 and "latency_ms" in stopped.attributes


def test_training_that_does_not_fit_its_memory_is_pruned_and_the_next_goes_on(
    prepared: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    tight = dataclasses.replace(TASK, memory_budget_mb=30.0)  # less than the process itself
    out = evaluate(prepared[0], tmp_path / "tight", task=tight)
    assert out.state == "pruned" and out.constraints["training"] > 0
    assert "memory budget of 30 MB" in out.reason and "--memory-budget-mb" in out.reason
    roomy = evaluate(prepared[0], tmp_path / "roomy")
    assert roomy.state == "complete" and roomy.attributes["training_memory_mb"] > 0
    (plan,) = json.loads(roomy.attributes["memory_plan"])["plans"]
    assert plan["rows"] == 32 and not plan["checkpointing"]


def test_student_of_a_curriculum_is_judged_at_every_resolution(
    prepared: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    task = dataclasses.replace(TASK, quality=dataclasses.replace(TASK.quality, resolutions=(4,)))
    evaluation.prepare(task, prepared[0])
    several = CurriculumSpec((4, 8), (0.5, 0.5))
    student = dataclasses.replace(STUDENT, unet=several.told(STUDENT.unet), curriculum=several)
    reports: dict[int, dict[str, float]] = {}

    def report(done: int, scores: dict[str, float]) -> bool:
        reports[done] = scores
        return False

    strict = Limits(min_retention=0.9, every_resolution=True)
    given = {"task": task, "report": report, "rungs": (5, 15), "limits": strict}
    out = evaluate(prepared[0], tmp_path / "both", student, **given)
    kept = [out.attributes[name] for name in ("retention", "retention_4px")]
    assert kept[0] != kept[1] and out.constraints["retention"] == pytest.approx(0.9 - min(kept))
    low, high = (out.attributes[f"retention_{end}_4px"] for end in ("low", "high"))
    assert low <= kept[1] <= high and out.attributes["gap_4px"] > 0
    # No rung while the images are small: those at a quarter of the compute are.
    assert [rung for rung, found in reports.items() if "gap" in found] == [15]
    plans = json.loads(out.attributes["memory_plan"])["plans"]
    assert sorted(plan["shape"][1] for plan in plans) == [4, 8]
    model = load_model(tmp_path / "both")
    assert model.card["resolutions"] == [4, 8] and len(model.at(4)) == len(model.levels)

    deep = {"widths": (8, 8, 16), "blocks": (1, 1, 1), "attention": ("none",) * 3}
    coarse = dataclasses.replace(STUDENT, unet=dataclasses.replace(UNET, patch=2, **deep))
    out = evaluate(prepared[0], tmp_path / "coarse", coarse, task=task, limits=strict)
    assert out.attributes["retention_4px"] == 0  # it cannot be sampled there
    assert out.constraints["retention"] == pytest.approx(0.9)


def test_front_is_measured_again_on_other_noise_and_images(
    prepared: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    workspace, facts = prepared
    outcome = evaluate(workspace, tmp_path)
    (row,) = evaluation.remeasure(TASK, workspace, [tmp_path], silent, facts)
    assert row["gap"] != outcome.values["gap"] and row["reference_gap"] > 0
    low, high = row["retention_low"], row["retention_high"]
    assert low <= row["retention"] <= high
    assert row["repeated"] == (high >= outcome.attributes["retention_low"])
    with pytest.raises(StudyError, match=r"features here is .* and of the study another"):
        evaluation.remeasure(
            TASK, workspace, [tmp_path], silent, {"digests": {"features": "another"}}
        )
    # Those who made the study had another day's yardstick, as its trials have.
    reference = {**facts["reference"], "step_ms": 1000 * facts["reference"]["step_ms"]}
    (slow,) = evaluation.remeasure(
        TASK, workspace, [tmp_path], silent, {**facts, "reference": reference}
    )
    assert slow["latency_ms"] > 100 * row["latency_ms"]
    assert slow["speedup"] < row["speedup"] / 100


def test_poor_teacher_is_refused(prepared: tuple[Path, dict[str, Any]]) -> None:
    workspace, _ = prepared
    with pytest.raises(NegativeVerdict, match="not worth imitating"):
        evaluation.prepare(dataclasses.replace(TASK, worst_teacher=0.1), workspace)


def test_teacher_of_other_images_is_refused(
    prepared: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    workspace, facts = prepared
    folder = str(workspace / facts["reference"]["teacher"])
    task = dataclasses.replace(TASK, teacher_folder=folder, data=DataSpec("digits", 16))
    with pytest.raises(ModelError, match=r"\(8, 8, 1\).*\(16, 16, 1\)"):
        evaluation.prepare(task, workspace)


def test_model_trained_on_another_machine_and_timed_here_scores_as_one_of_here(
    prepared: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    home, facts = prepared
    far = tmp_path / "cache"
    sections = {"data": "data", "teacher": "teachers"}
    places = {
        name: shutil.copytree(folder, far / sections.get(name, name) / Path(folder).name)
        for name, folder in facts["parts"].items()
    }
    assert set(places) == {"data", "teacher", "features", "trajectories"}
    task = dataclasses.replace(
        from_dict(TaskSpec, facts["task"]),
        data=dataclasses.replace(TASK.data, name=str(places["data"])),
        teacher_folder=str(places["teacher"]),
    )
    before = sorted(far.rglob("*"))
    looks: list[dict[str, float]] = []
    given: dict[str, Any] = {
        "seed": 3,
        "report": lambda done, scores: looks.append(scores) if done == 7 else False,
        "rungs": (7,),
    }
    limits = Limits(min_retention=0.0)
    evaluator = evaluation.open_evaluator(task, tmp_path, facts, timed=False)
    assert sorted(far.rglob("*")) == before  # nothing was built
    trained = evaluator(STUDENT, folder=tmp_path / "a", limits=limits, **given)
    assert trained.state == "trained" and not {k for k in trained.attributes if "latency" in k}
    (look,) = looks
    assert {"gap", "size_mb", "retention_high"} <= look.keys() and "latency_ms" not in look
    timer = evaluation.open_evaluator(TASK, home, facts)
    timed = timer.time(trained, folder=tmp_path / "a", limits=limits)
    whole = evaluate(home, tmp_path / "b")
    assert timed.state == "complete" and timed.values["gap"] == whole.values["gap"]
    assert set(timed.attributes) == set(whole.attributes)
    assert load_model(tmp_path / "a").card["figures"] == timed.attributes


def test_open_evaluator_refuses_other_parts_than_the_studys(
    prepared: tuple[Path, dict[str, Any]],
) -> None:
    home, facts = prepared
    other = {**facts, "digests": {**facts["digests"], "teacher": "0" * 12}}
    with pytest.raises(StudyError, match=r"teacher here is \w+ and of the study 000000"):
        evaluation.open_evaluator(TASK, home, other)


def test_generated_images_are_finite(prepared: tuple[Path, dict[str, Any]]) -> None:
    from ado_nas.bench import open_bench
    from ado_nas.diffusion.sampling import generate

    bench = open_bench(TASK, prepared[0])
    images = generate(
        bench.teacher.unet, "ddim", bench.bank.levels, bench.start(1), bench.labels()
    )
    assert images.shape == (64, 8, 8, 1) and np.isfinite(images).all()


def test_candidate_predicted_over_the_limit_is_not_even_built(
    prepared: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = evaluation.open_evaluator(TASK, prepared[0])
    assert isinstance(evaluator, evaluation._Evaluation)
    monkeypatch.setattr(
        predictor, "measure", lambda wanted, *_: {o: 1e-3 * max(o.work[1], 1) for o in wanted}
    )
    batch, slow = TASK.latency_batch, 50.0
    for width in range(4, 36, 4):
        unet = dataclasses.replace(STUDENT.unet, widths=(width, width))
        table = load_table(grid([unet]), batch, evaluator.forecast.tables)
        evaluator.forecast.timed.append(Timed(unet, 1, slow * table.predict(unet, 1)))
    monkeypatch.setattr(evaluation, "build_student", lambda *_: pytest.fail("it was built"))
    limits = Limits(max_latency_ms=evaluator.forecast.timed[0].latency_ms / 100)
    outcome = evaluator(STUDENT, seed=0, folder=tmp_path, limits=limits, report=lambda *_: False)
    assert outcome.state == "infeasible"
    assert outcome.reason.startswith("predicted: latency over its limit by")
    assert outcome.constraints["latency"] > 0


def test_candidate_predicted_to_need_too_much_memory_is_not_even_built(
    prepared: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = evaluation.open_evaluator(TASK, prepared[0])
    assert isinstance(evaluator, evaluation._Evaluation)
    needed = evaluator.forecast.memory_mb(STUDENT)
    assert needed is not None
    # A quarter over the limit may be the prediction's own error.
    told, over = evaluator.forecast.told(STUDENT, Limits(max_memory_mb=needed / 1.25))
    assert told == {"peak_memory_mb": needed} and over == {}
    monkeypatch.setattr(evaluation, "build_student", lambda *_: pytest.fail("it was built"))
    limits = Limits(max_memory_mb=needed / 2)
    outcome = evaluator(STUDENT, seed=0, folder=tmp_path, limits=limits, report=lambda *_: False)
    assert outcome.state == "infeasible"
    assert outcome.reason == "predicted: memory over its limit by 100%"
    assert outcome.attributes["predicted_peak_memory_mb"] == needed
