from __future__ import annotations

import json

import pytest

from ado_nas import device


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("applegpu_g13g", (1, "base")),
        ("applegpu_g13s", (1, "Max")),
        ("applegpu_g14d", (2, "Ultra")),
        ("applegpu_g16s", (4, "Max")),
        ("applegpu_g17g", (5, "base")),
        ("x86_64", (0, "")),
        ("sm_90", (0, "")),
    ],
)
def test_chip_reads_generation_and_class(architecture: str, expected: tuple[int, str]) -> None:
    assert device.chip(architecture) == expected


def test_fast_dtype_follows_what_the_chip_computes_natively() -> None:
    assert device.fast_dtype("metal", 2) == "float16"
    assert device.fast_dtype("metal", 3) == "bfloat16"
    assert device.fast_dtype("cpu", 0) == "float32"


def test_tf32_is_told_only_where_products_are_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(kind: str, generation: int) -> device.DeviceProfile:
        return device.DeviceProfile(kind, "", "", generation, 0, "float32", True)

    monkeypatch.delenv("MLX_ENABLE_TF32", raising=False)
    assert [made(*k).tf32 for k in (("cpu", 0), ("metal", 4), ("metal", 5), ("cuda", 0))] == [
        False,
        False,
        True,
        True,
    ]
    monkeypatch.setenv("MLX_ENABLE_TF32", "0")
    assert not made("cuda", 0).tf32


def test_environment_is_flat_json_with_what_every_figure_needs() -> None:
    found = device.environment()
    assert json.loads(json.dumps(found)) == found
    assert {"device", "mlx", "dtype", "threads", "blas", "tf32", "python", "os"} <= found.keys()
    assert found["kind"] in ("metal", "cuda", "cpu")
    assert found["memory_gb"] > 0
