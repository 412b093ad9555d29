"""Functions with a gradient of their own, and how to write down graphs that they are in.

MLX runs such functions, but leaves a primitive in the graph that it cannot export. While
`written` holds, a call leaves none, and gradients are put together here. A slope that is known
only later has a stand-in, which is to be replaced in what was written.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import mlx.core as mx

Arrays = Sequence[mx.array]
Forward = Callable[..., Arrays]
Backward = Callable[[Arrays, Arrays, Arrays], Arrays]
"""(what went in, slopes of what came out, what came out) -> slopes of what went in."""
Swaps = list[tuple[mx.array, mx.array]]
"""Stand-ins with what belongs in their place."""
Valued = Callable[..., tuple[mx.array, dict[str, mx.array]]]


class OwnGradient:
    """A function of arrays whose gradient in reverse mode is given.

    Args:
        forward: of arrays, returns a tuple of arrays.
        backward: its gradient.
    """

    def __init__(self, forward: Forward, backward: Backward) -> None:
        self.forward = forward
        self.backward = backward
        self._function = mx.custom_function(forward)
        self._function.vjp(backward)

    def __call__(self, *given: mx.array) -> Arrays:
        """What the function gives."""
        tape = _tape()
        if tape is None:
            return cast(Arrays, self._function(*given))
        return tape.call(self, given)


@dataclass(eq=False)
class _Tape:
    """The calls of a run; of another run, `answers` are what they shall give."""

    swaps: Swaps
    calls: list[tuple[OwnGradient, Arrays, Arrays]] = field(default_factory=list)
    answers: Sequence[Arrays] | None = None

    def call(self, own: OwnGradient, given: Arrays) -> Arrays:
        if self.answers is not None:
            found: Arrays = self.answers[len(self.calls)]
        else:
            with _on(_Tape(self.swaps)):  # what it calls in turn is its own affair
                outputs = own.forward(*given)
            # As MLX has it: the outputs pass a node that waits for all that went in.
            found = mx.depends([mx.stop_gradient(a) for a in outputs], list(given))
        self.calls.append((own, given, found))
        return found


_local = threading.local()


def _tape() -> _Tape | None:
    tape: _Tape | None = getattr(_local, "tape", None)
    return tape


@contextlib.contextmanager
def _on(tape: _Tape) -> Iterator[_Tape]:
    before = _tape()
    _local.tape = tape
    try:
        yield tape
    finally:
        _local.tape = before


@contextlib.contextmanager
def written() -> Iterator[Swaps]:
    """Keep primitives that cannot be exported out of the graphs made in a block.

    Yields:
        The stand-ins that these graphs have, each with its array.
    """
    with _on(_Tape([])) as tape:
        yield tape.swaps


def vjp(function: Forward, given: Arrays, slopes: Arrays) -> tuple[Arrays, Arrays]:
    """`mx.vjp` that can be written.

    Args:
        function: of arrays, returns arrays.
        given: what it takes.
        slopes: one for each array it returns.

    Returns:
        Its outputs, and the slopes of what it was given.
    """
    tape = _tape()
    if tape is None:
        return mx.vjp(function, list(given), list(slopes))
    with _on(_Tape(tape.swaps)) as first:
        outputs = function(*given)
    leaves = [array for _, _, answer in first.calls for array in answer]

    def between(*arrays: mx.array) -> list[mx.array]:
        """What the calls are given, and the outputs, by what the calls gave."""
        rest = iter(arrays[len(given) :])
        answers = [[next(rest) for _ in answer] for _, _, answer in first.calls]
        with _on(_Tape(tape.swaps, answers=answers)) as again:
            results = function(*arrays[: len(given)])
        return [a for _, inputs, _ in again.calls for a in inputs] + list(results)

    stand_ins = [[_stand_in(a) for a in inputs] for _, inputs, _ in first.calls]
    ends = [a for some in stand_ins for a in some] + list(slopes)
    found = mx.vjp(between, [*given, *leaves], ends)[1]
    rest = iter(found[len(given) :])
    for (own, inputs, answer), some in zip(first.calls, stand_ins, strict=True):
        slope = own.backward(inputs, [next(rest) for _ in answer], answer)
        tape.swaps.extend(zip(some, slope, strict=True))
    return outputs, found[: len(given)]


def _stand_in(array: mx.array) -> mx.array:
    """An array of the same shape and type that takes next to no memory."""
    alike = mx.broadcast_to(mx.array(0, array.dtype), array.shape)
    mx.eval(alike)
    return alike


def value_and_grad(function: Callable[..., mx.array]) -> Valued:
    """`mx.value_and_grad` of a function of (parameters by name, *arrays) that can be written."""
    if _tape() is None:
        found: Valued = mx.value_and_grad(function)
        return found

    def both(
        parameters: dict[str, mx.array], *arrays: mx.array
    ) -> tuple[mx.array, dict[str, mx.array]]:
        def of(*values: mx.array) -> list[mx.array]:
            return [function(dict(zip(parameters, values, strict=True)), *arrays)]

        outputs, slopes = vjp(of, list(parameters.values()), [mx.array(1.0)])
        return outputs[0], dict(zip(parameters, slopes, strict=True))

    return both
