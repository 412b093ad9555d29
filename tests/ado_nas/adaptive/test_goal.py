"""What may be asked of a schedule, and of which model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from ado_nas.adaptive.goal import ScheduleGoal, check
from ado_nas.diffusion.levels import karras_levels
from ado_nas.errors import ConfigError, ModelError
from ado_nas.modelfolder import CARD, Model, load_model, save_model
from ado_nas.models.unet import build_unet
from ado_nas.specs import DataSpec, SamplerSpec, UNetSpec, to_dict

SPEC = UNetSpec(resolution=8, widths=(8,), blocks=(1,), attention=("none",))
DATA = {"name": "digits", "digest": "d", "spec": to_dict(DataSpec("digits", 8))}
GOAL = ScheduleGoal(("ddim", "heun"), (3,), samples=100)


def saved(folder: Path, card: dict[str, Any], seed: int = 0) -> Model:
    levels = karras_levels(4, 0.02, 40.0)
    save_model(folder, build_unet(SPEC, seed), SamplerSpec(nfe=4), levels, card)
    return load_model(folder)


@pytest.fixture
def supernet(tmp_path: Path) -> Model:
    teacher = saved(tmp_path / "teacher", {"kind": "teacher", "data": DATA})
    told = {"teacher": teacher.card["weights_sha256"], "teacher_folder": str(teacher.folder)}
    return saved(tmp_path / "supernet", {"kind": "supernet", "data": DATA, **told}, seed=1)


def test_teacher_is_its_own_task_and_a_supernet_that_of_its_teacher(supernet: Model) -> None:
    folder = Path(supernet.card["teacher_folder"])
    for model in (load_model(folder), supernet):
        task = check(model, GOAL)
        assert task.teacher_folder == str(folder) and task.data == DataSpec("digits", 8)
        assert task.reference.nfe == 4 and task.trajectories.sigma_max == pytest.approx(40)


def test_reference_takes_as_many_evaluations_as_asked_for(supernet: Model) -> None:
    task = check(supernet, dataclasses.replace(GOAL, reference_nfe=50))
    assert task.reference == dataclasses.replace(supernet.sampler, nfe=50)


def test_trajectories_are_guided_as_the_reference_is(tmp_path: Path) -> None:
    model = saved(tmp_path, {"kind": "teacher", "data": DATA})
    sampler = dataclasses.replace(model.sampler, guidance=2.5)
    task = check(dataclasses.replace(model, sampler=sampler), GOAL)
    assert task.trajectories.guidance == task.reference.guidance == 2.5


def test_supernet_without_its_teacher_is_refused(supernet: Model, tmp_path: Path) -> None:
    card = tmp_path / "teacher" / CARD
    for facts in ({"weights_sha256": "other"}, None):
        card.write_text(json.dumps(facts)) if facts else card.unlink()
        with pytest.raises(ModelError, match=f"its teacher is not at {card.parent}"):
            check(supernet, GOAL)


def test_supernet_finds_a_teacher_that_was_moved_with_it(supernet: Model, tmp_path: Path) -> None:
    place = tmp_path / "supernet" / CARD
    place.write_text(json.dumps({**supernet.card, "teacher_folder": "../teacher"}))
    moved = (tmp_path / "moved").resolve()
    moved.mkdir()
    for name in ("teacher", "supernet"):
        (tmp_path / name).rename(moved / name)
    task = check(load_model(moved / "supernet"), GOAL)
    assert task.teacher_folder == str(moved / "teacher")


def test_steps_by_content_of_a_supernet_are_refused(supernet: Model) -> None:
    with pytest.raises(ModelError, match="is a supernet; steps by content"):
        check(supernet, dataclasses.replace(GOAL, mean_nfe=4.0))


def test_student_is_refused(tmp_path: Path) -> None:
    student = saved(tmp_path, {"kind": "student", "data": DATA})
    with pytest.raises(ModelError, match="knows no other levels"):
        check(student, GOAL)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"solvers": ("ddmi",)}, "did you mean 'ddim'"),
        ({"solvers": ("consistency",)}, "no solver 'consistency'"),
        ({"counts": (0, 4)}, "NFE from 1"),
        ({"counts": ()}, "NFE from 1"),
        ({"counts": (4, 60)}, "NFE 60: schedules are learned for at most 59"),
        ({"samples": 5}, "samples 5"),
        ({"latency_ms": 0.0}, "above 0"),
        ({"latency_ms": float("nan")}, "above 0"),
        ({"reference_nfe": 0}, "reference of 0 NFE"),
        ({"mean_nfe": 2.0}, "mean NFE 2: give 3 to 8"),
        ({"mean_nfe": float("nan")}, "mean NFE nan"),
        ({"mean_nfe": 4.0, "latency_ms": 1.0}, "give one of them"),
        ({"mean_nfe": 4.0, "solvers": ("heun",)}, "add one of ddim"),
    ],
)
def test_bad_goal_is_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        dataclasses.replace(GOAL, **change)
