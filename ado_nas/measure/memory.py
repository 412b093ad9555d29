"""How much memory evaluated work takes: MLX's own buffers, and the whole process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx

from ado_nas.device import own_memory

_PHYS_FOOTPRINT = 72  # byte offset of ri_phys_footprint in rusage_info_v0, <sys/resource.h>
_RUSAGE_BYTES = 96
# What a heap takes beside the arrays in it: by the peaks of 30 networks on a Linux CPU.
_HEAP = 1.2
_SPACE = 25_000_000


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


def process_bytes_of(arrays: int, outside: int) -> int:
    """The footprint of a process whose MLX arrays take so many bytes at their highest.

    On CUDA, in the GPU's memory: of the arrays alone.

    Args:
        arrays: peak of MLX's memory.
        outside: as `outside_bytes` tells.
    """
    return arrays if own_memory() else int(outside + _HEAP * arrays + _SPACE)


def arrays_within(process: int, outside: int) -> int:
    """The peak of MLX's memory that a process of so many bytes has room for; 0 where none is.

    On CUDA, where bytes are of the GPU's memory, that is all of them.
    """
    if own_memory():
        return process
    return max(0, int((process - outside - _SPACE) / _HEAP))


def outside_bytes() -> int:
    """What the process holds beside MLX's arrays and their cache: interpreter, libraries, data.

    On CUDA 0, where bytes are of the GPU's memory.
    """
    if own_memory():
        return 0
    mx.synchronize()
    _trim()
    return max(0, _present_bytes() - mx.get_active_memory() - mx.get_cache_memory())


def _present_bytes() -> int:
    if sys.platform == "darwin":
        return _physical_footprint()
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _trim() -> None:
    """Give back what the heap keeps for later, or it would count as in use."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # a C library without it
            ctypes.CDLL(None).malloc_trim(0)


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
