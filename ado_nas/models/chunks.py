"""Exact softmax attention in chunks: no N x N scores in memory, forward or for the gradient.

MLX is lazy and would start many tiles before it ends one, so each waits for the one before it.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Iterator
from typing import cast

import mlx.core as mx

from ado_nas.models.differentiation import Arrays, OwnGradient

# Scores worked on at a time: what a core's cache holds, or what fills a GPU.
_CPU_TILE, _GPU_TILE = 1 << 18, 1 << 22

Work = Callable[..., tuple[mx.array, ...]]


def chunked(
    q: mx.array,
    k: mx.array,
    v: mx.array,
    chunk: int | None = None,
    kernel: Callable[..., mx.array] | None = None,
) -> mx.array:
    """Softmax attention, exact, in memory that grows with N and not with its square.

    Scores exist one tile of `chunk` x `chunk` of some heads at a time, in float32; the gradient
    computes them again from the logarithm of each row's sum. Gradients in reverse mode only.

    Args:
        q: (B, heads, N, head_dim).
        k: (B, heads, keys, head_dim).
        v: (B, heads, keys, head_dim).
        chunk: queries and keys at a time; None fits the device.
        kernel: does the way forward instead, so that only the gradient is in chunks.

    Returns:
        (B, heads, N, head_dim).

    Source: Dao et al. 2022 (FlashAttention), algorithms 1 and 4.
    """
    return _function(chunk or math.isqrt(_tile()), kernel)(q, k, v)[0]


def exp(x: mx.array) -> mx.array:
    """Exponential, the quick way of the device.

    MLX on a Linux CPU takes 2.8 times as long for `mx.exp` as for a power of equal accuracy.
    """
    return mx.power(math.e, x) if slow_exp() else mx.exp(x)


def slow_exp() -> bool:
    """Whether `mx.exp` and `mx.softmax` are slow here."""
    return sys.platform == "linux" and _on_cpu()


def _on_cpu() -> bool:
    return bool(mx.default_device() == mx.Device(mx.cpu))


def _tile() -> int:
    return _CPU_TILE if _on_cpu() else _GPU_TILE


@functools.cache
def _function(chunk: int, kernel: Callable[..., mx.array] | None) -> Work:
    """(q, k, v) -> (output, log-sum-exp of the scores' rows), with the gradient in chunks.

    With a kernel for the way forward, the second is left out and computed for the gradient.
    """

    def forward(*qkv: mx.array) -> tuple[mx.array, ...]:
        return (kernel(*qkv),) if kernel else _by_heads(_forward, qkv, chunk)

    def backward(primals: Arrays, cotangents: Arrays, outputs: Arrays) -> Arrays:
        out, *rest = outputs
        slope, *rest_slope = cotangents
        lse = rest[0] if rest else _by_heads(_forward, primals, chunk)[1]
        # D of algorithm 4: what the softmax's normalization takes from each row.
        drift = (slope.astype(mx.float32) * out.astype(mx.float32)).sum(axis=-1, keepdims=True)
        drift = drift - rest_slope[0] if rest else drift
        grads = _by_heads(_backward, (*primals, lse, slope, drift), chunk)
        return tuple(g.astype(p.dtype) for g, p in zip(grads, primals, strict=True))

    return cast(Work, OwnGradient(forward, backward))


def _by_heads(work: Work, arrays: Arrays, chunk: int) -> tuple[mx.array, ...]:
    """Do the work for as many heads at a time as make a tile, and put the parts together."""
    batch, heads, n, _ = arrays[0].shape
    # With the rows of a head side by side, or each product of a chunk would copy its part.
    arrays = tuple(a.reshape(-1).reshape(batch * heads, *a.shape[2:]) for a in arrays)
    size = max(1, _tile() // min(chunk, max(n, arrays[1].shape[1])) ** 2)
    parts: list[tuple[mx.array, ...]] = []
    for some in _spans(batch * heads, size):
        first, *others = (a[some] for a in arrays)
        parts.append(work(_after(first, parts[-1] if parts else ()), *others, chunk=chunk))
    whole = (_joined(list(p), 0) for p in zip(*parts, strict=True))
    return tuple(a.reshape(batch, heads, *a.shape[1:]) for a in whole)


def _forward(q: mx.array, k: mx.array, v: mx.array, *, chunk: int) -> tuple[mx.array, mx.array]:
    """(heads, N, head_dim) each -> output and (heads, N, 1) log-sum-exp, float32."""
    outs: list[mx.array] = []
    sums: list[mx.array] = []
    for rows in _spans(q.shape[1], chunk):
        out, lse = _row(_after(scaled(q[:, rows]), (*outs[-1:], *sums[-1:])), k, v, chunk)
        outs.append(out.astype(q.dtype))
        sums.append(lse)
    return _joined(outs, 1), _joined(sums, 1)


def _row(queries: mx.array, k: mx.array, v: mx.array, chunk: int) -> tuple[mx.array, mx.array]:
    """A chunk of scaled queries against all keys, with the softmax's maximum and sum so far."""
    out, total, top = mx.zeros(()), mx.zeros(()), mx.array(-math.inf)
    for columns in _spans(k.shape[1], chunk):
        tile = scores(queries, k[:, columns])
        peak = mx.maximum(top, tile.max(axis=-1, keepdims=True))
        weights = exp(tile - peak)
        fade = mx.exp(top - peak)
        total = total * fade + weights.sum(axis=-1, keepdims=True)
        out = out * fade + (weights.astype(v.dtype) @ v[:, columns]).astype(mx.float32)
        top = peak
        queries = _after(queries, (out, total))
    return out / total, top + mx.log(total)


def _backward(
    q: mx.array,
    k: mx.array,
    v: mx.array,
    lse: mx.array,
    slope: mx.array,
    drift: mx.array,
    *,
    chunk: int,
) -> tuple[mx.array, mx.array, mx.array]:
    """Gradients of queries, keys and values, float32; `slope` is the output's."""
    spans = list(_spans(q.shape[1], chunk))
    dq, dk, dv = [mx.zeros(())] * len(spans), [], []
    done: tuple[mx.array, ...] = ()
    for columns in _spans(k.shape[1], chunk):
        keys, values = k[:, columns], v[:, columns]
        key_slope = value_slope = mx.zeros(())
        for i, rows in enumerate(spans):
            queries, slopes = _after(scaled(q[:, rows]), done), slope[:, rows]
            weights = exp(scores(queries, keys) - lse[:, rows])
            inner = weights * (scores(slopes, values) - drift[:, rows])
            value_slope = value_slope + _turned(weights, slopes)
            key_slope = key_slope + _turned(inner, queries)
            dq[i] = dq[i] + (inner.astype(keys.dtype) @ keys) * q.shape[-1] ** -0.5
            done = (dq[i], key_slope, value_slope)
        dk.append(key_slope)
        dv.append(value_slope)
    return _joined(dq, 1), _joined(dk, 1), _joined(dv, 1)


def _spans(length: int, chunk: int) -> Iterator[slice]:
    for start in range(0, length, chunk):
        yield slice(start, min(length, start + chunk))


def scaled(queries: mx.array) -> mx.array:
    """Queries over the root of head_dim."""
    return queries * (1 / math.sqrt(queries.shape[-1]))


def scores(rows: mx.array, columns: mx.array) -> mx.array:
    """Products of all rows with all columns, float32."""
    return (rows @ columns.swapaxes(-1, -2)).astype(mx.float32)


def _joined(parts: list[mx.array], axis: int) -> mx.array:
    return mx.concatenate(parts, axis=axis) if len(parts) > 1 else parts[0]


def _turned(weights: mx.array, rows: mx.array) -> mx.array:
    return (weights.astype(rows.dtype).swapaxes(-1, -2) @ rows).astype(mx.float32)


def _after(x: mx.array, first: tuple[mx.array, ...]) -> mx.array:
    """`x`, but not before `first` is computed: lazy tiles would be in memory all at once."""
    return mx.depends([x], list(first))[0] if first else x
