"""Arrays on disk: written piece by piece, read through the file's pages, never held whole."""

from __future__ import annotations

import hashlib
import json
import math
import mmap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

PIECE_BYTES = 4_000_000  # what reading, writing and hashing hold at a time
_KINDS = {"F32": np.dtype("<f4"), "I32": np.dtype("<i4")}

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Pieces:
    """An array that is made while it is written."""

    dtype: np.dtype[Any]  # float32 or int32
    shape: tuple[int, ...]
    make: Callable[[], Iterator[Array]]  # its rows, in order, some at a time


def ranges(rows: int, row_bytes: int) -> Iterator[tuple[int, int]]:
    """Start and stop of the pieces of rows that take at most `PIECE_BYTES`, or one row each."""
    step = max(1, PIECE_BYTES // max(row_bytes, 1))
    for start in range(0, rows, step):
        yield start, min(start + step, rows)


def write(path: Path, content: Mapping[str, Pieces]) -> dict[str, str]:
    """Write arrays to a safetensors file.

    Args:
        path: of the file.
        content: arrays by name; those without a value are left out, as MLX refuses them.

    Returns:
        SHA-256 of each, as `sha256` gives it, also of those left out.

    Raises:
        OSError: the file cannot be written.
    """
    header: dict[str, Any] = {}
    end = 0
    for name, pieces in content.items():
        start, end = end, end + math.prod(pieces.shape) * pieces.dtype.itemsize
        if end > start:
            kind = next(k for k, dtype in _KINDS.items() if dtype == pieces.dtype)
            place = {"data_offsets": [start, end], "dtype": kind, "shape": list(pieces.shape)}
            header[name] = place
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that values lie at multiples of their size
    hashes = {}
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, pieces in content.items():
            total = _start(pieces.dtype, pieces.shape)
            for piece in pieces.make():
                values = np.ascontiguousarray(piece, pieces.dtype).tobytes()
                total.update(values)
                file.write(values)
            hashes[name] = total.hexdigest()
    return hashes


def opened(path: Path) -> dict[str, Array]:
    """The arrays of a safetensors file, read-only, whose values stay in the file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such file, or shorter than it should be.
        KeyError: its header lacks something.
    """
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    start = 8 + int.from_bytes(pages[:8], "little")
    header = json.loads(pages[8:start])
    found: dict[str, Array] = {}
    for name, entry in header.items():
        if name != "__metadata__":
            place = start + entry["data_offsets"][0]
            found[name] = _at(pages, _KINDS[entry["dtype"]], tuple(entry["shape"]), place)
    return found


def mapped(file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """The array whose values an open file holds, read-only; the file may be closed after."""
    file.flush()
    return _at(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype, shape, 0)


def pieces(array: Array) -> Iterator[Array]:
    """The rows of an array, in memory or in a file, in order, at most `PIECE_BYTES` at a time."""
    for start, stop in ranges(len(array), array.nbytes // max(len(array), 1)):
        yield array[start:stop]
        release(array)


def sha256(array: Array) -> str:
    """SHA-256 over type, shape and values of an array, in memory or in a file."""
    total = _start(array.dtype, array.shape)
    for piece in pieces(array):
        total.update(np.ascontiguousarray(piece).data.cast("B"))
    return total.hexdigest()


def taken(array: Array, rows: npt.NDArray[np.int64]) -> Array:
    """A copy of some rows of an array, in memory or in a file, in the order asked for."""
    if _pages(array) is None:
        return array[rows]
    found = np.empty((len(rows), *array.shape[1:]), array.dtype)
    # The system maps up to 2 MB around each row that is touched.
    for start in range(0, len(rows), 8):
        found[start : start + 8] = array[rows[start : start + 8]]
        release(array)
    return found


def release(array: Array) -> None:
    """Give back the memory of the pages that were read of an array in a file.

    They stay in the system's file cache while there is room; what is in memory is left alone.
    """
    if (pages := _pages(array)) is not None:
        pages.madvise(mmap.MADV_DONTNEED)


def _pages(array: Array) -> mmap.mmap | None:
    """The pages that an array lies in, where they are of a file too large to keep."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    pages = base.obj if isinstance(base, memoryview) else base
    return pages if isinstance(pages, mmap.mmap) and len(pages) > PIECE_BYTES else None


def _at(pages: mmap.mmap, dtype: np.dtype[Any], shape: tuple[int, ...], start: int) -> Array:
    return np.frombuffer(pages, dtype, math.prod(shape), start).reshape(shape)


def _start(dtype: np.dtype[Any], shape: tuple[int, ...]) -> hashlib._Hash:
    return hashlib.sha256(f"{dtype.str}{shape}".encode())
