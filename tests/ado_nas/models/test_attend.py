"""Attention functions against the plain product, closed forms in float64 and measured memory."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.measure.memory import peak
from ado_nas.models import attend, chunks

Attend = Callable[[mx.array, mx.array, mx.array], mx.array]


def inputs(
    batch: int, heads: int, n: int, d: int, keys: int = 0, dtype: mx.Dtype = mx.float32
) -> list[mx.array]:
    """Queries, keys, values and the output's gradient."""
    lengths = (n, keys or n, keys or n, n)
    draws = [
        mx.random.normal((batch, heads, length, d), key=mx.random.key(i)).astype(dtype)
        for i, length in enumerate(lengths)
    ]
    mx.eval(draws)
    return draws


def with_gradients(function: Attend, q: mx.array, *rest: mx.array) -> list[mx.array]:
    k, v, slope = rest
    outputs, gradients = mx.vjp(function, [q, k, v], [slope])
    return [*outputs, *gradients]


def largest_difference(a: list[mx.array], b: list[mx.array]) -> float:
    return max(float(mx.abs(x - y).max()) for x, y in zip(a, b, strict=True))


def softmax64(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray) -> np.ndarray:
    scores = np.einsum("bhnd,bhmd->bhnm", q, k) / np.sqrt(q.shape[-1])
    weights = np.where(mask, np.exp(scores - scores.max(-1, keepdims=True)), 0)
    return np.asarray(weights / weights.sum(-1, keepdims=True) @ v)


def float64(arrays: list[mx.array]) -> list[np.ndarray]:
    return [np.array(a).astype(np.float64) for a in arrays]


@pytest.mark.parametrize("function", [attend.naive, attend.fused, attend.product, attend.full])
def test_softmax_attention_agrees_with_float64(function: Attend) -> None:
    x = inputs(2, 3, 37, 8)
    expected = softmax64(*float64(x[:3]), np.array(True))
    np.testing.assert_allclose(np.array(function(*x[:3])), expected, atol=2e-6)


@pytest.mark.parametrize(
    ("shape", "keys", "chunk"),
    [
        ((2, 3, 64, 8), 0, 16),
        ((2, 3, 50, 8), 0, 16),  # the last chunk is shorter
        ((1, 2, 33, 16), 0, 64),  # shorter than one chunk
        ((1, 1, 7, 4), 0, 1),
        ((2, 2, 20, 8), 45, 16),  # as many keys as another map has
        ((70, 1, 128, 4), 0, 64),  # more heads than a tile takes
    ],
)
def test_chunked_equals_naive_with_gradients(
    shape: tuple[int, int, int, int], keys: int, chunk: int
) -> None:
    x = inputs(*shape, keys)
    result = with_gradients(lambda q, k, v: attend.chunked(q, k, v, chunk), *x)
    assert largest_difference(result, with_gradients(attend.naive, *x)) < 1e-5


@pytest.mark.parametrize("function", [attend.fused, attend.product, attend.full])
@pytest.mark.parametrize("n", [5, 256, 1023, 1024, 1100])
def test_exact_kinds_equal_naive_with_gradients(function: Attend, n: int) -> None:
    x = inputs(1, 2, n, 8)
    expected = with_gradients(attend.naive, *x)
    assert largest_difference(with_gradients(function, *x), expected) < 1e-5


@pytest.mark.parametrize(("dtype", "tolerance"), [(mx.float16, 4e-3), (mx.bfloat16, 3e-2)])
@pytest.mark.parametrize("function", [attend.product, attend.linear, attend.chunked])
def test_half_types_stay_and_agree_with_float32(
    function: Attend, dtype: mx.Dtype, tolerance: float
) -> None:
    x = inputs(1, 2, 65, 8, dtype=dtype)
    result = with_gradients(function, *x)
    assert [a.dtype for a in result] == [dtype] * 4
    wide = with_gradients(function, *(a.astype(mx.float32) for a in x))
    for a, b in zip(result, wide, strict=True):
        assert float(mx.abs(a.astype(mx.float32) - b).max()) < tolerance * float(mx.abs(b).max())


@pytest.mark.parametrize("function", [attend.product, attend.chunked])
def test_large_scores_neither_overflow_nor_lose_their_order(function: Attend) -> None:
    q, k, v, slope = inputs(1, 1, 40, 8)
    x = [60 * q, 60 * k, v, slope]
    result = with_gradients(function, *x)
    expected = with_gradients(attend.naive, *x)
    assert largest_difference(result[:1], expected[:1]) < 1e-5
    # The gradients are all but zero: what is left of 1 - 1, times 60.
    assert largest_difference(result, expected) < 60 * 2e-6


def test_second_gradient_of_chunked_equals_naives() -> None:
    q, k, v, slope = inputs(1, 2, 20, 4)

    def penalty(function: Attend) -> Callable[[mx.array], mx.array]:
        def first(q: mx.array, k: mx.array) -> mx.array:
            return (function(q, k, v) * slope).sum()

        return lambda k: mx.square(mx.grad(first)(q, k)).sum()

    result = mx.grad(penalty(lambda *x: attend.chunked(*x, 8)))(k)
    assert largest_difference([result], [mx.grad(penalty(attend.naive))(k)]) < 1e-5


