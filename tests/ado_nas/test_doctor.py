from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path
from typing import Any

import pytest

from ado_nas import doctor
from ado_nas.device import FAKE, real
from ado_nas.doctor import Patient
from ado_nas.errors import ConfigError
from ado_nas.specs import UNetSpec

FAKES = ("m1", "m2pro", "m3max", "m4", "m5", "cuda", "cpu")
METAL = FAKES[:5]


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What the doctor says of each faked device."""
    found = {}
    for name in FAKES:
        monkeypatch.setenv(FAKE, name)
        found[name] = doctor.examine()
        assert json.loads(json.dumps(found[name])) == found[name]
    return found


def test_seven_fakes_differ_where_the_chips_do(reports: dict[str, dict[str, Any]]) -> None:
    devices = {name: report["device"] for name, report in reports.items()}

    def holds(field: str, **expected: Any) -> None:
        assert {name: devices[name][field] for name in expected} == expected

    # Every one is told from every other.
    assert len({json.dumps(d, sort_keys=True) for d in devices.values()}) == len(FAKES)
    holds("chip_class", m1="base", m2pro="Pro", m3max="Max", m4="base", m5="base", cuda="", cpu="")
    holds("generation", m1=1, m2pro=2, m3max=3, m4=4, m5=5, cuda=0, cpu=0)
    # bfloat16 is emulated before the M3; float16 trains only with a scaled loss; x86 has neither.
    half, brain, full = "float16", "bfloat16", "float32"
    holds("fast_dtype", m1=half, m2pro=half, m3max=brain, m4=brain, m5=brain, cuda=brain, cpu=full)
    holds("dtype", m1=full, m2pro=full, m3max=brain, m4=brain, m5=brain, cuda=brain, cpu=full)
    # Aligned convolutions up to the M4, tensor units of 16x32x16 on the M5, m16n8k16 on CUDA.
    holds("width_multiple", m1=16, m2pro=16, m3max=16, m4=16, m5=32, cuda=16, cpu=8)
    # On CPU g++ is called for each kernel.
    holds("compile", **dict.fromkeys((*METAL, "cuda"), True), cpu=False)
    # Tensor units round float32 products.
    holds("tf32", m1=False, m2pro=False, m3max=False, m4=False, m5=True, cuda=True, cpu=False)
    # Metal's kernels exist for five head dims, two of them not for the M5's tensor units; cuDNN
    # takes multiples of 8; the CPU has none.
    classic = [64, 72, 80, 96, 128]
    holds("fused_head_dims", **dict.fromkeys(METAL[:4], classic), cpu=[])
    holds("fused_head_dims", m5=[64, 96, 128, 72, 80], cuda=list(range(8, 129, 8)))
    # Scalar code for exponentials, depthwise convolutions and halves on a Linux CPU.
    early, none = ["bfloat16"], []
    holds("expensive", m1=early, m2pro=early, m3max=none, m4=none, m5=none, cuda=none)
    holds("expensive", cpu=["exp", "depthwise", "half"])
    assert len({d["memory_budget_bytes"] for d in devices.values()}) >= 5


def test_faked_report_leaves_the_rest_to_this_machine(
    reports: dict[str, dict[str, Any]],
) -> None:
    for report in reports.values():
        assert report["device"]["name"].endswith("(faked)")
        assert report["environment"]["device"] == real().name
        assert report["probe"] is None
        assert report["memory"].keys() == {"total_gb", "budget_gb", "worker_budget_gb"}
        assert any(FAKE in line for line in report["recommendations"])


def test_recommendations_follow_from_the_profile(reports: dict[str, dict[str, Any]]) -> None:
    said = {name: "\n".join(r["recommendations"]) for name, r in reports.items()}
    assert "exponentials (silu, gelu, softmax) cost over ten times a relu" in said["cpu"]
    assert "relu or hardswish" in said["cpu"] and "relu or hardswish" not in said["m1"]
    assert "prefer full convolutions" in said["cpu"]
    assert "leave mx.compile off" in said["cpu"] and "leave mx.compile off" not in said["m4"]
    assert "multiples of 32" in said["m5"] and "multiples of 16" in said["m4"]
    assert "float32 is safer to train in" in said["m2pro"]
    assert "bfloat16 is the fastest type" in said["m3max"]
    assert "head dims 64, 96, 128, 72, 80 (bfloat16) is fused" in said["m5"]
    assert "attention is never fused here" in said["cpu"]
    assert {name for name, text in said.items() if "TF32" in text} == {"m5", "cuda"}
    assert all("ADO-NAS computes in" in text for text in said.values())


def test_real_device_is_probed_and_its_memory_told(
    monkeypatch: pytest.MonkeyPatch, own_lock: Path
) -> None:
    monkeypatch.delenv(FAKE, raising=False)
    found = doctor.examine()
    assert json.loads(json.dumps(found)) == found
    assert found["device"]["name"] == found["environment"]["device"]
    assert found["probe"]["silu against relu"] > 0
    assert 0 < found["memory"]["budget_gb"] <= found["memory"]["total_gb"]
    assert not any(FAKE in line for line in found["recommendations"])


def test_every_extra_is_told_of() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"])
    assert extras - set(doctor.EXTRAS) == {"cuda12", "cuda13"}  # told of where there is a GPU
    assert extras >= set(doctor.EXTRAS)


@pytest.mark.parametrize("budget", [-5.0, math.nan, math.inf])
def test_budget_that_is_none_is_refused(budget: float) -> None:
    with pytest.raises(ConfigError, match=f"memory_budget_mb {budget}: give a positive number"):
        Patient(UNetSpec(), 8, budget)
