"""Which workers of this machine live: each holds a lock that its death gives back.

Whoever ends in order takes the lock's file along: one that lies there unlocked tells of a sudden
death.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ado_nas.measure import lock

_own: set[Path] = set()  # the files of this process


def machine() -> str:
    """The name of this machine, told apart from others of the same name by a token on its disk."""
    path = lock.folder() / "machine"
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent) as file:
            file.write(secrets.token_hex(4))
            file.flush()
            with contextlib.suppress(FileExistsError):
                os.link(file.name, path)  # whole at once, and the first one's
    return f"{socket.gethostname()}.{path.read_text()}"


@contextlib.contextmanager
def alive() -> Iterator[str]:
    """Be a worker that others can see.

    Yields:
        Its name: the machine's and a token.
    """
    token = secrets.token_hex(6)
    path = _path(token)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    _own.add(path)
    try:
        yield f"{machine()}/{token}"
    finally:
        _own.discard(path)
        path.unlink(missing_ok=True)
        os.close(handle)


def resign() -> None:
    """End in order, as when a parent has died: nobody is to look for the cause here."""
    while _own:
        _own.pop().unlink(missing_ok=True)


def excuse(worker: str) -> None:
    """Let a worker of this machine that was ended on purpose count as one that ended in order."""
    _path(worker.rpartition("/")[2]).unlink(missing_ok=True)


def killed(worker: str) -> bool:
    """Whether a dead worker of this machine ended suddenly, alone or with all of the machine."""
    return _path(worker.rpartition("/")[2]).exists()


def lives(worker: str) -> bool | None:
    """Whether a worker still runs.

    Args:
        worker: its name.

    Returns:
        True or False on this machine; None for a worker of another one, which cannot be seen.
    """
    host, _, token = worker.rpartition("/")
    if host != machine():
        return None
    try:
        handle = os.open(_path(token), os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _path(token: str) -> Path:
    return lock.folder() / "workers" / f"{Path(token).name}.lock"
