"""Attention on queries, keys and values: plain, by MLX's kernel, in chunks, linear.

All take queries (B, heads, N, head_dim), keys and values (B, heads, keys, head_dim), and return
(B, heads, N, head_dim) in the type of the inputs.
"""

from __future__ import annotations

import io

import mlx.core as mx

from ado_nas.models.chunks import chunked, exp, scaled, scores, slow_exp

__all__ = ["chunked", "full", "fused", "has_kernel", "linear", "naive", "product"]

# From here on the scores outweigh everything else a small network keeps for its gradient.
CHUNKED_FROM = 1024
# Of a mean of positive features near 0.1; bounds the gradient where few features are alive.
LINEAR_FLOOR = 1e-3
_APART = -1e30  # the score of a pair that is masked: its weight is 0, its gradient too


def naive(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
    """Softmax attention as it is written, for reference.

    Source: Vaswani et al. 2017, eq. 1.
    """
    return mx.softmax(scaled(q) @ k.swapaxes(-1, -2), axis=-1, precise=True) @ v


def fused(q: mx.array, k: mx.array, v: mx.array, mask: mx.array | None = None) -> mx.array:
    """Softmax attention by MLX's own function: one kernel where `has_kernel`, else the product.

    Args:
        q: queries.
        k: keys.
        v: values.
        mask: booleans that broadcast to (B, heads, N, keys); False keeps a pair apart.
    """
    scale = q.shape[-1] ** -0.5
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=mask)


def product(q: mx.array, k: mx.array, v: mx.array, mask: mx.array | None = None) -> mx.array:
    """Softmax attention with all scores at once, by the quickest operations of the device.

    Args:
        q: queries.
        k: keys.
        v: values.
        mask: booleans that broadcast to (B, heads, N, keys); False keeps a pair apart.
    """
    if not slow_exp():
        return fused(q, k, v, mask)
    logits = scores(scaled(q), k)
    if mask is not None:
        logits = mx.where(mask, logits, _APART)
    # The largest cancels out, so it needs no gradient.
    weights = exp(logits - mx.stop_gradient(logits.max(axis=-1, keepdims=True)))
    total = weights.sum(axis=-1, keepdims=True)
    return ((weights.astype(v.dtype) @ v).astype(mx.float32) / total).astype(q.dtype)


def full(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
    """Softmax attention, exact, by what suits the size and the device."""
    if q.shape[2] < CHUNKED_FROM:
        # The scores are few, and chunks would compute them twice for a gradient.
        return product(q, k, v)
    # A kernel keeps no scores. MLX has none on a CPU, nor on Metal for most head widths and for
    # any gradient, nor on CUDA for float32: its function would keep N x N of them.
    if not has_kernel(q, k, v):
        return chunked(q, k, v)
    if has_kernel(q, k, v, gradient=True):
        return fused(q, k, v)
    return chunked(q, k, v, kernel=fused)


def has_kernel(q: mx.array, k: mx.array, v: mx.array, gradient: bool = False) -> bool:
    """Whether `fused` of such arrays would run as one kernel, here and now.

    MLX chooses when it builds the graph, by device, head width, type and whether a gradient is
    being taken, so the graph of stand-ins tells; nothing is evaluated.

    Args:
        q: queries; of all three only shape and type matter.
        k: keys.
        v: values.
        gradient: whether the gradient's way back is a kernel, too.
    """
    inputs = [mx.zeros(a.shape, a.dtype) for a in (q, k, v)]
    if gradient:
        outputs = mx.vjp(fused, inputs, [mx.zeros(q.shape, q.dtype)])[1]
    else:
        outputs = [fused(*inputs)]
    graph = io.StringIO()
    mx.export_to_dot(graph, *outputs)
    return "Softmax" not in graph.getvalue()


def linear(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
    """ReLU-linear attention: the weight of a pair is the product of its positive parts.

    The keys are summed up once for all queries, so time is linear in N. A query without a
    positive feature gets zero.

    Source: Katharopoulos et al. 2020, eq. 5; Cai et al. 2023 (EfficientViT), eq. 3.
    """
    positive_q, positive_k = (mx.maximum(a.astype(mx.float32), 0) for a in (q, k))
    # Means in place of sums, so that the floor means the same at every N.
    share = 1 / k.shape[2]
    summary = (positive_k.swapaxes(-1, -2) * share) @ v.astype(mx.float32)
    weight = positive_q @ positive_k.mean(axis=2)[..., None]
    return ((positive_q @ summary) / (weight + LINEAR_FLOOR)).astype(v.dtype)
