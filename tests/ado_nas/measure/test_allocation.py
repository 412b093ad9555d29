from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import pytest

from ado_nas.measure.allocation import peak_bytes
from ado_nas.measure.graph import Graph, evaluation_order, traced
from ado_nas.measure.memory import peak

SHAPE = (16, 16, 16, 32)
BYTES = 4 * 16 * 16 * 16 * 32
KERNEL = (32, 3, 3, 32)
PADDED, PATCHES = 4 * 16 * 18 * 18 * 32, 9 * BYTES


def arrays() -> tuple[mx.array, mx.array, mx.array]:
    made = mx.random.normal(SHAPE), mx.random.normal(KERNEL), mx.random.normal((32, 32))
    mx.eval(made)
    return made


def graph_of(function: Callable[..., mx.array]) -> Graph:
    lazy = [mx.zeros(shape) for shape in (SHAPE, KERNEL, (32, 32))]
    return traced(lambda *given: [function(*given)], lazy)


def chain(x: mx.array, w: mx.array, m: mx.array) -> mx.array:
    for _ in range(5):
        x = mx.maximum(x * 1.5, 0)
    return x


def convolved(times: int) -> Callable[..., mx.array]:
    def function(x: mx.array, w: mx.array, m: mx.array) -> mx.array:
        for _ in range(times):
            x = mx.conv2d(x, w, padding=1)
        return x

    return function


def test_a_buffer_that_nobody_else_needs_is_handed_on() -> None:
    assert peak_bytes(graph_of(chain)) == BYTES


def test_an_input_is_held_until_the_operation_is_done() -> None:
    # The product takes the exponential's buffer, the sine's is given back too late for the sum.
    assert peak_bytes(graph_of(lambda x, w, m: mx.square(x) + mx.exp(x) * mx.sin(x))) == 3 * BYTES


def test_views_cost_nothing_and_copies_do() -> None:
    assert peak_bytes(graph_of(lambda x, w, m: x.reshape(16, -1, 32).swapaxes(1, 2))) == 0
    flat = graph_of(lambda x, w, m: x.transpose(3, 0, 1, 2).reshape(-1))
    assert peak_bytes(flat) == BYTES
    assert peak_bytes(graph_of(lambda x, w, m: mx.broadcast_to(m[:1], SHAPE))) == 0


def test_a_convolution_holds_its_padded_input_and_every_patch() -> None:
    assert peak_bytes(graph_of(convolved(1))) == BYTES + PADDED + PATCHES
    # Those that are started together hold theirs together.
    assert peak_bytes(graph_of(convolved(4))) == 4 * (BYTES + PADDED + PATCHES)


def product(x: mx.array, w: mx.array, m: mx.array) -> mx.array:
    return mx.maximum(x @ m.T, 0) @ m


def normed(x: mx.array, w: mx.array, m: mx.array) -> mx.array:
    second = mx.square(x).mean(axis=(1, 2), keepdims=True)
    return (x - x.mean(axis=(1, 2), keepdims=True)) * mx.rsqrt(second + 1e-5)


def folded(x: mx.array, w: mx.array, m: mx.array) -> mx.array:
    squares = x.reshape(16, 8, 2, 8, 2, 32).transpose(0, 1, 3, 2, 4, 5).reshape(16, 8, 8, 128)
    return mx.concatenate([squares, squares * 2], axis=-1)


def slope(x: mx.array, w: mx.array, m: mx.array) -> mx.array:
    def loss(w: mx.array) -> mx.array:
        return mx.square(mx.maximum(mx.conv2d(x, w, padding=1), 0) @ m).mean()

    return mx.grad(loss)(w)


@pytest.mark.parametrize("function", [chain, convolved(40), product, normed, folded, slope])
def test_peak_is_the_one_that_mlx_reports(function: Callable[..., mx.array]) -> None:
    given = arrays()
    own = sum(a.nbytes for a in given)
    # The largest of many: on a busy machine buffers come back before others are asked for.
    measured = max(peak(lambda: function(*given), own).peak_mb for _ in range(30)) * 1e6 - own
    assert peak_bytes(graph_of(function)) == pytest.approx(measured, rel=0.1, abs=20_000)


def test_nothing_is_computed_by_tracing() -> None:
    mx.synchronize()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    graph_of(convolved(10))
    assert mx.get_peak_memory() - before < BYTES


@pytest.mark.parametrize("width", [1, 3, 200])
def test_every_node_comes_once_after_those_it_takes_from(width: int) -> None:
    graph = graph_of(slope)
    order = evaluation_order(graph, width)
    assert len(order) == len({id(node) for node in order})
    known = {array.name for array in graph.given}
    for node in order:
        assert known.issuperset(node.inputs)
        known |= {out.name for out in node.outputs}
    assert known.issuperset(graph.results)
