"""Scikit-learn's 1,797 handwritten digits, 8 px as stored, resized to 16 or 32 px."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

from ado_nas.data.dataset import Floats, Source, split_indices
from ado_nas.errors import DataError
from ado_nas.specs import DataSpec

VERSION = 1
RESOLUTIONS = (8, 16, 32)


def check(spec: DataSpec) -> None:
    """Refuse a spec that digits cannot serve.

    Raises:
        DataError: another resolution, or more images than there are.
    """
    if spec.resolution not in RESOLUTIONS:
        raise DataError(f"digits at {spec.resolution} px: they come at 8, 16 and 32 px only")
    if not (spec.count == 0 or 20 <= spec.count <= 1797):
        raise DataError(f"{spec.count} digits: give 20 to 1797, or 0 for all of them")


def read(spec: DataSpec) -> Source:
    """Load the digits at one resolution.

    Args:
        spec: resolution 8, 16 or 32; a `count` above 0 takes a stratified part of that size.

    Returns:
        Images (N, resolution, resolution, 1) in [-1, 1] and their digits 0 to 9.
    """
    check(spec)
    rows = np.loadtxt(_file(), delimiter=",")
    stored = (rows[:, :-1].reshape(-1, 8, 8) / 8.0 - 1.0).astype(np.float32)
    labels = rows[:, -1].astype(np.int32)
    if 0 < spec.count < len(labels):
        kept = split_indices(len(labels), labels, spec.count / len(labels), spec.seed)[1]
        stored, labels = stored[kept], labels[kept]
    images = resize(stored, spec.resolution)
    return Source(
        shape=images.shape[1:],
        count=len(images),
        rows=lambda numbers: images[numbers],
        labels=labels,
        classes=tuple("0123456789"),
        version=VERSION,
    )


def _file() -> Path:
    """The table in scikit-learn's package, read without importing it, which takes seconds.

    Raises:
        DataError: it is not there.
    """
    spec = importlib.util.find_spec("sklearn")
    for place in (spec and spec.submodule_search_locations) or ():
        path = Path(place, "datasets", "data", "digits.csv.gz")
        if path.exists():
            return path
    raise DataError("digits come with scikit-learn, which has none here: pip install scikit-learn")


def resize(images: Floats, side: int) -> Floats:
    """Resize gray images by bicubic interpolation, clipped to [-1, 1].

    Args:
        images: (N, H, W) in [-1, 1].
        side: height and width wanted, px.

    Returns:
        (N, side, side, 1); the very values given where they have that side.
    """
    if images.shape[1] == side:
        return images[..., None]
    resized = [
        np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
        for image in images
    ]
    clipped: Floats = np.clip(np.stack(resized), -1.0, 1.0).astype(np.float32)
    return clipped[..., None]
