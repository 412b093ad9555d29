"""The attention benchmark at small sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.errors import ConfigError
from ado_nas.models import attend
from ado_nas.progress import silent
from benchmarks.attention import KINDS, WINDOW, run, windowed


def rows(tmp_path: Path, row: int | None = None) -> list[dict[str, Any]]:
    found = run(
        seed=0, row=row, workspace=tmp_path, progress=silent, pixels=(16, 64), evaluations=2
    )
    return list(found["rows"])


def test_rows_cover_kinds_sizes_and_passes(tmp_path: Path, own_lock: Path) -> None:
    found = rows(tmp_path)
    cases = {(r["kind"], r["n"], r["pass"]) for r in found}
    assert cases == {(k, n, p) for k in KINDS for n in (16, 64) for p in ("forward", "gradient")}
    assert all(r["time_ms"] > 0 and r["iqr_ms"] >= 0 for r in found)
    inputs_mb = 4 * 2 * 16 * 16 * 4 / 1e6
    assert all(r["peak_memory_mb"] > inputs_mb for r in found)
    by_case = {(r["kind"], r["n"], r["pass"]): r["peak_memory_mb"] for r in found}
    assert by_case["naive", 64, "gradient"] > by_case["naive", 64, "forward"]


def test_row_alone_is_the_same_case(tmp_path: Path, own_lock: Path) -> None:
    (alone,) = rows(tmp_path, 7)
    case = [rows(tmp_path)[7][key] for key in ("kind", "n", "pass", "fused")]
    assert [alone[key] for key in ("kind", "n", "pass", "fused")] == case


def test_fused_says_what_this_device_does(tmp_path: Path, own_lock: Path) -> None:
    if mx.default_device() == mx.Device(mx.cpu):
        assert not any(r["fused"] for r in rows(tmp_path))


@pytest.mark.parametrize("shifted", [False, True])
def test_windowed_attends_within_its_squares(shifted: bool) -> None:
    q, k, v = (mx.random.normal((2, 3, 64, 4), key=mx.random.key(i)) for i in range(3))
    place = (np.arange(8) + (WINDOW - WINDOW // 2 if shifted else 0)) // WINDOW
    label = (place[:, None] * 8 + place).ravel()
    mask = mx.array(label[:, None] == label)
    difference = mx.abs(windowed(q, k, v, shifted) - attend.fused(q, k, v, mask)).max()
    assert float(difference) < 1e-5


def test_unknown_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="row 24: give 0 to 23"):
        rows(tmp_path, 24)
