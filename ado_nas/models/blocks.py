"""Convolution blocks of the U-Net, with the attribute names Diffusers gives them.

Arrays are NHWC. Stride-2 convolutions are computed as stride-1 ones on folded pixels: the same
numbers, but their gradient stays on the matrix-product path on every backend.
"""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn

from ado_nas.models.chunks import exp
from ado_nas.models.norms import GroupNorm
from ado_nas.specs import UNetSpec

Activation = Callable[[mx.array], mx.array]


def hardswish(x: mx.array) -> mx.array:
    """Piecewise quadratic stand-in for SiLU, without exponentials.

    Source: Howard et al. 2019 (MobileNetV3), section 5.2.
    """
    return x * mx.clip(x * (1 / 6) + 0.5, 0, 1)


def silu(x: mx.array) -> mx.array:
    """Sigmoid-weighted linear unit, by the device's quick exponential.

    Source: Elfwing et al. 2018, eq. 1.
    """
    return x / (1 + exp(-mx.maximum(x, -80)))  # beyond, the power overflows and its slope is NaN


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


class Depthwise(nn.Module):
    """A 3x3 convolution of each channel by itself, without bias."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = mx.random.uniform(-1 / 3, 1 / 3, (width, 3, 3, 1))

    def __call__(self, x: mx.array) -> mx.array:
        """Convolve: (B, H, W, C) to (B, H, W, C)."""
        if mx.default_device() != mx.Device(mx.cpu):
            return mx.conv2d(x, self.weight, padding=1, groups=x.shape[-1])
        # Nine scaled copies: on a CPU, MLX's own runs naive loops.
        h, w = x.shape[1:3]
        wide = mx.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
        taps = (
            wide[:, i : i + h, j : j + w] * self.weight[:, i, j, 0]
            for i in range(3)
            for j in range(3)
        )
        first = next(taps)
        return sum(taps, first)


class SeparableConv(nn.Module):
    """A 3x3 convolution of each channel by itself, then a 1x1 convolution over all of them.

    Source: Howard et al. 2017 (MobileNets), section 3.1.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.depthwise = Depthwise(inputs)
        self.pointwise = nn.Linear(inputs, outputs)

    def __call__(self, x: mx.array) -> mx.array:
        """Convolve: (B, H, W, C_in) to (B, H, W, C_out)."""
        out: mx.array = self.pointwise(self.depthwise(x))
        return out


def conv3x3(spec: UNetSpec, inputs: int, outputs: int, zero: bool = False) -> nn.Module:
    """The convolution of a block, of the spec's kind; `zero` makes it start as nothing."""
    if spec.conv == "separable":
        separable = SeparableConv(inputs, outputs)
        if zero:
            separable.pointwise.weight = mx.zeros_like(separable.pointwise.weight)
            separable.pointwise.bias = mx.zeros_like(separable.pointwise.bias)
        return separable
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    if zero:
        conv.weight = mx.zeros_like(conv.weight)
    return conv


def norm_of(spec: UNetSpec, width: int) -> nn.Module:
    """A norm over features of this width, of the spec's kind."""
    return GroupNorm(spec.groups, width) if spec.norm == "group" else nn.RMSNorm(width)


class Resnet(nn.Module):
    """Two 3x3 convolutions around a noise-level shift, with a residual path (ResnetBlock2D)."""

    def __init__(self, spec: UNetSpec, inputs: int, outputs: int):
        super().__init__()
        self.norm1 = norm_of(spec, inputs)
        self.conv1 = conv3x3(spec, inputs, outputs)
        self.time_emb_proj = nn.Linear(spec.time_width, outputs)
        self.norm2 = norm_of(spec, outputs)
        self.conv2 = conv3x3(spec, outputs, outputs, zero=True)
        if inputs != outputs:
            self.conv_shortcut = nn.Linear(inputs, outputs)
        self._act = ACTIVATION[spec.activation]

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
        convolved: mx.array = self.conv(doubled(x))
        return convolved


class Pool(nn.Module):
    """The mean of each 2x2 square (Downsample2D without a convolution)."""

    def __call__(self, x: mx.array) -> mx.array:
        """Halve both sides: (B, H, W, C) to (B, H / 2, W / 2, C)."""
        b, h, w, c = x.shape
        return x.reshape(b, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))


class Nearest(nn.Module):
    """Each pixel four times (Upsample2D without a convolution)."""

    def __call__(self, x: mx.array) -> mx.array:
        """Double both sides: (B, H, W, C) to (B, 2 H, 2 W, C)."""
        return doubled(x)


class FoldDown(nn.Module):
    """2x2 squares folded into channels, then a 1x1 convolution: one matrix product."""

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(4 * width, width)

    def __call__(self, x: mx.array) -> mx.array:
        """Halve both sides: (B, H, W, C) to (B, H / 2, W / 2, C)."""
        halved: mx.array = self.linear(space_to_depth(x, 2))
        return halved


class FoldUp(nn.Module):
    """A 1x1 convolution to four times the channels, then channels unfolded into 2x2 squares.

    Source: Shi et al. 2016 (sub-pixel convolution), section 2.2.
    """

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(width, 4 * width)

    def __call__(self, x: mx.array) -> mx.array:
        """Double both sides: (B, H, W, C) to (B, 2 H, 2 W, C)."""
        return depth_to_space(self.linear(x), 2)


def doubled(x: mx.array) -> mx.array:
    """Nearest-neighbor doubling: (B, H, W, C) to (B, 2 H, 2 W, C)."""
    b, h, w, c = x.shape
    x = mx.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, c))
    return x.reshape(b, 2 * h, 2 * w, c)


def downsample(kind: str, width: int) -> nn.Module:
    """What halves a level's sides."""
    return Pool() if kind == "pool" else (FoldDown if kind == "fold" else Downsample)(width)


def upsample(kind: str, width: int) -> nn.Module:
    """What doubles a level's sides."""
    return Nearest() if kind == "nearest" else (FoldUp if kind == "fold" else Upsample)(width)
