from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ado_nas.data import folder
from ado_nas.errors import DataError
from ado_nas.specs import DataSpec

RNG = np.random.default_rng(0)


def _write(path: Path, mode: str, side: tuple[int, int] = (12, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = {"L": (), "RGB": (3,)}[mode]
    Image.fromarray(RNG.integers(0, 256, side + bands, np.uint8)).save(path)


def test_grey_folder_has_one_channel(tmp_path: Path) -> None:
    for i in range(3):
        _write(tmp_path / f"{i}.png", "L")
    source = folder.read(DataSpec(str(tmp_path), 8))
    assert source.images.shape == (3, 8, 8, 1) and source.labels is None


def test_pixels_are_exact_when_neither_cropped_nor_resized(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = folder.read(DataSpec(str(tmp_path), 8)).images[0]
    np.testing.assert_allclose(found, pixels / 127.5 - 1, atol=1e-6)


def test_grey_images_become_rgb_when_others_are_colored(tmp_path: Path) -> None:
    _write(tmp_path / "a.png", "L")
    _write(tmp_path / "b.JPG", "RGB")
    source = folder.read(DataSpec(str(tmp_path), 8))
    assert source.images.shape == (2, 8, 8, 3)
    assert source.facts["notes"] == ["1 grey images were turned into RGB"]
    np.testing.assert_array_equal(source.images[0, ..., 0], source.images[0, ..., 2])


def test_16_bit_image_keeps_its_values(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "deep.png")
    found = folder.read(DataSpec(str(tmp_path), 8)).images[0, ..., 0]
    np.testing.assert_allclose(found, values / 32767.5 - 1, atol=1e-5)


def test_cmyk_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (10, 200, 30, 40)).save(tmp_path / "a.jpg")
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "b.png")
    images = folder.read(DataSpec(str(tmp_path), 8)).images
    assert images.shape == (2, 8, 8, 3)
    np.testing.assert_allclose(images[1], 1.0, atol=1e-6)


def test_large_image_is_averaged_not_sampled(tmp_path: Path) -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    assert np.abs(folder.read(DataSpec(str(tmp_path), 8)).images).max() < 0.1


def test_unreadable_files_are_named_and_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _write(tmp_path / "good.png", "RGB", (40, 40))
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("ignored")
    with caplog.at_level(logging.WARNING):
        source = folder.read(DataSpec(str(tmp_path), 8))
    assert len(source.images) == 1
    skipped = {entry["file"]: entry["reason"] for entry in source.facts["skipped"]}
    assert set(skipped) == {"half.png", "text.png", "empty.jpg"}
    assert skipped["text.png"] == "not a PNG or JPEG" and "half.png" in caplog.text


def test_sub_folders_are_classes_only_where_every_file_lies_in_one(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        _write(tmp_path / name, "L")
    source = folder.read(DataSpec(str(tmp_path), 8))
    assert source.classes == ("cat", "dog") and list(source.labels) == [0, 0, 1]  # type: ignore[arg-type]
    _write(tmp_path / "stray.png", "L")
    assert folder.read(DataSpec(str(tmp_path), 8)).labels is None


def test_folders_without_a_readable_image_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no dataset or folder named"):
        folder.read(DataSpec(str(tmp_path / "missing"), 8))
    with pytest.raises(DataError, match="holds nothing"):
        folder.read(DataSpec(str(tmp_path), 8))
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(DataError, match=r"none of the 1 image files .* a.png: not a PNG or JPEG"):
        folder.read(DataSpec(str(tmp_path), 8))
    with pytest.raises(DataError, match="is a file"):
        folder.read(DataSpec(str(tmp_path / "a.png"), 8))
