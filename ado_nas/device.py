"""What the chip at hand is, and what that means for a model."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import re
import sys
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from ado_nas import runtime

# Apple's GPU generations by chip: applegpu_g13g is an M1, g17s an M5 Max.
_FIRST_MAC_GENERATION = 13
_CLASSES = {"p": "phone", "g": "base", "s": "Max", "c": "Max", "d": "Ultra"}


@dataclass(frozen=True)
class DeviceProfile:
    """The device MLX runs on by default.

    `generation` is 1 for an M1, 5 for an M5, and 0 where the chip is not Apple's. `fast_dtype` is
    the narrowest type the chip computes at full speed.
    """

    kind: str  # metal, cuda or cpu
    name: str
    architecture: str
    generation: int
    memory_bytes: int
    fast_dtype: str
    compile: bool

    @property
    def tf32(self) -> bool:
        """Whether float32 products are rounded to TF32 on the way in."""
        able = self.kind == "cuda" or (self.kind == "metal" and self.generation >= 5)
        return able and os.environ.get("MLX_ENABLE_TF32", "1") != "0"


def chip(architecture: str) -> tuple[int, str]:
    """Generation and class of an Apple chip.

    Args:
        architecture: as MLX gives it, such as ``applegpu_g16s``.

    Returns:
        (4, "Max"); (0, "") where it is not one of the M series.
    """
    match = re.fullmatch(r"applegpu_g(\d+)([a-z])", architecture)
    if not match:
        return 0, ""
    generation = int(match[1]) - _FIRST_MAC_GENERATION + 1
    return max(0, generation), _CLASSES.get(match[2], "")


@functools.cache
def profile() -> DeviceProfile:
    """The default device of this process."""
    device = mx.default_device()
    facts = mx.device_info(device)
    kind = "cpu"
    if device.type == mx.DeviceType.gpu:
        kind = "metal" if mx.metal.is_available() else "cuda"
    architecture = str(facts.get("architecture", platform.machine()))
    generation, _ = chip(architecture)
    return DeviceProfile(
        kind=kind,
        name=str(facts.get("device_name", platform.processor() or "unknown")),
        architecture=architecture,
        generation=generation,
        memory_bytes=int(facts.get("memory_size", facts.get("total_memory", _memory()))),
        fast_dtype=fast_dtype(kind, generation),
        compile=kind != "cpu",
    )


def fast_dtype(kind: str, generation: int) -> str:
    """The narrowest type at full speed: M1 and M2 emulate bfloat16, CPUs emulate both halves."""
    if kind == "metal":
        return "bfloat16" if generation >= 3 else "float16"
    return "bfloat16" if kind == "cuda" else "float32"


def environment() -> dict[str, Any]:
    """What every figure is recorded with, as flat JSON values.

    Returns:
        device, kind, architecture, memory_gb, mlx, dtype, tf32, compile, cores, threads, blas,
        runtime, python and os.
    """
    found, started = profile(), runtime.info()
    return {
        "device": found.name,
        "kind": found.kind,
        "architecture": found.architecture,
        "memory_gb": round(found.memory_bytes / 1e9, 1),
        "mlx": importlib.metadata.version("mlx"),
        "dtype": "float32",
        "tf32": found.tf32,
        "compile": found.compile and started["compile"],
        "cores": runtime.machine_cores(),
        "threads": started["blas_threads"],
        "blas": started["blas"],
        "runtime": started["mode"],
        "python": platform.python_version(),
        "os": f"{platform.system()} {platform.release()}"
        if sys.platform != "darwin"
        else _macos(),
    }


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _macos() -> str:
    return f"macOS {platform.mac_ver()[0]}"
