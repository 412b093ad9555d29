"""Functions for child processes to run."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from ado_nas.errors import NegativeVerdict
from studies.processes import Channel


def add(channel: Channel, a: int, b: int) -> int:
    """A sum, with progress, and noise on stdout."""
    print("noise")
    channel.progress("adding", 2, 2)
    return a + b


def refuse(channel: Channel) -> None:
    """A negative verdict."""
    raise NegativeVerdict("the teacher is no good")


def broken(channel: Channel) -> None:
    """A bug."""
    os.environ["NO_SUCH_VARIABLE"]


def die(channel: Channel) -> None:
    """A crash."""
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(channel: Channel, mark: str) -> None:
    """Write the process id, then do nothing for long."""
    Path(mark).write_text(str(os.getpid()))
    time.sleep(300)
