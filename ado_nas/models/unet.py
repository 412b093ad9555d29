"""The U-Net: topology and parameter names of Diffusers' UNet2DModel, built from a `UNetSpec`.

Two things differ and are folded away on export: 1x1 convolutions are linear layers, and `patch`
folds pixels into channels before the first convolution and back after the last.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map

from ado_nas.models.attention import Attention
from ado_nas.models.blocks import (
    ACTIVATION,
    Resnet,
    depth_to_space,
    downsample,
    norm_of,
    space_to_depth,
    upsample,
)
from ado_nas.models.embeddings import TimeEmbedding
from ado_nas.models.recomputing import run
from ado_nas.models.tree import named_arrays
from ado_nas.specs import UNetSpec


class Level(nn.Module):
    """The blocks of one level on the way down, or up, or the middle.

    Args:
        spec: of the whole network.
        inputs: channels that each block sees.
        level: from the finest, 0.
        attentions: how many of the blocks are followed by attention, where the level has any.
    """

    def __init__(self, spec: UNetSpec, inputs: list[int], level: int, attentions: int):
        super().__init__()
        width, kind = spec.widths[level], spec.attention[level]
        self.resnets = [Resnet(spec, i, width) for i in inputs]
        if kind != "none":
            # Every other window attention is shifted, so that neighbors across windows meet.
            self.attentions = [
                Attention(
                    width, spec.head_dim, norm_of(spec, width), kind, spec.window, i % 2 == 1
                )
                for i in range(attentions)
            ]

    def attend(self, x: mx.array, index: int) -> mx.array:
        """Apply the attention after block `index`, where the level has any."""
        return run(self.attentions[index], x) if "attentions" in self else x

    def merge(self, x: mx.array, skip: mx.array, index: int) -> mx.array:
        """What block `index` on the way up sees: features with the skip beside or added."""
        if "skip_projs" in self:
            added: mx.array = x + self.skip_projs[index](skip)
            return added
        return mx.concatenate([x, skip], axis=-1)


class UNet(nn.Module):
    """Noise-conditioned U-Net.

    The last convolution starts at zero, so that a fresh network predicts zero.
    """

    def __init__(self, spec: UNetSpec):
        super().__init__()
        self._spec = spec
        widths, blocks = spec.widths, spec.blocks
        folded = spec.in_channels * spec.patch**2
        act = ACTIVATION[spec.activation]
        self.conv_in = nn.Conv2d(folded * (2 if spec.hinted else 1), widths[0], 3, padding=1)
        self.time_embedding = TimeEmbedding(spec.time_width, act)
        if spec.num_classes:
            # The last row stands for "no class".
            self.class_embedding = nn.Embedding(spec.num_classes + 1, spec.time_width)
        if spec.sized:
            # Of one doubling of the side; nothing at the network's own.
            self.size_embedding = nn.Embedding(1, spec.time_width)
            self.size_embedding.weight = mx.zeros_like(self.size_embedding.weight)
        if spec.placed:
            self.place_in = nn.Linear(2, widths[0])
            self.place_in.update(tree_map(mx.zeros_like, self.place_in.parameters()))
        skips = [widths[0]]
        self.down_blocks = []
        for level, width in enumerate(widths):
            inputs = [skips[-1] if i == 0 else width for i in range(blocks[level])]
            block = Level(spec, inputs, level, len(inputs))
            skips += [width] * blocks[level]
            if level + 1 < len(widths):
                block.downsamplers = [downsample(spec.downsample, width)]
                skips.append(width)
            self.down_blocks.append(block)
        if spec.middle:
            self.mid_block = Level(spec, [widths[-1]] * 2, len(widths) - 1, 1)
        self.up_blocks = []
        below = widths[-1]
        for level in reversed(range(len(widths))):
            pairs = []
            for _ in range(blocks[level] + 1):
                pairs.append((below, skips.pop()))
                below = widths[level]
            joined = [a + b if spec.skip == "concat" else a for a, b in pairs]
            block = Level(spec, joined, level, len(joined))
            if spec.skip == "add":
                block.skip_projs = [nn.Identity() if a == b else nn.Linear(b, a) for a, b in pairs]
            if level > 0:
                block.upsamplers = [upsample(spec.upsample, below)]
            self.up_blocks.append(block)
        self.conv_norm_out = norm_of(spec, widths[0])
        self.conv_out = nn.Conv2d(widths[0], folded, 3, padding=1)
        self.conv_out.weight = mx.zeros_like(self.conv_out.weight)
        self._act = act

    @property
    def spec(self) -> UNetSpec:
        """The spec it was built from."""
        return self._spec

    def __call__(
        self,
        x: mx.array,
        c_noise: mx.array,
        labels: mx.array | None = None,
        place: mx.array | None = None,
    ) -> mx.array:
        """Run the network.

        Args:
            x: (B, H, W, C), scaled noisy images, of any side that its levels can halve.
            c_noise: (B,) or (1,), embedded noise levels.
            labels: (B,) int32 classes, `num_classes` for none; None where unconditional.
            place: (B, 3), top, left and side of each image in the whole one, as shares of its
                side; None where they are whole.

        Returns:
            (B, H, W, C), the raw prediction.
        """
        return self.with_maps(x, c_noise, labels, place)[0]

    def with_maps(
        self,
        x: mx.array,
        c_noise: mx.array,
        labels: mx.array | None = None,
        place: mx.array | None = None,
    ) -> tuple[mx.array, dict[str, mx.array]]:
        """Run the network and keep the feature maps at the ends of its levels.

        Args:
            x: as for a plain run, like all others.
            c_noise: see `x`.
            labels: see `x`.
            place: see `x`.

        Returns:
            The raw prediction, and the maps (B, h, w, C) by way and side: ``down@8``, ``mid@4``,
            ``up@8``, in the order they are made.
        """
        maps: dict[str, mx.array] = {}
        temb = self._act(self._embed(c_noise, labels, x.shape[1]))
        x = self.conv_in(space_to_depth(x, self._spec.patch))
        if "place_in" in self:
            x = x + self.place_in(coordinates(place, x.shape[1]))
        skips = [x]
        for block in self.down_blocks:
            for i, resnet in enumerate(block.resnets):
                x = block.attend(run(resnet, x, temb), i)
                skips.append(x)
            maps[f"down@{x.shape[1]}"] = x
            if "downsamplers" in block:
                x = block.downsamplers[0](x)
                skips.append(x)
        if "mid_block" in self:
            x = run(self.mid_block.resnets[0], x, temb)
            x = self.mid_block.attend(x, 0)
            x = run(self.mid_block.resnets[1], x, temb)
            maps[f"mid@{x.shape[1]}"] = x
        for block in self.up_blocks:
            for i, resnet in enumerate(block.resnets):
                x = run(resnet, block.merge(x, skips.pop(), i), temb)
                x = block.attend(x, i)
            maps[f"up@{x.shape[1]}"] = x
            if "upsamplers" in block:
                x = block.upsamplers[0](x)
        x = self.conv_out(self._act(self.conv_norm_out(x)))
        return depth_to_space(x, self._spec.patch), maps

    def _embed(self, c_noise: mx.array, labels: mx.array | None, side: int) -> mx.array:
        temb: mx.array = self.time_embedding(c_noise)
        if "size_embedding" in self and side != self._spec.resolution:
            temb = temb + math.log2(side / self._spec.resolution) * self.size_embedding.weight
        if "class_embedding" not in self:
            return temb
        if labels is None:
            labels = mx.full((1,), self._spec.num_classes, dtype=mx.int32)
        classes: mx.array = self.class_embedding(labels)
        return temb + classes


def coordinates(place: mx.array | None, side: int) -> mx.array:
    """Where the pixels of a map lie in the whole image, from -1 to 1 down and to the right.

    Args:
        place: as the network takes it.
        side: of the map.

    Returns:
        (B or 1, side, side, 2).

    Source: Wang et al. 2023 (Patch Diffusion), section 3.1.
    """
    if place is None:
        place = mx.array([[0.0, 0.0, 1.0]])
    middles = (mx.arange(side) + 0.5) / side
    along = 2 * (place[:, :2, None] + place[:, 2:, None] * middles) - 1  # (B, 2, side)
    shape = (place.shape[0], side, side)
    down = mx.broadcast_to(along[:, 0, :, None], shape)
    right = mx.broadcast_to(along[:, 1, None, :], shape)
    return mx.stack([down, right], axis=-1)


def build_unet(spec: UNetSpec, seed: int = 0) -> UNet:
    """A freshly initialized, evaluated network.

    Args:
        spec: the architecture.
        seed: of the initial weights.

    Returns:
        The network, its parameters evaluated, so that any thread may use it.
    """
    mx.random.seed(seed)
    model = unet_of(spec)
    mx.eval(model.parameters())
    return model


def unet_of(spec: UNetSpec) -> UNet:
    """The network of a spec, nested or not, with weights that are still to be computed."""
    from ado_nas.models.nested import NestedUNet  # is made of networks of this module

    return NestedUNet(spec) if spec.nested else UNet(spec)


def named_parameters(model: nn.Module) -> Iterator[tuple[str, mx.array]]:
    """Parameters with their dotted names, in a fixed order."""
    yield from sorted(named_arrays(model.parameters()), key=lambda named: named[0])
