from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from ado_nas.specs import SamplerSpec, TaskSpec, TeacherSpec, UNetSpec
from benchmarks import BENCHMARKS, find
from benchmarks.runtime import ROWS, compare, difference
from benchmarks.workloads import mlx_work, torch_work, write_inputs

SPECS = [
    UNetSpec(8, 1, 1, (8, 16), attention=("none", "full"), head_dim=8, num_classes=3),
    UNetSpec(16, 3, 2, (8, 8, 16), (1, 2, 1), ("full", "none", "none"), 4, activation="hardswish"),
    UNetSpec(8, 1, 1, (8, 16), attention=("none", "none"), middle=False, activation="gelu"),
]


def small(unet: UNetSpec) -> TaskSpec:
    return TaskSpec(
        teacher=TeacherSpec(unet=unet, batch=8, iterations=10),
        reference=SamplerSpec(),
        latency_batch=4,
    )


def test_every_benchmark_listed_can_be_found() -> None:
    for name, entry in BENCHMARKS.items():
        assert callable(find(name))
        assert entry.minutes > 0


@pytest.mark.parametrize("unet", SPECS)
def test_torch_twin_computes_what_the_network_does(unet: UNetSpec, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the extra `torch` is not installed")
    task = small(unet)
    write_inputs(task, 3, 0, tmp_path)
    with np.load(tmp_path / "inputs.npz") as file:
        inputs = dict(file)
    ours, theirs = mlx_work(task, inputs), torch_work(task, inputs)
    a, b = ours["outputs"](), theirs["outputs"]()
    assert a is not None and b is not None
    assert a.keys() == b.keys()
    assert float(np.abs(a["images"]).max()) > 1e-2
    assert difference(a, b, "step") < 1e-4
    assert difference(a, b, "sample") < 1e-4


def test_rows_hold_ratios_and_equal_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.runtime.importlib.util.find_spec", lambda _name: None)
    shown: list[tuple[str, int, int]] = []
    rows = compare(small(SPECS[0]), ROWS, 0, lambda *news: shown.append(news[:3]), rounds=1)
    assert [row["name"] for row in rows] == ["training step", "sampling pass"]
    assert [row["batch"] for row in rows] == [8, 4]
    for row in rows:
        assert row["max_difference"] < 1e-4
        assert row["ratio"] == pytest.approx(row["stock_ms"] / row["ours_ms"])
        assert (row["torch_ms"], row["torch_ratio"], row["torch_difference"]) == (None,) * 3
    assert shown[-1] == ("runtime", 2, 2)


def test_difference_is_relative_to_the_largest_value_of_its_group() -> None:
    base = {"loss": np.array(2.0), "images": np.ones(3), "gradient.a": np.array([4.0, 0.0])}
    other = {**base, "gradient.b": np.array([1.0])}
    changed = {**other, "gradient.b": np.array([1.2])}
    assert math.isclose(difference(changed, other, "step"), 0.05)
    assert difference(changed, other, "sample") == 0
