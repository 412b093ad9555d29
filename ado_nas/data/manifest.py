"""What a built dataset consists of, written beside its arrays so that both can be checked."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ado_nas.data import arrays
from ado_nas.data.dataset import Dataset, Indices, Source, Split
from ado_nas.errors import DataError, NegativeVerdict, WorkspaceError
from ado_nas.specs import DataSpec, from_dict, to_dict

SCHEMA = 1
MANIFEST = "manifest.json"
ARRAYS = "images.safetensors"
SPLITS = ("train", "held_out")

_log = logging.getLogger(__name__)


def write(spec: DataSpec, source: Source, folder: Path) -> Dataset:
    """Split a set and write arrays and manifest, whole or not at all, some images at a time.

    Args:
        spec: with the share held out and the seed of the draw.
        source: the whole set.
        folder: must not exist, or hold the same set.

    Returns:
        The dataset, its images in the file, its digest over pixels, labels and split.

    Raises:
        WorkspaceError: the folder cannot be written.
    """
    splits = dict(zip(SPLITS, source.split(spec), strict=True))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".building-") as name:
            made = Path(name) / folder.name
            made.mkdir()
            hashes = arrays.write(made / ARRAYS, _pieces(source, splits))
            manifest = {
                "schema": SCHEMA,
                "name": spec.name,
                "parameters": to_dict(spec),
                "generator_version": source.version,
                "classes": list(source.classes),
                "shape": list(source.shape),
                "counts": {split: len(numbers) for split, numbers in splits.items()},
                "sha256": hashes,
                "digest": total_digest(hashes),
                **source.facts,
            }
            (made / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
            _move(made, folder, Path(name) / "old")
        return _dataset(arrays.opened(folder / ARRAYS), manifest, spec, folder)
    except OSError as error:
        raise WorkspaceError(
            f"cannot write {folder}: {error.strerror}; check permissions and space"
        ) from error


def kept(spec: DataSpec, folder: Path, make: Callable[[], Source]) -> Dataset:
    """What lies in a folder, written anew where it is missing or damaged; see `write`."""
    if (folder / MANIFEST).exists():
        try:
            return read(folder / MANIFEST)
        except (DataError, NegativeVerdict) as error:
            _log.warning("%s", error)
    return write(spec, make(), folder)


def read(path: Path) -> Dataset:
    """Open what `write` wrote and check every hash; the images stay in the file.

    Args:
        path: of the manifest.

    Raises:
        DataError: a file is missing or not what it should be.
        NegativeVerdict: an array differs from its hash.
    """
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        spec = from_dict(DataSpec, manifest["parameters"])
        found = _dataset(arrays.opened(path.parent / ARRAYS), manifest, spec, path.parent)
        hashes, wanted = hashes_of(found.train, found.held_out), dict(manifest["sha256"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no readable dataset ({error}); build it again") from error
    wrong = [name for name in sorted({*wanted, *hashes}) if wanted.get(name) != hashes.get(name)]
    if wrong or total_digest(hashes) != manifest["digest"]:
        named = ", ".join(wrong) or "digest"
        raise NegativeVerdict(
            f"{path}: {named} differs from the manifest; build the dataset again"
        )
    return found


def check(path: Path, spec: DataSpec) -> None:
    """Refuse a built dataset that is not of the size or the channels asked for.

    Args:
        path: of the manifest; no array is read.
        spec: asks for a resolution and, above 0, for a number of channels.

    Raises:
        DataError: saying which, or the manifest cannot be read.
    """
    try:
        side, _, channels = json.loads(path.read_text())["shape"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no readable dataset ({error}); build it again") from error
    for name, asked, found in (
        ("resolution", spec.resolution, side),
        ("channels", spec.channels or channels, channels),
    ):
        if asked != found:
            raise DataError(
                f"{name} {asked}: {path.parent} was built with {name} {found}; give that, or the "
                "images it was built from"
            )


def hashes_of(train: Split, held_out: Split) -> dict[str, str]:
    """SHA-256 of each array, by the names they are written under."""
    hashes: dict[str, str] = {}
    for name, split in zip(SPLITS, (train, held_out), strict=True):
        hashes[f"{name}.images"] = arrays.sha256(split.images)
        if split.labels is not None:
            hashes[f"{name}.labels"] = arrays.sha256(split.labels)
    return hashes


def total_digest(hashes: dict[str, str]) -> str:
    """Sixteen hex digits over the hashes of all arrays."""
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()[:16]


def _pieces(source: Source, splits: dict[str, Indices]) -> dict[str, arrays.Pieces]:
    """What is written of each split, by name, such as ``train.images``."""
    found: dict[str, arrays.Pieces] = {}
    for split, numbers in splits.items():
        shape = (len(numbers), *source.shape)
        make = functools.partial(_images, source, numbers)
        found[f"{split}.images"] = arrays.Pieces(np.dtype("<f4"), shape, make)
        if source.labels is not None:
            labels = source.labels[numbers]
            make = functools.partial(iter, [labels])
            found[f"{split}.labels"] = arrays.Pieces(np.dtype("<i4"), labels.shape, make)
    return found


def _images(source: Source, numbers: Indices) -> Iterator[npt.NDArray[Any]]:
    for start, stop in arrays.ranges(len(numbers), 4 * math.prod(source.shape)):
        yield source.rows(numbers[start:stop])


def _dataset(
    opened: dict[str, npt.NDArray[Any]], manifest: dict[str, Any], spec: DataSpec, folder: Path
) -> Dataset:
    splits: dict[str, Split] = {}
    for name in SPLITS:
        count, labels = manifest["counts"][name], None
        empty = np.zeros((0, *manifest["shape"]), np.float32)
        if manifest["classes"]:
            labels = np.array(opened[f"{name}.labels"]) if count else np.zeros(0, np.int32)
        splits[name] = Split(opened[f"{name}.images"] if count else empty, labels)
    return Dataset(
        train=splits["train"],
        held_out=splits["held_out"],
        num_classes=len(manifest["classes"]),
        digest=manifest["digest"],
        spec=spec,
        manifest=manifest,
        folder=folder,
    )


def _move(made: Path, folder: Path, aside: Path) -> None:
    """Put `made` in place of `folder`; another process may be doing the same."""
    if folder.exists():
        os.replace(folder, aside)
    try:
        os.replace(made, folder)
    except OSError:
        if not (folder / MANIFEST).exists():
            raise
