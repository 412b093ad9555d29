"""What the chip at hand is, and what that means for a model.

``ADO_FAKE_DEVICE`` (m1, m2pro, m3max, m4, m5, cuda, cpu) makes `profile` conclude from what the
system would say of such a machine. Arrays still run on the real one, and `environment`, which is
recorded with every figure, always tells the real one. Nothing here was ever run on Metal.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from ado_nas import chips, runtime
from ado_nas.chips import Seen
from ado_nas.hardware import Hardware

FAKE = "ADO_FAKE_DEVICE"
SHARES = {
    "metal": (0.75, "of the working set that Metal recommends"),
    "cuda": (0.9, "of the GPU's memory that was free"),
    "cpu": (0.8, "of the memory that was available"),
}
"""By kind: the part of memory to plan for; the rest is for caches and other programs."""
_UNTOLD = (0.5, "of the memory there is; how much is free is not told")


@dataclass(frozen=True)
class DeviceProfile:
    """The device MLX runs on by default.

    `generation` is 1 for an M1, 5 for an M5, and 0 where the chip is not Apple's; `chip_class` is
    base, Pro, Max, Ultra or phone, and empty elsewhere. `expensive` are names of
    `hardware.EXPENSIVE`.
    """

    kind: str  # metal, cuda or cpu
    name: str
    architecture: str
    generation: int
    memory_bytes: int
    fast_dtype: str  # the narrowest type at full speed
    compile: bool
    rounds: bool = False  # has units that round float32 products to TF32
    chip_class: str = ""
    dtype: str = "float32"  # to train in
    width_multiple: int = 1  # channels that fill the matrix unit
    fused_head_dims: tuple[int, ...] = ()  # in fast_dtype, fastest first
    memory_budget_bytes: int = 0  # what to plan for
    expensive: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what was assumed, and what else to know, in sentences
    faked: bool = False

    @property
    def tf32(self) -> bool:
        """Whether float32 products are rounded to TF32 on the way in."""
        return self.rounds and os.environ.get("MLX_ENABLE_TF32", "1") != "0"

    @property
    def hardware(self) -> Hardware:
        """What the search must know of it."""
        return Hardware(
            kind=self.kind,
            dtype=self.dtype,
            width_multiple=self.width_multiple,
            fused_head_dims=self.fused_head_dims,
            expensive=self.expensive,
            memory_budget_bytes=self.memory_budget_bytes,
        )


def profile() -> DeviceProfile:
    """The default device of this process, or the one that ``ADO_FAKE_DEVICE`` names.

    Raises:
        ConfigError: it names none.
    """
    name = os.environ.get(FAKE, "")
    return describe(chips.fake(name)) if name else real()


@functools.cache
def real() -> DeviceProfile:
    """The default device of this process, whatever ``ADO_FAKE_DEVICE`` says; asked for once."""
    return describe(seen())


def own_memory() -> bool:
    """Whether arrays are in a GPU's memory, where nothing else of the process is."""
    return real().kind == "cuda"


def seen() -> Seen:
    """What the system says of the default device."""
    device = mx.default_device()
    kind = "cpu"
    if device.type == mx.DeviceType.gpu:
        kind = "metal" if mx.metal.is_available() else "cuda"
    return Seen(
        kind=kind,
        facts=mx.device_info(device),
        system=platform.system(),
        version=macos_version(platform.mac_ver()[0]),
        machine=platform.machine(),
        total_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        free_bytes=available(),
    )


def describe(seen: Seen) -> DeviceProfile:
    """Conclude what a device means for a model.

    Args:
        seen: what the system says of it.

    Returns:
        Its profile; an unknown chip gets the nearest known one's, with a note.
    """
    facts = seen.facts
    architecture = str(facts.get("architecture", seen.machine))
    name = str(facts.get("device_name", "") or platform.processor() or "unknown")
    generation, chip_class = (0, "")
    if seen.kind == "metal":
        generation, chip_class = chips.generation_and_class(architecture, name)
    chip = chips.known(seen, generation, chip_class)
    budget, note = memory_budget(seen)
    return DeviceProfile(
        kind=seen.kind,
        name=f"{name} (faked)" if seen.faked else name,
        architecture=architecture,
        generation=generation,
        memory_bytes=int(facts.get("memory_size", facts.get("total_memory", seen.total_bytes))),
        fast_dtype=chip.fast_dtype,
        compile=chip.compile,
        rounds=chip.rounds,
        chip_class=chip_class,
        dtype=chip.dtype,
        width_multiple=chip.width_multiple,
        fused_head_dims=chip.fused_head_dims,
        memory_budget_bytes=budget,
        expensive=chip.expensive,
        notes=(*chip.notes, note),
        faked=seen.faked,
    )


def memory_budget(seen: Seen) -> tuple[int, str]:
    """Bytes to plan for, and the sentence that says what share of what they are.

    Args:
        seen: what the system says.

    Returns:
        The share of `SHARES`; half of all memory where the system tells no more.
    """
    told = {
        "metal": int(seen.facts.get("max_recommended_working_set_size", 0)),
        "cuda": int(seen.facts.get("free_memory", 0)),
        "cpu": seen.free_bytes,
    }[seen.kind]
    share, what = SHARES[seen.kind] if told else _UNTOLD
    memory = told or int(seen.facts.get("memory_size", seen.total_bytes))
    return int(share * memory), f"the memory budget is {share:.0%} {what}"


def environment() -> dict[str, Any]:
    """What every figure is recorded with, as flat JSON values: the real device, never a faked one.

    Returns:
        device, kind, architecture, memory_gb, mlx, dtype, tf32, compile, cores, threads, blas,
        runtime, python and os.
    """
    found, started = real(), runtime.info()
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
        else f"macOS {platform.mac_ver()[0]}",
    }


def timed_on() -> dict[str, Any]:
    """What a timing holds for: `environment` without the threads, which are a worker's share."""
    return {k: v for k, v in environment().items() if k != "threads"}


def macos_version(text: str) -> tuple[int, ...]:
    """A macOS version as numbers; empty off a Mac.

    A Python built for older systems is told 16 for 26, and no macOS is called 16.
    """
    numbers = tuple(int(part) for part in text.split(".") if part.isdecimal())
    return (26, *numbers[1:]) if numbers[:1] == (16,) else numbers


def available() -> int:
    """Bytes of memory that programs can still have; 0 where the system does not tell (macOS)."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    told = dict(line.split(":", 1) for line in lines if ":" in line)
    words = told.get("MemAvailable", "").split()
    free = int(words[0]) * 1024 if words else 0
    left = group_left()
    return free if left is None else min(free, left)


def group_left(
    groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> int | None:
    """Bytes that this process's control group may still take; None where it is not bounded.

    Args:
        groups: where control groups of version 2 are mounted.
        own: names the process's.
    """
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError):
        path = next(x[3:] for x in own.read_text().splitlines() if x.startswith("0::"))
        place = groups / path.strip("/")
        for folder in (place, *place.parents):  # a container sees its own as the root
            if not folder.is_relative_to(groups):
                break
            with contextlib.suppress(OSError, ValueError):  # "max" is no bound
                bound = int((folder / "memory.max").read_text())
                used = int((folder / "memory.current").read_text())
                told = dict(x.split() for x in (folder / "memory.stat").read_text().splitlines())
                found.append(max(0, bound - used + int(told.get("inactive_file", 0))))
    return min(found, default=None)
