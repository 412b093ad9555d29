"""One image at several sizes: lower resolutions of a dataset, averaged over areas."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np

from ado_nas.data import arrays, manifest
from ado_nas.data.dataset import Dataset, Floats, Indices, Source, Split
from ado_nas.errors import DataError
from ado_nas.specs import DataSpec


def averaged(images: Floats, side: int) -> Floats:
    """Images at a lower resolution: each pixel is the mean of the square that it covers.

    White noise of standard deviation s has s x side / side_before after it, so that noise levels
    scale with the side.

    Args:
        images: (N, H, H, C).
        side: divides H, px.

    Returns:
        (N, side, side, C); the images given where they have that side.

    Raises:
        DataError: the side does not divide the images', or is below 4.
    """
    count, full, _, channels = images.shape
    if side == full:
        return images
    check(full, side)
    factor = full // side
    squares = images.reshape(count, side, factor, side, factor, channels)
    total = np.zeros((count, side, side, channels))
    for i in range(factor):  # a fifth of the time of a mean over two axes
        for j in range(factor):
            total += squares[:, :, i, :, j]
    means: Floats = (total / factor**2).astype(np.float32)
    return means


def at(dataset: Dataset, resolution: int) -> Dataset:
    """The same images, labels and split at a lower resolution.

    Made once and kept: beside the dataset's own arrays where it was loaded from a file, else in
    memory.

    Args:
        dataset: as loaded.
        resolution: divides the dataset's, px.

    Returns:
        The dataset at that resolution. Its digest, over its content, follows from the digest of
        the one given and the resolution; its spec, given to `load`, loads it again.

    Raises:
        DataError: the resolution does not divide the dataset's, or is below 4.
        WorkspaceError: the folder of the dataset cannot be written.
    """
    full = dataset.train.images.shape[1]
    if resolution == full:
        return dataset
    check(full, resolution)
    if resolution not in dataset.levels:
        dataset.levels[resolution] = _level(dataset, resolution)
    return dataset.levels[resolution]


def check(full: int, side: int) -> None:
    """Refuse a side that images of another cannot be averaged to.

    Raises:
        DataError: `side` does not divide `full`, or is below 4 or not below `full`.
    """
    if not 4 <= side < full or full % side:
        sides = [str(n) for n in range(4, full) if full % n == 0]
        raise DataError(
            f"images of {full} px cannot be averaged to {side} px; "
            + (f"give {' or '.join(sides)}" if sides else "they have no lower level")
        )


def place(folder: Path, resolution: int) -> Path:
    """Where a level of the dataset in a folder is kept."""
    return folder / f"at-{resolution}"


def _level(dataset: Dataset, resolution: int) -> Dataset:
    whole = dataset.spec.averaged_from or dataset.spec.resolution
    spec = dataclasses.replace(dataset.spec, resolution=resolution, averaged_from=whole)
    if dataset.folder is None:
        return _in_memory(dataset, spec)
    source = _source(dataset, resolution)
    return manifest.kept(spec, place(dataset.folder, resolution), lambda: source)


def _in_memory(dataset: Dataset, spec: DataSpec) -> Dataset:
    train, held = (
        Split(averaged(split.images, spec.resolution), split.labels)
        for split in (dataset.train, dataset.held_out)
    )
    facts = dataset.manifest | {"parent": dataset.digest}
    digest = manifest.total_digest(manifest.hashes_of(train, held))
    return Dataset(train, held, dataset.num_classes, digest, spec, facts)


def _source(dataset: Dataset, resolution: int) -> Source:
    train, held = dataset.train, dataset.held_out

    def rows(numbers: Indices) -> Floats:
        first = numbers < len(train)
        wanted = ((train, numbers[first]), (held, numbers[~first] - len(train)))
        row_bytes = train.images.itemsize * math.prod(train.images.shape[1:])
        return np.concatenate(
            [
                averaged(split.take(few[start:stop]).images, resolution)
                for split, few in wanted
                for start, stop in arrays.ranges(len(few), row_bytes)
            ]
        )

    labels = None
    if train.labels is not None and held.labels is not None:
        labels = np.concatenate([train.labels, held.labels])
    return Source(
        shape=(resolution, resolution, train.images.shape[-1]),
        count=len(train) + len(held),
        rows=rows,
        labels=labels,
        classes=tuple(dataset.manifest.get("classes", ())),
        version=dataset.manifest.get("generator_version", 0),
        facts={"parent": dataset.digest},
        held_out=len(held),
    )
