"""Start MLX well on this machine: a fast BLAS, an allocator that keeps pages, streams, threads.

The Linux wheel of MLX links the reference BLAS. Symbols of a library loaded with RTLD_GLOBAL
before `mlx.core` win over it, so `start` loads MKL (or OpenBLAS) first; nothing is patched. This
module must therefore run before the first import of MLX, and imports it only inside functions.
``ADO_RUNTIME=stock`` leaves everything as it is found; ``ADO_CORES=n`` bounds the cores used and
``ADO_STREAMS=1`` keeps batches whole.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import logging
import os
import platform
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STOCK = "stock"
WIDTH = "MLX_BFS_MAX_WIDTH"
_WIDE = "1000"  # nodes; the training step of four levels with two blocks fits
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Older glibc accepts at most 32 MiB and returns 0 for more.
_THRESHOLDS = (1 << 30, 1 << 25)

log = logging.getLogger(__name__)


@dataclass
class _State:
    started: bool = False
    mode: str = STOCK
    blas: str = "bundled"  # mkl, openblas, accelerate, or the bundled one of the MLX wheel
    blas_path: str = ""
    allocator: int = 0  # bytes below which freed memory is kept, 0: the system's default
    late: bool = False  # MLX was imported before `start`
    library: ctypes.CDLL | None = None
    all_cores: bool = False


_state = _State()
_local = threading.local()


def start() -> None:
    """Prepare this process for MLX; the second call and later ones do nothing.

    On Linux: load a fast BLAS before MLX, keep freed memory in the process, and keep `mx.compile`
    off where there is no GPU (it calls g++ for each kernel there). macOS needs nothing.
    """
    if _state.started:
        return
    _state.started = True
    _state.late = "mlx.core" in sys.modules
    if sys.platform == "darwin":
        _state.blas = "accelerate"
    if os.environ.get("ADO_RUNTIME", "") == STOCK:
        return
    _state.mode = "tuned"
    if sys.platform == "linux":
        _start_linux()


def _start_linux() -> None:
    _state.allocator = _keep_freed_memory()
    # Threads of Intel's OpenMP spin 200 ms after each call and take the core from what follows.
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    # Equal results whatever the addresses of the arrays, at no cost measured: scores repeat.
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
    if has_cuda():
        # A search visits more shapes than the CUDA back end's caches expect and would be stopped.
        os.environ.setdefault("MLX_ENABLE_CACHE_THRASHING_CHECK", "0")
    else:
        _disable_compile()
        _set_width()
    if _state.late:
        log.warning(
            "mlx was imported before ado_nas, so its bundled BLAS stays and is many times slower; "
            "import ado_nas first"
        )
        return
    if "ADO_CORES" in os.environ:
        os.environ["MKL_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(cores())
    _load_blas()
    if _state.library is None and not has_cuda():
        log.warning("no fast BLAS was found, so MLX runs many times slower here; %s", advice())


def _set_width() -> None:
    """How wide MLX walks a graph: enough that those of two batch streams run beside each other.

    By MLX's own width one runs after the other. A single stream runs as fast by that, in half the
    memory, and so does a worker whose parent had two.
    """
    if _splits():
        os.environ.setdefault(WIDTH, _WIDE)
    elif os.environ.get(WIDTH) == _WIDE:
        del os.environ[WIDTH]


def advice() -> str:
    """How to install a fast BLAS on this machine."""
    if platform.machine() == "x86_64":
        return "install one with `pip install mkl`"
    return "install one with `apt-get install libopenblas0` (or your system's package of OpenBLAS)"


def _disable_compile() -> None:
    if _state.late:
        import mlx.core as mx

        mx.disable_compile()
    os.environ["MLX_DISABLE_COMPILE"] = (
        "1"  # any value disables, and MLX reads it at its first compile
    )


def _load_blas() -> None:
    for kind, path in _candidates():
        try:
            _state.library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            log.debug("%s does not load: %s", path, error)
            continue
        _state.blas, _state.blas_path = kind, path
        return


def _candidates() -> Iterator[tuple[str, str]]:
    """Libraries to try, best first: this environment's MKL, the system's MKL, its OpenBLAS."""
    import ctypes.util

    if platform.machine() == "x86_64":
        for path in sorted(Path(sys.prefix, "lib").glob("libmkl_rt.so*"), reverse=True):
            yield "mkl", str(path)
        yield from (("mkl", path) for path in _installed_mkl())
    for kind, name in (("mkl", "mkl_rt"), ("openblas", "openblas")):
        found = ctypes.util.find_library(name)
        if found:
            yield kind, found


def _installed_mkl() -> list[str]:
    """Where pip put MKL when that is not under `sys.prefix` (``--user``, ``--target``)."""
    import importlib.metadata

    try:
        files = importlib.metadata.files("mkl") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [str(f.locate()) for f in files if f.name.startswith("libmkl_rt.so")]


def _keep_freed_memory() -> int:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return 0
    for size in _THRESHOLDS:
        if mallopt(_M_MMAP_THRESHOLD, size) and mallopt(_M_TRIM_THRESHOLD, size):
            return size
    return 0


def has_cuda() -> bool:
    """Whether MLX here is the CUDA build and an NVIDIA driver is present; does not import MLX."""
    spec = importlib.util.find_spec("mlx")
    if sys.platform != "linux" or spec is None or not spec.submodule_search_locations:
        return False
    driver = any(Path(p).exists() for p in ("/dev/nvidiactl", "/proc/driver/nvidia", "/dev/dxg"))
    return driver and any(
        any(Path(place).parent.glob("mlx_cuda*")) for place in spec.submodule_search_locations
    )


def machine_cores() -> int:
    """Cores the system lets this process use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cores() -> int:
    """Cores this process uses: the machine's, or at most ``ADO_CORES``, each worker's share."""
    wanted = os.environ.get("ADO_CORES", "")
    if _state.all_cores or not wanted.isdecimal():
        return machine_cores()
    return max(1, min(machine_cores(), int(wanted)))


