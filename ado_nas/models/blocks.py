"""Convolution blocks of the U-Net, with the attribute names Diffusers gives them.

Arrays are NHWC. Stride-2 convolutions are computed as stride-1 ones on folded pixels: the same
numbers, but their gradient stays on the matrix-product path on every backend.
"""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn

from ado_nas.models.norms import GroupNorm

Activation = Callable[[mx.array], mx.array]


def hardswish(x: mx.array) -> mx.array:
    """Piecewise quadratic stand-in for SiLU, without exponentials.

    Source: Howard et al. 2019 (MobileNetV3), section 5.2.
    """
    return x * mx.clip(x * (1 / 6) + 0.5, 0, 1)


def silu(x: mx.array) -> mx.array:
    """Sigmoid-weighted linear unit, uncompiled so that it runs the same on every backend."""
    return x * mx.sigmoid(x)


def relu(x: mx.array) -> mx.array:
    """Rectifier."""
    return mx.maximum(x, 0)


def gelu(x: mx.array) -> mx.array:
    """Gaussian error linear unit, exact form."""
    return 0.5 * x * (1 + mx.erf(x * 2**-0.5))


ACTIVATION: dict[str, Activation] = {
    "relu": relu,
    "hardswish": hardswish,
    "silu": silu,
    "gelu": gelu,
}


def space_to_depth(x: mx.array, factor: int) -> mx.array:
    """Fold squares of pixels into channels.

    Args:
        x: (B, H, W, C), both sides divisible by `factor`.
        factor: side of the squares.

    Returns:
        (B, H / factor, W / factor, factor * factor * C), the square's row first.
    """
    if factor == 1:
        return x
    b, h, w, c = x.shape
    x = x.reshape(b, h // factor, factor, w // factor, factor, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // factor, w // factor, -1)


def depth_to_space(x: mx.array, factor: int) -> mx.array:
    """Unfold channels into squares of pixels; the inverse of `space_to_depth`.

    Args:
        x: (B, H, W, factor * factor * C).
        factor: side of the squares.

    Returns:
        (B, H * factor, W * factor, C).
    """
    if factor == 1:
        return x
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, factor, factor, c // factor**2)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h * factor, w * factor, -1)


class Resnet(nn.Module):
    """Two 3x3 convolutions around a noise-level shift, with a residual path (ResnetBlock2D)."""

    def __init__(
        self, inputs: int, outputs: int, time_width: int, groups: int, activation: Activation
    ):
        super().__init__()
        self.norm1 = GroupNorm(groups, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_width, outputs)
        self.norm2 = GroupNorm(groups, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv2.weight = mx.zeros_like(self.conv2.weight)
        if inputs != outputs:
            self.conv_shortcut = nn.Linear(inputs, outputs)
        self._act = activation

    def __call__(self, x: mx.array, temb: mx.array) -> mx.array:
        """Transform features.

        Args:
            x: (B, H, W, C_in).
            temb: (B or 1, E), activated noise embedding.

        Returns:
            (B, H, W, C_out).
        """
        h: mx.array = self.conv1(self._act(self.norm1(x)))
        h = h + self.time_emb_proj(temb)[:, None, None, :]
        h = self.conv2(self._act(self.norm2(h)))
        shortcut: mx.array = self.conv_shortcut(x) if "conv_shortcut" in self else x
        return h + shortcut


class Downsample(nn.Module):
    """A 3x3 convolution of stride 2, padded at the right and bottom (Downsample2D, padding 0)."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def __call__(self, x: mx.array) -> mx.array:
        """Halve both sides: (B, H, W, C) to (B, H / 2, W / 2, C)."""
        c = x.shape[-1]
        # A 3x3 kernel of stride 2 is a 2x2 one on folded squares, one row and column unused.
        w = mx.pad(self.conv.weight, [(0, 0), (0, 1), (0, 1), (0, 0)])
        w = w.reshape(c, 2, 2, 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(c, 2, 2, 4 * c)
        folded = mx.pad(space_to_depth(x, 2), [(0, 0), (0, 1), (0, 1), (0, 0)])
        return mx.conv2d(folded, w) + self.conv.bias


class Upsample(nn.Module):
    """Nearest-neighbor doubling and a 3x3 convolution (Upsample2D)."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def __call__(self, x: mx.array) -> mx.array:
        """Double both sides: (B, H, W, C) to (B, 2 H, 2 W, C)."""
        b, h, w, c = x.shape
        x = mx.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, c))
        doubled: mx.array = self.conv(x.reshape(b, 2 * h, 2 * w, c))
        return doubled
