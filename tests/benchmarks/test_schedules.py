"""The benchmarks of schedules and of steps by content, on a teacher of a few iterations."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ado_nas.adaptive import learning
from ado_nas.adaptive.refine import Refinement
from ado_nas.errors import ConfigError
from ado_nas.progress import silent
from ado_nas.specs import CLOSED_FORMS, SamplerSpec, TaskSpec
from benchmarks import adaptive, schedules
from studies.config import resolve

FEW = Refinement(iterations=2, batch=4)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> TaskSpec:
    monkeypatch.setattr(learning, "FINE", 24)
    monkeypatch.setattr(learning, "COUNT", 32)
    task = resolve("smoke").task
    teacher = dataclasses.replace(task.teacher, iterations=20)
    return dataclasses.replace(task, teacher=teacher, reference=SamplerSpec(nfe=9))


@pytest.mark.slow
@pytest.mark.usefixtures("own_lock")
def test_every_solver_meets_every_schedule(workspace: Path, task: TaskSpec) -> None:
    settings = {"tasks": {"smoke": task}, "solvers": ("ddim", "generalized"), "counts": (5,)}
    found = schedules.run(
        seed=0, row=None, workspace=workspace, progress=silent, refinement=FEW, **settings
    )
    rows = found["rows"]
    assert [r["schedule"] for r in rows[:4]] == list(CLOSED_FORMS)
    assert [r["learned"] for r in rows] == [False] * 4 + [True] * 3
    best = min(r["gap"] for r in rows[:4])
    assert [r["ratio"] for r in found["ratios"]] == [r["gap"] / best for r in rows[4:6]]
    assert found["worse"] == []
    with pytest.raises(ConfigError, match="give 0 to 6"):
        schedules.run(seed=0, row=7, workspace=workspace, progress=silent, **settings)


@pytest.mark.slow
@pytest.mark.usefixtures("own_lock")
def test_saving_is_against_the_fixed_schedules_of_equal_gap(
    workspace: Path, task: TaskSpec
) -> None:
    settings = {"counts": (3, 4, 6), "means": (4.0,), "learned": 64}
    found = adaptive.run(
        seed=0, row=None, workspace=workspace, progress=silent, task=task, refinement=FEW,
        **settings,
    )  # fmt: skip
    (row,), fixed = found["rows"], found["fixed"]
    assert row["saved_nfe"] == pytest.approx(1 - row["mean_nfe"] / row["fixed_nfe"])
    gaps = [np.log(f["gap"]) for f in fixed]
    if gaps == sorted(gaps, reverse=True) and gaps[-1] < np.log(row["gap"]) < gaps[0]:
        at = np.interp(np.log(row["gap"]), gaps[::-1], [f["nfe"] for f in fixed[::-1]])
        assert row["fixed_nfe"] == pytest.approx(at)
    assert sum(row["shares"].values()) == pytest.approx(1)
    spent = sum(int(n) * share for n, share in row["shares"].items())
    assert row["mean_nfe"] == pytest.approx(spent)
    low, high = row["saved_interval"]
    assert low <= row["saved_nfe"] <= high
    assert 3 <= row["oracle_nfe"] <= row["mean_nfe"] + 1e-9 and row["oracle_gap"] > 0
    assert -1 <= row["foretold"] <= 1
