from __future__ import annotations

from pathlib import Path

import pytest

from ado_nas.errors import ConfigError
from ado_nas.progress import silent
from ado_nas.specs import (
    DataSpec,
    QualitySpec,
    SamplerSpec,
    SupernetSpec,
    TaskSpec,
    TeacherSpec,
    TrajectorySpec,
    UNetSpec,
)
from benchmarks import inheritance

UNET = UNetSpec(
    resolution=8, widths=(16,), blocks=(1,), attention=("none",), middle=False, num_classes=10
)
TASK = TaskSpec(
    data=DataSpec("digits", 8),
    teacher=TeacherSpec(unet=UNET, iterations=4, batch=8, warmup=1),
    trajectories=TrajectorySpec(count=32, levels=4),
    supernet=SupernetSpec(iterations=2, batch=8),
    quality=QualitySpec(samples=32, feature_iterations=4),
    reference=SamplerSpec(nfe=4),
)


def test_rows_hold_the_gap_of_each_source(
    tmp_path: Path, own_lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inheritance, "WIDTHS", (0.25, 0.5))
    monkeypatch.setattr(inheritance, "SCRATCH_RATES", (1e-3, 1e30))
    monkeypatch.setattr(inheritance, "JUDGED", 2)

    def run(row: int | None) -> dict[str, object]:
        given = {"seed": 0, "workspace": tmp_path, "progress": silent, "task": TASK}
        return inheritance.run(row=row, iterations=(2,), **given)  # type: ignore[arg-type]

    found = run(None)
    rows = found["rows"]
    assert isinstance(rows, list)
    assert [(r["width"], r["widths"], r["iterations"]) for r in rows] == [
        (0.25, "4", 2),
        (0.5, "8", 2),
    ]
    for row in rows:
        assert row["scratch_rate"] == 1e-3  # the other diverges
        assert {"scratch_gap", "inherited_gap", "supernet_gap"} <= row.keys()
    ratios = [row["inherited_gap"] / row["scratch_gap"] for row in rows]
    assert found["largest_ratio_at_150"] == pytest.approx(max(ratios), abs=1e-4)
    assert found["ratio_at_150"] == pytest.approx(sum(ratios) / 2, abs=1e-4)
    assert run(1)["rows"] == rows[1:]


def test_a_row_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give 0 to 11"):
        inheritance.run(seed=0, row=12, workspace=tmp_path, progress=silent)
