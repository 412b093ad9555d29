"""Self-attention over the pixels of a feature map."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from ado_nas.models.norms import GroupNorm


class Attention(nn.Module):
    """Multi-head softmax attention with a group norm before and a residual after (Attention)."""

    def __init__(self, width: int, head_dim: int, groups: int):
        super().__init__()
        self.group_norm = GroupNorm(groups, width)
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = [nn.Linear(width, width)]
        self.to_out[0].weight = mx.zeros_like(self.to_out[0].weight)
        self._head_dim = head_dim

    def __call__(self, x: mx.array) -> mx.array:
        """Mix all positions.

        Args:
            x: (B, H, W, C).

        Returns:
            (B, H, W, C).

        Source: Vaswani et al. 2017, eq. 1.
        """
        b, h, w, c = x.shape
        tokens = self.group_norm(x).reshape(b, h * w, c)
        q, k, v = (self._heads(f(tokens)) for f in (self.to_q, self.to_k, self.to_v))
        mixed = mx.fast.scaled_dot_product_attention(q, k, v, scale=self._head_dim**-0.5)
        mixed = mixed.transpose(0, 2, 1, 3).reshape(b, h * w, c)
        return x + self.to_out[0](mixed).reshape(b, h, w, c)

    def _heads(self, x: mx.array) -> mx.array:
        b, n, c = x.shape
        return x.reshape(b, n, c // self._head_dim, self._head_dim).transpose(0, 2, 1, 3)
