"""The command `optimize`: gates that fail on purpose, a kill in mid-stage, and bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ado_nas.modelfolder import load_model
from ado_nas.training.resumable import CHECKPOINT

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = """
preset = "smoke"

[task.quality]
samples = 64
feature_iterations = 60

[task.teacher]
iterations = 20

[task.reference]
nfe = 9

[optimization]
noise_sets = 2
target_steps = {steps}
quality_threshold = {threshold}
stages = [{stages}]

[optimization.training]
iterations = {iterations}
batch = {batch}
"""
PARENT = """
import sys; sys.path[:0] = sys.argv[1:2]
from ado_nas.training import resumable
resumable.CHECKPOINT_SECONDS = 0.0
sys.argv[:2] = ["cli.py"]
import cli
cli.main()
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which teacher, trajectories and reference are made."""
    workspace = tmp_path_factory.mktemp("prepared")
    done = optimize(workspace, threshold=0.01, iterations=1)
    assert done.returncode == 0, done.stderr
    (workspace / "told.json").write_text(done.stdout)
    return workspace


@pytest.fixture
def workspace(prepared: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared, tmp_path / "workspace", ignore=shutil.ignore_patterns("optimized"))
    return tmp_path / "workspace"


def command(workspace: Path, **given: Any) -> list[str]:
    values = {"steps": 2, "threshold": 0.95, "stages": 2, "iterations": 10, "batch": 8, **given}
    config = workspace / "settings.toml"
    config.write_text(SETTINGS.format(**values))
    words = ["optimize", "--config", str(config), "--workspace", str(workspace), "--json"]
    return [sys.executable, "-c", PARENT, str(ROOT), *words]


def optimize(workspace: Path, **given: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(workspace, **given), capture_output=True, text=True)


@pytest.mark.slow
def test_gate_that_cannot_be_passed_is_tried_thrice_and_told(workspace: Path) -> None:
    # One iteration at a rate that ruins the weights: nothing can pass.
    config = "[optimization.training]\niterations = 1\nbatch = 8\nlearning_rate = 0.3\n"
    words = command(workspace, threshold=1.0)
    text = (workspace / "settings.toml").read_text().split("[optimization.training]")[0]
    (workspace / "settings.toml").write_text(text + config)
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert not found["reached"] and "no student passed" in found["reason"]
    assert [s["action"] for s in found["stages"]] == ["doubled", "inserted", "doubled", "stopped"]
    assert [s["iterations"] for s in found["stages"]] == [1, 2, 1, 2]
    first, *_, last = found["stages"]
    assert first["output_steps"] == 2 < last["output_steps"] < 8
    assert all(s["retention"] < 1 and not s["passed"] for s in found["stages"])
    assert "2 iterations next" in first["note"]
    assert f"{last['output_steps']} steps come first" in found["stages"][1]["note"]
    # The closest one is kept, and can be sampled.
    closest = max(found["stages"], key=lambda s: s["retention"])
    assert load_model(Path(found["model"])).sampler.nfe == closest["output_steps"]
    assert not load_model(Path(found["model"])).card["reached"]
    rows = json.loads(Path(found["tradeoff"]).read_text())["rows"]
    assert sum(r["kind"] == "student" for r in rows) == 4


@pytest.mark.slow
def test_killed_in_mid_stage_it_goes_on_from_its_checkpoint(
    workspace: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(workspace, whole)
    given = {"threshold": 0.01, "iterations": 30, "batch": 16}
    expected = optimize(whole, **given)
    assert expected.returncode == 0, expected.stderr
    process = subprocess.Popen(command(workspace, **given), stdout=subprocess.DEVNULL)
    attempts, deadline = workspace / "optimized" / "attempts", time.monotonic() + 60
    while not list(attempts.glob(f"*/{CHECKPOINT}")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert list(attempts.glob(f"*/{CHECKPOINT}"))
    assert not list(attempts.glob("*/result.json"))
    done = optimize(workspace, **given)
    assert done.returncode == 0, done.stderr
    assert "iterations: 1/30" not in done.stderr
    weights = [
        dict(np.load(path, allow_pickle=False)) if path.suffix == ".npz" else path.read_bytes()
        for path in (
            Path(json.loads(text)["model"]) / "model.safetensors"
            for text in (expected.stdout, done.stdout)
        )
    ]
    assert weights[0] == weights[1]
    assert not list(attempts.glob(f"*/{CHECKPOINT}"))


def test_second_call_opens_what_the_first_one_found(prepared: Path) -> None:
    again = optimize(prepared, threshold=0.01, iterations=1)
    assert json.loads(again.stdout) == json.loads((prepared / "told.json").read_text())
    assert "iterations" not in again.stderr


@pytest.mark.parametrize(
    ("damage", "said"),
    [("truncated", "SHA-256 differs"), ("missing", "lacks"), ("mismatched", "makes images of")],
)
def test_teacher_that_cannot_be_used_is_refused(
    workspace: Path, tmp_path: Path, damage: str, said: str
) -> None:
    (source,) = (workspace / "cache" / "teachers").glob("*")
    teacher = tmp_path / "teacher"
    shutil.copytree(source, teacher)
    weights = teacher / "model.safetensors"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    if damage == "missing":
        weights.unlink()
    words = ["--resolution", "16"] if damage == "mismatched" else []
    done = subprocess.run(
        [*command(workspace), "--teacher", str(teacher), *words], capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert said in done.stderr and "Traceback" not in done.stderr
    assert "features:" not in done.stderr
