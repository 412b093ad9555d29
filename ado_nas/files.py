"""Files that are either whole or absent, and builders that do not build the same thing twice."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ado_nas.errors import ConfigError, WorkspaceError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file under another name and move it into place when the block ends well.

    Args:
        path: where the file shall be; its folder is made.

    Yields:
        The path to write to, with the same ending.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def check_place(option: str, path: Path, folder: bool = False) -> None:
    """Refuse a place that was asked for and cannot be written, before any work.

    Args:
        option: who asks, for the message: ``--out``.
        path: of a file; the folder that it lies in is made.
        folder: whether `path` is to be a folder itself.

    Raises:
        ConfigError: it cannot be.
    """
    around = path if folder else path.parent
    try:
        around.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{option} {path} cannot be written ({error.strerror})") from None
    if not os.access(around, os.W_OK):
        raise ConfigError(f"{option} {path} cannot be written (Permission denied)")
    if not folder and path.is_dir():
        raise ConfigError(f"{option} {path} is a folder; give a file name")


def write_json(path: Path, value: Any) -> None:
    """Write plain values as indented JSON, atomically."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def strict(value: Any) -> Any:
    """Only what JSON has: names as text, tuples as lists, null for what is not finite."""
    if isinstance(value, Mapping):
        return {str(k): strict(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def read_json(path: Path) -> Any:
    """Read a JSON file; None where it is missing or truncated."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def portable(path: Path, workspace: Path) -> str:
    """A path as a workspace remembers it, which may be moved.

    Args:
        path: of a file or folder.
        workspace: likewise.

    Returns:
        Relative to the workspace where it lies in there, else absolute; ``workspace / found`` is
        right for both.
    """
    path, workspace = path.absolute(), workspace.absolute()
    return str(path.relative_to(workspace) if path.is_relative_to(workspace) else path)


@contextlib.contextmanager
def building(folder: Path) -> Iterator[Path]:
    """Be the only process that builds a folder of the cache; others wait here.

    Args:
        folder: the folder, named by its cache key; it is made.

    Yields:
        The folder. Whoever waited must look again whether it is finished.

    Raises:
        WorkspaceError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise WorkspaceError(
            f"{folder} cannot be written ({error.strerror}); choose another --workspace"
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(handle)
