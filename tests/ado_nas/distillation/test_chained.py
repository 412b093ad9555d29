"""Progressive distillation against DDIM in float64 and as the sampler runs it."""

from __future__ import annotations

import itertools
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.data import Dataset, Split
from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.preconditioning import denoise, denoiser
from ado_nas.diffusion.solvers import SOLVER
from ado_nas.distillation.chained import chained, landed, truncated_snr, windows
from ado_nas.distillation.course import follow
from ado_nas.errors import SpecError
from ado_nas.models.unet import UNet, build_unet, named_parameters
from ado_nas.specs import DataSpec, DistillationSpec, UNetSpec

SPREAD = 0.7
LEVELS = karras_levels(6, 0.05, 20.0)
UNET = UNetSpec(
    resolution=8,
    widths=(8,),
    blocks=(1,),
    attention=("none",),
    activation="relu",
    num_classes=3,
)

pytestmark = pytest.mark.usefixtures("own_lock")


@pytest.fixture
def dataset() -> Dataset:
    images = np.random.default_rng(0).uniform(-1, 1, (30, 8, 8, 1)).astype(np.float32)
    split = Split(images, np.arange(30, dtype=np.int32) % 3)
    return Dataset(split, split, 3, "digest", DataSpec(), {})


def network(seed: int) -> UNet:
    unet = build_unet(UNET, seed)
    noisy = [(n, v + 0.1 * mx.random.normal(v.shape)) for n, v in named_parameters(unet)]
    unet.load_weights(noisy)
    return unet


@pytest.mark.parametrize(("steps", "size"), [(6, 1), (3, 2), (2, 3), (1, 6)])
def test_target_agrees_with_ddim_in_float64(steps: int, size: int) -> None:
    """Of Gaussian data, whose denoiser is x times SPREAD^2 / (SPREAD^2 + sigma^2)."""
    within = windows(LEVELS, steps)
    assert within.shape == (steps, size + 1)
    x = np.random.default_rng(1).standard_normal((steps, 4, 4, 1)) * within[:, :1, None, None]
    expected = []
    for state, levels in zip(x, within, strict=True):
        moved = state
        for now, then in itertools.pairwise(levels):
            slope = (moved - moved * SPREAD**2 / (SPREAD**2 + now**2)) / now
            moved = moved + (then - now) * slope
        begin, end = levels[0], levels[-1]
        expected.append(state - begin * (moved - state) / (end - begin))

    def source(x: mx.array, sigma: mx.array) -> mx.array:
        return x * (SPREAD**2 / (SPREAD**2 + mx.square(sigma)))[:, None, None, None]

    arrays = [mx.array(a.astype(np.float32)) for a in (x, within)]
    np.testing.assert_allclose(landed(source, *arrays), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_loss_is_the_weighted_error_from_where_the_sampler_lands(
    dataset: Dataset, guidance: float
) -> None:
    source, student = network(1), network(2)
    course = chained(source, LEVELS, 3, dataset, 8, seed=0, guidance=guidance)
    x, sigma, labels = next(course.batches(0))
    errors = []
    for row in range(8):
        levels = LEVELS[2 * (row % 3) : 2 * (row % 3) + 3]
        one = x[row : row + 1]
        label = labels[row : row + 1]
        *_, (end, _) = SOLVER["ddim"](denoiser(source, label, guidance), one, levels)
        ratio = levels[-1] / levels[0]
        target = (np.array(end) - ratio * np.array(one)) / (1 - ratio)
        found = np.array(denoise(student, one, mx.array([levels[0]], dtype=mx.float32), label))
        errors.append(max(1 / levels[0] ** 2, 1) * ((found - target) ** 2).mean())
    assert float(course.loss(student, x, sigma, labels)) == pytest.approx(
        np.mean(errors), rel=1e-3
    )


def test_student_of_as_many_steps_as_its_source_has_nothing_to_learn(dataset: Dataset) -> None:
    source = network(1)
    course = chained(source, LEVELS, 6, dataset, 12, seed=0)
    assert float(course.loss(source, *next(course.batches(0)))) < 1e-5


def test_batches_are_a_function_of_their_iteration_and_take_the_levels_in_turn(
    dataset: Dataset,
) -> None:
    course = chained(network(1), LEVELS, 3, dataset, 6, seed=5)
    np.testing.assert_array_equal(course.levels, LEVELS[::2])
    for iteration, early in enumerate(itertools.islice(course.batches(0), 3)):
        late = next(course.batches(iteration))
        assert all(np.array_equal(a, b) for a, b in zip(early, late, strict=True))
        np.testing.assert_allclose(early[1][:3], windows(LEVELS, 3), rtol=1e-6)
        assert np.array_equal(early[1][:3], early[1][3:])
        assert set(np.array(early[2]).tolist()) <= {0, 1, 2}


def test_weight_is_the_ratio_of_signal_to_noise_or_one() -> None:
    found = np.array(truncated_snr(mx.array([0.1, 1.0, 5.0])))
    np.testing.assert_allclose(found, [100.0, 1.0, 1.0], rtol=1e-5)


def test_student_learns_and_leaves_its_source_alone(dataset: Dataset, tmp_path: Path) -> None:
    source, student = network(1), network(1)
    kept = {name: np.array(value) for name, value in named_parameters(source)}
    course = chained(source, LEVELS, 2, dataset, 8, seed=0)
    batch = next(course.batches(99))
    before = float(course.loss(student, *batch))
    spec = DistillationSpec(iterations=20, batch=8, learning_rate=3e-3)
    follow(student, course, spec, tmp_path, "stage")
    assert float(course.loss(student, *batch)) < 0.9 * before
    for name, value in named_parameters(source):
        assert np.array_equal(value, kept[name]), name


@pytest.mark.parametrize("steps", [0, 4, 7])
def test_steps_that_do_not_divide_are_refused(dataset: Dataset, steps: int) -> None:
    with pytest.raises(SpecError, match=rf"steps {steps}: 6 steps .* student of 1, 2, 3, 6"):
        chained(network(1), LEVELS, steps, dataset, 8, seed=0)
