"""How well this machine is set up, what would make it better, and what suits its device."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ado_nas import runtime
from ado_nas.device import FAKE, DeviceProfile, available, environment, profile, real
from ado_nas.errors import ConfigError
from ado_nas.hardware import EXPENSIVE
from ado_nas.measure.predictor import kept_table
from ado_nas.measure.profile import profile_layers
from ado_nas.probes import AGAINST, Probe, corrected, probe
from ado_nas.specs import TaskSpec, UNetSpec, to_dict
from ado_nas.training.plan import MemoryPlan, plan

EXTRAS = {
    "torch": ("torch", "PyTorch's time beside ours in `benchmark runtime`"),
    "interop": ("diffusers", "checks against Diffusers' schedulers"),
    "postgresql": ("psycopg", "studies on PostgreSQL, for several machines"),
    "gp": ("torch", "`search --sampler gp`, a Gaussian process"),
    "rl": ("stable_baselines3", "policies that choose steps by reinforcement learning"),
    "grpc": ("grpc", "many workers on one database, by `proxy`"),
    "s3": ("boto3", "files of a study in a bucket, for several machines"),
}
"""By name: the module an extra brings, and what it enables."""
INSTEAD = {
    "exp": "prefer relu or hardswish, and linear attention or none",
    "depthwise": "prefer full convolutions where size does not matter",
    "half": "keep float32",
    "bfloat16": "prefer float16 or float32",
}
"""By name of `EXPENSIVE`: what to do about it."""


@dataclass(frozen=True)
class Patient:
    """A network to look at, and how it is to be trained."""

    spec: UNetSpec
    batch: int
    budget_mb: float = 0.0  # of the process; 0: its share of the device's
    alone: bool = True  # a teacher; a student trains beside those of a search's other workers
    tables: Path | None = None  # folder of the tables of operators
    sampled: int | None = None  # images at a time; None: as many as it is trained on

    def __post_init__(self) -> None:
        if not 0 <= self.budget_mb < math.inf:
            raise ConfigError(
                f"memory_budget_mb {self.budget_mb}: give a positive number, or leave it out for "
                "a share of this device's"
            )


def examine(patient: Patient | None = None) -> dict[str, Any]:
    """Look at device, runtime, memory and extras, and at a network.

    Args:
        patient: the network; None for none.

    Returns:
        device, probe (measured on the real device; None for a faked one), runtime, memory, extras,
        environment and recommendations, as plain JSON values; with a network also its plan and
        its layers.

    Raises:
        ConfigError: ``ADO_FAKE_DEVICE`` names no device.
        OutOfMemory: the network cannot be trained within the budget; says what would do.
    """
    found, started = profile(), runtime.info()
    measured = None if found.faked else probe(found)
    if measured is not None:
        found = corrected(found, measured)
    advice = [*recommendations(real(), started), *guidance(found)]
    network: dict[str, Any] = {}
    if patient is not None:
        network, more = _looked_at(patient, found)
        advice = [*more, *advice]
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
        **network,
        "recommendations": advice,
    }


def _looked_at(patient: Patient, found: DeviceProfile) -> tuple[dict[str, Any], list[str]]:
    """A network's plan and layers, and what to say of them."""
    spec = patient.spec
    workers = 1 if patient.alone else _workers(found)
    budget = int(patient.budget_mb * 1e6) or share(found, workers)
    made = plan(spec, patient.batch, budget, sampled=patient.sampled)
    # Searches time operators at the batch that they time students at.
    table = kept_table(TaskSpec.latency_batch, patient.tables) if patient.tables else None
    layers = profile_layers(spec, table)
    told = {
        "resolution": made.resolution,
        "batch": made.batch,
        "rows": made.rows,
        "micro_batches": made.micro_batches,
        "checkpointing": made.checkpointing,
        "sampled": made.sampled,
        "budget_mb": round(made.budget / 1e6, 1),
        "process_mb": round(made.process / 1e6, 1),
        "training_mb": round(made.training / 1e6, 3),
        "sampling_mb": round(made.sampling / 1e6, 3),
    }
    network = {"plan": told, "layers": [dataclasses.asdict(layer) for layer in layers]}
    return network, [*planned(made), *_unsuited(spec, found)]


def planned(made: MemoryPlan) -> list[str]:
    """A plan in a sentence, and a second one where sampling does not fit."""
    way = "at once" if made.micro_batches == 1 else f"{made.rows} at a time"
    kept = ", computing blocks again for the gradient" if made.checkpointing else ""
    taken = f"about {made.process / 1e6:.0f} MB of {made.budget / 1e6:.0f} MB"
    trained = f"train {made.batch} images of {made.resolution} px {way}{kept}"
    lines = [f"{trained} and sample {made.sampled}: {taken}"]
    if made.process > made.budget:
        lines.append(f"sampling {made.sampled} at a time takes too much: lower task.quality.batch")
    return lines


def _unsuited(spec: UNetSpec, found: DeviceProfile) -> list[str]:
    """What in a network does not suit the device."""
    lines = []
    if spec.activation in ("silu", "gelu") and "exp" in found.expensive:
        lines.append(f"this network's {spec.activation} is costly here; relu or hardswish is not")
    if spec.conv == "separable" and "depthwise" in found.expensive:
        lines.append("this network's separable convolutions save weights here but little time")
    odd = [w for w in spec.widths if w % found.width_multiple]
    if odd and found.kind != "cpu":
        lines.append(
            f"widths {odd} are no multiples of {found.width_multiple} and leave units idle"
        )
    dims = found.fused_head_dims
    if "full" in spec.attention and dims and spec.head_dim not in dims:
        lines.append(f"attention with head_dim {spec.head_dim} is not fused here; {dims[0]} is")
    return lines


def memory_plan(found: DeviceProfile) -> dict[str, float]:
    """Gigabytes (10^9 bytes): what there is, what to plan for, and what each worker of it has.

    Of a real device also what is available and, on Metal, what long work may wire and cache.
    """
    plan = {
        "total_gb": round(found.memory_bytes / 1e9, 1),
        "budget_gb": round(found.memory_budget_bytes / 1e9, 1),
        "worker_budget_gb": round(share(found, _workers(found)) / 1e9, 1),
    }
    if found.faked:
        return plan
    if free := available():
        plan["available_gb"] = round(free / 1e9, 1)
    with runtime.metal_limits() as limits:
        plan |= {f"{name}_limit_gb": round(size / 1e9, 1) for name, size in limits.items()}
    return plan


def share(found: DeviceProfile, workers: int) -> int:
    """Bytes of a device's budget that each of a search's workers may take."""
    with runtime.core_share(workers):
        return int(found.memory_budget_bytes * runtime.memory_share())


def _workers(found: DeviceProfile) -> int:
    """Of a search, by default."""
    return runtime.default_workers() if found.kind == "cpu" else 1


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
