from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest

from ado_nas.data import Dataset, load
from ado_nas.errors import ConfigError
from ado_nas.progress import silent
from ado_nas.specs import DataSpec, QualitySpec, TeacherSpec
from benchmarks import curriculum


@pytest.mark.slow
def test_one_model_and_curricula_stand_beside_constant_resolutions(
    tmp_path: Path, own_lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curriculum, "ROUNDS", 2)
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
    assert found["median_time_ratio"] == row["time_ratio"]
    if row["reached"]:
        ratio = row["seconds"] / row["constant_s"]
        assert row["wall_ratio"] == pytest.approx(ratio, abs=1e-3)
    sizes = found["resolutions"]
    assert [s["resolution"] for s in sizes] == list(curriculum.EVERY.resolutions)
    assert all(s["gap_interval"][0] <= s["gap"] <= s["gap_interval"][1] for s in sizes)
    assert found["largest_ratio"] == max(s["ratio"] for s in sizes)
    assert found["nested"]["gap"] > 0


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sides of the steps that were timed: 1 ms at 16 px, 4 ms at 32 px."""
    sides: list[int] = []
    steps = curriculum._steps

    def noted(dataset: Dataset, spec: TeacherSpec, side: int) -> Callable[[], mx.array]:
        sides.append(side)
        return steps(dataset, spec, side)

    def in_turn(turns: list[Callable[[], mx.array]], rounds: int) -> list[float]:
        assert all(mx.isfinite(some()).all().item() for some in turns)
        return [curriculum.IN_A_ROW * {16: 1.0, 32: 4.0}[side] for side in sides]

    monkeypatch.setattr(curriculum, "_steps", noted)
    monkeypatch.setattr(curriculum, "time_in_turn", in_turn)
    return sides


def test_durations_count_the_steps_of_each_side(timed: list[int], tmp_path: Path) -> None:
    unet = dataclasses.replace(curriculum.UNET, widths=(8, 8, 8))
    alone = dataclasses.replace(curriculum.TEACHER, unet=unet, iterations=10, batch=8)
    staged = curriculum._with(alone, curriculum.FAST, 0.5)
    dataset = load(DataSpec("shapes", 32, 320), tmp_path)
    place = curriculum._Place(dataset, tmp_path, alone, QualitySpec(), silent)
    sides = curriculum._sides_of(staged)
    spent = sides.count(16) * 1.0 + sides.count(32) * 4.0
    assert curriculum._durations(place, alone, staged) == [10 * 4.0, spent]
    assert timed == [16, 32]


def test_median_counts_what_was_not_reached_as_the_largest() -> None:
    assert curriculum._median([0.6, None, 0.7]) == 0.7
    assert curriculum._median([None, None, 0.5]) is None
    assert curriculum._median([]) is None


def test_row_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="row 4: give 0 to 3"):
        curriculum.run(seed=0, row=4, workspace=tmp_path, progress=silent)
