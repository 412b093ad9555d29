"""Consistency training against the closed form for Gaussian data."""

from __future__ import annotations

import itertools
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from ado_nas.data import Dataset, Split
from ado_nas.diffusion.levels import karras_levels
from ado_nas.diffusion.sampling import generate, noise
from ado_nas.distillation.consistency import (
    Tuning,
    consistency_loss,
    end_loss,
    lower_level,
    taught,
    tuned,
)
from ado_nas.distillation.course import Course, follow
from ado_nas.distillation.trajectories import Bank
from ado_nas.models.unet import build_unet
from ado_nas.specs import DataSpec, DistillationSpec, UNetSpec

SPREAD = 0.8
UNET = UNetSpec(resolution=8, widths=(8,), attention=("none",), blocks=(1,), activation="relu")
GAUSSIAN = UNetSpec(resolution=8, num_classes=3, sigma_data=SPREAD)
LEVELS = np.array([40.0, 2.0, 0.0])

pytestmark = pytest.mark.usefixtures("own_lock")


class Known(nn.Module):
    """On Gaussian data without a mean: the denoiser, or the end of the trajectory.

    `scale` times the normalized input is added, which changes neither while it is 0.
    """

    def __init__(self, end: bool) -> None:
        super().__init__()
        self.scale = mx.array(0.0)
        self._end = end
        self._spec = GAUSSIAN

    @property
    def spec(self) -> UNetSpec:
        return self._spec

    def __call__(self, x: mx.array, level: mx.array, labels: mx.array) -> mx.array:
        sigma = mx.exp(4 * level)[:, None, None, None]
        # x * SPREAD / root is the end, and EDM's skip alone is the denoiser.
        root = mx.sqrt(mx.square(sigma) + SPREAD**2)
        return x * (self.scale + ((root - SPREAD) / sigma if self._end else 0.0))


def dataset(labels: bool = True) -> Dataset:
    rng = np.random.default_rng(0)
    images = (SPREAD * rng.standard_normal((512, 8, 8, 1))).astype(np.float32)
    split = Split(images, np.arange(512, dtype=np.int32) % 3 if labels else None)
    return Dataset(split, split, 3 if labels else 0, "digest", DataSpec(), {})


def bank() -> Bank:
    """The exact trajectories of Gaussian data."""
    levels = karras_levels(8, 0.02, 40.0)
    normal = noise(1, 64, (8, 8, 1))
    states = np.sqrt(levels**2 + SPREAD**2)[:, None, None, None, None] * normal
    labels = np.arange(64, dtype=np.int32) % 3
    return Bank(states.astype(np.float32), labels, levels, np.zeros((9, 9)), "key")


def course(kind: str) -> Course:
    if kind == "taught":
        return taught(bank(), LEVELS, 8, seed=4)
    return tuned(dataset(), GAUSSIAN, LEVELS, 0.02, 8, seed=4)


def test_lower_level_agrees_with_the_formula_and_scales_with_the_data() -> None:
    t = np.geomspace(0.01, 80, 50)
    for q in (2.0, 4.0, 256.0):
        expected = np.maximum(t * (1 - (1 + 8 / (1 + np.exp(t))) / q), 0)
        found = np.array(lower_level(mx.array(t.astype(np.float32)), 0.5, q))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        wider = np.array(lower_level(mx.array((2 * t).astype(np.float32)), 1.0, q))
        np.testing.assert_allclose(wider, 2 * expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["tuned", "taught"])
def test_batches_are_a_function_of_their_iteration(kind: str) -> None:
    one = course(kind)
    whole = list(itertools.islice(one.batches(0), 3))
    for iteration, early in enumerate(whole):
        late = next(course(kind).batches(iteration))
        assert all(len(a) == 8 for a in early)
        assert all(np.array_equal(a, b) for a, b in zip(early, late, strict=True))
    assert not np.array_equal(whole[0][0], whole[1][0])


