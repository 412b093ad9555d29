"""A folder of PNG and JPEG files, cropped to squares and resized; what cannot be read is named."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ado_nas.data import arrays
from ado_nas.data.dataset import Ints, Source
from ado_nas.data.decoding import Header, decode, header
from ado_nas.errors import DataError
from ado_nas.specs import DATASETS, DataSpec

VERSION = 2
SUFFIXES = (".png", ".jpg", ".jpeg")
_KNOWN = ", ".join(DATASETS)

_log = logging.getLogger(__name__)


def check(spec: DataSpec) -> None:
    """Refuse a folder that is missing or holds no image file, without opening any.

    Raises:
        DataError: saying which, and what was found instead; or no folder is named.
    """
    if not 4 <= spec.resolution <= 1024:
        raise DataError(f"images at {spec.resolution} px: give 4 to 1024")
    if not spec.name:
        raise DataError(f"no data is named; give --data FOLDER or one of: {_KNOWN}")
    files(Path(spec.name))


def files(folder: Path) -> list[Path]:
    """Image files below `folder`, hidden ones left out, sorted by their path.

    Raises:
        DataError: there is no such folder, or no PNG or JPEG in it.
    """
    if not folder.exists():
        raise DataError(f"no dataset or folder named {str(folder)!r}; datasets: {_KNOWN}")
    if not folder.is_dir():
        raise DataError(f"{str(folder)!r} is a file; give the folder that holds the images")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise DataError(f"{str(folder)!r} cannot be opened; check its permissions")
    inside = [p.relative_to(folder) for p in folder.rglob("*") if p.is_file()]
    shown = [p for p in inside if not any(part.startswith(".") for part in p.parts)]
    found = sorted((p for p in shown if p.suffix.lower() in SUFFIXES), key=lambda p: p.as_posix())
    if not found:
        others = f"{len(shown)} files of other kinds" if shown else "nothing"
        raise DataError(f"{str(folder)!r} holds {others}; put PNG or JPEG images into it")
    return found


def fingerprint(folder: Path) -> str:
    """SHA-256 over the names and bytes of the image files."""
    total = hashlib.sha256()
    for path in files(folder):
        total.update(path.as_posix().encode() + b"\0")
        try:
            total.update(_hash((folder / path).read_bytes()).encode())
        except OSError as error:
            total.update(type(error).__name__.encode())
    return total.hexdigest()


def read(spec: DataSpec, spool: BinaryIO) -> Source:
    """Decode the images of a folder; sub-folders are classes where every file lies in one.

    Args:
        spec: `name` is the folder; a `count` above 0 takes that many images, drawn by seed;
            `channels` of 1 or 3 turns all into gray or RGB.
        spool: an empty file that takes the decoded images, for they may be more than memory.

    Returns:
        Images (N, s, s, channels) in [-1, 1], in an order drawn by seed.

    Raises:
        DataError: the folder is missing or empty, no file in it is readable, or some are gray,
            others in color, and `channels` does not say what all shall be.
        OSError: the file cannot be written.
    """
    check(spec)
    folder = Path(spec.name)
    chosen = _chosen(files(folder), spec)
    headers = _headers(folder, chosen)
    channels = spec.channels or _common(headers)
    hashes: dict[Path, str] = {}
    skipped: list[dict[str, str]] = []
    for path in chosen:
        if spec.count and len(hashes) == spec.count:
            break
        try:
            content = (folder / path).read_bytes()
            image = decode(content, spec.resolution, channels)
        except Exception as error:  # Pillow's readers raise a dozen kinds, struct.error among them
            reason = _reason(error)
            skipped.append({"file": path.as_posix(), "reason": reason})
            _log.warning("skipped %s: %s", path.as_posix(), reason)
            continue
        hashes[path] = _hash(content)
        spool.write(image.tobytes())
    if not hashes:
        raise DataError(
            f"none of the {len(skipped)} image files in {spec.name!r} can be read; "
            f"the first, {skipped[0]['file']}: {skipped[0]['reason']}"
        )
    paths = list(hashes)
    ranked = sorted(range(len(paths)), key=lambda i: paths[i].as_posix())
    # Drawn, as folders are of one class or scene each, and the first images stand for all.
    order = np.array(ranked)[np.random.default_rng(spec.seed).permutation(len(ranked))]
    kept = [paths[i] for i in order]
    shape = (spec.resolution, spec.resolution, channels)
    images = arrays.mapped(spool, np.dtype("<f4"), (len(kept), *shape))
    labels, classes = _labels(kept)
    return Source(
        shape=shape,
        count=len(kept),
        rows=lambda numbers: arrays.taken(images, order[numbers]),
        labels=labels,
        classes=classes,
        version=VERSION,
        facts={
            "files": {path.as_posix(): hashes[path] for path in kept},
            "skipped": skipped,
            "notes": _notes([headers[path] for path in kept], kept, spec, channels),
        },
    )


def changed(folder: Path, recorded: dict[str, str]) -> list[str]:
    """Names of the recorded files that are gone, cannot be read or hold other bytes now.

    Args:
        folder: where they lie.
        recorded: SHA-256 by relative path.
    """

    def now(name: str) -> str:
        try:
            return _hash((folder / name).read_bytes())
        except OSError:
            return ""

    return [name for name, wanted in recorded.items() if now(name) != wanted]


def _headers(folder: Path, paths: list[Path]) -> dict[Path, Header]:
    """The headers of the files that have a readable one; `read` names the others."""
    found: dict[Path, Header] = {}
    for path in paths:
        with contextlib.suppress(Exception):  # as in `read`
            found[path] = header(folder / path)
    return found


def _common(headers: dict[Path, Header]) -> int:
    """The channels that all images have; 3 where there is no image.

    Raises:
        DataError: some are gray and others in color.
    """
    first: dict[int, str] = {}
    for path, one in headers.items():
        first.setdefault(one.channels, path.as_posix())
    if len(first) > 1:
        gray = sum(one.channels == 1 for one in headers.values())
        raise DataError(
            f"{gray} of {len(headers)} images are gray, such as {first[1]}, the others in color, "
            f"such as {first[3]}; give --channels 3 to make all RGB, or 1 to make all gray"
        )
    return next(iter(first), 3)


def _notes(headers: list[Header], paths: list[Path], spec: DataSpec, channels: int) -> list[str]:
    """What was done to images that a person should know of, also logged."""
    total, side, notes = len(headers), spec.resolution, []
    small = [k for k, one in enumerate(headers) if one.side < side]
    if small:
        least = min(small, key=lambda k: headers[k].side)
        notes.append(
            f"{len(small)} of {total} images are smaller than {side} px and were enlarged, the "
            f"smallest {paths[least].as_posix()}; give --resolution {headers[least].side} or less "
            "to keep what is sharp"
        )
    if converted := sum(one.channels != channels for one in headers):
        kind = "RGB" if channels == 3 else "gray"
        notes.append(f"{converted} of {total} images were turned into {kind}")
    if clear := sum(one.transparent for one in headers):
        notes.append(f"{clear} of {total} images have transparency and were laid over white")
    for note in notes:
        _log.warning("%s: %s", spec.name, note)
    return notes


def _labels(paths: list[Path]) -> tuple[Ints | None, tuple[str, ...]]:
    names = sorted({p.parts[0] for p in paths if len(p.parts) > 1})
    if len(names) < 2 or any(len(p.parts) == 1 for p in paths):
        return None, ()
    return np.array([names.index(p.parts[0]) for p in paths], np.int32), tuple(names)


def _chosen(paths: list[Path], spec: DataSpec) -> list[Path]:
    if not spec.count:
        return paths
    return [paths[i] for i in np.random.default_rng(spec.seed).permutation(len(paths))]


def _reason(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "not a PNG or JPEG" if "cannot identify" in text else text


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
