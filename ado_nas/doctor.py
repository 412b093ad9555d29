"""How well this machine is set up, and what would make it better."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import sys
from typing import Any

from ado_nas import runtime
from ado_nas.device import DeviceProfile, environment, profile

EXTRAS = {
    "torch": ("torch", "PyTorch's time beside ours in `benchmark runtime`"),
    "interop": ("diffusers", "checks against Diffusers' schedulers"),
    "postgresql": ("psycopg", "studies on PostgreSQL, for several machines"),
}
"""By name: the module an extra brings, and what it enables."""


def examine() -> dict[str, Any]:
    """Look at device, runtime, memory and extras.

    Returns:
        device, runtime, memory, extras and recommendations, as plain JSON values.
    """
    found, started = profile(), runtime.info()
    return {
        "device": {**dataclasses.asdict(found), "tf32": found.tf32},
        "runtime": started,
        "memory": memory_plan(found),
        "extras": {
            name: {"installed": _installed(module), "enables": enables}
            for name, (module, enables) in EXTRAS.items()
        },
        "environment": environment(),
        "recommendations": recommendations(found, started),
    }


def memory_plan(found: DeviceProfile) -> dict[str, float]:
    """Gigabytes (10^9 bytes): what there is, and on Metal what long work may wire and cache."""
    plan = {"total_gb": round(found.memory_bytes / 1e9, 1)}
    free = _available()
    if free:
        plan["available_gb"] = round(free / 1e9, 1)
    with runtime.metal_limits() as limits:
        plan |= {f"{name}_limit_gb": round(size / 1e9, 1) for name, size in limits.items()}
    return plan


def recommendations(found: DeviceProfile, started: dict[str, Any]) -> list[str]:
    """What to change, the most worthwhile first; empty where all is well."""
    advice = []
    if started["mode"] == runtime.STOCK:
        advice.append("ADO_RUNTIME=stock is set: unset it, MLX runs many times slower with it")
    elif sys.platform == "linux" and found.kind == "cpu" and started["blas"] == "bundled":
        advice.append(f"MLX uses its slow bundled BLAS: {runtime.advice()}")
    if found.kind == "cpu" and shutil.which("nvidia-smi"):
        advice.append(
            "there is an NVIDIA GPU: `uv sync --extra cuda12` (or cuda13) lets MLX use it"
        )
    if found.kind == "cpu" and started["cores"] == 1:
        advice.append("one core: give this process a second one, batches are split over two")
    if found.tf32:
        advice.append("float32 products are rounded to TF32; MLX_ENABLE_TF32=0 makes them exact")
    if 0 < found.memory_bytes < 4e9:
        advice.append("under 4 GB of memory: use --workers 1 and resolutions up to 16")
    return advice


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _available() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError):  # macOS does not tell
        return 0
