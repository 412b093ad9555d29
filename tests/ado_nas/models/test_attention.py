"""The attention layer against brute force: every pair of pixels, and which of them may meet."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map

from ado_nas.errors import SpecError
from ado_nas.measure.memory import peak
from ado_nas.models import attend, attention
from ado_nas.models.attention import Attention
from ado_nas.models.norms import GroupNorm
from ado_nas.models.windows import Squares

WIDTH, HEAD = 8, 4


def layer(kind: str = "full", window: int = 4, shifted: bool = False, seed: int = 0) -> Attention:
    """One whose weights are all random."""
    built = Attention(WIDTH, HEAD, GroupNorm(4, WIDTH), kind, window, shifted)
    keys = iter(mx.random.split(mx.random.key(seed), 20))
    draw = lambda a: 0.5 * mx.random.normal(a.shape, key=next(keys))  # noqa: E731
    built.update(tree_map(draw, built.parameters()))
    mx.eval(built.parameters())
    return built


def image(height: int, width: int, batch: int = 2) -> mx.array:
    return mx.random.normal((batch, height, width, WIDTH), key=mx.random.key(9))


def may_meet(height: int, width: int, window: int, shifted: bool) -> np.ndarray:
    """(N, N): whether two pixels lie in one square of the plane, the map not being a torus."""

    def square(place: int, side: int) -> int:
        if side <= window:
            return 0
        return (place + (window - window // 2 if shifted else 0)) // window

    pixels = [(square(i, height), square(j, width)) for i in range(height) for j in range(width)]
    return np.array([[a == b for b in pixels] for a in pixels])


def by_pairs(built: Attention, x: mx.array, meet: np.ndarray, kind: str = "full") -> mx.array:
    """The layer written out with all N x N weights."""
    b, h, w, c = x.shape
    tokens = built.group_norm(x).reshape(b, h * w, c)
    q, k, v = (
        f(tokens).reshape(b, h * w, c // HEAD, HEAD).transpose(0, 2, 1, 3)
        for f in (built.to_q, built.to_k, built.to_v)
    )
    if kind == "linear":
        weights = mx.maximum(q, 0) @ mx.maximum(k, 0).swapaxes(-1, -2)
        floor = h * w * attend.LINEAR_FLOOR
        weights = weights / (weights.sum(axis=-1, keepdims=True) + floor)
    else:
        scores = (q @ k.swapaxes(-1, -2)) / HEAD**0.5
        weights = mx.softmax(mx.where(mx.array(meet), scores, -1e30), axis=-1)
    mixed = (weights @ v).transpose(0, 2, 1, 3).reshape(b, h, w, c)
    return x + built.to_out[0](mixed)


def difference(a: mx.array, b: mx.array) -> float:
    return float(mx.abs(a - b).max() / mx.abs(b).max())


SIZES = [(8, 8), (12, 4), (6, 10), (7, 5), (3, 9), (5, 5)]


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("window", [2, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_window_equals_masked_attention_over_all_pairs(
    size: tuple[int, int], window: int, shifted: bool
) -> None:
    built, x = layer("window", window, shifted), image(*size)
    meet = may_meet(*size, window, shifted)
    assert difference(built(x), by_pairs(built, x, meet)) < 1e-5


@pytest.mark.parametrize(
    ("kind", "size", "shifted"),
    [
        ("full", (6, 6), False),
        ("linear", (6, 5), False),
        ("window", (8, 8), False),
        ("window", (8, 8), True),
        ("window", (7, 9), True),  # filled up
    ],
)
def test_gradients_equal_those_over_all_pairs(
    kind: str, size: tuple[int, int], shifted: bool
) -> None:
    built, x = layer(kind, 4, shifted), image(*size)
    meet = may_meet(*size, 4 if kind == "window" else 99, shifted)
    slope = mx.random.normal(x.shape, key=mx.random.key(1))

    def found(parameters: dict[str, object], x: mx.array) -> mx.array:
        built.update(parameters)
        return (built(x) * slope).sum()

    def expected(parameters: dict[str, object], x: mx.array) -> mx.array:
        built.update(parameters)
        return (by_pairs(built, x, meet, kind) * slope).sum()

    parameters = built.parameters()
    pairs = [mx.grad(f, (0, 1))(parameters, x) for f in (found, expected)]
    for (name, a), (_, b) in zip(*map(tree_flatten, pairs), strict=True):
        # The softmax does not see a shift of the keys: their bias has no gradient but rounding.
        scale = 1.0 if name.endswith("to_k.bias") else float(mx.abs(b).max())
        assert float(mx.abs(a - b).max()) < 2e-4 * max(1.0, scale), name


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("size", [(4, 4), (3, 2), (1, 1)])
def test_window_as_large_as_the_map_is_full_attention(
    size: tuple[int, int], shifted: bool
) -> None:
    x = image(*size)
    assert difference(layer("window", 4, shifted)(x), layer("full")(x)) < 1e-6


def test_pixels_beyond_a_border_do_not_meet_when_shifted() -> None:
    built, x = layer("window", 4, True), image(8, 8, batch=1)
    built.group_norm = nn.Identity()  # norms mix the whole map
    changed = mx.array(x)
    changed[0, 0, 0] += 1.0
    moved = np.array(mx.abs(built(changed) - built(x)).max(axis=(0, 3)) > 0)
    assert {tuple(p) for p in np.argwhere(moved).tolist()} == {(0, 0), (0, 1), (1, 0), (1, 1)}


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("size", [*SIZES, (2, 11)])
def test_squares_join_to_what_was_cut(size: tuple[int, int], shifted: bool) -> None:
    squares, x = Squares(*size, 4, shifted), image(*size)
    cut = squares.cut(x)
    down, across = squares.count
    height, width = squares.sides
    assert cut.shape == (2, down * across, height * width, WIDTH)
    assert bool((squares.join(cut) == x).all())


def test_filled_up_pixels_change_nothing_and_gradients_stay_finite() -> None:
    built, x = layer("window", 4, True), image(5, 6)
    gradient = mx.grad(lambda x: mx.square(built(x)).sum())(x)
    assert bool(mx.isfinite(gradient).all())


@pytest.mark.parametrize("kind", attention.KINDS)
def test_fresh_layer_adds_its_bias_only_at_any_resolution(kind: str) -> None:
    built = Attention(WIDTH, HEAD, GroupNorm(4, WIDTH), kind)
    for side in (4, 8, 10):
        x = image(side, side)
        assert difference(built(x), x + built.to_out[0].bias) < 1e-6


def test_parameters_keep_the_names_of_diffusers() -> None:
    names = {name for name, _ in tree_flatten(layer("window").parameters())}
    parts = ("group_norm", "to_q", "to_k", "to_v", "to_out.0")
    assert names == {f"{part}.{kind}" for part in parts for kind in ("weight", "bias")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((8, 3), "head_dim 3: must divide the width 8"),
        ((8, 0), "head_dim 0: must divide"),
        ((8, 4, "windw"), "'windw'.*'window'"),
        ((8, 4, "window", 1), "window 1: at least 2"),
    ],
)
def test_impossible_layer_is_refused(arguments: tuple[object, ...], message: str) -> None:
    width, head, *rest = arguments
    with pytest.raises(SpecError, match=message):
        Attention(width, head, GroupNorm(4, 8), *rest)  # type: ignore[arg-type]


class Network(nn.Module):
    """Attention between two layers, on maps where the scores are worth avoiding."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, WIDTH)
        self.attention = layer()
        self.last = nn.Linear(WIDTH, 1)

    def __call__(self, x: mx.array) -> mx.array:
        return self.last(mx.tanh(self.attention(self.first(x))))  # smooth: no kink to land on


def halves(model: Network, x: mx.array) -> list[tuple[str, mx.array]]:
    """Gradients of a batch split over two streams, as training does it."""
    step = nn.value_and_grad(model, lambda model, x: mx.square(model(x)).mean())
    results = []
    for i in range(2):
        with mx.stream(mx.new_stream(mx.default_device())):
            results.append(step(model, x[i : i + 1]))
    total = tree_map(lambda a, b: a + b, results[0], results[1])
    mx.eval(total)
    return tree_flatten(total)


def test_network_on_two_streams_trains_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = Network(), image(40, 40)
    mx.eval(model.parameters(), x)
    memory, found = peak(lambda: [a for _, a in halves(model, x)]).peak_mb, halves(model, x)
    monkeypatch.setattr(attention, "full", attend.naive)
    memory_naive = peak(lambda: [a for _, a in halves(model, x)]).peak_mb
    for (name, a), (_, b) in zip(found, halves(model, x), strict=True):
        assert float(mx.abs(a - b).max()) < 1e-5 * max(1.0, float(mx.abs(b).max())), name
    assert memory <= memory_naive / 2, (memory, memory_naive)
