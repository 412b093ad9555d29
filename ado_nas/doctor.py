"""How well this machine is set up, what would make it better, and what suits its device."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from typing import Any

from ado_nas import runtime
from ado_nas.device import FAKE, DeviceProfile, available, environment, profile, real
from ado_nas.hardware import EXPENSIVE
from ado_nas.probes import AGAINST, Probe, corrected, probe
from ado_nas.specs import to_dict

EXTRAS = {
    "torch": ("torch", "PyTorch's time beside ours in `benchmark runtime`"),
    "interop": ("diffusers", "checks against Diffusers' schedulers"),
    "postgresql": ("psycopg", "studies on PostgreSQL, for several machines"),
}
"""By name: the module an extra brings, and what it enables."""
INSTEAD = {
    "exp": "prefer relu or hardswish, and linear attention or none",
    "depthwise": "prefer full convolutions where size does not matter",
    "half": "keep float32",
    "bfloat16": "prefer float16 or float32",
}
"""By name of `EXPENSIVE`: what to do about it."""


def examine() -> dict[str, Any]:
    """Look at device, runtime, memory and extras.

    Returns:
        device, probe (measured on the real device; None for a faked one), runtime, memory, extras,
        environment and recommendations, as plain JSON values.

    Raises:
        ConfigError: ``ADO_FAKE_DEVICE`` names no device.
    """
    found, started = profile(), runtime.info()
    measured = None if found.faked else probe(found)
    if measured is not None:
        found = corrected(found, measured)
    return {
        "device": {**to_dict(found), "tf32": found.tf32},
        "probe": None if measured is None else _ratios(measured),
        "runtime": started,
        "memory": memory_plan(found),
        "extras": {
            name: {"installed": _installed(module), "enables": enables}
            for name, (module, enables) in EXTRAS.items()
        },
        "environment": environment(),
        "recommendations": [*recommendations(real(), started), *guidance(found)],
    }


def memory_plan(found: DeviceProfile) -> dict[str, float]:
    """Gigabytes (10^9 bytes): what there is and what to plan for.

    Of a real device also what is available and, on Metal, what long work may wire and cache.
    """
    plan = {
        "total_gb": round(found.memory_bytes / 1e9, 1),
        "budget_gb": round(found.memory_budget_bytes / 1e9, 1),
    }
    if found.faked:
        return plan
    if free := available():
        plan["available_gb"] = round(free / 1e9, 1)
    with runtime.metal_limits() as limits:
        plan |= {f"{name}_limit_gb": round(size / 1e9, 1) for name, size in limits.items()}
    return plan


def recommendations(found: DeviceProfile, started: dict[str, Any]) -> list[str]:
    """What to change on this machine, the most worthwhile first; empty where all is well.

    Args:
        found: the real device.
        started: what the runtime did.
    """
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
    if 0 < found.memory_bytes < 4e9:
        advice.append("under 4 GB of memory: use --workers 1 and resolutions up to 16")
    return advice


def guidance(found: DeviceProfile) -> list[str]:
    """What suits the device, in sentences: types, compiling, widths, heads, costly operations.

    Args:
        found: the device, a faked one too.
    """
    lines = []
    if found.faked:
        lines.append(
            f"{FAKE} is set: device, memory and the advice below are a faked chip's; "
            "all else is this machine"
        )
    lines += [_types(found), _compiling(found)]
    if found.tf32:
        lines.append("float32 products are rounded to TF32; MLX_ENABLE_TF32=0 makes them exact")
    return [
        *lines,
        *_shapes(found),
        *(f"{EXPENSIVE[name]}: {INSTEAD[name]}" for name in found.expensive),
    ]


def _types(found: DeviceProfile) -> str:
    if found.fast_dtype == "float32":
        return "float32 is the fastest type here; ADO-NAS computes in it"
    trained = (
        "" if found.dtype == found.fast_dtype else f", but {found.dtype} is safer to train in"
    )
    return f"{found.fast_dtype} is the fastest type here{trained}; ADO-NAS computes in float32"


def _compiling(found: DeviceProfile) -> str:
    if found.compile:
        return "mx.compile works here; compile one function for each shape and keep it"
    return "leave mx.compile off: it calls a C++ compiler for each kernel here"


def _shapes(found: DeviceProfile) -> list[str]:
    lines = [f"widths that are multiples of {found.width_multiple} fill the arithmetic units"]
    if found.kind == "cpu":
        lines = [f"vectors hold {found.width_multiple} float32 values; no width is ruled out"]
    dims = ", ".join(map(str, found.fused_head_dims))
    if dims:
        return [*lines, f"attention with head dims {dims} ({found.fast_dtype}) is fused"]
    return [*lines, "attention is never fused here: its scores take memory by tokens squared"]


def _ratios(measured: Probe) -> dict[str, Any]:
    dims = measured.fused_head_dims
    return {
        **{AGAINST[name]: round(ratio, 2) for name, ratio in measured.ratios.items()},
        "fused head dims": None if dims is None else list(dims),
        "seconds": round(measured.seconds, 3),
    }


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
