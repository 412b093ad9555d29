"""Self-attention over the pixels of a feature map."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from ado_nas.errors import SpecError, nearest
from ado_nas.models.attend import full, linear, product
from ado_nas.models.windows import Squares

KINDS = ("full", "linear", "window")


class Attention(nn.Module):
    """Multi-head attention with a norm before and a residual after.

    Its last layer starts at zero, so that a fresh one changes nothing.

    Args:
        width: channels.
        head_dim: channels of a head; divides the width.
        norm: the layer before.
        kind: full; linear (ReLU-linear); window (full inside squares of the map).
        window: side of the squares, in pixels; other kinds have no use for it.
        shifted: the squares begin half a side before the map; likewise.

    Raises:
        SpecError: no such kind, a head that does not divide the width, or no window.
    """

    def __init__(
        self,
        width: int,
        head_dim: int,
        norm: nn.Module,
        kind: str = "full",
        window: int = 4,
        shifted: bool = False,
    ):
        super().__init__()
        if kind not in KINDS:
            raise SpecError(f"attention {kind!r}: {nearest(kind, KINDS)}")
        if head_dim < 1 or width % head_dim:
            raise SpecError(f"head_dim {head_dim}: must divide the width {width}")
        if window < 2:
            raise SpecError(f"window {window}: at least 2 pixels a side")
        self.group_norm = norm
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = [nn.Linear(width, width)]
        self.to_out[0].weight = mx.zeros_like(self.to_out[0].weight)
        self.to_out[0].bias = mx.zeros_like(self.to_out[0].bias)
        self._head_dim = head_dim
        self._kind = kind
        self._window = window
        self._shifted = shifted

    def __call__(self, x: mx.array) -> mx.array:
        """Mix positions.

        Args:
            x: (B, H, W, C).

        Returns:
            (B, H, W, C).

        Source: Vaswani et al. 2017, eq. 1.
        """
        _, h, w, c = x.shape
        # Other kinds see the map as one square.
        window = self._window if self._kind == "window" else max(h, w)
        squares = Squares(h, w, window, self._shifted)
        tokens = squares.cut(self.group_norm(x))
        q, k, v = (self._heads(f(tokens)) for f in (self.to_q, self.to_k, self.to_v))
        if self._kind == "linear":
            mixed = linear(q, k, v)
        elif squares.count == (1, 1):
            mixed = full(q, k, v)
        else:
            mixed = product(q, k, v, squares.mask(c // self._head_dim))
        return x + squares.join(self.to_out[0](self._merge(mixed, tokens.shape)))

    def _heads(self, x: mx.array) -> mx.array:
        """(B, squares, N, C) -> (B, squares * heads, N, head_dim)."""
        b, s, n, c = x.shape
        split = x.reshape(b, s, n, c // self._head_dim, self._head_dim).transpose(0, 1, 3, 2, 4)
        return split.reshape(b, -1, n, self._head_dim)

    def _merge(self, x: mx.array, shape: tuple[int, ...]) -> mx.array:
        """Back from `_heads`."""
        b, s, n, c = shape
        split = x.reshape(b, s, c // self._head_dim, n, self._head_dim)
        return split.transpose(0, 1, 3, 2, 4).reshape(shape)
