"""Nested parameters as named arrays."""

from __future__ import annotations

from typing import Any, cast

import mlx.core as mx
from mlx.utils import tree_flatten


def named_arrays(tree: Any) -> list[tuple[str, mx.array]]:
    """The leaves of nested dictionaries and lists, by dotted name.

    Args:
        tree: parameters, gradients or an optimizer's state.

    Returns:
        Names and arrays, in the order of the tree.
    """
    return cast("list[tuple[str, mx.array]]", tree_flatten(tree))
