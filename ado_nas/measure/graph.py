"""The operations behind a function, as MLX would run them, without running any."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from ado_nas.errors import Untraceable
from ado_nas.models.differentiation import written


@dataclass(frozen=True)
class Array:
    """An array of a graph: its name there, its shape, and the bytes of an element."""

    name: str
    shape: tuple[int, ...]
    itemsize: int


@dataclass(frozen=True)
class Node:
    """One primitive of MLX with what it takes and gives; `settings` are its own, by place."""

    primitive: str
    inputs: tuple[str, ...]
    outputs: tuple[Array, ...]
    settings: tuple[Any, ...]


@dataclass(frozen=True)
class Graph:
    """A function's nodes; `given` are its arguments and constants, `results` what it returns."""

    nodes: tuple[Node, ...]
    given: tuple[Array, ...]
    results: tuple[str, ...]


def traced(function: Callable[..., Sequence[mx.array]], arguments: Sequence[mx.array]) -> Graph:
    """Record what a function would compute.

    Args:
        function: of arrays, returns arrays; nothing in it may ask for a value.
        arguments: their shapes and types count; lazy ones are left lazy.

    Returns:
        The graph. Equal subexpressions are merged, which running the function does not do.

    Raises:
        Untraceable: MLX has no way to write a primitive down.
    """
    events: list[dict[str, Any]] = []
    swapped = 0

    def whole(*given: mx.array) -> list[mx.array]:
        nonlocal swapped
        with written() as swaps:
            results = list(function(*given))
        swapped = len(swaps)
        return results + [a for pair in zip(*swaps, strict=True) for a in pair]

    try:
        mx.export_function(events.append, whole, *arguments)
    except ValueError as error:
        raise Untraceable(str(error)) from error
    nodes, given, results = [], [], []
    for event in events:
        if event["type"] == "primitive":
            outputs = tuple(_array(*found) for found in event["outputs"])
            inputs = tuple(found[0] for found in event["inputs"])
            settings = tuple(event.get("arguments", ()))
            nodes.append(Node(event["name"], inputs, outputs, settings))
        elif event["type"] == "inputs":
            given += [_array(*found) for found in event["inputs"]]
        elif event["type"] == "constants":
            given += [_array(name, v.shape, v.dtype) for name, v in event["constants"]]
        elif event["type"] == "outputs":
            results += [found[0] for found in event["outputs"]]
    count = len(results) - 2 * swapped
    places = dict(zip(results[count : count + swapped], results[count + swapped :], strict=True))
    return _joined(Graph(tuple(nodes), tuple(given), tuple(results[:count])), places)


def _joined(graph: Graph, places: dict[str, str]) -> Graph:
    """A graph with each stand-in replaced, by name, by what belongs in its place."""

    def settled(name: str) -> str:
        while name in places:
            name = places[name]
        return name

    nodes = (
        dataclasses.replace(node, inputs=tuple(map(settled, node.inputs))) for node in graph.nodes
    )
    return Graph(tuple(nodes), graph.given, tuple(map(settled, graph.results)))


def evaluation_order(graph: Graph, width: int) -> list[Node]:
    """The order in which MLX starts the nodes.

    Args:
        graph: as traced.
        width: how many nodes wide the breadth-first walk may get (``MLX_BFS_MAX_WIDTH``).

    Returns:
        The nodes that the results need, each after those it takes from.

    Source: MLX 0.32, transforms.cpp, eval_impl.
    """
    makers = {out.name: i for i, node in enumerate(graph.nodes) for out in node.outputs}
    takes = [[makers[name] for name in node.inputs if name in makers] for node in graph.nodes]
    root = len(takes)
    takes.append([makers[name] for name in graph.results if name in makers])
    degree = _degrees(takes, root)
    tape, place = [root], 0
    left: list[tuple[int, int]] = []
    while degree and (place < len(tape) or left):
        if place < len(tape):
            node, start = tape[place], 0
            place += 1
        else:
            node, start = left.pop()
        for i in range(start, len(takes[node])):
            if len(tape) - place >= width:
                left.append((node, i))  # too wide: on with the rest of this one later
                break
            taken = takes[node][i]
            if taken in degree:
                degree[taken] -= 1
                if degree[taken] == 0:
                    del degree[taken]
                    tape.append(taken)
    return [graph.nodes[i] for i in reversed(tape) if i != root]


def _degrees(takes: list[list[int]], root: int) -> Counter[int]:
    """How many edges lead to each node that `root` needs."""
    degree: Counter[int] = Counter()
    walk = [root]
    while walk:
        for taken in takes[walk.pop()]:
            if taken not in degree:
                walk.append(taken)
            degree[taken] += 1
    return degree


def _array(name: str, shape: Sequence[int], dtype: mx.Dtype) -> Array:
    return Array(name, tuple(shape), dtype.size)
