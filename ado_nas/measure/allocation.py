"""How much memory a graph needs at once: MLX's allocations replayed without computing anything.

MLX starts operations ahead of the threads that compute them, about a hundred of them. Outputs and
work space are allocated when an operation is started and given back when it is done, so that the
peak lies well above what the live arrays take: the unfolded inputs of many convolutions, nine
times the input each, are there at the same time. Views, copies and buffers handed from input to
output follow the rules of MLX's CPU back end; its GPU back ends were never compared with this.
"""

from __future__ import annotations

import math
import os
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ado_nas.measure.graph import Array, Graph, Node, evaluation_order
from ado_nas.runtime import WIDTH

AHEAD = 105  # operations started before the one that is done: 10 or 11 tasks of 10 each
_WIDTH = 20  # of the walk over the graph, where the environment says nothing
_SLACK = 16384  # bytes that a buffer handed on may be too large

Layout = npt.NDArray[Any]
"""Shape and strides of an array, as a view of nothing."""


def peak_bytes(graph: Graph) -> int:
    """The most memory a graph's evaluation holds, beside its arguments.

    Args:
        graph: as traced.

    Returns:
        Bytes of outputs, intermediate arrays and work space at their highest.

    Source: MLX 0.32, transforms.cpp and backend/cpu.
    """
    asked = os.environ.get(WIDTH, "")
    width = int(asked) if asked.isdecimal() else _WIDTH
    replay = _Replay(graph)
    for node in evaluation_order(graph, width):
        replay.run(node)
    return replay.peak


class _Buffer:
    """Bytes, and how many arrays and started operations hold them."""

    __slots__ = ("holders", "nbytes")

    def __init__(self, nbytes: int):
        self.nbytes = nbytes
        self.holders = 0


_Held = tuple[Layout, _Buffer]


class _Replay:
    """The state of the allocator while a graph is run node by node."""

    def __init__(self, graph: Graph):
        self.peak = 0
        self._live = 0
        self._started = 0
        self._running: deque[tuple[int, list[_Buffer]]] = deque()
        self._arrays: dict[str, _Held] = {}
        self._uses = Counter(graph.results)
        for node in graph.nodes:
            self._uses.update(node.inputs)
        for array in graph.given:
            buffer = _Buffer(0)
            buffer.holders = 1  # the caller; never handed on, never given back
            self._arrays[array.name] = _row_major(array.shape, array.itemsize), buffer
            self._uses[array.name] += 1

    def run(self, node: Node) -> None:
        """Start a node: allocate, and let go of what older ones held that are done by now."""
        while self._running and self._running[0][0] <= self._started - AHEAD:
            for buffer in self._running.popleft()[1]:
                self._release(buffer)
        inputs = [self._arrays[name] for name in node.inputs]
        space: list[_Buffer] = []
        outputs = _RULES.get(node.primitive, _elementwise)(self, node, inputs, space)
        self._started += 1
        made = {id(buffer) for _, buffer in outputs}
        busy = {id(b): b for _, b in inputs if id(b) not in made}
        held = [*busy.values(), *space]
        for (layout, buffer), array in zip(outputs, node.outputs, strict=True):
            self._arrays[array.name] = layout, buffer
            buffer.holders += 1
            if not self._uses[array.name]:  # an output that nobody wants
                buffer.holders -= 1
                held.append(buffer)
        for buffer in held:
            buffer.holders += 1
        self._running.append((self._started, held))
        for name in node.inputs:
            self._uses[name] -= 1
            if not self._uses[name]:
                self._release(self._arrays.pop(name)[1])

    def new(self, nbytes: int) -> _Buffer:
        """Allocate."""
        self._live += nbytes
        self.peak = max(self.peak, self._live)
        return _Buffer(nbytes)

    def dispatch(self, operations: int = 1) -> None:
        """Count operations that a node starts, beside the one that ends it."""
        self._started += operations

    def free_to_take(self, node: Node, place: int, held: _Held) -> bool:
        """Whether an input's buffer may become the output's: nobody else holds it, and it fits."""
        layout, buffer = held
        out = node.outputs[0]
        alone = self._uses[node.inputs[place]] == 1 and buffer.holders == 1
        fits = buffer.nbytes <= _nbytes(out) + _SLACK
        return alone and fits and layout.itemsize == out.itemsize

    def _release(self, buffer: _Buffer) -> None:
        buffer.holders -= 1
        if not buffer.holders:
            self._live -= buffer.nbytes


