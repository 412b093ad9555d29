from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.schedules import jump_costs
from ado_nas.distillation.course import anchored, follow
from ado_nas.distillation.student import Lessons
from ado_nas.distillation.trajectories import Bank, implied_denoised
from ado_nas.models.unet import build_unet, named_parameters
from ado_nas.specs import DistillationSpec, UNetSpec
from ado_nas.training import resumable

UNET = UNetSpec(resolution=8, widths=(8, 8), attention=("none", "none"), activation="relu")
SPEC = DistillationSpec(iterations=6, batch=4)


@pytest.fixture
def lessons() -> Lessons:
    levels = karras_levels(4, 0.02, 10.0)
    rng = np.random.default_rng(0)
    clean = rng.standard_normal((16, 8, 8, 1))
    states = clean + levels[:, None, None, None, None] * rng.standard_normal((16, 8, 8, 1))
    states = states.astype(np.float32)
    costs = jump_costs(states, implied_denoised(states, levels), levels, 0.5)
    return Lessons(Bank(states, None, levels, costs, "key"), [0, 2, 4])


def test_batches_are_a_function_of_their_iteration(lessons: Lessons) -> None:
    course = anchored(lessons, 4, seed=1)
    whole = course.batches(0)
    for iteration in range(3):
        early, late = next(whole), next(course.batches(iteration))
        assert all(np.array_equal(a, b) for a, b in zip(early, late, strict=True))


def test_weights_after_an_interruption_are_those_without(
    lessons: Lessons, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumable, "CHECKPOINT_SECONDS", 0.0)
    course, folder = anchored(lessons, 4, seed=1), tmp_path / "b"

    seen: list[int] = []

    def interrupt(_stage: str, done: int, _total: int, _note: str = "") -> None:
        if done == 3:
            raise KeyboardInterrupt

    whole, parted = build_unet(UNET), build_unet(UNET)
    follow(whole, course, SPEC, tmp_path / "a", "stage")
    with pytest.raises(KeyboardInterrupt):
        follow(build_unet(UNET), course, SPEC, folder, "stage", interrupt)
    follow(parted, course, SPEC, folder, "stage", lambda *told: seen.append(told[1]))
    assert seen == [3, 4, 5, 6]
    for (name, a), (_, b) in zip(named_parameters(whole), named_parameters(parted), strict=True):
        assert np.array_equal(a, b), name