@pytest.mark.parametrize("slow", [True, False])
def test_product_keeps_masked_pairs_apart(slow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attend, "slow_exp", lambda: slow)
    x = inputs(2, 3, 12, 8)
    mask = np.random.default_rng(0).random((3, 12, 12)) < 0.4
    mask |= np.eye(12, dtype=bool)
    result = attend.product(*x[:3], mx.array(mask))
    np.testing.assert_allclose(np.array(result), softmax64(*float64(x[:3]), mask), atol=2e-6)
    gradients = mx.vjp(lambda *a: attend.product(*a, mx.array(mask)), x[:3], x[3:])[1]
    plain = mx.vjp(lambda *a: attend.fused(*a, mx.array(mask)), x[:3], x[3:])[1]
    assert largest_difference(gradients, plain) < 1e-5


def test_exp_agrees_with_float64() -> None:
    x = np.concatenate([np.linspace(-100, 20, 5001), [-np.inf, 0.0]]).astype(np.float32)
    expected = np.exp(x.astype(np.float64))
    np.testing.assert_allclose(np.array(chunks.exp(mx.array(x))), expected, rtol=5e-6, atol=1e-38)


def linear64(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Every pair's weight, then their normalization."""
    weights = np.einsum("bhnd,bhmd->bhnm", np.maximum(q, 0), np.maximum(k, 0))
    total = weights.sum(-1, keepdims=True) + k.shape[2] * attend.LINEAR_FLOOR
    return np.asarray((weights / total) @ v)


@pytest.mark.parametrize(("n", "keys"), [(1, 0), (50, 0), (300, 0), (20, 31)])
def test_linear_agrees_with_all_pairs_in_float64(n: int, keys: int) -> None:
    x = inputs(2, 3, n, 8, keys)
    expected = linear64(*float64(x[:3]))
    np.testing.assert_allclose(np.array(attend.linear(*x[:3])), expected, atol=5e-6)


def test_linear_gradient_agrees_with_finite_differences_in_float64() -> None:
    x = inputs(1, 2, 30, 8)
    q, k, v, slope = float64(x)
    gradients = mx.vjp(attend.linear, x[:3], x[3:])[1]
    rng = np.random.default_rng(3)
    for i, gradient in enumerate(gradients):
        step = [np.zeros(1)] * 3
        step[i] = rng.normal(size=gradient.shape)
        ends = [
            linear64(*(a + s * h for a, s in zip((q, k, v), step, strict=True)))
            for h in (1e-7, -1e-7)
        ]
        expected = ((ends[0] - ends[1]) * slope).sum() / 2e-7
        found = (np.array(gradient) * step[i]).sum()
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_linear_gives_zero_where_no_feature_is_alive() -> None:
    q, k, v, slope = inputs(1, 1, 10, 4)
    x = [-mx.abs(q), k, v, slope]
    result = with_gradients(attend.linear, *x)
    assert float(mx.abs(result[0]).max()) == 0
    assert all(bool(mx.isfinite(a).all()) for a in result)


def test_peak_memory_of_chunked_is_at_most_a_quarter_of_naives_at_4096() -> None:
    x = inputs(1, 1, 4096, 8)
    naive = peak(lambda: with_gradients(attend.naive, *x)).peak_mb
    assert naive > 4096**2 * 4 / 1e6  # the scores were in memory at once
    assert peak(lambda: with_gradients(attend.chunked, *x)).peak_mb <= naive / 4


def test_peak_memory_of_chunked_does_not_grow_with_the_heads() -> None:
    one, many = (inputs(1, heads, 1024, 8) for heads in (1, 12))
    grown = peak(lambda: with_gradients(attend.chunked, *many)).peak_mb
    grown -= peak(lambda: with_gradients(attend.chunked, *one)).peak_mb
    # What is as large as the inputs grows; the scores of 11 heads alone are 46 MB.
    assert grown < 12


def test_has_kernel_agrees_with_measured_memory() -> None:
    x = inputs(1, 1, 1500, 64)
    scores_mb = 1500**2 * 4 / 1e6
    measured = peak(lambda: attend.fused(*x[:3]), own_bytes=0).peak_mb < scores_mb
    assert attend.has_kernel(*x[:3]) == measured
    measured = peak(lambda: with_gradients(attend.fused, *x), own_bytes=0).peak_mb < scores_mb
    assert (attend.has_kernel(*x[:3]) and attend.has_kernel(*x[:3], gradient=True)) == measured


@pytest.mark.parametrize(
    ("n", "forward", "backward", "expected"),
    [
        (1023, True, True, "product"),
        (1024, False, False, "chunked"),
        (1024, True, True, "fused"),
        (1024, True, False, "chunked fused"),
    ],
)
def test_full_chooses_by_size_and_kernel(
    n: int, forward: bool, backward: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def spy(name: str) -> Callable[..., mx.array]:
        original = getattr(attend, name)

        def call(*args: mx.array, **kwargs: Callable[..., mx.array]) -> mx.array:
            calls.append(" ".join([name, *(["fused"] if "kernel" in kwargs else [])]))
            return original(*args, **kwargs)

        return call

    x = inputs(1, 1, n, 4)
    expected_values = with_gradients(attend.naive, *x)
    monkeypatch.setattr(
        attend, "has_kernel", lambda *_, gradient=False: backward if gradient else forward
    )
    for name in ("product", "chunked", "fused"):
        monkeypatch.setattr(attend, name, spy(name))
    result = with_gradients(attend.full, *x)
    assert calls[0] == expected
    assert largest_difference(result, expected_values) < 1e-5
