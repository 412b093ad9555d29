"""Embeddings of noise level and class."""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn

from ado_nas.models.blocks import Activation

FREQUENCIES = 16
_HIGHEST = 64.0  # radians per unit of log sigma / 4; resolves steps of 1% in sigma


def noise_features(c_noise: mx.array) -> mx.array:
    """Sines and cosines of a noise level.

    Args:
        c_noise: (B,), a quarter of the logarithm of sigma.

    Returns:
        (B, 2 * FREQUENCIES).
    """
    steps = mx.arange(FREQUENCIES, dtype=mx.float32) / (FREQUENCIES - 1)
    angles = c_noise.astype(mx.float32)[:, None] * mx.exp(steps * math.log(_HIGHEST))[None]
    return mx.concatenate([mx.cos(angles), mx.sin(angles)], axis=-1)


class TimeEmbedding(nn.Module):
    """Two linear layers on the noise features (TimestepEmbedding)."""

    def __init__(self, width: int, activation: Activation):
        super().__init__()
        self.linear_1 = nn.Linear(2 * FREQUENCIES, width)
        self.linear_2 = nn.Linear(width, width)
        self._act = activation

    def __call__(self, c_noise: mx.array) -> mx.array:
        """Embed noise levels: (B,) to (B, E)."""
        return self.linear_2(self._act(self.linear_1(noise_features(c_noise))))
