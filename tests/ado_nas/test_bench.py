"""What a bench refuses to be made of."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from ado_nas.bench import open_bench
from ado_nas.diffusion.levels import karras_levels
from ado_nas.errors import NegativeVerdict
from ado_nas.modelfolder import save_model
from ado_nas.models.unet import build_unet
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

UNET = UNetSpec(
    resolution=8, widths=(4, 8), attention=("none", "none"), middle=False, activation="relu"
)
TASK = TaskSpec(
    data=DataSpec("digits", 8),
    teacher=TeacherSpec(unet=UNET, iterations=3, batch=8, warmup=0),
    trajectories=TrajectorySpec(count=16, levels=4),
    quality=QualitySpec(samples=64, feature_iterations=2),
)

pytestmark = pytest.mark.usefixtures("own_lock")


@pytest.fixture
def broken(tmp_path: Path) -> str:
    """The folder of a teacher whose images are not finite."""
    unet = build_unet(UNET, 0)
    unet.conv_out.bias = mx.full(unet.conv_out.bias.shape, 1e38)
    levels = karras_levels(4, 0.02, 40.0)
    save_model(tmp_path / "broken", unet, SamplerSpec(nfe=4), levels, {"kind": "teacher"})
    return str(tmp_path / "broken")


def refused(workspace: Path, **changes: Any) -> str:
    with pytest.raises(NegativeVerdict) as found:
        open_bench(dataclasses.replace(TASK, **changes), workspace)
    return str(found.value)


def test_what_diverges_is_named_with_the_rate_to_lower(tmp_path: Path, broken: str) -> None:
    hasty = dataclasses.replace(TASK.teacher, learning_rate=1e30)
    told = refused(tmp_path, teacher=hasty)
    assert "the teacher diverged: the loss was" in told
    assert told.endswith("lower task.teacher.learning_rate (1e+30)")
    told = refused(tmp_path, supernet=SupernetSpec(iterations=3, batch=4, learning_rate=1e30))
    assert "the supernet diverged" in told and "task.supernet.learning_rate (1e+30)" in told
    told = refused(tmp_path, teacher_folder=broken)
    assert "trajectories hold values that are not finite; give another teacher" in told
