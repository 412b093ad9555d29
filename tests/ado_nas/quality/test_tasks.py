"""Clusters that stand in for labels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ado_nas.data import Split
from ado_nas.quality.tasks import targets

FOOTPRINT = """
from pathlib import Path
import numpy as np
from ado_nas.data import Split, arrays
from ado_nas.measure.memory import process_bytes
from ado_nas.quality.tasks import targets

def rows():
    for start in range(0, count, 50):
        shade = (np.arange(start, start + 50) % 16 / 8 - 1)[:, None, None, None]
        yield np.broadcast_to(shade, (50, 64, 64, 3))

count, path = 6000, Path(PLACE)
targets(Split(np.zeros((20, 64, 64, 3), np.float32)), 0)  # what the first product takes once
arrays.write(path, {"x": arrays.Pieces(np.dtype(np.float32), (count, 64, 64, 3), rows)})
images = arrays.opened(path)["x"]
before = process_bytes()
found = targets(Split(images), 0).labels
grown = process_bytes() - before
assert len(found) == count
assert all(len(set(found[shade::16])) == 1 for shade in range(16))
print(images.nbytes, grown)
"""


def test_given_labels_are_the_target() -> None:
    labels = np.array([0, 2, 1, 2], np.int32)
    found = targets(Split(np.zeros((4, 8, 8, 1), np.float32), labels), 0)
    assert found.labels is labels and found.classes == 3 and found.name == "3 classes"


@pytest.mark.parametrize("side", [8, 16, 33, 50])
def test_clusters_do_not_mix_what_lies_apart(side: int) -> None:
    rng = np.random.default_rng(0)
    kinds = rng.choice((-1.0, 1.0), (3, 5, 5, 3)).repeat(10, 1).repeat(10, 2)[:, :side, :side]
    numbers = np.arange(320) % 3
    images = kinds[numbers] + rng.standard_normal((320, side, side, 3)) / 10
    found = targets(Split(images.astype(np.float32)), 0)
    assert found.classes == 16 and "no labels" in found.name
    assert len(set(found.labels)) > 3
    assert all(len(set(numbers[found.labels == k])) == 1 for k in set(found.labels))


def test_clusters_of_a_large_file_take_little_memory(tmp_path: Path) -> None:
    code = FOOTPRINT.replace("PLACE", repr(str(tmp_path / "images.safetensors")))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    size, grown = map(int, run.stdout.split())
    assert size > 290e6 and grown < 64e6