def default_workers() -> int:
    """Processes that train best side by side: two on a Linux CPU with two cores, else one.

    Small networks spend much of a step outside BLAS, which two processes of one core each do
    beside each other and two streams of one process only in part; a GPU serves one at a time.
    """
    return 2 if sys.platform == "linux" and not has_cuda() and cores() > 1 else 1


@contextlib.contextmanager
def core_share(processes: int) -> Iterator[None]:
    """Let processes started in this block use an equal share of cores and memory each."""
    names = ("ADO_CORES", "ADO_MEMORY_SHARES")
    before = {name: os.environ.get(name) for name in names}
    if processes > 1:
        os.environ["ADO_CORES"] = str(max(1, cores() // processes))
        os.environ["ADO_MEMORY_SHARES"] = str(processes)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def memory_share() -> float:
    """The part of this machine's memory budget that is this process's."""
    count = os.environ.get("ADO_MEMORY_SHARES", "")
    return 1 / max(1, int(count)) if count.isdecimal() else 1.0


@contextlib.contextmanager
def all_cores() -> Iterator[None]:
    """Lift ``ADO_CORES`` and ``ADO_STREAMS`` for a block, for one who holds the device alone."""
    before, _state.all_cores = _state.all_cores, True
    try:
        with blas_threads(machine_cores()):
            yield
    finally:
        _state.all_cores = before


def batch_streams() -> list[Any]:
    """Streams to split a batch over, each about one core's worth outside BLAS.

    Two streams of the CPU where MLX runs on a Linux CPU with two cores or more, so that the halves
    of a batch run beside each other (within `training_threads`, as in a `Stepper`); else, or where
    ``ADO_STREAMS`` is 1 and nobody holds the device alone, the default stream.

    Returns:
        `mx.Stream` objects of this thread; the same ones at each call.
    """
    import mlx.core as mx

    on_cpu = mx.default_device().type == mx.DeviceType.cpu
    if sys.platform != "linux" or not on_cpu or _state.mode == STOCK or not _splits():
        return [mx.default_stream(mx.default_device())]
    if not hasattr(_local, "streams"):
        _local.streams = [mx.new_stream(mx.Device(mx.cpu)) for _ in range(2)]
    return list(_local.streams)


def _splits() -> bool:
    """Whether the cores at hand and ``ADO_STREAMS`` let a batch be split."""
    return cores() > 1 and (os.environ.get("ADO_STREAMS") != "1" or _state.all_cores)


def threads() -> int:
    """Threads the loaded BLAS uses for one call; 1 for the bundled one."""
    if _state.library is None:
        return 1
    if _state.blas == "mkl":
        return int(_state.library.MKL_Get_Max_Threads())
    return int(_state.library.openblas_get_num_threads())


def set_threads(count: int) -> int:
    """Let the loaded BLAS use `count` threads from now on, in every stream; no-op without one.

    Returns:
        The number before.
    """
    old = threads()
    if _state.library is not None and count != old:
        mkl = _state.blas == "mkl"
        name = "MKL_Set_Num_Threads" if mkl else "openblas_set_num_threads"
        getattr(_state.library, name)(ctypes.c_int(max(1, count)))
    return old


@contextlib.contextmanager
def blas_threads(count: int) -> Iterator[int]:
    """Hold the BLAS at `count` threads for a block; yields the number before and restores it.

    Work that is queued but not yet evaluated runs with whatever holds when it is evaluated.
    """
    old = set_threads(count)
    try:
        yield old
    finally:
        set_threads(old)


@contextlib.contextmanager
def training_threads(streams: int) -> Iterator[None]:
    """Hold the BLAS for a training step: at one thread where it runs on several streams."""
    with blas_threads(1 if streams > 1 else cores()):
        yield


@contextlib.contextmanager
def metal_limits(budget: int = 0) -> Iterator[dict[str, int]]:
    """Bound MLX's memory, wired memory and buffer cache on Metal while long work runs.

    The default cache limit is most of the machine's memory and makes 16 GB Macs swap; wired memory
    keeps the weights from being paged out. What was there before is restored. Elsewhere nothing
    changes.

    Args:
        budget: bytes that MLX is meant to take; 0 for what Metal recommends.

    Yields:
        The limits set, in bytes by name; empty where none is.
    """
    import mlx.core as mx

    if not mx.metal.is_available() or _state.mode == STOCK:
        yield {}
        return
    facts = mx.device_info()
    recommended = int(facts.get("max_recommended_working_set_size", 0))
    memory = min(budget or recommended, recommended)
    wanted = {
        "memory": memory,
        "cache": min(memory // 2, int(facts.get("memory_size", 0)) // 8),
        "wired": min(memory, recommended // 2),
    }
    setters = {
        "memory": mx.set_memory_limit,
        "cache": mx.set_cache_limit,
        "wired": mx.set_wired_limit,
    }
    before: dict[str, int] = {}
    mx.synchronize()
    try:
        for name, size in wanted.items():
            with contextlib.suppress(ValueError, RuntimeError):  # wired: before macOS 15
                before[name] = setters[name](size)
        yield {name: wanted[name] for name in before}
    finally:
        mx.synchronize()
        for name, size in before.items():
            setters[name](size)


def info() -> dict[str, Any]:
    """What `start` did, as plain values that JSON can hold."""
    return {
        "mode": _state.mode,
        "blas": _state.blas,
        "blas_path": _state.blas_path,
        "blas_threads": threads(),
        "cores": cores(),
        "kept_memory_bytes": _state.allocator,
        "compile": "MLX_DISABLE_COMPILE" not in os.environ,
        "imported_late": _state.late,
    }
