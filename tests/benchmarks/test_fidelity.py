from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ado_nas.errors import ConfigError
from ado_nas.progress import silent
from ado_nas.specs import (
    DataSpec,
    DistillationSpec,
    QualitySpec,
    SamplerSpec,
    TaskSpec,
    TeacherSpec,
    TrajectorySpec,
    UNetSpec,
)
from benchmarks import fidelity
from search_spaces.candidate import params_of

TEACHER = UNetSpec(widths=(24, 64), patch=2, num_classes=10)

TASK = TaskSpec(
    data=DataSpec("digits", 16),
    teacher=TeacherSpec(
        unet=UNetSpec(widths=(8, 8), patch=2, attention=("none", "none"), num_classes=10),
        iterations=5,
        batch=32,
        warmup=1,
    ),
    trajectories=TrajectorySpec(count=40, levels=4),
    quality=QualitySpec(samples=64, feature_iterations=10),
    reference=SamplerSpec(nfe=4),
    training_free=(("dpmpp_2m", "karras"),),
    training_free_nfe=(2,),
    worst_teacher=0.0,
)


def test_every_choice_of_every_dimension_is_in_some_candidates() -> None:
    found = fidelity.covering(3, fidelity.JUDGED, TEACHER, DistillationSpec())
    assert len({candidate.hash for candidate in found}) == fidelity.JUDGED
    seen = Counter(item for c in found for item in params_of(c, fidelity.SPACE).items())
    for dimension in fidelity.SPACE.dimensions:
        for choice in dimension.choices:
            assert seen[dimension.name, choice] >= 2, (dimension.name, choice)
    again = fidelity.covering(3, fidelity.JUDGED, TEACHER, DistillationSpec())
    assert [c.hash for c in again] == [c.hash for c in found]


def test_bias_is_that_of_a_choice_beside_the_mean() -> None:
    rows = []
    for i, candidate in enumerate(fidelity.covering(1, 8, TEACHER, DistillationSpec())):
        params = params_of(candidate, fidelity.SPACE)
        bias = 0.5 + 0.25 * (params["skip"] == "add")
        rows.append({**params, "trial_gap": i, "full_gap": 2 * i, "bias": bias})
    found = fidelity._verdict(rows)
    assert found["kendall_tau"] == 1
    assert found["bias"]["skip"]["add"] - found["bias"]["skip"]["concat"] == pytest.approx(0.25)


def test_a_stopped_run_goes_on_with_what_it_has(
    tmp_path: Path, own_lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"workspace": tmp_path, "progress": silent, "task": TASK, "iterations": 3}
    costs = {"latency_ms": 1.0, "latency_batch1_ms": 1.0, "peak_memory_mb": 1.0}
    monkeypatch.setattr("objectives.evaluation.sampling_figures", lambda *_: costs)
    first = fidelity.run(seed=0, row=0, judged=3, **settings)
    calls: list[str] = []
    monkeypatch.setattr(
        "objectives.evaluation._Evaluation.__call__", lambda *_, **__: calls.append("trained")
    )
    assert fidelity.run(seed=0, row=0, judged=3, **settings) == first
    assert not calls
    (row,) = first["rows"]
    assert row["full_gap"] >= 0


def test_a_row_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give 0 to 23"):
        fidelity.run(seed=0, row=24, workspace=tmp_path, progress=silent)
