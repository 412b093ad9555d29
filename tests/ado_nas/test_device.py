from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from ado_nas import chips, device
from ado_nas.chips import Seen
from ado_nas.errors import ConfigError
from ado_nas.hardware import EXPENSIVE
from ado_nas.specs import from_dict, to_dict

FAKES = ("m1", "m2pro", "m3max", "m4", "m5", "cuda", "cpu")


def profile_of(name: str, **changes: Any) -> device.DeviceProfile:
    return device.describe(replace(chips.fake(name), **changes))


def named(name: str, device_name: str, architecture: str, **changes: Any) -> device.DeviceProfile:
    """A fake's profile, where `mx.device_info` names another chip."""
    facts = {**chips.fake(name).facts, "device_name": device_name, "architecture": architecture}
    return profile_of(name, facts=facts, **changes)


@pytest.mark.parametrize(
    ("architecture", "name", "expected"),
    [
        ("applegpu_g13g", "Apple M1", (1, "base")),
        ("applegpu_g13s", "", (1, "Max")),
        ("applegpu_g13s", "Apple M1 Pro", (1, "Pro")),  # the letter is that of a Max
        ("applegpu_g14d", "Apple M2 Ultra", (2, "Ultra")),
        ("applegpu_g16s", "Apple M4 Max", (4, "Max")),
        ("applegpu_g17g", "", (5, "base")),
        ("applegpu_g17p", "Apple A18 Pro GPU", (5, "phone")),
        ("", "Apple M3 Pro", (3, "Pro")),
        ("x86_64", "", (0, "")),
        ("sm_90", "NVIDIA H200", (0, "")),
    ],
)
def test_chip_has_its_generation_by_architecture_and_its_class_by_name(
    architecture: str, name: str, expected: tuple[int, str]
) -> None:
    assert chips.generation_and_class(architecture, name) == expected


