"""A folder of PNG and JPEG files, cropped to squares and resized; what cannot be read is named."""

from __future__ import annotations

import hashlib
import io
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ado_nas.data.dataset import Floats, Ints, Source
from ado_nas.errors import DataError
from ado_nas.specs import DataSpec

VERSION = 1
SUFFIXES = (".png", ".jpg", ".jpeg")

_log = logging.getLogger(__name__)


def check(spec: DataSpec) -> None:
    """Refuse a folder that is missing or holds no image file, without opening any.

    Raises:
        DataError: saying which, and what was found instead; or no folder is named.
    """
    if not 4 <= spec.resolution <= 1024:
        raise DataError(f"images at {spec.resolution} px: give 4 to 1024")
    if not spec.name:
        raise DataError("no data is named; give --data FOLDER, digits or shapes")
    files(Path(spec.name))


def files(folder: Path) -> list[Path]:
    """Image files below `folder`, hidden ones left out, sorted by their path.

    Raises:
        DataError: there is no such folder, or no PNG or JPEG in it.
    """
    if not folder.exists():
        raise DataError(f"no dataset or folder named {str(folder)!r}; datasets: digits, shapes")
    if not folder.is_dir():
        raise DataError(f"{str(folder)!r} is a file; give the folder that holds the images")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise DataError(f"{str(folder)!r} cannot be opened; check its permissions")
    inside = [p.relative_to(folder) for p in folder.rglob("*") if p.is_file()]
    shown = [p for p in inside if not any(part.startswith(".") for part in p.parts)]
    found = sorted((p for p in shown if p.suffix.lower() in SUFFIXES), key=lambda p: p.as_posix())
    if not found:
        others = f"{len(shown)} files of other kinds" if shown else "nothing"
        raise DataError(f"{str(folder)!r} holds {others}; put PNG or JPEG images into it")
    return found


def fingerprint(folder: Path) -> str:
    """SHA-256 over the names and bytes of the image files."""
    total = hashlib.sha256()
    for path in files(folder):
        total.update(path.as_posix().encode() + b"\0")
        try:
            total.update(_hash((folder / path).read_bytes()).encode())
        except OSError as error:
            total.update(type(error).__name__.encode())
    return total.hexdigest()


def read(spec: DataSpec) -> Source:
    """Load the images of a folder; sub-folders are classes where every file lies in one.

    Args:
        spec: `name` is the folder; a `count` above 0 takes that many images, drawn by seed.

    Returns:
        Grey images (N, s, s, 1) where all are grey, else RGB (N, s, s, 3), in [-1, 1].

    Raises:
        DataError: the folder is missing or empty, or no file in it is readable.
    """
    check(spec)
    folder = Path(spec.name)
    images: dict[Path, Floats] = {}
    hashes: dict[str, str] = {}
    skipped: list[dict[str, str]] = []
    for path in _chosen(files(folder), spec):
        if spec.count and len(images) == spec.count:
            break
        try:
            content = (folder / path).read_bytes()
            images[path] = decode(content, spec.resolution)
            hashes[path.as_posix()] = _hash(content)
        except Exception as error:  # Pillow's readers raise a dozen kinds, struct.error among them
            reason = _reason(error)
            skipped.append({"file": path.as_posix(), "reason": reason})
            _log.warning("skipped %s: %s", path.as_posix(), reason)
    if not images:
        raise DataError(
            f"none of the {len(skipped)} image files in {spec.name!r} can be read; "
            f"the first, {skipped[0]['file']}: {skipped[0]['reason']}"
        )
    kept = sorted(images, key=lambda p: p.as_posix())
    pixels, note = _stack([images[p] for p in kept])
    labels, classes = _labels(kept)
    facts: dict[str, Any] = {"files": {p.as_posix(): hashes[p.as_posix()] for p in kept}}
    facts |= {"skipped": skipped, "notes": [note] if note else []}
    return Source(pixels, labels, classes, VERSION, facts)


def changed(folder: Path, recorded: dict[str, str]) -> list[str]:
    """Names of the recorded files that are gone or hold other bytes now.

    Args:
        folder: where they lie.
        recorded: SHA-256 by relative path.
    """
    return [
        name
        for name, wanted in recorded.items()
        if not (folder / name).is_file() or _hash((folder / name).read_bytes()) != wanted
    ]


def decode(content: bytes, side: int) -> Floats:
    """One image from the bytes of its file: center square, resized with antialiasing.

    Args:
        content: a PNG or JPEG of any mode; transparency is laid over white.
        side: height and width wanted, px.

    Returns:
        (side, side, 1) or (side, side, 3) in [-1, 1].
    """
    with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as opened:
        opened.load()
        image = ImageOps.exif_transpose(opened)
    length = min(image.size)
    left, top = (image.width - length) // 2, (image.height - length) // 2
    image = image.crop((left, top, left + length, top + length))
    bands = [_float_band(band, side) for band in _plain(image)]
    return np.clip(np.stack(bands, axis=-1), -1.0, 1.0).astype(np.float32)


def _plain(image: Image.Image) -> list[Image.Image]:
    """Bands with values 0 to 255 in mode L, or F for 16-bit images; one if grey, else three."""
    if image.mode.startswith("I") or image.mode == "F":
        return [Image.fromarray(np.asarray(image, np.float32) / np.float32(257.0))]
    if "A" in image.getbands() or "transparency" in image.info:
        grey = image.mode in ("L", "LA", "La", "1")
        opaque = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), opaque)
        image = image.convert("L" if grey else "RGB")
    image = image.convert("L" if image.mode in ("L", "1") else "RGB")
    return list(image.split())


def _float_band(band: Image.Image, side: int) -> Floats:
    resized = band.convert("F").resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(resized, np.float32) / np.float32(127.5) - np.float32(1.0)


def _stack(images: list[Floats]) -> tuple[Floats, str]:
    colored = sum(image.shape[-1] == 3 for image in images)
    if colored in (0, len(images)):
        return np.stack(images), ""
    wide = [np.broadcast_to(image, (*image.shape[:2], 3)) for image in images]
    return np.stack(wide), f"{len(images) - colored} grey images were turned into RGB"


def _labels(paths: list[Path]) -> tuple[Ints | None, tuple[str, ...]]:
    names = sorted({p.parts[0] for p in paths if len(p.parts) > 1})
    if len(names) < 2 or any(len(p.parts) == 1 for p in paths):
        return None, ()
    return np.array([names.index(p.parts[0]) for p in paths], np.int32), tuple(names)


def _chosen(paths: list[Path], spec: DataSpec) -> list[Path]:
    if not spec.count:
        return paths
    return [paths[i] for i in np.random.default_rng(spec.seed).permutation(len(paths))]


def _reason(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "not a PNG or JPEG" if "cannot identify" in text else text


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
