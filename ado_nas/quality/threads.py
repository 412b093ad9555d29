"""One thread for NumPy's own BLAS: its threads only wait for each other at this size."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]


@contextmanager
def single_thread() -> Iterator[None]:
    """Hold the OpenBLAS of NumPy at one thread for a block.

    On 2 busy cores its spinning threads make the eigenvalues of a 64 x 64 matrix up to 50 times
    slower. The BLAS that MLX uses is left alone where it is another library.
    """
    with _controller().limit(limits=1):
        yield


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController().select(internal_api="openblas")
