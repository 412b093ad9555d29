"""Images with labels, split for training and for judging."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ado_nas.data import arrays
from ado_nas.errors import DataError
from ado_nas.specs import DataSpec

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Images and, where the set has classes, their labels.

    `images` is float32 (N, H, W, C) in [-1, 1], read-only and in a file where the set was loaded;
    `labels` is int32 (N,) or None.
    """

    images: Floats
    labels: Ints | None = None

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Indices) -> Split:
        """The images at `indices`, in that order."""
        labels = None if self.labels is None else self.labels[indices]
        return Split(arrays.taken(self.images, indices), labels)

    def spread(self) -> float:
        """Standard deviation over all values of all images."""
        total = squares = 0.0
        for piece in arrays.pieces(self.images):
            total += float(piece.sum(dtype=np.float64))
            squares += float(np.square(piece, dtype=np.float64).sum())
        mean = total / max(self.images.size, 1)
        return math.sqrt(max(squares / max(self.images.size, 1) - mean**2, 0.0))

    def halves(self) -> tuple[Split, Split]:
        """Two disjoint halves with equal shares of each class; always the same ones.

        The search judges on the first, the report on the second.
        """
        order = np.arange(len(self))
        if self.labels is not None:
            order = np.argsort(self.labels, kind="stable")
        # In the order they came in, which mixes them: the first so many are a fair sample, too.
        return self.take(np.sort(order[::2])), self.take(np.sort(order[1::2]))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A set of images as loaded: what to train on, what to judge by, and the digest of both."""

    train: Split
    held_out: Split
    num_classes: int  # 0 where there are no labels
    digest: str
    spec: DataSpec
    manifest: dict[str, Any]
    folder: Path | None = None  # of its manifest and arrays; None: only in memory
    levels: dict[int, Dataset] = field(default_factory=dict, repr=False)  # see `pyramid.at`


@dataclass(frozen=True, eq=False)
class Source:
    """A whole set before it is written: how to make its images, and what is said of them."""

    shape: tuple[int, ...]  # of one image: H, W, C
    count: int
    rows: Callable[[Indices], Floats]  # images by number, float32 in [-1, 1]
    labels: Ints | None
    classes: tuple[str, ...]
    version: int
    facts: dict[str, Any] = field(default_factory=dict)
    held_out: int | None = (
        None  # the last so many, of a set that comes split; None: they are drawn
    )

    def split(self, spec: DataSpec) -> tuple[Indices, Indices]:
        """Numbers of the images to train on and of those held out, both ascending."""
        if self.held_out is None:
            return split_indices(self.count, self.labels, spec.held_out, spec.seed)
        numbers = np.arange(self.count)
        return numbers[: self.count - self.held_out], numbers[self.count - self.held_out :]


def split_indices(
    count: int, labels: Ints | None, held_out: float, seed: int
) -> tuple[Indices, Indices]:
    """Draw which images are trained on and which are held out.

    Args:
        count: number of images.
        labels: (count,) classes to stratify by, or None.
        held_out: share of the images held out, above 0 and below 1.
        seed: of the draw.

    Returns:
        Ascending, disjoint index arrays (train, held out) that together cover every image. Each
        class gives its share to within one image; a lone image is trained on.

    Raises:
        DataError: the share leaves nothing to train on or nothing to judge by.
    """
    if not 0 < held_out < 1:
        raise DataError(f"held_out {held_out}: give a share above 0 and below 1, such as 0.4")
    rng = np.random.default_rng(seed)
    order = rng.permutation(count)
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    wanted = share_of(count, held_out)
    # Evenly spaced ranks of the class-sorted order give each class its share.
    ranks = np.floor((np.arange(wanted) + 0.5) * count / max(wanted, 1)).astype(np.int64)
    chosen = np.zeros(count, bool)
    chosen[order[ranks]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def share_of(count: int, share: float) -> int:
    """So many of `count` images, at least one on either side of the split; 0 of a lone image."""
    return min(max(round(share * count), 1), count - 1) if count > 1 else 0
