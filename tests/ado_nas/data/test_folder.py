from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ado_nas.data import folder
from ado_nas.data.dataset import Source
from ado_nas.errors import DataError
from ado_nas.specs import DataSpec


def _read(place: Path, resolution: int = 8, **fields: Any) -> tuple[Source, np.ndarray]:
    """What is found in a folder, and all its images."""
    with tempfile.TemporaryFile() as spool:
        source = folder.read(DataSpec(str(place), resolution, **fields), spool)
    return source, source.rows(np.arange(source.count))


RNG = np.random.default_rng(0)


def _write(path: Path, mode: str, side: tuple[int, int] = (12, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = {"L": (), "RGB": (3,)}[mode]
    Image.fromarray(RNG.integers(0, 256, side + bands, np.uint8)).save(path)


def test_gray_folder_has_one_channel(tmp_path: Path) -> None:
    for i in range(3):
        _write(tmp_path / f"{i}.png", "L")
    source, images = _read(tmp_path)
    assert images.shape == (3, 8, 8, 1) and source.labels is None


def test_pixels_are_exact_when_neither_cropped_nor_resized(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = _read(tmp_path)[1][0]
    np.testing.assert_allclose(found, pixels / 127.5 - 1, atol=1e-6)


def test_gray_among_colored_is_refused_with_an_example_of_each(tmp_path: Path) -> None:
    _write(tmp_path / "a.png", "RGB")
    _write(tmp_path / "b.JPG", "RGB")
    _write(tmp_path / "scan.png", "L")
    with pytest.raises(DataError, match=r"1 of 3 .* scan.png, .* a.png; give --channels 3 .* 1"):
        _read(tmp_path)


def test_channels_turn_all_images_into_one_kind(tmp_path: Path) -> None:
    _write(tmp_path / "a.png", "L", (8, 8))
    Image.new("RGB", (8, 8), (200, 100, 50)).save(tmp_path / "b.png")
    Image.fromarray(np.full((8, 8), 257 * 60, np.uint16)).save(tmp_path / "c.png")
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).convert("P").save(tmp_path / "d.png")
    source, wide = _read(tmp_path, channels=3)
    assert wide.shape == (4, 8, 8, 3)
    assert source.facts["notes"][0] == "2 of 4 images were turned into RGB"
    places = {name: i for i, name in enumerate(source.facts["files"])}
    first = wide[places["a.png"]]
    np.testing.assert_array_equal(first[..., 0], first[..., 2])
    source, gray = _read(tmp_path, channels=1)
    assert gray.shape == (4, 8, 8, 1)
    luma = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    np.testing.assert_allclose((gray[places["b.png"]] + 1) * 127.5, luma, atol=1)
    np.testing.assert_allclose((gray[places["c.png"]] + 1) * 127.5, 60, atol=1e-3)


def test_enlarged_and_transparent_images_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _write(tmp_path / "a.png", "RGB", (40, 40))
    _write(tmp_path / "small.png", "RGB", (30, 12))
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(tmp_path / "z.png")
    with caplog.at_level(logging.WARNING):
        notes = _read(tmp_path, 16)[0].facts["notes"]
    assert notes[0].startswith("1 of 3 images are smaller than 16 px and were enlarged")
    assert "small.png; give --resolution 12 or less" in notes[0] and notes[0] in caplog.text
    assert notes[1] == "1 of 3 images have transparency and were laid over white"


def test_counted_images_keep_their_names_and_classes(tmp_path: Path) -> None:
    for i in range(12):
        place = tmp_path / ("odd" if i % 2 else "even") / f"{i}.png"
        place.parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8), 20 * i).save(place)
    source, images = _read(tmp_path, count=7, seed=5)
    written = [20 * int(Path(name).stem) for name in source.facts["files"]]
    np.testing.assert_allclose((images[:, 0, 0, 0] + 1) * 127.5, written, atol=1e-4)
    assert source.labels is not None
    np.testing.assert_array_equal(source.labels, [value // 20 % 2 for value in written])


def test_first_images_of_a_folder_are_of_all_its_classes(tmp_path: Path) -> None:
    for i in range(60):
        place = tmp_path / f"class{i // 20}" / f"{i}.png"
        place.parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8), 4 * i).save(place)
    source, images = _read(tmp_path)
    assert source.labels is not None
    assert np.bincount(source.labels[:30], minlength=3).min() >= 5
    np.testing.assert_array_equal(np.round((images[:, 0, 0, 0] + 1) * 127.5) // 80, source.labels)
    again, _ = _read(tmp_path)
    np.testing.assert_array_equal(again.labels, source.labels)  # type: ignore[arg-type]


def test_16_bit_image_keeps_its_values(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "deep.png")
    found = _read(tmp_path)[1][0, ..., 0]
    np.testing.assert_allclose(found, values / 32767.5 - 1, atol=1e-5)


def test_cmyk_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (10, 200, 30, 40)).save(tmp_path / "a.jpg")
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "b.png")
    images = _read(tmp_path)[1]
    assert images.shape == (2, 8, 8, 3)
    np.testing.assert_allclose(images[1], 1.0, atol=1e-6)


def test_large_image_is_averaged_not_sampled(tmp_path: Path) -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    assert np.abs(_read(tmp_path)[1]).max() < 0.1


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
        source, images = _read(tmp_path)
    assert len(images) == 1
    skipped = {entry["file"]: entry["reason"] for entry in source.facts["skipped"]}
    assert set(skipped) == {"half.png", "text.png", "empty.jpg"}
    assert skipped["text.png"] == "not a PNG or JPEG" and "half.png" in caplog.text


def test_sub_folders_are_classes_only_where_every_file_lies_in_one(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        _write(tmp_path / name, "L")
    source = _read(tmp_path)[0]
    assert source.classes == ("cat", "dog") and source.labels is not None
    named = [("cat", "dog")[label] for label in source.labels]
    assert named == [name.split("/")[0] for name in source.facts["files"]]
    _write(tmp_path / "stray.png", "L")
    assert _read(tmp_path)[0].labels is None


def test_folders_without_a_readable_image_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no dataset or folder named"):
        _read(tmp_path / "missing")
    with pytest.raises(DataError, match="holds nothing"):
        _read(tmp_path)
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(DataError, match=r"none of the 1 image files .* a.png: not a PNG or JPEG"):
        _read(tmp_path)
    with pytest.raises(DataError, match="is a file"):
        _read(tmp_path / "a.png")
