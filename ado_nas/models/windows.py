"""Squares of a feature map, for attention inside each.

The squares begin at the upper left corner or, shifted, half a side before it, where those at the
borders are cut off. A map's side no longer than the window is not divided.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import mlx.core as mx
import numpy as np

_roll = cast(Callable[..., mx.array], mx.roll)  # its annotation allows one axis only


@dataclass(frozen=True)
class Squares:
    """How a map is divided.

    Source: Liu et al. 2021 (Swin), section 3.2: a cyclic shift keeps the squares whole, and a
    mask keeps apart what the borders of the map do.
    """

    height: int  # of the map, in pixels
    width: int
    window: int  # side of a square, in pixels
    shifted: bool = False

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of a square, in pixels."""
        return min(self.height, self.window), min(self.width, self.window)

    @property
    def count(self) -> tuple[int, int]:
        """Squares down and across; the last ones are filled up where the map ends."""
        y, x = self.sides
        return -(-self.height // y), -(-self.width // x)

    @property
    def shift(self) -> tuple[int, int]:
        """Pixels down and right of the map that go to its end."""
        half = self.window // 2 if self.shifted else 0
        return half * (self.height > self.window), half * (self.width > self.window)

    def cut(self, x: mx.array) -> mx.array:
        """(B, H, W, C) -> (B, squares, pixels of one, C), zeros where filled up."""
        b, h, w, c = x.shape
        (y, z), (rows, columns), (down, right) = self.sides, self.count, self.shift
        fill = (rows * y - h, columns * z - w)
        if any(fill):
            x = mx.pad(x, [(0, 0), (0, fill[0]), (0, fill[1]), (0, 0)])
        if down or right:
            x = _roll(x, (-down, -right), (1, 2))
        x = x.reshape(b, rows, y, columns, z, c).transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(b, rows * columns, y * z, c)

    def join(self, x: mx.array) -> mx.array:
        """Back from `cut`."""
        b, _, _, c = x.shape
        (y, z), (rows, columns), (down, right) = self.sides, self.count, self.shift
        x = x.reshape(b, rows, columns, y, z, c).transpose(0, 1, 3, 2, 4, 5)
        x = x.reshape(b, rows * y, columns * z, c)
        if down or right:
            x = _roll(x, (down, right), (1, 2))
        return x[:, : self.height, : self.width]

    def mask(self, heads: int) -> mx.array | None:
        """Which pixels of a square see each other, the same for all heads.

        Returns:
            (squares * heads, pixels, pixels) booleans; None where all do.
        """
        return _mask(self, heads)


@functools.cache
def _mask(squares: Squares, heads: int) -> mx.array | None:
    (y, z), (rows, columns) = squares.sides, squares.count
    down = _places(squares.height, y, rows, squares.shift[0])
    right = _places(squares.width, z, columns, squares.shift[1])
    # Filled pixels see each other, so that no row of a softmax is empty.
    filled = (down[:, None] < 0) | (right[None] < 0)
    labels = np.where(filled, -1, down[:, None] * (columns + 1) + right[None])
    cut = labels.reshape(rows, y, columns, z).transpose(0, 2, 1, 3).reshape(-1, y * z)
    same = cut[:, :, None] == cut[:, None, :]
    return None if same.all() else mx.array(np.repeat(same, heads, axis=0))


def _places(side: int, length: int, count: int, shift: int) -> np.ndarray:
    """The square of each pixel along a side, after the shift; -1 where it is filled up."""
    index = np.arange(count * length)
    square = np.where(index < side, (index + length - shift) // length, -1)
    return np.roll(square, -shift)
