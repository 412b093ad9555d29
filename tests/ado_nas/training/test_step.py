"""The step over streams against the plain one, and the flat vector."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest

from ado_nas import runtime
from ado_nas.errors import Diverged
from ado_nas.models.unet import build_unet, named_parameters
from ado_nas.specs import UNetSpec
from ado_nas.training import step
from ado_nas.training.flat import FlatParameters
from ado_nas.training.step import Stepper, Way, gradients, pieces, schedule, split

SPEC = UNetSpec(resolution=8, widths=(8, 16), head_dim=8)


def loss(model: nn.Module, x: mx.array, target: mx.array) -> mx.array:
    return mx.square(model(x, mx.array([0.1])) - target).mean()


def batch(seed: int = 0, size: int = 8) -> tuple[mx.array, mx.array]:
    key = mx.random.split(mx.random.key(seed))
    shape = (size, 8, 8, 1)
    return mx.random.normal(shape, key=key[0]), mx.random.normal(shape, key=key[1])


def test_flat_vector_is_undone() -> None:
    model = build_unet(SPEC)
    flat = FlatParameters(model)
    vector = flat.vector(model)
    assert vector.shape == (flat.size,)
    before = {name: np.array(value) for name, value in named_parameters(model)}
    flat.load(model, vector * 2)
    for name, value in named_parameters(model):
        np.testing.assert_array_equal(value, before[name] * 2)


def test_split_gradients_agree_with_the_whole_batch() -> None:
    model = build_unet(SPEC)
    arrays = batch()
    value, grads = gradients(loss, model, split(arrays))
    expected, reference = nn.value_and_grad(model, loss)(model, *arrays)
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    flat = FlatParameters(model)
    from mlx.utils import tree_flatten

    np.testing.assert_allclose(
        flat.join(grads), flat.join(dict(tree_flatten(reference))), atol=1e-5
    )


@pytest.mark.parametrize(
    ("size", "way", "streams"),  # of each part, and of the batch as a whole at last
    [
        (8, Way(), [2]),
        (7, Way(), [1]),
        (8, Way(rows=4), [2, 2, 2]),
        (8, Way(rows=1), [*[1] * 8, 2]),
    ],
)
def test_streams_and_blas_threads_do_not_share_cores(
    size: int, way: Way, streams: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    computed = mx.eval

    def watched(*arrays: object) -> None:
        seen.append(runtime.threads())
        computed(*arrays)

    stepper = Stepper(build_unet(SPEC), loss, lambda _: mx.array(1e-3), ema_decay=0.0)
    stepper.ways[size, 8, 8, 1] = way
    arrays, before = batch(size=size), runtime.threads()
    monkeypatch.setattr(step.mx, "eval", watched)
    stepper(*arrays)
    most = runtime.cores() if runtime.info()["blas"] != "bundled" else 1
    two = len(runtime.batch_streams()) > 1
    assert seen == [1 if two and count > 1 else most for count in streams]
    assert runtime.threads() == before


def test_step_agrees_with_adam_of_mlx() -> None:
    model, other = build_unet(SPEC), build_unet(SPEC)
    stepper = Stepper(model, loss, lambda _: mx.array(1e-3), ema_decay=0.0, clip=1e9)
    adam = optim.Adam(1e-3, betas=[0.9, 0.99], bias_correction=True)
    for i in range(3):
        stepper(*batch(i))
        _, grads = nn.value_and_grad(other, loss)(other, *batch(i))
        adam.update(other, grads)
    flat = FlatParameters(other)
    np.testing.assert_allclose(flat.vector(model), flat.vector(other), atol=2e-5)


def test_long_gradient_is_clipped() -> None:
    model = build_unet(SPEC)
    start = FlatParameters(model).vector(model)
    stepper = Stepper(model, loss, lambda _: mx.array(1.0), ema_decay=0.0, clip=1e-12)
    stepper.optimizer = optim.SGD(1.0)
    stepper(*batch())
    assert float(mx.abs(stepper.vector - start).max()) < 1e-6


def test_average_follows_the_weights() -> None:
    model = build_unet(SPEC)
    stepper = Stepper(model, loss, lambda _: mx.array(1e-2), ema_decay=0.5)
    expected = np.array(stepper.vector)
    for i in range(4):
        stepper(*batch(i))
        decay = min(0.5, (i + 1) / (i + 10))
        expected = decay * expected + (1 - decay) * np.array(stepper.vector)
    np.testing.assert_allclose(stepper.average, expected, atol=1e-6)


def test_restored_stepper_goes_on_exactly() -> None:
    straight = Stepper(build_unet(SPEC), loss, schedule(1e-2, 2, 6), 0.9)
    for i in range(6):
        straight(*batch(i))
    first = Stepper(build_unet(SPEC), loss, schedule(1e-2, 2, 6), 0.9)
    for i in range(3):
        first(*batch(i))
    second = Stepper(build_unet(SPEC, 9), loss, schedule(1e-2, 2, 6), 0.9)
    second.restore(first.state(), 3)
    for i in range(3, 6):
        second(*batch(i))
    np.testing.assert_array_equal(straight.vector, second.vector)
    np.testing.assert_array_equal(straight.average, second.average)


def test_optimizer_begins_anew_at_each_stage_wherever_training_was_interrupted() -> None:
    rates = {0: schedule(1e-2, 0, 3), 3: schedule(2e-2, 2, 5)}
    whole, weights = Stepper(build_unet(SPEC), loss, rates, 0.9), []
    for i in range(8):
        whole(*batch(i))
        weights.append(whole.vector)
    second = Stepper(build_unet(SPEC), loss, rates[3], 0.9)
    second.vector = weights[2]
    second.flat.load(second.model, second.vector)
    for i in range(3, 8):
        second(*batch(i))
        np.testing.assert_array_equal(second.vector, weights[i])
    for stopped in (2, 3, 5):
        before, after = (Stepper(build_unet(SPEC), loss, rates, 0.9) for _ in range(2))
        for i in range(stopped):
            before(*batch(i))
        after.restore(before.state(), stopped)
        for i in range(stopped, 8):
            after(*batch(i))
        np.testing.assert_array_equal(after.vector, weights[-1])


def test_loss_that_is_not_finite_is_said() -> None:
    stepper = Stepper(build_unet(SPEC), loss, lambda _: mx.array(1e-3), 0.9)
    x, target = batch()
    with pytest.raises(Diverged, match="iteration 1"):
        stepper(x, target * float("nan"))


@pytest.mark.parametrize("way", [Way(4), Way(3), Way(1), Way(2, True), Way(0, True)])
def test_micro_batches_move_the_weights_as_the_whole_batch_does(way: Way) -> None:
    plain, other = (Stepper(build_unet(SPEC), loss, schedule(1e-2, 0, 9), 0.9) for _ in range(2))
    other.ways[batch()[0].shape] = way
    for i in range(2):
        assert other(*batch(i)) == pytest.approx(plain(*batch(i)), rel=1e-5)
    np.testing.assert_allclose(other.seen[1], plain.seen[1], atol=1e-5)
    np.testing.assert_allclose(other.vector, plain.vector, atol=1e-3)  # Adam divides by it


@pytest.mark.parametrize(("rows", "grain"), [(1, 1), (2, 1), (3, 1), (5, 1), (8, 4), (2, 4)])
def test_pieces_hold_each_row_once_and_begin_at_the_grain(rows: int, grain: int) -> None:
    count = 16
    numbers = mx.arange(count)
    cut = pieces((numbers, numbers), rows, grain)
    parts = [np.array(one[0]) for some in cut for one in some]
    assert sorted(np.concatenate(parts)) == list(range(count))
    share = split((numbers,))[0][0].shape[0]
    assert all(part[0] % share % grain == 0 for part in parts)
    assert all(sum(one[0].shape[0] for one in some) <= max(rows, grain) for some in cut)
    assert all(len({one[0].shape for one in some}) == 1 for some in cut)
