"""The first and last convolution across patch factors: the teacher's fine levels in one kernel.

A student that folds larger squares of pixels starts where the teacher is one level down. What the
teacher does linearly up to there, first convolution and downsampling, is a convolution on the
folded image; its kernel is read off by sending impulses through the teacher's own layers. Likewise
upsampling and the last convolution. Blocks, norms and activations in between are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import numpy.typing as npt

from ado_nas.models.blocks import depth_to_space, space_to_depth
from ado_nas.models.plan import Layer, Space, features, side
from ado_nas.models.unet import UNet
from ado_nas.specs import UNetSpec

Floats = npt.NDArray[np.float32]
Map = Callable[[mx.array], mx.array]

_GRID = 5  # pixels a side of the map that impulses are sent through; its middle sees no edge


def folded_stem(student: UNetSpec, teacher: UNet, weights: dict[str, Floats]) -> Iterator[Layer]:
    """The teacher's way from the image to the student's finest level, as one convolution.

    Args:
        student: its network may fold larger squares than the teacher's.
        teacher: its layers are run.
        weights: gets the kernel and bias.

    Yields:
        The layer; none where the student's finest level is the teacher's, or not one of its own.
    """
    level = _level(student, teacher.spec)
    if level == 0:
        return

    def stem(folded: mx.array) -> mx.array:
        x = space_to_depth(depth_to_space(folded, student.patch), teacher.spec.patch)
        x = teacher.conv_in(x)
        for above, below in zip(
            teacher.down_blocks[:level], teacher.down_blocks[1:], strict=False
        ):
            x = _shortcut(below.resnets[0], above.downsamplers[0](x))
        return x

    image = Space(f"image{student.patch}", student.in_channels * student.patch**2)
    yield _convolution("conv_in", student, image, features(teacher.spec, level), stem, weights)


def folded_head(student: UNetSpec, teacher: UNet, weights: dict[str, Floats]) -> Iterator[Layer]:
    """The teacher's way from the student's finest level to the image; see `folded_stem`."""
    level = _level(student, teacher.spec)
    if level == 0:
        return
    ways = teacher.up_blocks[len(teacher.up_blocks) - 1 - level :]

    def head(x: mx.array) -> mx.array:
        for below, above in pairwise(ways):
            x = below.upsamplers[0](x)
            for resnet in above.resnets:
                x = _shortcut(resnet, x)
        image = depth_to_space(teacher.conv_out(x), teacher.spec.patch)
        return space_to_depth(image, student.patch)

    image = Space(f"image{student.patch}", student.in_channels * student.patch**2)
    yield _convolution("conv_out", student, features(teacher.spec, level), image, head, weights)


def _level(student: UNetSpec, teacher: UNetSpec) -> int:
    """The teacher's level that the student starts at; 0 where there is none below the finest."""
    if student.nested or teacher.nested:
        return 0
    wanted = side(student, 0)
    below = range(1, len(teacher.widths))
    same = student.resolution == teacher.resolution and student.in_channels == teacher.in_channels
    return next((i for i in below if same and side(teacher, i) == wanted), 0)


def _shortcut(resnet: nn.Module, x: mx.array) -> mx.array:
    """The residual path of a block, for features alone where a skip comes beside them."""
    if "conv_shortcut" not in resnet:
        return x
    linear = resnet.conv_shortcut
    passed: mx.array = x @ linear.weight[:, : x.shape[-1]].T + linear.bias
    return passed


def _convolution(
    name: str,
    student: UNetSpec,
    inputs: Space,
    out: Space,
    linear: Map,
    weights: dict[str, Floats],
) -> Layer:
    """Read the 3x3 kernel of an affine map that moves with the image off its impulse responses."""
    middle = _GRID // 2
    impulses = np.zeros((inputs.width + 1, _GRID, _GRID, inputs.width), np.float32)
    impulses[np.arange(inputs.width), middle, middle, np.arange(inputs.width)] = 1
    responses = np.array(linear(mx.array(impulses)))
    bias, around = responses[-1, middle, middle], slice(middle - 1, middle + 2)
    kernel = (responses[:-1] - responses[-1])[:, around, around]
    pixels = side(student, 0)
    layer = Layer(
        f"folded.{name}", f"{name}@{pixels}p{student.patch}", "conv", out, (inputs,), 3, pixels
    )
    # A tap right of the middle acts on what lies right of it: responses are mirrored kernels.
    weights[f"{layer.name}.weight"] = np.ascontiguousarray(
        kernel[:, ::-1, ::-1].transpose(3, 1, 2, 0)
    )
    weights[f"{layer.name}.bias"] = bias
    return layer
