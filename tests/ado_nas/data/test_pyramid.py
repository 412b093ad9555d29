from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ado_nas import data
from ado_nas.data import Dataset, Split
from ado_nas.data.pyramid import averaged
from ado_nas.errors import DataError
from ado_nas.specs import DataSpec

SHAPES = DataSpec("shapes", 32, count=40)

FOOTPRINT = """
import itertools
from pathlib import Path
import numpy as np
from ado_nas import data
from ado_nas.data import manifest
from ado_nas.data.dataset import Source
from ado_nas.measure.memory import process_bytes
from ado_nas.specs import DataSpec, TeacherSpec, UNetSpec
from ado_nas.training.teacher import batches

def rows(numbers):
    return np.broadcast_to(numbers[:, None, None, None] / 1e4, (len(numbers), *shape))

shape, spec = (64, 64, 3), DataSpec("shapes", 64)
teacher = TeacherSpec(unet=UNetSpec(resolution=64, in_channels=3), batch=32)
stream = batches(teacher, data.load(DataSpec("shapes", 64, 20), PLACE), 0)
list(itertools.islice(stream, 3))  # what MLX takes once
before = process_bytes()
made = manifest.write(spec, Source(shape, 4000, rows, None, (), 1), PLACE / "large")
size = (made.folder / manifest.ARRAYS).stat().st_size
loaded = manifest.read(made.folder / manifest.MANIFEST)
loaded.train.spread()
data.at(loaded, 16)
for x0, *_ in itertools.islice(batches(teacher, loaded, 0), 40):
    assert (x0[:, 0, 0, 0] == x0[:, 5, 7, 2]).all()
print(size, process_bytes() - before)
"""


def test_level_is_the_mean_of_squares() -> None:
    images = np.random.default_rng(0).standard_normal((3, 12, 12, 2)).astype(np.float32)
    found = averaged(images, 4)
    for y, x in np.ndindex(4, 4):
        square = images[:, 3 * y : 3 * y + 3, 3 * x : 3 * x + 3].astype(np.float64)
        np.testing.assert_allclose(found[:, y, x], square.mean((1, 2)), rtol=1e-6, atol=1e-7)
    assert found.dtype == np.float32 and averaged(images, 12) is images


def test_level_of_a_level_is_the_level(tmp_path: Path) -> None:
    whole = data.load(SHAPES, tmp_path)
    at_once, by_steps = data.at(whole, 8), data.at(data.at(whole, 16), 8)
    np.testing.assert_allclose(at_once.train.images, by_steps.train.images, atol=1e-6)
    np.testing.assert_array_equal(at_once.held_out.labels, whole.held_out.labels)
    assert at_once.spec == by_steps.spec and data.at(whole, 8) is at_once


def test_level_is_loaded_again_by_its_spec(tmp_path: Path) -> None:
    level = data.at(data.load(SHAPES, tmp_path), 16)
    assert level.spec == DataSpec("shapes", 16, count=40, averaged_from=32)
    found = data.verify(data.build(level.spec, tmp_path))
    np.testing.assert_array_equal(found.train.images, level.train.images)
    assert found.digest == level.digest == data.load(level.spec, tmp_path).digest
    assert found.manifest["parent"] == data.load(SHAPES, tmp_path).digest
    assert found.digest != data.load(DataSpec("shapes", 16, count=40), tmp_path).digest


def test_digest_of_a_level_follows_from_the_parents(tmp_path: Path) -> None:
    digests = {
        data.at(data.load(DataSpec("shapes", 32, 40, seed=seed), tmp_path), side).digest
        for seed in (0, 1)
        for side in (8, 16, 32)
    }
    assert len(digests) == 6
    assert data.at(data.load(SHAPES, tmp_path / "other"), 8).digest in digests


def test_level_of_a_set_in_memory_equals_that_of_one_in_a_file(tmp_path: Path) -> None:
    kept = data.load(SHAPES, tmp_path)
    held = Split(np.array(kept.held_out.images), kept.held_out.labels)
    train = Split(np.array(kept.train.images), kept.train.labels)
    loose = Dataset(train, held, 5, kept.digest, SHAPES, kept.manifest)
    assert data.at(loose, 8).digest == data.at(kept, 8).digest
    np.testing.assert_array_equal(data.at(loose, 8).train.images, data.at(kept, 8).train.images)


def test_level_that_cannot_be_is_refused(tmp_path: Path) -> None:
    whole = data.load(SHAPES, tmp_path)
    for side in (12, 64, 2):
        with pytest.raises(DataError, match=f"32 px cannot be averaged to {side} px; give 4 or 8"):
            data.at(whole, side)


def test_damaged_level_is_made_again(tmp_path: Path) -> None:
    wanted = data.at(data.load(SHAPES, tmp_path), 8)
    assert wanted.folder is not None
    file = wanted.folder / "images.safetensors"
    content = bytearray(file.read_bytes())
    content[-50] ^= 1
    file.unlink()
    file.write_bytes(content)
    assert data.at(data.load(SHAPES, tmp_path), 8).digest == wanted.digest
    assert data.verify(wanted.folder).digest == wanted.digest


@pytest.mark.slow
def test_set_larger_than_64_mb_is_written_averaged_and_drawn_from_in_less(tmp_path: Path) -> None:
    code = FOOTPRINT.replace("PLACE", f"Path({str(tmp_path)!r})")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    size, grown = map(int, run.stdout.split())
    assert size > 180e6 and grown < 64e6
