"""Time and peak memory of each kind of attention on this device, forward and with gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx

from ado_nas.errors import ConfigError
from ado_nas.measure.latency import time_calls
from ado_nas.measure.memory import peak
from ado_nas.models.attend import chunked, full, has_kernel, linear, naive, product
from ado_nas.models.windows import Squares
from ado_nas.progress import Progress

PIXELS = (64, 256, 1024, 4096)
HEADS, HEAD_DIM = 2, 16
WINDOW = 4  # pixels a side


def run(
    *,
    seed: int,
    row: int | None,
    workspace: Path,
    progress: Progress,
    pixels: Sequence[int] = PIXELS,
    evaluations: int = 20,
) -> dict[str, Any]:
    """Measure each kind at each size, one image with two heads of 16.

    Args:
        seed: of queries, keys and values.
        row: by its place, None for all.
        workspace: not used; nothing is kept.
        progress: gets ``attention``.
        pixels: numbers of pixels of the maps, each the square of a multiple of 4.
        evaluations: timed evaluations of each row.

    Returns:
        rows: kind (naive: the plain product; shifted: window attention with shift), n,
        pass (forward, or gradient: both ways), time_ms, iqr_ms, peak_memory_mb (with the inputs),
        fused (whether MLX's own attention is one kernel here, for this size and pass);
        heads, head_dim, window.

    Raises:
        ConfigError: no such row.
    """
    cases = [(k, n, p) for n in pixels for p in ("forward", "gradient") for k in KINDS]
    if row is not None and not 0 <= row < len(cases):
        raise ConfigError(f"row {row}: give 0 to {len(cases) - 1}")
    chosen = cases if row is None else [cases[row]]
    rows = []
    for done, (kind, n, way) in enumerate(chosen, 1):
        rows.append(_measure(kind, n, way, seed, evaluations))
        progress("attention", done, len(chosen), f"{kind} {n} {way}")
    return {"rows": rows, "heads": HEADS, "head_dim": HEAD_DIM, "window": WINDOW}


def windowed(q: mx.array, k: mx.array, v: mx.array, shifted: bool = False) -> mx.array:
    """Softmax attention inside the squares of a square map.

    Args:
        q: (B, heads, N, head_dim), N the map's pixels, row by row.
        k: likewise.
        v: likewise.
        shifted: whether the squares lie shifted.
    """
    batch, heads, n, d = q.shape
    side = math.isqrt(n)
    squares = Squares(side, side, WINDOW, shifted)
    # Each head is a map of its own, and its squares take the place of the heads.
    parts = [squares.cut(a.reshape(batch * heads, side, side, d)) for a in (q, k, v)]
    mixed = product(parts[0], parts[1], parts[2], squares.mask(1))
    return squares.join(mixed).reshape(batch, heads, n, d)


def _shifted(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
    return windowed(q, k, v, shifted=True)


KINDS: dict[str, Callable[[mx.array, mx.array, mx.array], mx.array]] = {
    "naive": naive,
    "full": full,
    "chunked": chunked,
    "linear": linear,
    "window": windowed,
    "shifted": _shifted,
}


def _measure(kind: str, n: int, way: str, seed: int, evaluations: int) -> dict[str, Any]:
    keys = mx.random.split(mx.random.key(seed), 4)
    q, k, v, slope = (mx.random.normal((1, HEADS, n, HEAD_DIM), key=key) for key in keys)
    mx.eval(q, k, v, slope)
    gradient = way == "gradient"

    def call() -> Any:
        if gradient:
            return mx.vjp(KINDS[kind], [q, k, v], [slope])
        return KINDS[kind](q, k, v)

    timing = time_calls(call, evaluations)
    highest = peak(call, own_bytes=sum(a.nbytes for a in (q, k, v, slope)))
    return {
        "kind": kind,
        "n": n,
        "pass": way,
        "time_ms": timing.median_ms,
        "iqr_ms": timing.iqr_ms,
        "peak_memory_mb": highest.peak_mb,
        "fused": has_kernel(q, k, v) and (not gradient or has_kernel(q, k, v, gradient=True)),
    }
