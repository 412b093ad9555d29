"""What a built dataset consists of, written beside its arrays so that both can be checked."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ado_nas.data.dataset import Dataset, Source, Split, split_indices
from ado_nas.errors import DataError, NegativeVerdict, WorkspaceError
from ado_nas.specs import DataSpec, from_dict, to_dict

SCHEMA = 1
MANIFEST = "manifest.json"
ARRAYS = "images.safetensors"

Arrays = dict[str, npt.NDArray[Any]]


def assemble(spec: DataSpec, source: Source) -> Dataset:
    """Split a set and describe it.

    Args:
        spec: with the share held out and the seed of the draw.
        source: the whole set.

    Returns:
        The dataset, its digest over pixels, labels and split.
    """
    labels = source.labels
    train, held = split_indices(len(source.images), labels, spec.held_out, spec.seed)
    whole = Split(source.images, labels)
    splits = {"train": whole.take(train), "held_out": whole.take(held)}
    hashes = {name: array_hash(array) for name, array in arrays(splits).items()}
    manifest = {
        "schema": SCHEMA,
        "name": spec.name,
        "parameters": to_dict(spec),
        "generator_version": source.version,
        "classes": list(source.classes),
        "shape": list(source.images.shape[1:]),
        "counts": {name: len(split) for name, split in splits.items()},
        "sha256": hashes,
        "digest": total_digest(hashes),
        **source.facts,
    }
    return _dataset(splits, manifest, spec)


def write(dataset: Dataset, folder: Path) -> Path:
    """Write arrays and manifest, whole or not at all.

    Args:
        dataset: what to write.
        folder: must not exist, or hold the same set.

    Returns:
        Path of the manifest.

    Raises:
        WorkspaceError: the folder cannot be written.
    """
    import mlx.core as mx  # here, so that listing and checking need no MLX

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".building-") as name:
            made = Path(name) / folder.name
            made.mkdir()
            content = arrays({"train": dataset.train, "held_out": dataset.held_out})
            # MLX refuses empty arrays; the counts in the manifest stand for them.
            filled = {key: mx.array(value) for key, value in content.items() if value.size}
            mx.save_safetensors(str(made / ARRAYS), filled)
            (made / MANIFEST).write_text(json.dumps(dataset.manifest, indent=1) + "\n")
            _move(made, folder, Path(name) / "old")
    except OSError as error:
        raise WorkspaceError(
            f"cannot write {folder}: {error.strerror}; check permissions and space"
        ) from error
    return folder / MANIFEST


def read(path: Path) -> Dataset:
    """Load what `write` wrote and check every hash.

    Args:
        path: of the manifest.

    Raises:
        DataError: a file is missing or not what it should be.
        NegativeVerdict: an array differs from its hash.
    """
    import mlx.core as mx

    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        loaded = mx.load(str(path.parent / ARRAYS), format="safetensors")
        spec = from_dict(DataSpec, manifest["parameters"])
        splits = _splits(loaded, manifest)
        found = {name: array_hash(array) for name, array in arrays(splits).items()}
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no readable dataset ({error}); build it again") from error
    wanted = manifest["sha256"]
    wrong = [name for name in sorted({*wanted, *found}) if wanted.get(name) != found.get(name)]
    if wrong or total_digest(found) != manifest["digest"]:
        named = ", ".join(wrong) or "digest"
        raise NegativeVerdict(
            f"{path}: {named} differs from the manifest; build the dataset again"
        )
    return _dataset(splits, manifest, spec)


def arrays(splits: dict[str, Split]) -> Arrays:
    """The arrays of some splits by name, such as ``train.images``."""
    named: Arrays = {}
    for name, split in splits.items():
        named[f"{name}.images"] = split.images
        if split.labels is not None:
            named[f"{name}.labels"] = split.labels
    return named


def array_hash(array: npt.NDArray[Any]) -> str:
    """SHA-256 over type, shape and values of an array."""
    total = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    total.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    return total.hexdigest()


def total_digest(hashes: dict[str, str]) -> str:
    """Sixteen hex digits over the hashes of all arrays."""
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()[:16]


def _splits(loaded: Any, manifest: dict[str, Any]) -> dict[str, Split]:
    splits: dict[str, Split] = {}
    for name, count in manifest["counts"].items():
        empty = np.zeros((0, *manifest["shape"]), np.float32)
        images = np.array(loaded[f"{name}.images"]) if count else empty
        labels = None
        if manifest["classes"]:
            labels = np.array(loaded[f"{name}.labels"]) if count else np.zeros(0, np.int32)
        splits[name] = Split(images, labels)
    return splits


def _dataset(splits: dict[str, Split], manifest: dict[str, Any], spec: DataSpec) -> Dataset:
    return Dataset(
        train=splits["train"],
        held_out=splits["held_out"],
        num_classes=len(manifest["classes"]),
        digest=manifest["digest"],
        spec=spec,
        manifest=manifest,
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
