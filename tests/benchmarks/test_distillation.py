from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from ado_nas.errors import ConfigError
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
        seconds=0.05,
        seeds=1,
    )


@pytest.mark.slow
def test_every_method_is_trained_as_long_and_judged_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distillation, "STEPS", (4,))
    found = run(tmp_path, None)
    rows = found["rows"]
    cases = [(r["method"], r["steps"]) for r in rows]
    assert cases == [(m, s) for m in distillation.METHODS for s in distillation.STEPS]
    stages = {case: r["stages"] for case, r in zip(cases, rows, strict=True)}
    assert stages["chained", 4] == "8-4" and stages["at once", 4] == "4"
    for r in rows:
        assert r["retention_low"] <= r["retention"] <= r["retention_high"]
        assert r["iterations"] >= len(r["stages"].split("-"))
    for steps, best in found["best"].items():
        kept = found["median_retention"][steps]
        assert kept[best] == max(kept.values()) and set(kept) == set(distillation.METHODS)
    assert run(tmp_path, 4)["rows"] == [rows[4]]  # kept, not trained again
    with pytest.raises(ConfigError, match="0 to 5"):
        run(tmp_path, 6)
