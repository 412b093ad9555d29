"""RGB crops of scikit-learn's two photos, at several scales; held-out crops share no pixel.

Each photo is cut into upright bands, to train on and to hold out in turn, with a margin between
them that belongs to neither. Two bands of each, and cuts near the axes of the pagoda and of the
flower, let both sides see much of the same things; sky and ground lie above one another.

A crop is a window of about 32, 64 or 128 px of a photo, averaged down to the resolution. Where the
resolution divides 32, windows do not depend on it: image `i` at 16 px is image `i` at 32 px,
averaged. Image `i` comes from its own counter-based random stream, so it is the same however many
are asked for.

Labels say which photo. A feature network trained on 6,144 crops tells the photo of held-out ones
(91% at 16 px, 99% at 32 px), but of photo x scale 44%, where right photos and guessed scales would
make 30%: a photo looks much the same at two scales, so that a class of scale says little.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from ado_nas.data.dataset import Floats, Indices, Source, share_of
from ado_nas.data.pyramid import averaged
from ado_nas.errors import DataError
from ado_nas.files import sha256
from ado_nas.specs import DataSpec

VERSION = 1
PHOTOS = ("china", "flower")
HEIGHT = 427  # px of either photo
WINDOWS = (32, 64, 128)  # sides in px of the photo, rounded down to multiples of the resolution
# First column and the one after the last, by photo. The 16 columns between bands are the largest
# block that JPEG codes as one, so that no block reaches into two bands.
TRAIN = (((0, 196), (364, 496)), ((144, 304), (472, 640)))
HELD_OUT = (((212, 348), (512, 640)), ((0, 128), (320, 456)))
DEFAULT_COUNT = 10_240  # held_out 0.4 leaves 4,096 to judge by

Bytes = npt.NDArray[np.uint8]


class Crop(NamedTuple):
    """A square window of a photo."""

    photo: int  # index into PHOTOS
    left: int
    top: int
    side: int  # px of the photo
    mirrored: bool


def check(spec: DataSpec) -> None:
    """Refuse a spec that patches cannot serve.

    Raises:
        DataError: resolution or count out of range, or the photos are not there.
    """
    if not 8 <= spec.resolution <= max(WINDOWS):
        raise DataError(f"patches at {spec.resolution} px: give 8 to {max(WINDOWS)}")
    if spec.count != 0 and spec.count < 20:
        raise DataError(f"{spec.count} patches: give at least 20, or 0 for {DEFAULT_COUNT}")
    files()


def files() -> dict[str, Path]:
    """The photos by file name, in scikit-learn's package, found without importing it.

    Raises:
        DataError: they are not there.
    """
    spec = importlib.util.find_spec("sklearn")
    for place in (spec and spec.submodule_search_locations) or ():
        found = [Path(place, "datasets", "images", f"{name}.jpg") for name in PHOTOS]
        if all(path.is_file() for path in found):
            return {path.name: path for path in found}
    raise DataError(
        "patches are cut from scikit-learn's photos, which are not here: pip install scikit-learn"
    )


def read(spec: DataSpec) -> Source:
    """The crops of a spec, cut when they are asked for; they come split into train and held out.

    Args:
        spec: resolution, count, the share held out, flips and seed are looked at.

    Returns:
        Images (N, resolution, resolution, 3) in [-1, 1], labeled with their photo; those held
        out are the last ones.
    """
    check(spec)
    paths = files()
    photos = [np.asarray(Image.open(path).convert("RGB")) for path in paths.values()]
    count = spec.count or DEFAULT_COUNT
    held = share_of(count, spec.held_out)

    def crops(numbers: Iterable[int]) -> Iterator[Crop]:
        for number in numbers:
            is_held = number >= count - held
            yield crop(spec, number - (count - held) * is_held, is_held)

    def rows(numbers: Indices) -> Floats:
        cut = np.zeros((len(numbers), spec.resolution, spec.resolution, 3), np.float32)
        for i, one in enumerate(crops(numbers.tolist())):
            cut[i] = averaged(_window(photos[one.photo], one)[None], spec.resolution)[0]
        return cut

    return Source(
        shape=(spec.resolution, spec.resolution, 3),
        count=count,
        rows=rows,
        labels=np.array([one.photo for one in crops(range(count))], np.int32),
        classes=PHOTOS,
        version=VERSION,
        facts={"files": {name: sha256(path) for name, path in paths.items()}, **_geometry(spec)},
        held_out=held,
    )


def crop(spec: DataSpec, number: int, held_out: bool) -> Crop:
    """Where one image comes from.

    Args:
        spec: resolution, flips and seed are looked at.
        number: of the image among those to train on, or among those held out.
        held_out: which of them.

    Returns:
        A window inside one band, bands drawn by their widths.
    """
    stream = np.random.Generator(np.random.Philox(key=[spec.seed, 2 * number + held_out]))
    u = stream.random(6)
    photo = int(u[0] * len(PHOTOS))
    sides = windows(spec.resolution)
    side = sides[int(u[1] * len(sides))]
    bands = (HELD_OUT if held_out else TRAIN)[photo]
    reach = np.cumsum([last - first for first, last in bands])
    first, last = bands[int(np.searchsorted(reach, u[2] * reach[-1], side="right"))]
    return Crop(
        photo=photo,
        left=first + int(u[3] * (last - first - side + 1)),
        top=int(u[4] * (HEIGHT - side + 1)),
        side=side,
        mirrored=spec.flips and bool(u[5] < 0.5),
    )


def windows(resolution: int) -> list[int]:
    """Sides of the windows, px of the photo: multiples of the resolution, so none is enlarged."""
    return [side // resolution * resolution for side in WINDOWS if side >= resolution]


def fingerprint() -> str:
    """SHA-256 of both photos, joined."""
    return " ".join(sha256(path) for path in files().values())


def _geometry(spec: DataSpec) -> dict[str, Any]:
    """What the manifest says of the crops."""
    bands = {
        side: dict(zip(PHOTOS, columns, strict=True))
        for side, columns in (("train", TRAIN), ("held_out", HELD_OUT))
    }
    return {"crops": {"windows": windows(spec.resolution), "columns": bands}}


def _window(photo: Bytes, one: Crop) -> Floats:
    """(side, side, 3) in [-1, 1]."""
    cut = photo[one.top : one.top + one.side, one.left : one.left + one.side]
    shown = cut[:, ::-1] if one.mirrored else cut
    return shown.astype(np.float32) / np.float32(127.5) - np.float32(1.0)
