"""Functions for child processes to run."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from ado_nas.errors import NegativeVerdict
from ado_nas.files import replacing
from studies.liveness import alive
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


def live(channel: Channel, mark: str, tell: bool = False) -> None:
    """Be a worker, write down the process id and the worker's name, then do nothing for long."""
    with alive() as name:
        if tell:
            channel.send("worker", name)
        with replacing(Path(mark)) as partial:
            partial.write_text(f"{os.getpid()} {name}")
        time.sleep(300)
