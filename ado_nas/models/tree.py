"""Nested parameters as named arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten


def named_arrays(tree: Any) -> list[tuple[str, mx.array]]:
    """The leaves of nested dictionaries and lists, by dotted name.

    Args:
        tree: parameters, gradients or an optimizer's state.

    Returns:
        Names and arrays, in the order of the tree.
    """
    return cast("list[tuple[str, mx.array]]", tree_flatten(tree))


def assign(model: nn.Module, arrays: Iterable[tuple[str, mx.array]]) -> None:
    """Set parameters of a network, as its `update` does with more looking around.

    Args:
        model: is changed.
        arrays: by dotted name, as `named_arrays` gives them.
    """
    for name, value in arrays:
        *path, leaf = name.split(".")
        holder: Any = model
        for key in path:
            holder = holder[int(key) if isinstance(holder, list) else key]
        holder[int(leaf) if isinstance(holder, list) else leaf] = value
    model.update({})  # for a network that has to know
