"""Curricula: their compute, what each iteration sees, and the learning rate."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.data.dataset import Dataset, Split
from ado_nas.errors import SpecError
from ado_nas.measure.cost import cost
from ado_nas.models.unet import UNet, build_unet, coordinates, named_parameters
from ado_nas.specs import Candidate, CurriculumSpec, DataSpec, TeacherSpec, UNetSpec
from ado_nas.training.curriculum import Curriculum, macs_at
from ado_nas.training.step import Stepper, schedule
from ado_nas.training.teacher import batches, curriculum, edm_loss

SPEC = CurriculumSpec((4, 8, 16), (0.2, 0.3, 0.5))
CROPS = CurriculumSpec((4, 8, 16), (0.2, 0.3, 0.5), crops=True)
UNET = UNetSpec(
    resolution=16, patch=1, widths=(4, 8), blocks=(1, 1), attention=("none", "full"), head_dim=4
)


SIZED = dataclasses.replace(UNET, sized=True)
PLACED = dataclasses.replace(UNET, placed=True)


def macs(course: Curriculum, unet: UNetSpec, begin: int, end: int) -> int:
    sides = [course.side(i) for i in range(begin, end)]
    return sum(course.batch(side) * macs_at(unet, side) for side in sides)


@pytest.mark.parametrize("growth", [0.0, 1.0, 2.0])
def test_stages_have_their_shares_of_the_compute(growth: float) -> None:
    spec = CurriculumSpec((4, 8, 16), (0.2, 0.3, 0.5), batch_growth=growth)
    course = Curriculum(spec, SIZED, 2000, 32)
    whole, begin = 2000 * 32 * cost(SIZED).macs, 0
    for stage, share in zip(course.stages, spec.shares, strict=True):
        end = begin + stage.iterations
        assert macs(course, SIZED, begin, end) == pytest.approx(share * whole, rel=0.05)
        own = Counter(course.side(i) for i in range(begin, end))[stage.resolution]
        replayed = 1 - own / stage.iterations
        assert replayed == pytest.approx(spec.replay if begin else 0, abs=0.03)
        begin = end
    assert begin == course.iterations


def test_constant_memory_is_as_many_pixels_in_each_iteration() -> None:
    course = Curriculum(SPEC, SIZED, 100, 32)
    assert {course.batch(s) * s**2 for s in (4, 8, 16)} == {32 * 16**2}
    same = dataclasses.replace(SPEC, batch_growth=0.0)
    assert Curriculum(same, SIZED, 9, 8).batch(8) == 8


def test_without_resolutions_nothing_changes() -> None:
    course = Curriculum(CurriculumSpec(), UNET, 50, 8)
    assert course.iterations == 50 and {course.side(i) for i in range(60)} == {16}
    x = np.ones((8, 16, 16, 1))
    (seen,), ratio, place = course.views(3, x)
    assert seen is x and ratio == 1 and place is None
    for i in (0, 3, 20, 49):
        found = course.rates(1e-3, 5)[0](mx.array(i))
        assert float(found) == pytest.approx(float(schedule(1e-3, 5, 50)(mx.array(i))))


def test_crops_are_mixed_from_the_start_by_their_shares() -> None:
    course = Curriculum(CROPS, PLACED, 3000, 8)
    found = Counter(course.side(i) for i in range(course.iterations))
    for side, share in zip(CROPS.resolutions, CROPS.shares, strict=True):
        assert found[side] / course.iterations == pytest.approx(share, abs=0.03)
    whole = 3000 * 8 * cost(PLACED).macs
    assert macs(course, PLACED, 0, course.iterations) == pytest.approx(whole, rel=0.03)


def test_crops_are_what_their_places_say() -> None:
    course = Curriculum(CROPS, PLACED, 100, 8)
    iteration = next(i for i in range(100) if course.side(i) == 4)
    grid = np.array(coordinates(None, 16))
    whole = np.broadcast_to(grid, (6, 16, 16, 2))
    (seen, twice), ratio, place = course.views(iteration, whole, 2 * whole)
    assert seen.shape == (6, 4, 4, 2) and ratio == 1 and place is not None
    np.testing.assert_allclose(np.array(coordinates(mx.array(place), 4)), seen, atol=1e-6)
    np.testing.assert_array_equal(twice, 2 * seen)
    assert len(np.unique(place[:, :2], axis=0)) > 1


def test_learning_rate_rises_in_each_stage_and_falls_to_nothing_at_its_end() -> None:
    for iterations, rewarm, warmup in ((200, 0.2, 10), (200, 0.04, 10), (40, 0.04, 30)):
        spec = dataclasses.replace(SPEC, rewarm=rewarm)
        course, begin = Curriculum(spec, SIZED, iterations, 32), 0
        rates = course.rates(1e-3, warmup)
        for k, stage in enumerate(course.stages):
            count = stage.iterations
            # As long as the first one, or longer, in a third of the stage at most.
            rise = min(max(warmup, round(rewarm * count) if k else 0), count // 3)
            steps = mx.arange(count).astype(mx.uint64)  # as optimizers count
            values = np.array([float(rates[begin](step)) for step in steps])
            assert values.argmax() == rise and values[rise] == pytest.approx(1e-3)
            assert values[-1] < 4e-3 / (count - rise)
            middle = rise + (count - rise) // 2
            fallen = 0.5e-3 * (1 + math.cos(math.pi * (middle - rise) / (count - rise)))
            assert values[middle] == pytest.approx(fallen, rel=1e-3)
            begin += count
        assert begin == course.iterations and len(rates) == len(course.stages)


def test_lower_resolutions_have_as_much_noise_as_averaged_pixels() -> None:
    """White noise that is averaged over squares is the noise that the curriculum gives."""
    course = Curriculum(SPEC, SIZED, 100, 64)
    iteration = next(i for i in range(100) if course.side(i) == 4)
    noise = np.random.default_rng(0).standard_normal((512, 16, 16, 1))
    (seen,), ratio, _ = course.views(iteration, noise)
    assert seen.std() == pytest.approx(ratio, rel=0.02)
    np.testing.assert_allclose(seen[3, 1, 2], noise[3, 4:8, 8:12].mean(), rtol=1e-5)


def test_compute_of_a_nested_network_is_that_of_what_runs() -> None:
    nested = dataclasses.replace(UNET, nested=1)
    assert macs_at(nested, 16) == cost(nested).macs
    assert macs_at(nested, 8) == cost(nested.inside).macs < cost(nested).macs
    course = Curriculum(CurriculumSpec((8, 16), (0.4, 0.6)), nested, 300, 16)
    whole = 300 * 16 * cost(nested).macs
    first = course.stages[0].iterations
    assert macs(course, nested, 0, first) == pytest.approx(0.4 * whole, rel=0.02)
    assert macs(course, nested, 0, course.iterations) == pytest.approx(whole, rel=0.02)


def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((40, 16, 16, 1), dtype=np.float32)
    return Dataset(Split(images), Split(images), 0, "digest", DataSpec(), {})


def test_teacher_batches_follow_the_curriculum() -> None:
    spec = TeacherSpec(SIZED, iterations=20, batch=8, curriculum=SPEC)
    course = curriculum(spec)
    seen = set()
    stream = batches(spec, dataset(), 0)
    for iteration in range(course.iterations):
        x0, sigma, noise, labels = next(stream)
        side = course.side(iteration)
        seen.add(side)
        assert x0.shape == noise.shape == (course.batch(side), side, side, 1)
        assert sigma.shape == labels.shape == (course.batch(side),)
    assert seen == {4, 8, 16}
    again = next(batches(spec, dataset(), course.iterations - 1))
    np.testing.assert_array_equal(np.array(again[0]), np.array(x0))


def test_crops_come_with_their_places() -> None:
    spec = TeacherSpec(PLACED, iterations=20, batch=8, curriculum=CROPS)
    lengths = {len(b) for b, _ in zip(batches(spec, dataset(), 0), range(30), strict=False)}
    assert lengths == {5}


def trained(unet: UNet, spec: TeacherSpec) -> UNet:
    stepper = Stepper(unet, edm_loss, lambda _: mx.array(1e-2), 0.5)
    for _, arrays in zip(range(6), batches(spec, dataset(), 0), strict=False):
        stepper(*arrays)
    return unet


def test_network_is_told_its_side_and_computes_the_same_at_its_own() -> None:
    plain, told = build_unet(UNET, 3), build_unet(SIZED, 3)
    spec = TeacherSpec(
        SIZED, iterations=6, batch=8, curriculum=CurriculumSpec((8, 16), (0.6, 0.4))
    )
    trained(told, spec)
    assert float(mx.abs(told.size_embedding.weight).max()) > 0
    plain.load_weights([(n, v) for n, v in named_parameters(told) if "size" not in n])
    level = mx.array([0.3])
    for side, alike in ((16, True), (8, False), (4, False)):
        x = mx.random.normal((2, side, side, 1), key=mx.random.key(side))
        same = np.allclose(np.array(plain(x, level)), np.array(told(x, level)), atol=1e-6)
        assert same == alike


def test_network_is_told_its_place() -> None:
    unet = trained(
        build_unet(PLACED, 3),
        TeacherSpec(PLACED, iterations=6, batch=8, curriculum=CROPS),
    )
    x, level = mx.random.normal((2, 8, 8, 1), key=mx.random.key(0)), mx.array([0.3])
    whole = np.array(unet(x, level))
    said = np.array(unet(x, level, None, mx.array([[0.0, 0.0, 1.0]] * 2)))
    np.testing.assert_allclose(whole, said, atol=1e-6)
    corner = np.array(unet(x, level, None, mx.array([[0.5, 0.5, 0.5]] * 2)))
    assert np.abs(corner - whole).max() > 1e-4


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"resolutions": (8, 16), "shares": (0.5, 0.6)}, "summing to 1"),
        ({"resolutions": (8, 16), "shares": (0.5,)}, "one share each"),
        ({"resolutions": (16, 8), "shares": (0.5, 0.5)}, "rising"),
        ({"resolutions": (8, 16), "shares": (0.0, 1.0)}, "above 0"),
        ({"replay": 0.9}, "replay 0.9"),
        ({"batch_growth": 3.0}, "batch_growth 3"),
    ],
)
def test_bad_curriculum_is_refused(fields: dict[str, object], text: str) -> None:
    with pytest.raises(SpecError, match=text):
        CurriculumSpec(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("resolutions", "text"),
    [((1, 16), "multiples of 2"), ((8, 32), "32 px"), ((4, 8), "ends at 8 px"), ((6, 16), "6 px")],
)
def test_curriculum_that_the_network_cannot_follow_is_refused(
    resolutions: tuple[int, int], text: str
) -> None:
    spec = CurriculumSpec(resolutions, (0.5, 0.5))
    for make in (TeacherSpec, Candidate):
        with pytest.raises(SpecError, match=text):
            make(unet=SIZED, curriculum=spec)
    with pytest.raises(SpecError, match="sized = true"):
        TeacherSpec(UNET, curriculum=SPEC)
    with pytest.raises(SpecError, match="placed = true"):
        TeacherSpec(UNET, curriculum=CROPS)


def test_shares_of_the_compute_are_found_in_iterations() -> None:
    course = Curriculum(SPEC, SIZED, 1000, 16)
    ends = np.cumsum([s.iterations for s in course.stages])
    assert [course.after(share) for share in (0.2, 0.5, 1.0)] == ends.tolist()
    whole = macs(course, SIZED, 0, course.iterations)
    for share in (0.1, 0.35, 0.8):
        spent = macs(course, SIZED, 0, course.after(share))
        assert spent / whole == pytest.approx(share, abs=0.02)
    assert Curriculum(CurriculumSpec(), UNET, 80, 8).after(0.25) == 20
