"""One device, many processes: those who train share it, the one who times has it alone.

Two `flock`s in a folder of this machine and user. Whoever wants the device alone first closes the
turnstile, so that nobody new starts to share, and then waits for those who do. The system gives a
lock back when its process dies. No MLX is imported here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

_local = threading.local()


class _Handles:
    """The two open lock files of one thread, and how it holds them."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.process = os.getpid()
        self.shared = 0  # depth of `shared` blocks
        self.exclusive = 0
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.turnstile, self.device = (_open(place / n) for n in ("turnstile.lock", "device.lock"))
        for handle in (self.turnstile, self.device):
            weakref.finalize(self, _close, handle, self.process)


def folder() -> Path:
    """Where the lock files lie: per machine and user, whatever the workspace."""
    return Path(tempfile.gettempdir()) / f"ado-nas-{os.getuid()}"


@contextlib.contextmanager
def shared() -> Iterator[None]:
    """Hold the device together with others who share it; waits while somebody has it alone.

    Take and give it up each training iteration: that costs microseconds and lets the timer in.
    """
    own = _handles()
    if own.shared == 0 and own.exclusive == 0:
        _take_shared(own)
    own.shared += 1
    try:
        yield
    finally:
        own.shared -= 1
        if own.shared == 0 and own.exclusive == 0:
            fcntl.flock(own.device, fcntl.LOCK_UN)


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """Have the device alone; waits for those who hold it, while nobody new gets in.

    Inside a `shared` block of the same thread the share is given up and taken again afterwards.
    """
    own = _handles()
    if own.exclusive == 0:
        _take_exclusive(own)
    own.exclusive += 1
    try:
        yield
    finally:
        own.exclusive -= 1
        if own.exclusive == 0:
            fcntl.flock(own.device, fcntl.LOCK_UN)
            fcntl.flock(own.turnstile, fcntl.LOCK_UN)
            if own.shared:
                _take_shared(own)


def _take_shared(own: _Handles) -> None:
    fcntl.flock(own.turnstile, fcntl.LOCK_SH)
    try:
        fcntl.flock(own.device, fcntl.LOCK_SH)
    finally:
        fcntl.flock(own.turnstile, fcntl.LOCK_UN)


def _take_exclusive(own: _Handles) -> None:
    if own.shared:
        # Two who hold a share and wait for the other's would wait for ever.
        fcntl.flock(own.device, fcntl.LOCK_UN)
    try:
        fcntl.flock(own.turnstile, fcntl.LOCK_EX)
        fcntl.flock(own.device, fcntl.LOCK_EX)
    except BaseException:
        fcntl.flock(own.turnstile, fcntl.LOCK_UN)
        if own.shared:
            _take_shared(own)
        raise


def _handles() -> _Handles:
    own: _Handles | None = getattr(_local, "handles", None)
    place = folder()
    # A forked child must not share the parent's open files: a lock belongs to the open file.
    if own is None or own.process != os.getpid() or own.place != place:
        own = _local.handles = _Handles(place)
    return own


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _close(handle: int, process: int) -> None:
    if os.getpid() == process:
        os.close(handle)