_Rule = Callable[[_Replay, Node, Sequence[_Held], list[_Buffer]], list[_Held]]


def _row_major(shape: Sequence[int], itemsize: int) -> Layout:
    strides = [itemsize * math.prod(shape[i + 1 :]) for i in range(len(shape))]
    return _strided(shape, strides, itemsize)


def _strided(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> Layout:
    nothing = np.zeros(1, np.dtype(f"V{itemsize}"))
    return np.lib.stride_tricks.as_strided(nothing, shape, strides)


def _nbytes(array: Array) -> int:
    return math.prod(array.shape) * array.itemsize


def _elements(layout: Layout) -> int:
    """Numbers in memory, repeats of a broadcast counted once."""
    return math.prod(n for n, stride in zip(layout.shape, layout.strides, strict=True) if stride)


def _packed(layout: Layout) -> bool:
    """Whether its numbers lie side by side, in whatever order."""
    axes = sorted((s, n) for s, n in zip(layout.strides, layout.shape, strict=True) if s and n > 1)
    expected = layout.itemsize
    for stride, count in axes:
        if stride != expected:
            return False
        expected *= count
    return True


def _fresh(replay: _Replay, array: Array) -> _Held:
    return _row_major(array.shape, array.itemsize), replay.new(_nbytes(array))


def _elementwise(
    replay: _Replay, node: Node, inputs: Sequence[_Held], space: list[_Buffer]
) -> list[_Held]:
    """One number from one of each input; an input that nobody else needs becomes the output."""
    replay.dispatch()
    out = node.outputs[0]
    many = [i for i, (layout, _) in enumerate(inputs) if _elements(layout) > 1]
    layouts = [inputs[i][0] for i in many]
    if not many:
        one = _strided(out.shape, [0] * len(out.shape), out.itemsize)
        return [(one, replay.new(out.itemsize))]
    alike = all(x.flags.c_contiguous for x in layouts) or all(
        x.flags.f_contiguous for x in layouts
    )
    kept = alike or (len(many) == 1 and _packed(layouts[0]))
    for i in many:
        layout, buffer = inputs[i]
        if (kept or layout.flags.c_contiguous) and replay.free_to_take(node, i, inputs[i]):
            return [(layout, buffer)]
    if not kept:
        return [_fresh(replay, out)]
    first = layouts[0]
    strides = [s // first.itemsize * out.itemsize for s in first.strides]
    buffer = replay.new(_elements(first) * out.itemsize)
    return [(_strided(out.shape, strides, out.itemsize), buffer)]


def _reshaped(
    replay: _Replay, node: Node, inputs: Sequence[_Held], space: list[_Buffer]
) -> list[_Held]:
    layout, buffer = inputs[0]
    try:
        return [(np.reshape(layout, node.outputs[0].shape, copy=False), buffer)]
    except ValueError:  # its numbers lie in another order
        replay.dispatch()
        return [_fresh(replay, node.outputs[0])]


def _transposed(
    replay: _Replay, node: Node, inputs: Sequence[_Held], space: list[_Buffer]
) -> list[_Held]:
    return [(inputs[0][0].transpose(node.settings[0]), inputs[0][1])]


def _broadcast(
    replay: _Replay, node: Node, inputs: Sequence[_Held], space: list[_Buffer]
) -> list[_Held]:
    return [(np.broadcast_to(inputs[0][0], node.outputs[0].shape), inputs[0][1])]


def _sliced(
    replay: _Replay, node: Node, inputs: Sequence[_Held], space: list[_Buffer]
) -> list[_Held]:
    cut = tuple(slice(*edges) for edges in zip(*node.settings[:3], strict=True))
    return [(inputs[0][0][cut], inputs[0][1])]


def _split(
    replay: _Replay, node: Node, inputs: Sequence[_Held], space: list[_Buffer]
) -> list[_Held]:
    layout, buffer = inputs[0]
    places, axis = node.settings
    return [(part, buffer) for part in np.split(layout, places, axis)]


def _as_strided(
    replay: _Replay, node: Node, inputs: Sequence[_Held], space: list[_Buffer]
) -> list[_Held]:
    layout, buffer = inputs[0]
    if not layout.flags.c_contiguous:
        replay.dispatch()
        buffer = replay.new(layout.size * layout.itemsize)
    shape, strides = node.settings[:2]
    sizes = [stride * layout.itemsize for stride in strides]
    return [(_strided(shape, sizes, layout.itemsize), buffer)]


def _passed(
    replay: _Replay, node: Node, inputs: Sequence[_Held], space: list[_Buffer]
) -> list[_Held]:
    return list(inputs[: len(node.outputs)])


def _contiguous(
    replay: _Replay, node: Node, inputs: Sequence[_Held], space: list[_Buffer]
) -> list[_Held]:
    if inputs[0][0].flags.c_contiguous:
        return [inputs[0]]
    return _made(replay, node, inputs, space)


def _made(
    replay: _Replay, node: Node, inputs: Sequence[_Held], space: list[_Buffer]
) -> list[_Held]:
    replay.dispatch()
    return [_fresh(replay, out) for out in node.outputs]


def _product(
    replay: _Replay, node: Node, inputs: Sequence[_Held], space: list[_Buffer]
) -> list[_Held]:
    """A matrix product; a factor that is neither as it is nor transposed is copied."""
    replay.dispatch(2 if node.primitive == "AddMM" else 1)
    out = _fresh(replay, node.outputs[0])
    for layout, _ in inputs[:2]:
        rows, columns = (stride // layout.itemsize for stride in layout.strides[-2:])
        if (rows, columns) not in ((layout.shape[-1], 1), (1, layout.shape[-2])):
            space.append(replay.new(layout.size * layout.itemsize))
            replay.dispatch()
    return [out]


def _convolution(
    replay: _Replay, node: Node, inputs: Sequence[_Held], space: list[_Buffer]
) -> list[_Held]:
    """A convolution as a product: the input padded, and every patch that the kernel sees."""
    out = _fresh(replay, node.outputs[0])
    x, weight = inputs[0][0], inputs[1][0]
    low, high = node.settings[1:3]
    sides = zip(x.shape[1:-1], low, high, strict=True)
    padded = math.prod(n + before + after for n, before, after in sides)
    seen = math.prod(node.outputs[0].shape[1:-1]) * math.prod(weight.shape[1:-1])
    for pixels in (padded, seen):
        space.append(replay.new(x.shape[0] * pixels * weight.shape[-1] * x.itemsize))
    replay.dispatch(4)
    copies = (not weight.flags.c_contiguous) + bool(node.settings[-1])  # settings end with: flip
    for _ in range(copies):
        space.append(replay.new(weight.size * weight.itemsize))
        replay.dispatch()
    return [out]


_RULES: dict[str, _Rule] = {
    **dict.fromkeys(("Reshape", "Flatten", "Unflatten", "ExpandDims", "Squeeze"), _reshaped),
    **dict.fromkeys(("StopGradient", "Depends", "CustomTransforms"), _passed),
    **dict.fromkeys(("Reduce", "ArgReduce", "Gather", "Scatter", "Full", "Arange"), _made),
    **dict.fromkeys(("Pad", "Concatenate", "Softmax", "Sort", "Scan", "RandomBits"), _made),
    "Transpose": _transposed,
    "Broadcast": _broadcast,
    "Slice": _sliced,
    "Split": _split,
    "AsStrided": _as_strided,
    "Contiguous": _contiguous,
    "Matmul": _product,
    "AddMM": _product,
    "Convolution": _convolution,
}
