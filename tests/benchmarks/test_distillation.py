from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from ado_nas.distillation.course import Course
from ado_nas.errors import ConfigError
from ado_nas.models.unet import UNet
from ado_nas.progress import silent
from ado_nas.specs import DistillationSpec, QualitySpec, SamplerSpec, TrajectorySpec
from benchmarks import distillation
from studies.config import resolve


def run(workspace: Path, row: int | None) -> dict[str, Any]:
    task = resolve("smoke").task
    task = dataclasses.replace(
        task,
        teacher=dataclasses.replace(task.teacher, iterations=10),
        trajectories=TrajectorySpec(count=64, levels=8),
        quality=QualitySpec(samples=64, feature_iterations=20),
        reference=SamplerSpec(nfe=9),
    )
    return distillation.run(
        seed=0,
        row=row,
        workspace=workspace,
        progress=silent,
        task=task,
        training=DistillationSpec(batch=8),
        seconds=0.02,
        seeds=1,
    )


PRICES = {
    "anchored": 2.0,
    "chained to the teacher": 10.0,
    "chained": 5.0,
    "consistency": 2.5,
    "images alone": 4.0,
    "plain": 1.0,
}


@pytest.fixture
def priced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps cost what `PRICES` says; how many were timed each time."""
    timed: list[int] = []

    def in_turn(steps: list[Callable[[], mx.array]], rounds: int) -> list[float]:
        assert all(mx.isfinite(step()).all().item() for step in steps)
        timed.append(len(steps))
        return list(PRICES.values())

    monkeypatch.setattr(distillation, "time_in_turn", in_turn)
    return timed


@pytest.mark.slow
def test_every_method_is_trained_for_the_same_price_and_judged_alike(
    tmp_path: Path, own_lock: Path, monkeypatch: pytest.MonkeyPatch, priced: list[int]
) -> None:
    monkeypatch.setattr(distillation, "STEPS", (4,))
    given, train = list[int](), distillation.follow

    def follow(unet: UNet, course: Course, spec: DistillationSpec, *rest: Any) -> float:
        given.append(spec.iterations)
        train(unet, course, spec, *rest)
        return 9.0  # seconds, whatever it took

    monkeypatch.setattr(distillation, "follow", follow)
    found = run(tmp_path, None)
    rows = found["rows"]
    cases = [(r["method"], r["steps"]) for r in rows]
    assert cases == [(m, s) for m in distillation.METHODS for s in distillation.STEPS]
    stages = {case: r["stages"] for case, r in zip(cases, rows, strict=True)}
    assert stages["chained", 4] == "8-4" and stages["at once", 4] == "4"
    assert found["iteration_ms"] == PRICES
    # What 20 ms buy of each; chained has two stages, of 10 ms each.
    assert given == [10, 10, 1, 2, 8, 5, 20]
    assert [r["iterations"] for r in rows] == [10, 10, 3, 8, 5, 20]
    assert {r["priced_seconds"] for r in rows} == {0.02}
    assert [r["seconds"] for r in rows] == [9.0, 9.0, 18.0, 9.0, 9.0, 9.0]
    for r in rows:
        assert r["retention_low"] <= r["retention"] <= r["retention_high"]
    assert run(tmp_path, 4)["rows"] == [rows[4]]  # kept, not trained again
    assert len(given) == 7 and priced == [len(PRICES)]  # nor priced again
    with pytest.raises(ConfigError, match="0 to 5"):
        run(tmp_path, 6)


def test_best_method_has_the_highest_median_over_the_seeds() -> None:
    def row(method: str, kept: float) -> dict[str, Any]:
        return {"method": method, "steps": 4, "retention": kept}

    # By its mean or its best seed the other one would win.
    rows = [row("plain", v) for v in (0.5, 0.6, 0.6)] + [
        row("chained", v) for v in (0.1, 0.5, 5.0)
    ]
    found = distillation._verdict(rows)
    assert found["median_retention"] == {"4": {"chained": 0.5, "plain": 0.6}}
    assert found["best"] == {"4": "plain"}
