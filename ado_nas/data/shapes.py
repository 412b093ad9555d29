"""Procedural RGB images of colored shapes on a smooth background: any size, as many as wanted.

Image `i` of a seed comes from its own counter-based random stream, so it is the same however many
are asked for, and at every resolution. What was drawn is known exactly (`attributes`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ado_nas.data.dataset import Floats, Source
from ado_nas.errors import DataError
from ado_nas.specs import DataSpec

VERSION = 1
KINDS = ("disc", "square", "triangle", "bar", "ring")
MAX_OBJECTS = 48
DEFAULT_COUNT = 10_240  # held_out 0.4 leaves 4,096 to judge by
# Red, orange, green, cyan, blue, magenta in RGB [0, 1].
PALETTE = np.array(
    [
        [0.90, 0.22, 0.20],
        [0.95, 0.70, 0.18],
        [0.25, 0.75, 0.30],
        [0.20, 0.75, 0.85],
        [0.25, 0.35, 0.90],
        [0.80, 0.30, 0.80],
    ]
)
_PER_OBJECT = 8
_CHUNK = 512

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Attributes:
    """What is in each of N images; objects are painted from the largest to the smallest.

    Lengths are fractions of the image's side, colors RGB in [0, 1]. Rows past `count` are unused.
    """

    count: I64  # (N,) objects in the image
    kind: I64  # (N, M) index into KINDS, -1 where unused
    color: I64  # (N, M) index into PALETTE
    tint: F64  # (N, M, 3) the color as painted
    center: F64  # (N, M, 2) x to the right, y down
    radius: F64  # (N, M) of the circle around the object
    angle: F64  # (N, M) radians
    background: F64  # (N, 2, 3) colors at the two ends of a straight gradient
    slope: F64  # (N,) direction of the gradient, radians

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """(N,) kind of the largest object."""
        return self.kind[:, 0].astype(np.int32)


def check(spec: DataSpec) -> None:
    """Refuse a spec that shapes cannot serve.

    Raises:
        DataError: resolution, count or difficulty out of range.
    """
    if not 8 <= spec.resolution <= 256:
        raise DataError(f"shapes at {spec.resolution} px: give 8 to 256")
    if not 1 <= spec.difficulty <= MAX_OBJECTS:
        raise DataError(
            f"shapes with difficulty {spec.difficulty}: give 1 to {MAX_OBJECTS} objects"
        )
    if spec.count != 0 and spec.count < 20:
        raise DataError(f"{spec.count} shapes: give at least 20, or 0 for {DEFAULT_COUNT}")


def read(spec: DataSpec) -> Source:
    """The images of a spec, drawn when they are asked for; the largest object's kind is the label.

    Args:
        spec: resolution, count, difficulty and seed are looked at.

    Returns:
        Images (N, resolution, resolution, 3) in [-1, 1].
    """
    check(spec)
    count = spec.count or DEFAULT_COUNT

    def known(numbers: I64) -> Attributes:
        return attributes(numbers, spec.difficulty, spec.seed)

    parts = np.array_split(np.arange(count), math.ceil(count / _CHUNK))
    return Source(
        shape=(spec.resolution, spec.resolution, 3),
        count=count,
        rows=lambda numbers: render(known(numbers), spec.resolution),
        labels=np.concatenate([known(part).labels for part in parts]),
        classes=KINDS,
        version=VERSION,
    )


def attributes(indices: I64, difficulty: int = 1, seed: int = 0) -> Attributes:
    """Draw what is in the images at `indices`.

    Args:
        indices: (N,) numbers of the images, from 0.
        difficulty: at most that many objects an image (M).
        seed: of the whole set.

    Returns:
        The attributes of each image, whatever others are asked for.
    """
    u = np.stack([_uniforms(seed, int(i), 8 + _PER_OBJECT * difficulty) for i in indices])
    per = u[:, 8:].reshape(len(u), difficulty, _PER_OBJECT)
    count = 1 + (u[:, 0] * difficulty).astype(np.int64)
    used = np.arange(difficulty) < count[:, None]
    # More objects are smaller ones, so that they fit side by side.
    largest = 0.36 / np.sqrt(0.5 + 0.5 * count)[:, None]
    radius = np.where(used, largest * (0.65 + 0.35 * per[..., 0]), 0.0)
    order = np.argsort(-radius, axis=1, kind="stable")
    per, radius = (
        np.take_along_axis(per, order[..., None], 1),
        np.take_along_axis(radius, order, 1),
    )
    kind = np.where(used, (per[..., 1] * len(KINDS)).astype(np.int64), -1)
    color = (per[..., 2] * len(PALETTE)).astype(np.int64)
    shade = 0.12 + 0.28 * u[:, 2:4, None]
    return Attributes(
        count=count,
        kind=kind,
        color=color,
        tint=np.clip(PALETTE[color] * (0.85 + 0.3 * per[..., 3:4]), 0, 1),
        center=radius[..., None] + (1 - 2 * radius[..., None]) * per[..., 4:6],
        radius=radius,
        angle=(per[..., 6] - 0.5) * np.pi / 3,
        background=np.clip(shade * (1 + 0.3 * (_hues(u[:, 4:6]) - 0.5)), 0, 1),
        slope=2 * np.pi * u[:, 1],
    )


def render(known: Attributes, resolution: int) -> Floats:
    """Paint images, antialiased over one pixel by signed distance.

    Args:
        known: attributes of N images.
        resolution: side, px.

    Returns:
        (N, resolution, resolution, 3) in [-1, 1].
    """
    axis = (np.arange(resolution) + 0.5) / resolution
    x, y = axis[None, None, :], axis[None, :, None]
    chunks = [
        _paint(known, slice(start, start + _CHUNK), x, y, resolution)
        for start in range(0, len(known.count), _CHUNK)
    ]
    return np.concatenate(chunks)


def _paint(known: Attributes, rows: slice, x: F64, y: F64, resolution: int) -> Floats:
    slope = known.slope[rows, None, None]
    along = 0.5 + 0.5 * ((x - 0.5) * np.cos(slope) + (y - 0.5) * np.sin(slope)) / np.sqrt(0.5)
    ends = known.background[rows]
    first, last = ends[:, None, None, 0], ends[:, None, None, 1]
    image = first + (last - first) * along[..., None]
    for j in range(known.kind.shape[1]):
        cover = np.clip(0.5 - resolution * _distance(known, rows, j, x, y), 0, 1)
        cover *= known.kind[rows, j, None, None] >= 0
        image += cover[..., None] * (known.tint[rows, None, None, j] - image)
    painted: Floats = (2 * image - 1).astype(np.float32)
    return painted


def _distance(known: Attributes, rows: slice, j: int, x: F64, y: F64) -> F64:
    """Signed distance (N, H, W) to the edge of object `j` in sides, negative inside."""
    at = known.center[rows, j, :, None, None]
    turn, r = known.angle[rows, j, None, None], known.radius[rows, j, None, None]
    dx, dy = x - at[:, 0], y - at[:, 1]
    a = dx * np.cos(turn) + dy * np.sin(turn)
    b = dy * np.cos(turn) - dx * np.sin(turn)
    round_ = np.hypot(a, b)
    kinds = [
        round_ - 0.9 * r,
        np.maximum(abs(a), abs(b)) - 0.75 * r,
        np.maximum(b - 0.5 * r, 0.866 * abs(a) - 0.5 * b - 0.5 * r),
        np.maximum(abs(a) - r, abs(b) - 0.3 * r),
        abs(round_ - 0.7 * r) - 0.25 * r,
    ]
    return np.choose(np.maximum(known.kind[rows, j, None, None], 0), kinds)


def _uniforms(seed: int, index: int, count: int) -> F64:
    return np.random.Generator(np.random.Philox(key=[seed, index])).random(count)


def _hues(u: F64) -> F64:
    """RGB (..., 3) of hues `u` in [0, 1], fully saturated but smooth."""
    phases = np.array([0.0, 1 / 3, 2 / 3])
    hues: F64 = 0.5 + 0.5 * np.cos(2 * np.pi * (u[..., None] - phases))
    return hues
