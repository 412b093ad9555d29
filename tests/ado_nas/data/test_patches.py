from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from ado_nas import data
from ado_nas.data import patches
from ado_nas.errors import DataError, NegativeVerdict
from ado_nas.specs import DataSpec


def _images(**fields: Any) -> np.ndarray:
    source = patches.read(DataSpec("patches", **fields))
    return source.rows(np.arange(source.count))


def _photos() -> list[np.ndarray]:
    bunch = load_sample_images()
    names = [Path(name).stem for name in bunch.filenames]
    return [bunch.images[names.index(photo)] for photo in patches.PHOTOS]


@pytest.mark.parametrize("resolution", [8, 24, 32, 128])
def test_held_out_crops_share_no_pixel_with_those_trained_on(resolution: int) -> None:
    seen = np.zeros((2, 2, patches.HEIGHT, 640), bool)
    spec = DataSpec("patches", resolution)
    for held_out in (False, True):
        for number in range(1500):
            one = patches.crop(spec, number, held_out)
            area = seen[int(held_out), one.photo, one.top : one.top + one.side]
            assert area.shape[0] == one.side and one.left + one.side <= 640
            area[:, one.left : one.left + one.side] = True
    train, held = seen.any(axis=2)
    for photo in range(2):
        apart = np.abs(
            np.subtract.outer(np.flatnonzero(train[photo]), np.flatnonzero(held[photo]))
        )
        assert apart.min() > 16  # a whole block of JPEG lies between
    assert seen.any(0).mean() > 0.85  # what is left out is the margins


def test_crop_at_full_scale_is_a_window_of_its_photo() -> None:
    spec, photos = DataSpec("patches", 32, count=60, seed=3), _photos()
    images = _images(resolution=32, count=60, seed=3)
    checked = 0
    for number in range(36):
        one = patches.crop(spec, number, held_out=False)
        window = photos[one.photo][one.top : one.top + one.side, one.left : one.left + one.side]
        box = Image.fromarray(window).reduce(one.side // 32) if one.side > 32 else window
        np.testing.assert_allclose((images[number] + 1) * 127.5, np.asarray(box), atol=0.51)
        checked += one.side == 32
    assert checked > 3


def test_image_is_the_same_however_many_are_asked_for() -> None:
    few, many = _images(resolution=8, count=50), _images(resolution=8, count=90)
    np.testing.assert_array_equal(few[:30], many[:30])
    np.testing.assert_array_equal(few[30:], many[54:74])
    assert not np.array_equal(few, _images(resolution=8, count=50, seed=1))


def test_image_is_one_at_all_sizes_that_divide_32() -> None:
    large, small = _images(resolution=32, count=40), _images(resolution=8, count=40)
    np.testing.assert_allclose(large.reshape(40, 8, 4, 8, 4, 3).mean((2, 4)), small, atol=1e-6)


def test_flips_mirror_half_of_the_images_and_change_no_other() -> None:
    plain, flipped = (_images(resolution=8, count=200, flips=f) for f in (False, True))
    same = (plain == flipped).all(axis=(1, 2, 3))
    mirrored = (plain[:, :, ::-1] == flipped).all(axis=(1, 2, 3))
    assert (same | mirrored).all() and 70 < mirrored.sum() < 130


def test_manifest_tells_the_photos_and_where_they_were_cut(tmp_path: Path) -> None:
    spec = DataSpec("patches", 16, count=100)
    found = data.verify(data.build(spec, tmp_path))
    assert (len(found.train), len(found.held_out), found.num_classes) == (60, 40, 2)
    assert set(found.manifest["files"]) == {"china.jpg", "flower.jpg"}
    assert found.manifest["crops"]["windows"] == [32, 64, 128]
    source = patches.read(spec)
    np.testing.assert_array_equal(found.held_out.images, source.rows(np.arange(60, 100)))


def test_verify_tells_another_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = data.build(DataSpec("patches", 8, count=20), tmp_path)
    for name in patches.PHOTOS:
        Image.new("RGB", (640, patches.HEIGHT)).save(tmp_path / f"{name}.jpg")
    others = {f"{name}.jpg": tmp_path / f"{name}.jpg" for name in patches.PHOTOS}
    monkeypatch.setattr(patches, "files", lambda: others)
    with pytest.raises(NegativeVerdict, match=r"china.jpg, flower.jpg changed"):
        data.verify(manifest)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (DataSpec("patches", 4), "patches at 4 px: give 8 to 128"),
        (DataSpec("patches", 129), "patches at 129 px"),
        (DataSpec("patches", 16, count=3), "3 patches: give at least 20"),
    ],
)
def test_patches_refuse_what_they_cannot_cut(spec: DataSpec, words: str) -> None:
    with pytest.raises(DataError, match=words):
        data.check(spec)
