"""Errors a person can act on: each message names the value seen, what was wanted and what to do.

The command line prints an `AdoNasError` as one line and exits with its `exit_code`. Anything else
is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

NO_SPACE = "no space is left on the disk; free some, and the same command goes on from here"


class AdoNasError(Exception):
    """The user's mistake, found before any long work."""

    exit_code = 2


class ConfigError(AdoNasError):
    """A preset, option, key or file of settings that cannot be used."""


class SpecError(AdoNasError):
    """An architecture, sampler or schedule that cannot exist."""


class DataError(AdoNasError):
    """A dataset that is missing, empty, unreadable or of the wrong shape."""


class ModelError(AdoNasError):
    """A model folder that is missing, truncated or does not match its spec."""


class StudyError(AdoNasError):
    """A study that does not exist, cannot be reached or no longer matches its settings."""


class ArtifactError(StudyError):
    """A file that an artifact store has not, or has damaged."""


class WorkspaceError(AdoNasError):
    """A workspace that cannot be written."""


class ProcessDied(AdoNasError):
    """A process was ended from outside, as by a system that is out of memory."""

    exit_code = 1


class NegativeVerdict(AdoNasError):
    """Nothing went wrong, but the answer is no: a gate failed, or no candidate is feasible."""

    exit_code = 1


class OutOfMemory(NegativeVerdict):
    """Work that does not fit its memory, however it is cut; a trial is pruned for it."""


class Diverged(Exception):
    """Training or sampling produced a value that is not finite; a trial is pruned for it."""


class Untraceable(Exception):
    """A computation whose graph MLX cannot write down; it has to be run to know what it takes."""


def full_disk(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, says that the disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "disk is full" in str(error) or "No space left on device" in str(error):
            return True  # SQLite's words, and those of libraries that pass the system's on
        error = error.__cause__ or error.__context__
    return False


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint naming the known word closest to `word`, or all of them where none is close.

    Args:
        word: what was typed.
        known: what could have been meant.

    Returns:
        ``did you mean 'x'?`` or ``known: a, b, c``.
    """
    choices = list(known)
    close = difflib.get_close_matches(word, choices, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(map(str, choices))}"