def test_profile_is_read_from_what_mlx_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole M2 Ultra, faked at `mx.device_info` itself."""
    facts = {
        "device_name": "Apple M2 Ultra",
        "architecture": "applegpu_g14d",
        "memory_size": 192 << 30,
        "max_recommended_working_set_size": 144 << 30,
    }
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu))
    monkeypatch.setattr(mx, "device_info", lambda d=None: facts)
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    monkeypatch.setattr(device.platform, "mac_ver", lambda: ("15.5", ("", "", ""), "arm64"))
    found = device.describe(device.seen())
    assert (found.kind, found.generation, found.chip_class) == ("metal", 2, "Ultra")
    assert (found.memory_bytes, found.memory_budget_bytes) == (192 << 30, 108 << 30)
    assert (found.dtype, found.fast_dtype, found.compile) == ("float32", "float16", True)
    assert not any("mx.compile" in note for note in found.notes)  # that is base and Pro alone


def test_profile_of_the_real_device_is_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(device.FAKE, raising=False)
    best = 9.0  # of several, for other tests run beside this one
    for _ in range(5):
        device.real.cache_clear()
        start = time.perf_counter()
        found = device.profile()
        best = min(best, time.perf_counter() - start)
    assert best < 0.05
    assert (found.faked, found) == (False, device.real())
    assert 0 < found.memory_budget_bytes < found.memory_bytes


def test_faked_profile_says_so_and_leaves_every_figure_to_the_real_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = device.environment()
    for name in FAKES:
        monkeypatch.setenv(device.FAKE, name)
        found = device.profile()
        assert found.faked and found.name.endswith("(faked)")
        assert device.environment() == before
    monkeypatch.delenv(device.FAKE)
    assert not device.profile().faked


def test_fake_that_is_unknown_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(device.FAKE, "m2-pro")
    with pytest.raises(ConfigError, match=r"'m2-pro' is no device; did you mean 'm2pro'\?"):
        device.profile()
    assert device.environment()["device"] == device.real().name


def test_m5_rounds_and_has_tensor_units_from_macos_26_2_on() -> None:
    new, old = profile_of("m5"), profile_of("m5", version=(26, 1))
    assert (new.rounds, new.width_multiple) == (True, 32)
    assert (old.rounds, old.width_multiple, old.dtype) == (False, 16, "bfloat16")
    assert any("from macOS 26.2 on" in note for note in old.notes)


def test_phone_chips_are_numbered_one_generation_ahead() -> None:
    """MLX asks for generation 18 of a phone's chip where 17 does of a Mac's."""
    assert not named("m5", "Apple A18 Pro GPU", "applegpu_g17p").rounds
    assert named("m5", "Apple A19 Pro GPU", "applegpu_g18p").rounds


def test_macos_26_is_seen_when_an_older_python_is_told_16() -> None:
    assert device.macos_version("16.2") == device.macos_version("26.2") == (26, 2)
    assert device.macos_version("15.7.1") == (15, 7, 1)
    assert device.macos_version("") == ()


@pytest.mark.parametrize(
    ("fake", "name", "architecture", "like", "said"),
    [
        ("m5", "Apple M6", "applegpu_g18g", "m5", "Apple M6 is unknown: taken for an M5"),
        ("m5", "Apple Paravirtual device", "", "m1", "taken for an M1"),
        (
            "cuda",
            "NVIDIA B200",
            "sm_100",
            "cuda",
            "sm_100 is unknown: taken for compute capabilit",
        ),
        ("cuda", "NVIDIA RTX 5090", "sm_120", "cuda", "capability 9.0, the nearest known"),
    ],
)
def test_unknown_chip_is_taken_for_the_nearest_with_a_note(
    fake: str, name: str, architecture: str, like: str, said: str
) -> None:
    found, known = named(fake, name, architecture), profile_of(like)
    assert said in "; ".join(found.notes)
    for field in ("dtype", "fast_dtype", "width_multiple", "fused_head_dims", "rounds"):
        assert getattr(found, field) == getattr(known, field), field


def test_turing_has_neither_tf32_nor_bfloat16_nor_fused_attention() -> None:
    found = named("cuda", "Tesla T4", "sm_75")
    assert (found.fast_dtype, found.rounds, found.fused_head_dims) == ("float16", False, ())
    assert "bfloat16" in found.expensive


def test_cpu_facts_follow_the_system_and_the_machine() -> None:
    arm = profile_of("cpu", machine="aarch64")
    mac = profile_of("cpu", system="Darwin", machine="arm64", free_bytes=0)
    assert (arm.width_multiple, arm.expensive) == (4, ("exp", "depthwise", "half"))
    assert mac.expensive == ("depthwise",)  # Accelerate has vectors for exp and float16
    assert mac.memory_budget_bytes == mac.memory_bytes // 2
    assert "riscv64 is unknown" in profile_of("cpu", machine="riscv64").notes[0]


def test_memory_budget_is_the_stated_share_of_what_the_system_tells() -> None:
    for name, told in (
        ("m4", chips.FAKES["m4"].facts["max_recommended_working_set_size"]),
        ("cuda", chips.FAKES["cuda"].facts["free_memory"]),
        ("cpu", chips.FAKES["cpu"].free_bytes),
    ):
        found = profile_of(name)
        share = device.SHARES[found.kind][0]
        assert found.memory_budget_bytes == int(share * int(told))
        assert f"{share:.0%}" in found.notes[-1]


def test_tf32_is_told_only_where_products_are_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLX_ENABLE_TF32", raising=False)
    told = {name: profile_of(name).tf32 for name in FAKES}
    assert {name for name, rounded in told.items() if rounded} == {"m5", "cuda"}
    monkeypatch.setenv("MLX_ENABLE_TF32", "0")
    assert not profile_of("cuda").tf32


def test_hardware_holds_what_the_search_needs_and_survives_the_round_trip() -> None:
    for name in FAKES:
        found = profile_of(name)
        hardware = found.hardware
        plain = json.loads(json.dumps(to_dict(hardware)))
        assert from_dict(type(hardware), plain) == hardware
        assert to_dict(hardware).items() <= to_dict(found).items()


def test_tables_use_the_fixed_words() -> None:
    rows = [*chips.METAL.values(), *chips.CUDA.values(), *chips.CPU.values()]
    assert {name for row in rows for name in row.expensive} == set(EXPENSIVE)
    assert {row.dtype for row in rows} == {"float32", "bfloat16"}  # halves need a scaled loss


def test_environment_is_flat_json_with_what_every_figure_needs() -> None:
    found = device.environment()
    assert json.loads(json.dumps(found)) == found
    assert {"device", "mlx", "dtype", "threads", "blas", "tf32", "python", "os"} <= found.keys()
    assert found["kind"] in ("metal", "cuda", "cpu")
    assert found["memory_gb"] > 0


def test_nothing_is_said_of_free_memory_when_the_system_does_not_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "Path", lambda _: _Missing())
    assert device.available() == 0
    bare = Seen("cpu", {}, "Linux", machine="x86_64", total_bytes=1 << 30)
    assert device.describe(bare).memory_budget_bytes == 1 << 29


class _Missing:
    def read_text(self) -> str:
        raise FileNotFoundError


def test_control_group_bounds_what_is_available(tmp_path: Path) -> None:
    own, inner = tmp_path / "own", tmp_path / "groups" / "a" / "b"
    own.write_text("3:cpu:/\n0::/a/b\n")
    inner.mkdir(parents=True)
    told = {"memory.max": "max", "memory.current": "5", "memory.stat": "inactive_file 1\n"}
    for name, text in told.items():
        (inner / name).write_text(text)
    assert device.group_left(tmp_path / "groups", own) is None
    for name, text in {**told, "memory.max": "100", "memory.current": "70"}.items():
        (inner.parent / name).write_text(text)
    assert device.group_left(tmp_path / "groups", own) == 31
    assert device.group_left(tmp_path / "groups", tmp_path / "missing") is None
