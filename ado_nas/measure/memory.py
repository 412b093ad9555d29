"""How much memory evaluated work takes: MLX's own buffers, and the whole process."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx

_PHYS_FOOTPRINT = 72  # byte offset of ri_phys_footprint in rusage_info_v0, <sys/resource.h>
_RUSAGE_BYTES = 96


class Peak(NamedTuple):
    """Megabytes (10^6 bytes)."""

    peak_mb: float  # live MLX buffers at their highest, without the allocator's cache
    process_mb: float  # the whole process at its highest, with the interpreter and the cache


def peak(call: Callable[[], Any], own_bytes: int | None = None) -> Peak:
    """The memory one call needs.

    Args:
        call: returns an array or a tree of arrays.
        own_bytes: bytes of the arrays alive before that belong to what is measured, a model's
            weights for one; the others are left out. None counts everything alive.

    Returns:
        Highest MLX memory and process footprint during the call.
    """
    mx.synchronize()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    _forget_process_peak()
    mx.eval(call())
    mx.synchronize()
    highest = max(before, mx.get_peak_memory())
    if own_bytes is not None:
        highest += own_bytes - before
    return Peak(highest / 1e6, process_bytes() / 1e6)


def process_bytes() -> int:
    """The process's footprint: its peak resident set on Linux, physical footprint on macOS."""
    if sys.platform == "darwin":
        return _physical_footprint() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _forget_process_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM to the present
    except OSError:
        return


def _physical_footprint() -> int:
    """`ri_phys_footprint` of this process, 0 where libproc does not answer."""
    buffer = ctypes.create_string_buffer(_RUSAGE_BYTES)
    try:
        libproc = ctypes.CDLL("/usr/lib/libproc.dylib")
        failed = libproc.proc_pid_rusage(os.getpid(), 0, buffer)
    except (OSError, AttributeError):
        return 0
    place = buffer.raw[_PHYS_FOOTPRINT : _PHYS_FOOTPRINT + 8]
    return 0 if failed else int.from_bytes(place, sys.byteorder)
