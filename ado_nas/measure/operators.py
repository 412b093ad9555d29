"""What a U-Net runs, operator by operator, and how to run one operator by itself.

An operator is one kernel's worth of work at one shape. Networks of one search space share most of
them, so timing each once says how long any network of the space takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ado_nas.models.attention import Attention
from ado_nas.models.blocks import ACTIVATION, Depthwise, depth_to_space, doubled, space_to_depth
from ado_nas.models.norms import GroupNorm
from ado_nas.models.plan import Layer, layers, side
from ado_nas.specs import UNetSpec

Call = Callable[[], Any]


@dataclass(frozen=True, order=True)
class Operator:
    """One operator at one shape.

    `kind` is conv, linear, vector (a linear layer without pixels), depthwise, norm, rms, an
    activation, add, concat, fold, unfold, double, pool, or ``window/16/4``: attention of a kind
    with its head size and window, projections included. `side` is that of the output map.
    """

    kind: str
    side: int
    inputs: int
    outputs: int

    @property
    def work(self) -> tuple[int, int]:
        """Multiply-accumulates and numbers moved, for one image."""
        pixels = max(1, self.side) ** 2
        moved = pixels * (self.inputs + self.outputs)
        if self.kind in ("conv", "linear", "vector"):
            taps = 9 if self.kind == "conv" else 1
            return pixels * taps * self.inputs * self.outputs, moved
        if self.kind == "depthwise":
            return 9 * pixels * self.inputs, moved
        if "/" in self.kind:
            name, head, window = attention_of(self.kind)
            keys = {"full": pixels, "linear": head, "window": min(pixels, window**2)}[name]
            return pixels * self.inputs * (4 * self.inputs + 2 * keys), moved
        return 0, moved


def attention_of(kind: str) -> tuple[str, int, int]:
    """The kind, head size and window of an attention operator's `kind`."""
    name, head, window = kind.split("/")
    return name, int(head), int(window)


def operators(spec: UNetSpec) -> Counter[Operator]:
    """What one evaluation of a network runs, with how often.

    Args:
        spec: the architecture.

    Returns:
        Counts by operator; solver, preconditioning and embedding are left to the fixed part.
    """
    if spec.nested:
        return operators(spec.outside) + operators(spec.inside)
    found: Counter[Operator] = Counter()
    for layer in layers(spec):
        for operator in of_layer(spec, layer):
            found[operator] += 1
    for level in range(1, len(spec.widths)):
        above, pixels = spec.widths[level - 1], side(spec, level)
        width = spec.widths[level]
        if spec.downsample == "pool":
            found[Operator("pool", pixels, above, above)] += 1
        else:
            found[Operator("fold", pixels, above, 4 * above)] += 1
        raised = Operator("double", 2 * pixels, width, width)
        if spec.upsample == "fold":
            raised = Operator("unfold", 2 * pixels, 4 * width, width)
        found[raised] += 1
    return found


def of_layer(spec: UNetSpec, layer: Layer) -> list[Operator]:
    """What a layer runs, with what comes right before and after it."""
    kind, pixels, out, fan = layer.kind, layer.side, layer.out.width, layer.fan_in
    name = layer.name.rpartition(".")[2]
    if ".attentions." in layer.name:
        if name == "group_norm":
            return [Operator(kind, pixels, out, out)]
        if not layer.keys:
            return []
        level = next(i for i in range(len(spec.widths)) if side(spec, i) == pixels)
        mixing = f"{spec.attention[level]}/{spec.head_dim}/{spec.window}"
        return [Operator(mixing, pixels, fan, out)]
    if kind == "embedding":
        return []
    if kind == "linear" and pixels == 0:
        return [Operator("vector", 0, fan, out)]
    if kind in ("norm", "rms"):
        joined = [Operator("concat", pixels, out, out)] if len(layer.inputs) > 1 else []
        activated = Operator(spec.activation, pixels, out, out)
        return [*joined, Operator(kind, pixels, out, out), activated]
    found = [Operator(kind, pixels, fan, out)]
    if layer.name.endswith(("conv1", "conv1.pointwise")):
        found.append(Operator("add", pixels, out, out))
    if layer.name.endswith(("conv2", "conv2.pointwise")) or ".skip_projs." in layer.name:
        found.append(Operator("add", pixels, out, out))
    return found


def runner(operator: Operator, batch: int) -> Call:
    """A call that runs an operator by itself on fresh inputs.

    Args:
        operator: to run.
        batch: B.

    Returns:
        A function that returns its lazy output.
    """
    kind, pixels = operator.kind, max(1, operator.side)
    inputs, outputs = operator.inputs, operator.outputs
    if kind == "vector":
        linear, rows = nn.Linear(inputs, outputs), mx.random.normal((batch, inputs))
        return _over(linear, rows)
    before = {"fold": pixels * 2, "pool": pixels * 2, "double": pixels // 2}
    before["unfold"] = pixels // 2
    place = before.get(kind, pixels)
    width = inputs if kind != "concat" else inputs // 2
    x = mx.random.normal((batch, place, place, width))
    return _over(_function(operator, x), x)


def _function(operator: Operator, x: mx.array) -> Callable[[mx.array], mx.array]:
    kind, inputs, outputs = operator.kind, operator.inputs, operator.outputs
    plain: dict[str, Callable[[mx.array], mx.array]] = {
        "add": lambda a: a + a,
        "concat": lambda a: mx.concatenate([a, a], axis=-1),
        "fold": lambda a: mx.contiguous(space_to_depth(a, 2)),
        "unfold": lambda a: mx.contiguous(depth_to_space(a, 2)),
        "double": lambda a: mx.contiguous(doubled(a)),
        "pool": lambda a: a.reshape(len(a), a.shape[1] // 2, 2, -1, 2, inputs).mean(axis=(2, 4)),
        **ACTIVATION,
    }
    if kind in plain:
        return plain[kind]
    if kind == "conv":
        return nn.Conv2d(inputs, outputs, 3, padding=1)
    if kind == "linear":
        return nn.Linear(inputs, outputs)
    if kind == "depthwise":
        return Depthwise(inputs)
    if kind in ("norm", "rms"):
        return GroupNorm(_groups(inputs), inputs) if kind == "norm" else nn.RMSNorm(inputs)
    name, head, window = attention_of(kind)
    return Attention(inputs, head, nn.Identity(), name, window)


def _groups(width: int) -> int:
    return next(g for g in (4, 2, 1) if width % g == 0)


def _over(function: Callable[[mx.array], mx.array], x: mx.array) -> Call:
    parameters = function.parameters() if isinstance(function, nn.Module) else {}
    mx.eval(x, parameters)
    return lambda: function(x)
