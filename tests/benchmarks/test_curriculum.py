from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ado_nas.errors import ConfigError
from ado_nas.progress import silent
from ado_nas.specs import DataSpec, QualitySpec
from benchmarks import curriculum


@pytest.mark.slow
def test_one_model_and_curricula_stand_beside_constant_resolutions(
    tmp_path: Path, own_lock: Path
) -> None:
    unet = dataclasses.replace(curriculum.UNET, widths=(8, 8, 8))
    found = curriculum.run(
        seed=0,
        row=None,
        workspace=tmp_path,
        progress=silent,
        data=DataSpec("shapes", 32, 320),
        teacher=dataclasses.replace(curriculum.TEACHER, unet=unet, iterations=12, batch=8),
        quality=QualitySpec(samples=64, feature_iterations=10),
        seeds=1,
    )
    (row,) = found["rows"]
    assert row["reached"] == (row["gap"] <= row["constant_gap"])
    assert [t["budget"] for t in row["tried"]] == list(curriculum.BUDGETS[: len(row["tried"])])
    ratio = row["seconds"] / row["constant_s"]
    assert found["median_time_ratio"] == (
        pytest.approx(ratio, abs=1e-3) if row["reached"] else None
    )
    sizes = found["resolutions"]
    assert [s["resolution"] for s in sizes] == list(curriculum.EVERY.resolutions)
    assert all(s["gap_interval"][0] <= s["gap"] <= s["gap_interval"][1] for s in sizes)
    assert found["largest_ratio"] == max(s["ratio"] for s in sizes)
    assert found["nested"]["gap"] > 0


def test_median_counts_what_was_not_reached_as_the_largest() -> None:
    assert curriculum._median([0.6, None, 0.7]) == 0.7
    assert curriculum._median([None, None, 0.5]) is None
    assert curriculum._median([]) is None


def test_row_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="row 4: give 0 to 3"):
        curriculum.run(seed=0, row=4, workspace=tmp_path, progress=silent)
