"""Spawned processes that report to their parent and never outlive it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import connection
from typing import Any, NoReturn

from ado_nas import errors
from ado_nas.progress import Progress
from studies.liveness import resign

_context = multiprocessing.get_context("spawn")
GRACE_SECONDS = 10.0
PROGRESS_SECONDS = 0.1
POLL_SECONDS = 0.2

Event = tuple[Any, ...]


class Channel:
    """A child's end of the line: events go up, orders (``finish``, ``stop``) come down."""

    def __init__(self, line: connection.Connection) -> None:
        self._line = line
        self._order = ""
        self._shown: dict[str, float] = {}

    def send(self, *event: Any) -> None:
        """Send an event up."""
        with _parent_or_exit():
            self._line.send(event)

    def order(self) -> str:
        """The last order: empty, ``finish`` (claim nothing more) or ``stop`` (drop the trial)."""
        with _parent_or_exit():
            while self._line.poll():
                self._order = self._line.recv()
        return self._order

    def progress(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Report progress now and then; a stopped process is interrupted here.

        Raises:
            KeyboardInterrupt: the parent said ``stop``.
        """
        now = time.monotonic()
        if done < total and now - self._shown.get(stage, 0.0) < PROGRESS_SECONDS:
            return
        self._shown[stage] = now
        self.send("progress", stage, done, total, note)
        if self.order() == "stop":
            raise KeyboardInterrupt


class Child:
    """A spawned process that runs ``target(channel, *args)`` and sends back what it returns.

    Args:
        target: a function at module level.
        args: picklable.
    """

    def __init__(self, target: Callable[..., Any], *args: Any) -> None:
        self.line, theirs = _context.Pipe()
        self.process = _context.Process(target=_enter, args=(theirs, target, args), daemon=True)
        self.process.start()
        theirs.close()

    def order(self, word: str) -> None:
        """Send an order down; a dead child hears nothing."""
        with contextlib.suppress(OSError):
            self.line.send(word)

    def events(self) -> Iterator[Event]:
        """The events that have arrived."""
        with contextlib.suppress(EOFError, OSError):
            while self.line.poll():
                yield self.line.recv()

    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.is_alive()

    def close(self) -> None:
        """End the process now, if it still runs, and let go of it."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.line.close()


def wait(children: list[Child], seconds: float = POLL_SECONDS) -> None:
    """Sleep until one of the children says something or ends, at most so long."""
    connection.wait([end for c in children for end in (c.line, c.process.sentinel)], seconds)


def call(
    target: Callable[..., Any],
    *args: Any,
    progress: Progress,
    meanwhile: Callable[[], None] | None = None,
) -> Any:
    """Run a function in a process of its own and wait for it.

    Args:
        target: takes a `Channel` and `args`.
        args: picklable.
        progress: gets the child's progress.
        meanwhile: called once, after the child has started.

    Returns:
        What `target` returned.

    Raises:
        AdoNasError: one that the child raised.
        KeyboardInterrupt: after the child has been asked to stop, and has or was ended.
        ProcessDied: the child was ended from outside.
        RuntimeError: the child broke, with its traceback.
    """
    child = Child(target, *args)
    try:
        if meanwhile is not None:
            meanwhile()
        return _outcome(child, progress)
    except KeyboardInterrupt:
        child.order("stop")
        child.process.join(GRACE_SECONDS)
        raise
    finally:
        child.close()


def reraise(event: Event) -> None:
    """Raise here what an ``error`` event says was raised in a child.

    Raises:
        AdoNasError: of the same kind.
        RuntimeError: anything else, with the child's traceback.
    """
    _, kind, message, trace = event
    known = getattr(errors, kind, None)
    if isinstance(known, type) and issubclass(known, errors.AdoNasError):
        raise known(message)
    raise RuntimeError(f"a process of the search broke:\n{trace}")


def _outcome(child: Child, progress: Progress) -> Any:
    while True:
        running = child.alive()
        for event in child.events():
            if event[0] == "progress":
                progress(*event[1:])
            elif event[0] == "result":
                return event[1]
            else:
                reraise(event)
        if not running:
            code = child.process.exitcode
            raise errors.ProcessDied(
                f"a process of the search died with exit code {code}; if memory ran out, another "
                "study with a smaller --memory-budget-mb may help; the same command goes on from "
                "here"
            )
        wait([child])


def _enter(line: connection.Connection, target: Callable[..., Any], args: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    signal.signal(signal.SIGTERM, _terminate)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    os.dup2(2, 1)  # stdout belongs to the command line's --json
    channel = Channel(line)
    try:
        channel.send("result", target(channel, *args))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        channel.send("error", type(error).__name__, str(error), traceback.format_exc())
        sys.exit(1)


@contextlib.contextmanager
def _parent_or_exit() -> Iterator[None]:
    """A line that breaks means a parent that died: no error of whatever runs here."""
    try:
        yield
    except (EOFError, OSError):
        _leave()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    _leave()


def _terminate(number: int, _: object) -> NoReturn:
    """In order, for a machine that shuts down asks so."""
    sys.exit(128 + number)


def _leave() -> NoReturn:
    resign()
    os._exit(1)
