"""A network as one vector, so that optimizer and average run few, large operations."""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn

from ado_nas.models.tree import assign, named_arrays


class FlatParameters:
    """The mapping between a network's parameters and one float32 vector of P elements."""

    def __init__(self, model: nn.Module):
        """Remember names and shapes.

        Args:
            model: any network; its trainable parameters count.
        """
        named = named_arrays(model.trainable_parameters())
        self.names = [name for name, _ in named]
        self.shapes = [value.shape for _, value in named]
        ends = [0]
        for shape in self.shapes:
            ends.append(ends[-1] + math.prod(shape))
        self._ends = ends

    @property
    def size(self) -> int:
        """P, the number of parameters."""
        return self._ends[-1]

    def vector(self, model: nn.Module) -> mx.array:
        """The parameters of a network as (P,)."""
        return self.join(dict(named_arrays(model.trainable_parameters())))

    def join(self, arrays: dict[str, mx.array]) -> mx.array:
        """Named arrays, parameters or gradients, as (P,)."""
        return mx.concatenate([arrays[n].reshape(-1) for n in self.names])

    def arrays(self, vector: mx.array) -> dict[str, mx.array]:
        """A vector (P,) as named arrays."""
        parts = zip(self.names, self.shapes, self._ends[:-1], self._ends[1:], strict=True)
        return {name: vector[a:b].reshape(shape) for name, shape, a, b in parts}

    def load(self, model: nn.Module, vector: mx.array) -> None:
        """Set a network's parameters from a vector (P,)."""
        assign(model, self.arrays(vector).items())
