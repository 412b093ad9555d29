from __future__ import annotations

from pathlib import Path

import pytest

from ado_nas.errors import ConfigError
from ado_nas.progress import silent
from ado_nas.specs import DataSpec, QualitySpec, TaskSpec, TeacherSpec, TrajectorySpec, UNetSpec
from benchmarks import adaptation

TASK = TaskSpec(
    data=DataSpec("digits", 8),
    teacher=TeacherSpec(
        unet=UNetSpec(
            resolution=8,
            widths=(24, 32),
            attention=("none", "none"),
            middle=False,
            activation="relu",
            num_classes=10,
        ),
        iterations=5,
        batch=32,
        warmup=1,
    ),
    trajectories=TrajectorySpec(count=40, levels=4),
    quality=QualitySpec(samples=64, feature_iterations=10),
)


def test_all_ways_end_at_one_size(
    tmp_path: Path, own_lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptation, "SEEDS", 1)
    monkeypatch.setattr(adaptation, "METHODS", {"grown": "grow", "small": "none"})
    # So short a pilot tells nothing; as if each iteration took as long.
    even = dict.fromkeys(adaptation.METHODS, 12)
    monkeypatch.setattr(adaptation, "_counts", lambda *_: even)
    found = adaptation.run(
        seed=5, row=None, workspace=tmp_path, progress=silent, task=TASK, iterations=12
    )
    assert [row["method"] for row in found["rows"]] == ["grown", "small"]
    for row in found["rows"]:
        assert row["seed"] == 5 and row["gap"] > 0 and row["seconds"] > 0
        assert row["iterations"] == 12
        assert row["widths"] == "16-16" or row["changes_refused"]


def test_ratios_are_medians_over_seeds_of_equal_size() -> None:
    def row(seed: int, method: str, gap: float, size: float = 1.0) -> dict[str, object]:
        return {"seed": seed, "method": method, "gap": gap, "size_mb": size, "seconds": 2.0}

    rows = [row(i, "small", 2.0) for i in range(3)]
    rows += [row(0, "pruned", 1.0), row(1, "pruned", 3.0), row(2, "pruned", 9.0, size=1.5)]
    found = adaptation._verdict(rows)
    assert found["median_gap_ratio"] == {"pruned": 1.0, "grown": None}
    assert found["median_seconds_ratio"]["pruned"] == 1.0


def test_a_row_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give 0 to 8"):
        adaptation.run(seed=0, row=9, workspace=tmp_path, progress=silent)
