"""The feature loss against its formula in float64, its adapters, and training with both."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.diffusion.levels import karras_levels
from ado_nas.distillation.attempts import Attempt, Shop
from ado_nas.distillation.consistency import consistency_loss
from ado_nas.distillation.course import Course, anchored, follow
from ado_nas.distillation.matching import Pupil, feature_loss, fitted, matched
from ado_nas.distillation.student import Lessons, landing_loss
from ado_nas.distillation.trajectories import Bank
from ado_nas.errors import SpecError
from ado_nas.models.unet import UNet, build_unet, named_parameters
from ado_nas.optimization import OptimizationSpec
from ado_nas.progress import silent
from ado_nas.specs import DistillationSpec, UNetSpec
from ado_nas.training import resumable
from ado_nas.training.step import Stepper, gradients, schedule, split

WIDE = UNetSpec(
    resolution=8, patch=2, widths=(12, 16), attention=("none", "none"), middle=False,
    activation="relu", time_width=16,
)  # fmt: skip
NARROW = dataclasses.replace(
    WIDE, patch=1, widths=(4, 8, 8), blocks=(1,) * 3, attention=("none",) * 3
)
SMALL = dataclasses.replace(WIDE, widths=(8,), blocks=(1,), attention=("none",))
SPEC = DistillationSpec(iterations=6, batch=4)
PLACES = ("down@4", "down@2", "up@2", "up@4")  # that both have
Arrays = tuple[mx.array, ...]

pytestmark = pytest.mark.usefixtures("own_lock")


def network(spec: UNetSpec, seed: int) -> UNet:
    """With a last convolution that is not zero, so that every weight has a gradient."""
    unet = build_unet(spec, seed)
    shape = unet.conv_out.weight.shape
    unet.conv_out.weight = 0.1 * mx.random.normal(shape, key=mx.random.key(seed))
    return unet


@pytest.fixture
def teacher() -> UNet:
    return network(WIDE, 1)


@pytest.fixture
def student() -> UNet:
    return network(NARROW, 2)


@pytest.fixture
def lessons() -> Lessons:
    levels = karras_levels(4, 0.02, 10.0)
    rng = np.random.default_rng(0)
    states = rng.standard_normal((5, 16, 8, 8, 1)) * (1 + levels[:, None, None, None, None])
    bank = Bank(states.astype(np.float32), None, levels, np.ones((5, 5)), "key")
    return Lessons(bank, [0, 2, 4])


@pytest.fixture
def course(lessons: Lessons) -> Course:
    return anchored(lessons, 4, seed=1)


@pytest.fixture
def batch(course: Course) -> Arrays:
    return next(course.batches(0))


def inputs(unet: UNet, x: mx.array, sigma: mx.array) -> Arrays:
    """What EDM's preconditioning gives a network."""
    scale = mx.rsqrt(sigma**2 + unet.spec.sigma_data**2)
    return scale[:, None, None, None] * x, mx.log(sigma) / 4


def expected(pupil: Pupil, teacher: UNet, arrays: Arrays, weight: float) -> float:
    """The loss in float64, from the maps that both networks have: way and side agree."""
    found = pupil.student.with_maps(*inputs(pupil.student, *arrays[:2]))[1]
    wanted = teacher.with_maps(*inputs(teacher, *arrays[:2]))[1]
    terms = []
    for place in PLACES:
        layer = pupil.adapters[place]
        image, goal = np.array(found[place], np.float64), np.array(wanted[place], np.float64)
        made = image @ np.array(layer.weight, np.float64).T + np.array(layer.bias, np.float64)
        terms.append(((made - goal) ** 2).sum((1, 2, 3)) / (goal**2).sum((1, 2, 3)))
    return float(landing_loss(pupil.student, *arrays)) + weight * float(np.mean(terms))


def test_loss_is_the_base_loss_and_the_relative_distances_of_the_shared_maps(
    student: UNet, teacher: UNet, batch: Arrays, course: Course
) -> None:
    pupil = fitted(student, teacher, landing_loss, batch)
    assert pupil.student is student and set(pupil.adapters) == set(PLACES)
    other = next(course.batches(1))
    found = float(feature_loss(landing_loss, teacher, 0.7)(pupil, *other))
    assert found == pytest.approx(expected(pupil, teacher, other, 0.7), rel=1e-5)
    halves = [(a[:2], a[2:]) for a in other]
    parts = [
        feature_loss(landing_loss, teacher, 0.7)(pupil, *h) for h in zip(*halves, strict=True)
    ]
    assert found == pytest.approx(float(sum(parts)) / 2, rel=1e-5)


def test_student_that_is_its_teacher_has_no_distance(teacher: UNet, batch: Arrays) -> None:
    pupil = fitted(network(WIDE, 1), teacher, landing_loss, batch)
    found = float(feature_loss(landing_loss, teacher, 1.0)(pupil, *batch))
    assert found == pytest.approx(float(landing_loss(teacher, *batch)), rel=1e-6)


def test_adapters_begin_at_the_least_distance_and_learn_on_other_batches(
    student: UNet, teacher: UNet, batch: Arrays, course: Course
) -> None:
    pupil = fitted(student, teacher, landing_loss, batch)
    loss = feature_loss(landing_loss, teacher, 1.0)
    at_rest = gradients(loss, pupil, [batch])[1]
    other = gradients(loss, pupil, [next(course.batches(1))])[1]
    adapters = [name for name in other if name.startswith("adapters.")]
    assert len(adapters) == 8
    for name in adapters:
        assert float(mx.abs(at_rest[name]).max()) < 1e-2 * float(mx.abs(other[name]).max())


