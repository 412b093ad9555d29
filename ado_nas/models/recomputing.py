"""Gradient checkpointing: what a block computes inside is not kept, but computed again.

A block keeps what it is given; for its gradient it runs once more, when the gradient gets there.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

import mlx.core as mx
import mlx.nn as nn

from ado_nas.models.differentiation import OwnGradient, vjp
from ado_nas.models.tree import assign, named_arrays

_local = threading.local()


@contextlib.contextmanager
def recomputing(wanted: bool = True) -> Iterator[None]:
    """Let the networks called in this block keep only what goes into their blocks."""
    before = getattr(_local, "wanted", False)
    _local.wanted = wanted
    try:
        yield
    finally:
        _local.wanted = before


def run(block: nn.Module, *given: mx.array) -> mx.array:
    """Call a block of a network, as `recomputing` says.

    Args:
        block: gives one array.
        given: arrays that it takes.

    Source: Chen et al. 2016 (Training deep nets with sublinear memory cost), section 3.1.
    """
    if not getattr(_local, "wanted", False):
        found: mx.array = block(*given)
        return found
    named = named_arrays(block.trainable_parameters())
    names, weights = [name for name, _ in named], [value for _, value in named]

    def forward(*arrays: mx.array) -> tuple[mx.array]:
        # Slopes reach only what a function is given, so that weights must be.
        assign(block, zip(names, arrays, strict=False))
        try:
            return (block(*arrays[len(names) :]),)
        finally:
            assign(block, named)

    def backward(
        given: Sequence[mx.array], slopes: Sequence[mx.array], found: Sequence[mx.array]
    ) -> list[mx.array]:
        # Not before the slopes are there, or all blocks would be computed again at once; and
        # those of the weights first, or what they need would be kept to the end.
        again = mx.depends(list(given), list(slopes))
        grads = list(vjp(forward, again, slopes)[1])
        of_weights, of_inputs = grads[: len(names)], grads[len(names) :]
        return of_weights + (mx.depends(of_inputs, of_weights) if of_weights else of_inputs)

    return OwnGradient(forward, backward)(*weights, *given)[0]