def test_images_carry_one_noise_at_both_levels_and_their_own_class() -> None:
    data = dataset()
    run = tuned(data, GAUSSIAN, LEVELS, 0.02, 64, 0, Tuning(q=16.0)).batches(0)
    arrays = [np.concatenate(part) for part in zip(*itertools.islice(run, 8), strict=True)]
    x, t, below, r, labels = (a.astype(np.float64) if a.ndim == 4 else a for a in arrays)
    wide = [a.astype(np.float64)[:, None, None, None] for a in (t, r)]
    carried = (x - below) / (wide[0] - wide[1])
    near = t < 1
    rows = np.abs((x - wide[0] * carried)[near, None] - data.train.images).max((2, 3, 4))
    assert rows.min(axis=1).max() < 1e-3
    assert np.array_equal(data.train.labels[rows.argmin(axis=1)], labels[near])
    assert carried.std() == pytest.approx(1, abs=0.02)
    assert t.min() == pytest.approx(0.02) and t.max() == pytest.approx(40.0)
    # Published for a spread of 0.5: the median is exp(-1.1).
    assert np.median(t) == pytest.approx(np.exp(-1.1) * SPREAD / 0.5, rel=0.35)


def test_images_without_labels_are_taken_as_of_no_class() -> None:
    *_, labels = next(tuned(dataset(False), GAUSSIAN, LEVELS, 0.02, 8, 0).batches(0))
    assert np.array_equal(labels, np.full(8, 3))


def test_gradient_of_tuning_vanishes_at_the_end_of_the_trajectory_alone() -> None:
    """The loss has no minimum there, but its gradient does not move the exact function."""
    steps = tuned(dataset(), GAUSSIAN, LEVELS, 0.02, 2048, seed=2)
    batch = next(steps.batches(0))
    slopes = {}
    for end in (True, False):
        model = Known(end)
        grad = nn.value_and_grad(model, lambda *a, model=model: consistency_loss(model, *a))
        slopes[end] = abs(float(grad(*batch)[1]["scale"]))
    assert slopes[True] < 0.05 * slopes[False]


def test_exact_function_alone_has_no_loss_on_the_teachers_trajectories() -> None:
    for reach in (1, 3, 100):
        batch = next(taught(bank(), LEVELS, 256, seed=0, reach=reach).batches(0))
        losses = [float(end_loss(Known(end), *batch)) for end in (True, False)]  # type: ignore[arg-type]
        assert losses[0] < 0.02 * losses[1]
        assert np.all(np.array(batch[3]) < np.array(batch[1]))
        if reach == 100:
            assert not np.array(batch[3]).any()


def test_loss_agrees_with_float64_where_the_end_is_known_or_not() -> None:
    rng = np.random.default_rng(3)
    x, below = rng.standard_normal((2, 4, 8, 8, 1))
    t, r = np.array([40.0, 2.0, 0.5, 0.02]), np.array([30.0, 0.0, 0.4, 0.0])
    ends = below * (SPREAD / np.sqrt(r**2 + SPREAD**2))[:, None, None, None]
    seen = x * (SPREAD / np.sqrt(t**2 + SPREAD**2))[:, None, None, None]
    distance = np.sqrt(((seen - ends) ** 2).sum(axis=(1, 2, 3)))
    arrays = [mx.array(a.astype(np.float32)) for a in (x, t, below, r)]
    found = consistency_loss(Known(True), *arrays, mx.zeros(4, mx.int32))  # type: ignore[arg-type]
    assert float(found) == pytest.approx(np.mean(distance / (t - r)), rel=1e-4)
    found = end_loss(Known(True), *arrays, mx.zeros(4, mx.int32))  # type: ignore[arg-type]
    weights = np.sqrt(1 / t**2 + 1 / SPREAD**2)
    assert float(found) == pytest.approx(np.mean(weights * distance / 8), rel=1e-3)


@pytest.mark.parametrize("kind", ["tuned", "taught"])
def test_student_follows_the_course_and_draws_by_its_solver(kind: str, tmp_path: Path) -> None:
    student, one = build_unet(UNET), course(kind)
    batch = next(one.batches(99))
    before = float(one.loss(student, *batch))
    spec = DistillationSpec(iterations=20, batch=8, learning_rate=3e-3)
    follow(student, one, spec, tmp_path, "stage")
    assert float(one.loss(student, *batch)) < 0.98 * before
    images = generate(student, one.solver, one.levels, noise(0, 4, (8, 8, 1)))
    assert images.shape == (4, 8, 8, 1) and np.isfinite(images).all()
