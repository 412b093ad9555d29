"""The layers of a spec, without building it: names, sizes, feature-map sides, channel spaces.

A channel space names what a tensor's axis means (features at one resolution, the time embedding,
an image). Inheritance matches layers by role and axes by space; costs count them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from ado_nas.models.embeddings import FREQUENCIES
from ado_nas.specs import UNetSpec


@dataclass(frozen=True)
class Space:
    """An axis of channels: what it means, and how many there are."""

    key: str
    width: int


@dataclass(frozen=True)
class Layer:
    """One layer with parameters.

    `kind` is conv, depthwise, linear, norm, rms or embedding. `side` is the side of the output
    map in pixels, 0 for layers on vectors. Layers of two networks that do the same at the same
    side have the same `role`. `keys` is what each query of an attention is compared with, for the
    layer that makes the queries; linear attention compares with as many as a head is wide.
    """

    name: str
    role: str
    kind: str
    out: Space
    inputs: tuple[Space, ...]
    kernel: int = 1
    side: int = 0
    keys: int = 0

    @property
    def fan_in(self) -> int:
        """Input channels."""
        return sum(s.width for s in self.inputs)


def layers(spec: UNetSpec) -> Iterator[Layer]:
    """Every layer with parameters, in the order of the forward pass.

    Args:
        spec: the architecture.

    Yields:
        The layers; their parameters are exactly those of the built network.
    """
    if spec.nested:
        for part, name in ((spec.outside, "outside"), (spec.inside, "inside")):
            for layer in layers(part):
                # Roles of their own: what is inside means something else than a plain level.
                role = f"{name}|{layer.role}"
                yield dataclasses.replace(layer, name=f"{name}.{layer.name}", role=role)
        return
    time = Space("time", spec.time_width)
    yield Layer("time_embedding.linear_1", "time1", "linear", time, (_fourier(),))
    yield Layer("time_embedding.linear_2", "time2", "linear", time, (time,))
    if spec.num_classes:
        rows = Space("class", spec.num_classes + 1)
        yield Layer("class_embedding", "class", "embedding", time, (rows,))
    if spec.sized:
        yield Layer("size_embedding", "size", "embedding", time, (Space("size", 1),))
    image = Space(f"image{spec.patch}", spec.in_channels * spec.patch**2)
    seen = Space(f"hinted{spec.patch}", 2 * image.width) if spec.hinted else image
    first = features(spec, 0)
    edge = f"@{side(spec, 0)}p{spec.patch}"
    yield Layer("conv_in", "conv_in" + edge, "conv", first, (seen,), 3, side(spec, 0))
    if spec.placed:
        around = Space("place", 2)
        yield Layer("place_in", "place" + edge, "linear", first, (around,), 1, side(spec, 0))
    skips = [first]
    for level in range(len(spec.widths)):
        yield from _down(spec, level, skips)
    last = len(spec.widths) - 1
    if spec.middle:
        wide = features(spec, last)
        for i in range(2):
            yield from _resnet(spec, last, f"mid_block.resnets.{i}", f"mid.{i}", (wide,))
        if spec.attention[last] != "none":
            yield from _attention(spec, last, "mid_block.attentions.0", "mid.0")
    below = features(spec, last)
    for level in reversed(range(len(spec.widths))):
        yield from _up(spec, level, below, skips)
        below = features(spec, level)
    yield _norm(spec, "conv_norm_out", "norm_out" + edge, (first,), side(spec, 0))
    yield Layer("conv_out", "conv_out" + edge, "conv", image, (first,), 3, side(spec, 0))


def side(spec: UNetSpec, level: int) -> int:
    """Side of the feature maps of a level, in pixels."""
    return int(spec.resolution // (spec.patch * 2**level))


def features(spec: UNetSpec, level: int) -> Space:
    """The channels of a level."""
    return Space(f"features{side(spec, level)}", spec.widths[level])


def _fourier() -> Space:
    return Space("fourier", 2 * FREQUENCIES)


def _down(spec: UNetSpec, level: int, skips: list[Space]) -> Iterator[Layer]:
    wide = features(spec, level)
    for i in range(spec.blocks[level]):
        inputs = (skips[-1] if i == 0 else wide,)
        yield from _block(spec, level, f"down_blocks.{level}", "down", str(i), i, inputs)
        skips.append(wide)
    if level + 1 < len(spec.widths):
        half = side(spec, level) // 2
        name, role = f"down_blocks.{level}.downsamplers.0", f"downsample@{half}"
        if spec.downsample == "conv":
            yield Layer(f"{name}.conv", role, "conv", wide, (wide,), 3, half)
        elif spec.downsample == "fold":
            yield Layer(f"{name}.linear", f"{role}.fold", "linear", wide, (wide,) * 4, 1, half)
        skips.append(wide)


def _up(spec: UNetSpec, level: int, below: Space, skips: list[Space]) -> Iterator[Layer]:
    wide = features(spec, level)
    path = f"up_blocks.{len(spec.widths) - 1 - level}"
    for i in range(spec.blocks[level] + 1):
        # The first block sees the level below; the others are told apart by the skip they see.
        place = "first" if i == 0 else f"skip{spec.blocks[level] - i}"
        inputs: tuple[Space, ...] = (below if i == 0 else wide, skips.pop())
        if spec.skip == "add":
            if inputs[0].width != inputs[1].width:
                role = f"up.{place}@{side(spec, level)}.skip"
                name, to, pixels = f"{path}.skip_projs.{i}", inputs[0], side(spec, level)
                yield Layer(name, role, "linear", to, inputs[1:], 1, pixels)
            inputs = inputs[:1]
        yield from _block(spec, level, path, "up", place, i, inputs)
    if level > 0:
        double = side(spec, level) * 2
        name, role = f"{path}.upsamplers.0", f"upsample@{double}"
        if spec.upsample == "conv":
            yield Layer(f"{name}.conv", role, "conv", wide, (wide,), 3, double)
        elif spec.upsample == "fold":
            unfolded = Space(f"4x{wide.key}", 4 * wide.width)
            yield Layer(
                f"{name}.linear", f"{role}.fold", "linear", unfolded, (wide,), 1, double // 2
            )


def _block(
    spec: UNetSpec,
    level: int,
    path: str,
    way: str,
    place: str,
    index: int,
    inputs: tuple[Space, ...],
) -> Iterator[Layer]:
    yield from _resnet(spec, level, f"{path}.resnets.{index}", f"{way}.{place}", inputs)
    if spec.attention[level] != "none":
        yield from _attention(spec, level, f"{path}.attentions.{index}", f"{way}.{place}")


def _resnet(
    spec: UNetSpec, level: int, name: str, role: str, inputs: tuple[Space, ...]
) -> Iterator[Layer]:
    wide, pixels = features(spec, level), side(spec, level)
    role = f"{role}@{pixels}"
    time = Space("time", spec.time_width)
    yield _norm(spec, f"{name}.norm1", f"{role}.norm1", inputs, pixels)
    yield from _conv(spec, f"{name}.conv1", f"{role}.conv1", wide, inputs, pixels)
    yield Layer(f"{name}.time_emb_proj", f"{role}.time", "linear", wide, (time,))
    yield _norm(spec, f"{name}.norm2", f"{role}.norm2", (wide,), pixels)
    yield from _conv(spec, f"{name}.conv2", f"{role}.conv2", wide, (wide,), pixels)
    if sum(s.width for s in inputs) != wide.width:
        shortcut = f"{name}.conv_shortcut"
        yield Layer(shortcut, f"{role}.shortcut", "linear", wide, inputs, 1, pixels)


def _norm(spec: UNetSpec, name: str, role: str, inputs: tuple[Space, ...], pixels: int) -> Layer:
    kind = "norm" if spec.norm == "group" else "rms"
    return Layer(name, role, kind, _joined(inputs), inputs, 1, pixels)


def _conv(
    spec: UNetSpec, name: str, role: str, out: Space, inputs: tuple[Space, ...], pixels: int
) -> Iterator[Layer]:
    if spec.conv == "full":
        yield Layer(name, role, "conv", out, inputs, 3, pixels)
        return
    each = _joined(inputs)
    yield Layer(f"{name}.depthwise", f"{role}.depthwise", "depthwise", each, inputs, 3, pixels)
    yield Layer(f"{name}.pointwise", f"{role}.pointwise", "linear", out, inputs, 1, pixels)


def _joined(inputs: tuple[Space, ...]) -> Space:
    return Space("+".join(s.key for s in inputs), sum(s.width for s in inputs))


def _attention(spec: UNetSpec, level: int, name: str, role: str) -> Iterator[Layer]:
    wide, pixels = features(spec, level), side(spec, level)
    role = f"{role}@{pixels}.attention{spec.head_dim}"
    heads = Space(f"heads{pixels}x{spec.head_dim}", wide.width)
    yield _norm(spec, f"{name}.group_norm", f"{role}.norm", (wide,), pixels)
    kind = spec.attention[level]
    keys = spec.head_dim if kind == "linear" else pixels**2
    if kind == "window":
        keys = min(keys, spec.window**2)
    for part in ("to_q", "to_k", "to_v"):
        compared = keys if part == "to_q" else 0
        place = f"{name}.{part}", f"{role}.{part}"
        yield Layer(*place, "linear", heads, (wide,), 1, pixels, compared)
    yield Layer(f"{name}.to_out.0", f"{role}.to_out", "linear", wide, (heads,), 1, pixels)
