"""The benchmarks of schedules and of steps by content, on a teacher of a few iterations."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.adaptive import learning
from ado_nas.adaptive.recipe import Recipe
from ado_nas.adaptive.refine import Refinement
from ado_nas.errors import ConfigError
from ado_nas.progress import silent
from ado_nas.quality.intervals import T_90
from ado_nas.specs import CLOSED_FORMS, SamplerSpec, TaskSpec
from benchmarks import adaptive, schedules
from studies.config import resolve

FEW = Refinement(iterations=2, batch=4, direct=3)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> TaskSpec:
    monkeypatch.setattr(learning, "FINE", 24)
    monkeypatch.setattr(learning, "COUNT", 32)
    task = resolve("smoke").task
    unet = dataclasses.replace(task.teacher.unet, widths=(8, 8))
    teacher = dataclasses.replace(task.teacher, unet=unet, iterations=20)
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
    best = min(rows[:4], key=lambda r: r["gap"])
    assert [r for r in rows[:4] if "confirmed" in r] == [best]
    gap = best["confirmed"]["gap"]
    assert [r["ratio"] for r in found["ratios"]] == [
        r["confirmed"]["gap"] / gap for r in rows[4:6]
    ]
    for told in found["ratios"]:
        low, high = told["ratio_interval"]
        assert 0 < low <= high and told["against"] == best["schedule"]
    assert "ratio" not in rows[6] and rows[6]["confirmed"]["gap"] > 0
    assert found["worse"] == []
    assert [r["levels_only"] for r in rows] == [False] * 4 + [True, False, False]
    alone = [
        {**one, "name": "schedules", "seed": 0, "environment": {}}
        for place in range(2)
        for one in [
            schedules.run(
                seed=0, row=place, workspace=workspace, progress=silent, refinement=FEW, **settings
            )
        ]
    ]
    both = schedules.joined([schedules.joined(alone[:1]), alone[1]])
    assert {k: both[k] for k in found} == found
    assert [p["cells"] for p in both["parts"]] == [
        [("smoke", "ddim", 5)],
        [("smoke", "generalized", 5)],
    ]
    back = schedules.joined([alone[1], alone[0]])
    assert back["rows"] == rows  # in one order
    with pytest.raises(ConfigError, match="smoke generalized 5 NFE is in two of the results"):
        schedules.joined([both, alone[1]])
    with pytest.raises(ConfigError, match="not of one seed"):
        schedules.joined([alone[0], {**alone[1], "seed": 1}])
    with pytest.raises(ConfigError, match="give 0 to 1, a solver's"):
        schedules.run(seed=0, row=2, workspace=workspace, progress=silent, **settings)


@pytest.mark.slow
@pytest.mark.usefixtures("own_lock")
def test_steps_by_content_stand_beside_fixed_schedules(workspace: Path, task: TaskSpec) -> None:
    settings = {"counts": (3, 4, 6), "means": (4.0,), "learned": 64}
    found = adaptive.run(
        seed=0, row=None, workspace=workspace, progress=silent, task=task, refinement=FEW,
        **settings,
    )  # fmt: skip
    (row,) = found["rows"]
    assert [f["nfe"] for f in found["fixed"]] == [3, 4, 6]
    assert row["saved_nfe"] == pytest.approx(1 - row["mean_nfe"] / row["fixed_nfe"])
    assert sum(row["shares"].values()) == pytest.approx(1)
    spent = sum(int(n) * share for n, share in row["shares"].items())
    assert row["mean_nfe"] == pytest.approx(spent)
    low, high = row["saved_interval"]
    assert low <= row["saved_nfe"] <= high
    assert 3 <= row["oracle_nfe"] <= row["mean_nfe"] + 1e-9 and row["oracle_gap"] > 0
    assert -1 <= row["foretold"] <= 1


def test_fewest_evaluations_keep_the_quality_with_the_whole_interval() -> None:
    def row(nfe: int, kept: float, interval: tuple[float, float] | None) -> dict[str, Any]:
        about = {"data": "digits", "solver": "ddim", "schedule": "direct", "nfe": nfe}
        return {**about, "confirmed": {"retention": kept, "retention_interval": interval}}

    unsure, lost = row(3, 1.2, (0.9, 1.5)), row(2, 0.0, None)
    rows = [
        row(5, 2.0, (1.5, 2.5)),
        lost,
        unsure,
        row(4, 1.0, (0.95, 1.1)),
        row(4, 0.99, (0.96, 1)),
    ]
    found = schedules.told([*rows, {"data": "shapes16", "confirmed": None}])["fewest"]
    assert (found["digits"]["nfe"], found["digits"]["retention"]) == (4, 1.0)
    assert found["shapes16"] is None


def canned(nfe: float, gap: float, *replicates: float) -> adaptive._Judged:
    generated: Any = SimpleNamespace(generated=list(replicates))
    return adaptive._Judged(nfe, gap, (gap, gap), generated)


JUDGED = [canned(3, 16.0, 16.0, 32.0), canned(4, 8.0, 8.0, 4.0), canned(6, 2.0, 2.0, 1.0)]


def test_evaluations_at_equal_gap_lie_between_the_fixed_schedules_by_its_logarithm() -> None:
    for gap, nfe in ((16.0, 3.0), (8.0, 4.0), (4.0, 5.0), (2.0, 6.0), (99.0, 3.0), (0.1, 6.0)):
        assert adaptive._nfe_at(JUDGED, gap) == pytest.approx(nfe)
    # More evaluations of a larger gap count for nothing.
    bent = [canned(3, 16.0), canned(4, 32.0), canned(5, 8.0), canned(6, 8.0)]
    for gap, nfe in ((24.0, 3.0), (16.0, 3.0), (8.0, 5.0), (1.0, 5.0)):
        assert adaptive._nfe_at(bent, gap) == pytest.approx(nfe)
    # A group of images is left out of both sides: 2.0 is midway from 4.0 to 1.0.
    own = canned(4, 4.0, 4.0, 2.0)
    assert adaptive._replicated(own, JUDGED) == pytest.approx([5.0, 5.0])
    assert adaptive._replicated(canned(4, 4.0, 8.0, 4.0), JUDGED) == pytest.approx([4.0, 4.0])


def test_saving_is_against_the_fixed_schedules_of_equal_gap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start, spent = np.zeros((4, 2, 2, 1), np.float32), np.array([3, 3, 4, 6])
    monkeypatch.setattr(adaptive, "sample", lambda *_: (start, spent))
    monkeypatch.setattr(adaptive, "time_in_turn", lambda calls: [4.5, 3.0, 4.0, 7.0])
    own = canned(4, 4.0, 4.0, 4.0)
    score = SimpleNamespace(gap=own.gap, gap_interval=own.interval, replicates=own.replicates)
    judge = SimpleNamespace(gap=lambda images: 9.0, score=lambda images: score)
    bench: Any = SimpleNamespace(
        task=SimpleNamespace(reference=SamplerSpec(), quality=SimpleNamespace(batch=2)),
        judge=judge,
        teacher=SimpleNamespace(unet=None),
        start=lambda seed: start,
        labels=lambda: None,
    )
    levels = {n: np.linspace(n, 0, n + 1) for n in (3, 4, 6)}
    fixed = [Recipe("ddim", "dp", own) for own in levels.values()]
    held: Any = SimpleNamespace(images=np.stack([start] * 3))
    about: Any = SimpleNamespace(levels=levels), SimpleNamespace(), fixed, JUDGED, held
    row = adaptive._row(bench, *about, 0, silent)
    assert (row["mean_nfe"], row["gap"], row["random_gap"]) == (4.0, 4.0, 9.0)
    assert row["fixed_nfe"] == pytest.approx(5.0) and row["saved_nfe"] == pytest.approx(0.2)
    # Without the second group the fixed schedules have this gap at 4 evaluations.
    half = T_90 * np.std([0.2, 0.0])
    assert row["saved_interval"] == pytest.approx((0.2 - half, 0.2 + half))
    assert row["saved_time"] == pytest.approx(1 - 4.5 / 5.5)  # midway from 4 to 7 ms
    assert row["shares"] == {"3": 0.5, "4": 0.25, "6": 0.25}
    assert row["beyond"] is False


def test_both_sides_are_guided_as_the_reference_is(monkeypatch: pytest.MonkeyPatch) -> None:
    start, seen = np.zeros((4, 2, 2, 1), np.float32), []

    def generate(unet: object, solver: object, levels: object, *about: Any) -> np.ndarray:
        seen.append(about[2])
        return start

    def sample(unet: object, schedules: object, rule: object, *about: Any) -> Any:
        seen.append(about[2])
        return start, np.full(4, 3)

    def sample_batch(*about: Any) -> mx.array:
        seen.append(about[5])
        return mx.array(start)

    def time_in_turn(calls: list[Any]) -> list[float]:
        return [float(call().size) for call in calls]

    for fake in (generate, sample, sample_batch, time_in_turn):
        monkeypatch.setattr(adaptive, fake.__name__, fake)
    task = SimpleNamespace(reference=SamplerSpec(guidance=2.5), quality=SimpleNamespace(batch=2))
    judge = SimpleNamespace(
        gap=lambda images: 1.0,
        score=lambda images: SimpleNamespace(
            gap=1.0, gap_interval=(1.0, 1.0), replicates=SimpleNamespace(generated=[1.0, 1.0])
        ),
    )
    bench: Any = SimpleNamespace(
        task=task,
        judge=judge,
        teacher=SimpleNamespace(unet=None),
        start=lambda seed: start,
        labels=lambda: None,
    )
    fixed = Recipe("ddim", "dp", np.array([4.0, 2.0, 1.0, 0.0]))
    plain = adaptive._plain(bench, fixed, 0, silent)
    held: Any = SimpleNamespace(images=plain[None])
    judged = [adaptive._judged(bench, plain, 3.0)]
    rule: Any = SimpleNamespace()
    schedules: Any = SimpleNamespace(levels={3: fixed.levels})
    adaptive._row(bench, schedules, rule, [fixed], judged, held, 0, silent)
    assert seen == [2.5] * 4
