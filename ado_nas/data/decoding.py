"""One PNG or JPEG file of any mode: what its header says, and its pixels at one size."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from ado_nas.data.dataset import Floats

FORMATS = ("PNG", "JPEG")


class Header(NamedTuple):
    """What can be told of an image without decoding it."""

    channels: int  # 1 where it is gray, else 3
    side: int  # of its center square, px
    transparent: bool  # it has an alpha channel, or one color stands for none


def header(path: Path) -> Header:
    """Read the header of a file; Pillow raises a dozen kinds of errors where that fails."""
    with Image.open(path, formats=FORMATS) as image:
        gray = image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")
        return Header(1 if gray else 3, min(image.size), _transparent(image))


def decode(content: bytes, side: int, channels: int) -> Floats:
    """One image from the bytes of its file: center square, resized with antialiasing.

    Args:
        content: a PNG or JPEG of any mode; transparency is laid over white.
        side: height and width wanted, px.
        channels: 1 or 3 wanted; color turns gray by its luma (ITU-R 601).

    Returns:
        (side, side, channels) in [-1, 1].
    """
    with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
        opened.load()
        image = ImageOps.exif_transpose(opened)
    length = min(image.size)
    left, top = (image.width - length) // 2, (image.height - length) // 2
    image = image.crop((left, top, left + length, top + length))
    bands = [_float_band(band, side) for band in _bands(image, channels)]
    values = np.clip(np.stack(bands, axis=-1), -1.0, 1.0).astype(np.float32)
    return np.repeat(values, channels, axis=-1) if values.shape[-1] == 1 else values


def _transparent(image: Image.Image) -> bool:
    return "A" in image.getbands() or "transparency" in image.info


def _bands(image: Image.Image, channels: int) -> list[Image.Image]:
    """Bands with values 0 to 255 in mode L, or F for 16-bit images; one of what is gray."""
    if image.mode.startswith("I") or image.mode == "F":
        return [Image.fromarray(np.asarray(image, np.float32) / np.float32(257.0))]
    gray = channels == 1 or image.mode in ("1", "L", "LA", "La")
    if _transparent(image):
        opaque = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), opaque)
        image = image.convert("RGB")
    return list(image.convert("L" if gray else "RGB").split())


def _float_band(band: Image.Image, side: int) -> Floats:
    resized = band.convert("F").resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(resized, np.float32) / np.float32(127.5) - np.float32(1.0)
