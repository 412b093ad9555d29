"""Images with labels, split for training and for judging."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ado_nas.errors import DataError
from ado_nas.specs import DataSpec

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Images and, where the set has classes, their labels.

    `images` is float32 (N, H, W, C) in [-1, 1]; `labels` is int32 (N,) or None.
    """

    images: Floats
    labels: Ints | None = None

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Indices) -> Split:
        """The images at `indices`, in that order."""
        return Split(self.images[indices], None if self.labels is None else self.labels[indices])

    def halves(self) -> tuple[Split, Split]:
        """Two disjoint halves with equal shares of each class; always the same ones.

        The search judges on the first, the report on the second.
        """
        order = np.arange(len(self))
        if self.labels is not None:
            order = np.argsort(self.labels, kind="stable")
        # In the order they came in, so that the first so many of a half are a fair sample too.
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


@dataclass(frozen=True, eq=False)
class Source:
    """A whole set before it is split, and what its manifest should say about it."""

    images: Floats
    labels: Ints | None
    classes: tuple[str, ...]
    version: int
    facts: dict[str, Any] = field(default_factory=dict)


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
    wanted = min(max(round(held_out * count), 1), count - 1) if count > 1 else 0
    # Evenly spaced ranks of the class-sorted order give each class its share.
    ranks = np.floor((np.arange(wanted) + 0.5) * count / max(wanted, 1)).astype(np.int64)
    chosen = np.zeros(count, bool)
    chosen[order[ranks]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