def test_student_gets_the_gradients_of_both_losses_and_the_teacher_none(
    student: UNet, teacher: UNet, batch: Arrays
) -> None:
    pupil = fitted(student, teacher, landing_loss, batch)
    before = {name: np.array(value) for name, value in named_parameters(teacher)}
    none, one, two = (
        gradients(feature_loss(landing_loss, teacher, w), pupil, split(batch))[1]
        for w in (0.0, 1.0, 2.0)
    )
    plain = gradients(landing_loss, student, split(batch))[1]
    for name, value in plain.items():
        base, both, twice = (np.array(g[f"student.{name}"]) for g in (none, one, two))
        np.testing.assert_allclose(base, value, atol=1e-6)
        np.testing.assert_allclose(twice - base, 2 * (both - base), atol=1e-6)
    changed = one["student.conv_in.weight"] - none["student.conv_in.weight"]
    assert float(mx.abs(changed).max()) > 1e-3
    for name, value in named_parameters(teacher):
        np.testing.assert_array_equal(value, before[name])


def test_pass_with_the_gradient_is_the_one_matched_where_a_loss_makes_two(
    teacher: UNet, course: Course, batch: Arrays
) -> None:
    """The loss of consistency looks at the lower state first."""
    x, sigma, below, labels = batch
    student, arrays = network(SMALL, 2), (x, sigma, below, sigma / 2, labels)
    pupil = fitted(student, teacher, landing_loss, next(course.batches(1)))
    values = [
        float(f(pupil, *a))
        for f, a in (
            (feature_loss(consistency_loss, teacher, 1.0), arrays),
            (feature_loss(landing_loss, teacher, 1.0), batch),
        )
    ]
    alone = [float(consistency_loss(student, *arrays)), float(landing_loss(student, *batch))]
    assert values[0] - alone[0] == pytest.approx(values[1] - alone[1], rel=1e-4)


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_stage_learns_maps_where_its_training_says_so(
    weight: float, teacher: UNet, lessons: Lessons
) -> None:
    bench = SimpleNamespace(bank=lessons.bank, teacher=SimpleNamespace(unet=teacher))
    spec = OptimizationSpec(training=DistillationSpec(feature_weight=weight, batch=4))
    shop = Shop(bench, spec, [], Path(), silent)  # type: ignore[arg-type]
    found = shop._course(Attempt(SMALL, 2, "anchored", 9), bench.teacher)
    assert isinstance(found.pupil(network(SMALL, 2)), Pupil) == (weight > 0)


def test_course_is_the_one_given_when_the_weight_is_zero(course: Course, teacher: UNet) -> None:
    assert matched(course, teacher, 0.0) is course


def test_student_ends_nearer_to_the_maps_than_without(
    course: Course, teacher: UNet, batch: Arrays, tmp_path: Path
) -> None:
    def distance(weight: float) -> float:
        student = network(SMALL, 2)
        spec = dataclasses.replace(SPEC, iterations=20)
        follow(student, matched(course, teacher, weight), spec, tmp_path / str(weight), "stage")
        pupil = fitted(student, teacher, landing_loss, batch)
        loss = feature_loss(landing_loss, teacher, 1.0)(pupil, *batch)
        return float(loss - landing_loss(student, *batch))

    assert distance(10.0) < 0.8 * distance(0.0)


def test_student_holds_its_averaged_weights_after_training(
    course: Course, teacher: UNet, tmp_path: Path
) -> None:
    both, found, alike = matched(course, teacher, 0.5), network(SMALL, 2), network(SMALL, 2)
    spec = dataclasses.replace(SPEC, iterations=3)
    follow(found, both, spec, tmp_path, "stage")
    stepper = Stepper(both.pupil(alike), both.loss, schedule(1e-2, 0, 3), spec.ema_decay)
    resumable.train(stepper, both.batches, 3, tmp_path / "again", "stage", silent)
    average = stepper.flat.arrays(stepper.average)
    last = dict(named_parameters(alike))["conv_in.weight"]
    assert float(mx.abs(average["student.conv_in.weight"] - last).max()) > 1e-4
    for name, value in named_parameters(found):
        assert np.array_equal(average[f"student.{name}"], value), name


def test_weights_after_an_interruption_are_those_without(
    course: Course, teacher: UNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumable, "CHECKPOINT_SECONDS", 0.0)

    def interrupt(_stage: str, done: int, _total: int, _note: str = "") -> None:
        if done == 3:
            raise KeyboardInterrupt

    both, folder = matched(course, teacher, 0.5), tmp_path / "b"
    whole, parted = network(SMALL, 2), network(SMALL, 3)
    follow(whole, both, SPEC, tmp_path / "a", "stage")
    with pytest.raises(KeyboardInterrupt):
        follow(network(SMALL, 2), both, SPEC, folder, "stage", interrupt)
    follow(parted, both, SPEC, folder, "stage")
    for (name, a), (_, b) in zip(named_parameters(whole), named_parameters(parted), strict=True):
        assert np.array_equal(a, b), name


@pytest.mark.parametrize("change", [{"prediction": "v"}, {"sigma_data": 0.25}], ids=str)
def test_networks_that_see_noise_scaled_otherwise_are_refused(
    change: dict[str, object], teacher: UNet, batch: Arrays
) -> None:
    student = build_unet(dataclasses.replace(NARROW, **change))  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=rf"student's {next(iter(change))} is .* give the student"):
        fitted(student, teacher, landing_loss, batch)
