"""Nested networks: the denoiser they make, what is inside, and how they inherit."""

from __future__ import annotations

import dataclasses

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.diffusion.preconditioning import denoise, scalings
from ado_nas.errors import SpecError
from ado_nas.maps import ends
from ado_nas.measure.cost import cost
from ado_nas.models.inherit import inherit
from ado_nas.models.nested import NestedUNet
from ado_nas.models.plan import layers
from ado_nas.models.slices import Slice
from ado_nas.models.tree import named_arrays
from ado_nas.models.unet import UNet, build_unet, named_parameters
from ado_nas.specs import Candidate, CurriculumSpec, DistillationSpec, UNetSpec, from_dict, to_dict
from ado_nas.widths import narrowed

SPEC = UNetSpec(
    resolution=16,
    in_channels=3,
    widths=(8, 16, 24),
    blocks=(1, 2, 1),
    attention=("none", "none", "full"),
    head_dim=8,
    num_classes=3,
    nested=2,
    time_width=16,
)


def loud(spec: UNetSpec, seed: int) -> UNet:
    """A network none of whose outputs is zero."""
    unet = build_unet(spec, seed)
    keys = iter(mx.random.split(mx.random.key(seed), 400))
    noisy = [(n, v + 0.1 * mx.random.normal(v.shape, key=next(keys))) for n, v in named(unet)]
    unet.load_weights(noisy)
    return unet


def named(unet: UNet) -> list[tuple[str, mx.array]]:
    return list(named_parameters(unet))


def batch(side: int, count: int = 3) -> tuple[mx.array, mx.array, mx.array]:
    x = mx.random.normal((count, side, side, 3), key=mx.random.key(side))
    return x, mx.array([0.03, 0.5, 20.0][:count]), mx.array([0, 2, 3][:count], mx.int32)


@pytest.mark.parametrize("prediction", ["edm", "epsilon", "v"])
def test_denoiser_is_the_image_inside_doubled_and_what_the_outside_adds(prediction: str) -> None:
    unet = loud(dataclasses.replace(SPEC, prediction=prediction), 1)
    assert isinstance(unet, NestedUNet)
    x, sigma, labels = batch(16)
    low = np.array(x).reshape(3, 8, 2, 8, 2, 3).mean(axis=(2, 4))
    found = np.array(denoise(unet.inside, mx.array(low), sigma / 2, labels))
    up, blurred = (np.repeat(np.repeat(a, 2, 1), 2, 2) for a in (found, low))
    c = scalings(prediction, sigma, SPEC.sigma_data)
    both = mx.concatenate([c.input * x, mx.array(up) / SPEC.sigma_data], axis=-1)
    added = np.array(c.out * unet.outside(both, c.noise, labels))
    expected = up + np.array(c.skip) * (np.array(x) - blurred) + added
    np.testing.assert_allclose(
        np.array(denoise(unet, x, sigma, labels)), expected, rtol=2e-3, atol=2e-3
    )


def test_lower_resolutions_are_made_by_the_network_inside_alone() -> None:
    unet = loud(SPEC, 2)
    assert isinstance(unet, NestedUNet)
    x, sigma, labels = batch(8)
    np.testing.assert_array_equal(
        np.array(denoise(unet, x, sigma, labels)), np.array(denoise(unet.inside, x, sigma, labels))
    )
    innermost = unet.inside.inside
    assert innermost.spec.widths == (24,) and not innermost.spec.nested
    x, sigma, labels = batch(4)
    np.testing.assert_array_equal(
        np.array(denoise(unet, x, sigma, labels)), np.array(denoise(innermost, x, sigma, labels))
    )


def test_fresh_network_passes_on_what_is_inside() -> None:
    """What was learned at a low resolution is there from the first iteration at the next."""
    unet = build_unet(dataclasses.replace(SPEC, nested=1), 0)
    inner = loud(unet.spec.inside, 5)
    assert isinstance(unet, NestedUNet)
    unet.inside.load_weights(named(inner))
    x, sigma, labels = batch(16)
    whole = np.array(denoise(unet, x, sigma, labels))
    averaged = whole.reshape(3, 8, 2, 8, 2, 3).mean(axis=(2, 4))
    low = np.array(x).reshape(3, 8, 2, 8, 2, 3).mean(axis=(2, 4))
    alone = np.array(denoise(inner, mx.array(low), sigma / 2, labels))
    np.testing.assert_allclose(averaged, alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("nested", [1, 2])
def test_layers_are_those_of_the_network(nested: int) -> None:
    spec = dataclasses.replace(SPEC, nested=nested)
    known = {name.rpartition(".")[0] for name, _ in named(build_unet(spec))}
    assert {layer.name for layer in layers(spec)} == known
    assert cost(spec).params == sum(v.size for _, v in named(build_unet(spec)))
    assert cost(spec).macs == cost(spec.outside).macs + cost(spec.inside).macs
    assert ends(spec) == {}


def test_student_of_the_same_shape_is_its_teacher_and_narrower_ones_inherit_all() -> None:
    teacher = loud(SPEC, 3)
    student = build_unet(SPEC, 4)
    assert inherit(student, teacher).fraction == 1
    x, sigma, labels = batch(16)
    np.testing.assert_allclose(
        np.array(denoise(student, x, sigma, labels)),
        np.array(denoise(teacher, x, sigma, labels)),
        rtol=1e-5,
        atol=1e-5,
    )
    narrow = narrowed(SPEC, 0.5)
    assert narrow.nested == 2 and inherit(build_unet(narrow, 4), teacher).fraction == 1
    # A plain level sees features where a nested one sees an image: nothing is taken for it.
    plain = build_unet(dataclasses.replace(SPEC, nested=0), 4)
    assert inherit(plain, teacher).fraction == 0


def test_slice_is_a_nested_network_of_its_own() -> None:
    wide, narrow = loud(SPEC, 6), narrowed(SPEC, 0.5)
    cut = Slice(SPEC, narrow).network(dict(named_arrays(wide.parameters())))
    student = build_unet(narrow, 1)
    inherit(student, wide, "leading")
    x, sigma, labels = batch(16)
    np.testing.assert_allclose(
        np.array(denoise(cut, x, sigma, labels)),
        np.array(denoise(student, x, sigma, labels)),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"nested": 3}, "0 to 2"), ({"nested": -1}, "0 to 2"), ({"sized": True}, "sized and placed")],
)
def test_bad_nesting_is_refused(changes: dict[str, int], text: str) -> None:
    with pytest.raises(SpecError, match=text):
        dataclasses.replace(SPEC, **changes)  # type: ignore[arg-type]


def test_nested_candidate_has_a_curriculum_of_its_own_resolutions() -> None:
    course = CurriculumSpec((4, 8, 16), (0.2, 0.3, 0.5))
    found = Candidate(unet=SPEC, curriculum=course)
    assert from_dict(Candidate, to_dict(found)) == found
    with pytest.raises(SpecError, match="make images of"):
        Candidate(unet=dataclasses.replace(SPEC, nested=1), curriculum=course)
    with pytest.raises(SpecError, match="nested 2"):
        Candidate(unet=SPEC, distillation=DistillationSpec(adaptation="prune"))
