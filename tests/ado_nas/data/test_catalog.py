from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from ado_nas import data
from ado_nas.errors import DataError, NegativeVerdict, WorkspaceError
from ado_nas.specs import DataSpec

SHAPES = DataSpec("shapes", 8, count=40, difficulty=2)


def _change(manifest: Path, change: dict[str, Any]) -> None:
    path = manifest.parent / "images.safetensors"
    arrays: Any = mx.load(str(path))
    arrays = {name: np.array(array) for name, array in arrays.items()}
    arrays.update(change)
    mx.save_safetensors(str(path), {name: mx.array(array) for name, array in arrays.items()})


def test_second_load_equals_the_first(tmp_path: Path) -> None:
    first, second = data.load(SHAPES, tmp_path), data.load(SHAPES, tmp_path)
    np.testing.assert_array_equal(first.train.images, second.train.images)
    np.testing.assert_array_equal(first.held_out.labels, second.held_out.labels)
    assert first.manifest == second.manifest and first.num_classes == 5
    assert len(first.train) == 24 and len(first.held_out) == 16
    assert not list(tmp_path.glob("data/.building*"))


@pytest.mark.parametrize(
    "change",
    [{"resolution": 12}, {"count": 41}, {"held_out": 0.3}, {"difficulty": 3}, {"seed": 1}],
)
def test_digest_changes_with_each_field(change: dict[str, Any], tmp_path: Path) -> None:
    other = dataclasses.replace(SHAPES, **change)
    assert data.load(SHAPES, tmp_path).digest != data.load(other, tmp_path).digest


def test_verify_tells_one_flipped_pixel(tmp_path: Path) -> None:
    manifest = data.build(SHAPES, tmp_path)
    assert data.verify(manifest).digest == json.loads(manifest.read_text())["digest"]
    images = data.load(SHAPES, tmp_path).train.images.copy()
    images[3, 2, 1, 0] = np.nextafter(images[3, 2, 1, 0], np.float32(2))
    _change(manifest, {"train.images": images})
    with pytest.raises(NegativeVerdict, match=r"train.images differs"):
        data.verify(manifest.parent)


@pytest.mark.parametrize("hashes", [None, 3])
def test_manifest_without_hashes_is_no_readable_dataset(
    tmp_path: Path, hashes: int | None
) -> None:
    manifest = data.build(SHAPES, tmp_path)
    told = json.loads(manifest.read_text())
    told.pop("sha256") if hashes is None else told.update(sha256=hashes)
    manifest.write_text(json.dumps(told))
    with pytest.raises(DataError, match="no readable dataset"):
        data.verify(manifest)


def test_damaged_cache_is_rebuilt(tmp_path: Path) -> None:
    manifest = data.build(SHAPES, tmp_path)
    wanted = data.load(SHAPES, tmp_path).digest
    arrays = manifest.parent / "images.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:500])
    assert data.load(SHAPES, tmp_path).digest == wanted
    assert data.verify(manifest).digest == wanted


def test_verify_names_changed_files_of_a_folder(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for i in range(4):
        Image.new("L", (8, 8), 40 * i).save(images / f"{i}.png")
    spec = DataSpec(str(images), 8)
    manifest = data.build(spec, tmp_path)
    before = data.verify(manifest).digest
    Image.new("L", (8, 8), 7).save(images / "2.png")
    with pytest.raises(NegativeVerdict, match=r"2.png changed"):
        data.verify(manifest)
    assert data.load(spec, tmp_path).digest != before


def test_built_dataset_serves_as_data_of_its_own_size(tmp_path: Path) -> None:
    manifest = data.build(SHAPES, tmp_path)
    spec = DataSpec(str(manifest.parent), 8)
    data.check(spec)
    assert data.load(spec, tmp_path / "other").digest == data.load(SHAPES, tmp_path).digest
    assert data.build(spec, tmp_path / "other") == manifest
    for change, told in (
        ({"resolution": 16}, "resolution 16: .* was built with resolution 8; give that"),
        ({"channels": 1}, "channels 1: .* was built with channels 3"),
    ):
        for refusing in (data.check, lambda s: data.load(s, tmp_path)):
            with pytest.raises(DataError, match=told):
                refusing(dataclasses.replace(spec, **change))
    manifest.write_text("[]")
    with pytest.raises(DataError, match="no readable dataset"):
        data.check(spec)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (DataSpec("shapes", 8, channels=1), "channels 1 with shapes"),
        (DataSpec("shapes", 8, channels=2), "channels 2: give 1"),
        (DataSpec("digits", 8, flips=True), "flips with digits: only patches"),
        (DataSpec("shapes", 12, averaged_from=32), "32 px .* to 12 px; give 4 or 8 or 16"),
        (DataSpec("digits", 4, averaged_from=24), "digits at 24 px"),
    ],
)
def test_check_refuses_what_a_set_cannot_do(spec: DataSpec, words: str) -> None:
    with pytest.raises(DataError, match=words):
        data.check(spec)


def test_set_written_by_mlx_is_opened_as_it_is(tmp_path: Path) -> None:
    manifest = data.build(SHAPES, tmp_path)
    first = data.load(SHAPES, tmp_path)
    wanted = np.array(first.train.images)  # the file is written over
    _change(manifest, {})  # MLX aligns nothing
    found = data.verify(manifest)
    np.testing.assert_array_equal(found.train.images, wanted)
    assert found.digest == first.digest


def test_lone_image_loads_with_nothing_held_out(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (8, 8), "red").save(images / "one.png")
    for _ in range(2):
        found = data.load(DataSpec(str(images), 8), tmp_path)
        assert len(found.train) == 1 and len(found.held_out) == 0


def test_file_that_cannot_be_read_any_more_counts_as_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("one", "two"):
        Image.new("RGB", (8, 8), "red").save(images / f"{name}.png")
    manifest = data.build(DataSpec(str(images), 8), tmp_path)
    read = Path.read_bytes

    def refusing(path: Path) -> bytes:
        if path.name == "two.png":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refusing)
    with pytest.raises(NegativeVerdict, match=r"two\.png changed since the dataset was built"):
        data.verify(manifest)


def test_unknown_names_and_places_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no dataset or folder named 'digit'"):
        data.check(DataSpec("digit"))
    with pytest.raises(DataError, match="no manifest at"):
        data.verify(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="cannot write"):
        data.load(SHAPES, tmp_path / "file")


def test_listing_names_every_set() -> None:
    assert [entry["name"] for entry in data.datasets()] == [
        "digits",
        "patches",
        "shapes",
        "FOLDER",
    ]
