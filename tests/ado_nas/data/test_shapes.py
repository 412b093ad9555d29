from __future__ import annotations

import numpy as np
import pytest

from ado_nas.data import shapes
from ado_nas.errors import DataError
from ado_nas.specs import DataSpec


def test_image_is_the_same_alone_and_in_a_batch() -> None:
    together = shapes.render(shapes.attributes(np.arange(600), 3, 7), 16)
    for i in (0, 5, 511, 512, 599):
        alone = shapes.render(shapes.attributes(np.array([i]), 3, 7), 16)
        np.testing.assert_array_equal(alone[0], together[i])


def test_label_is_the_kind_of_the_largest_object() -> None:
    known = shapes.attributes(np.arange(400), 4, 0)
    used = known.kind >= 0
    np.testing.assert_array_equal(used.sum(1), known.count)
    largest = np.where(used, known.radius, -1).argmax(1)
    np.testing.assert_array_equal(known.labels, known.kind[np.arange(400), largest])
    assert set(known.labels) == set(range(len(shapes.KINDS)))


def test_object_is_painted_in_its_color_at_its_center() -> None:
    known = shapes.attributes(np.arange(200), 1, 0)
    images = shapes.render(known, 64)
    column, row = (known.center[:, 0] * 64).astype(int).T
    found = (images[np.arange(200), row, column] + 1) / 2
    filled = known.labels != shapes.KINDS.index("ring")
    np.testing.assert_allclose(found[filled], known.tint[filled, 0], atol=1e-6)


def test_disc_covers_its_area_when_antialiased() -> None:
    known = shapes.attributes(np.arange(60), 1, 0)
    plain = shapes.render(known, 32)
    rows = known.labels == shapes.KINDS.index("disc")
    fine = shapes.render(known, 128)
    coarse = fine.reshape(len(fine), 32, 4, 32, 4, 3).mean((2, 4))
    assert np.abs(plain[rows] - coarse[rows]).max() < 0.35
    assert np.abs(plain[rows] - coarse[rows]).mean() < 0.005


def test_corner_holds_the_background_when_an_object_lies_elsewhere() -> None:
    known = shapes.attributes(np.arange(100), 1, 0)
    corner = (shapes.render(known, 32)[:, 0, 0] + 1) / 2
    far = np.hypot(*known.center[:, 0].T) > known.radius[:, 0] + 0.1
    low, high = known.background.min(1) - 1e-6, known.background.max(1) + 1e-6
    assert far.sum() > 50 and ((corner >= low) & (corner <= high))[far].all()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (DataSpec("shapes", 4), "shapes at 4 px: give 8 to 256"),
        (DataSpec("shapes", 16, difficulty=49), "difficulty 49"),
        (DataSpec("shapes", 16, count=3), "3 shapes"),
    ],
)
def test_shapes_refuse_what_they_cannot_draw(spec: DataSpec, words: str) -> None:
    with pytest.raises(DataError, match=words):
        shapes.read(spec)
