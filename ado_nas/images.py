"""Generated images as PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ado_nas.files import replacing

COLUMNS = 10


def to_bytes(images: np.ndarray) -> np.ndarray:
    """Images in [-1, 1] as bytes, values outside clipped.

    Args:
        images: (N, H, W, C) float32.

    Returns:
        (N, H, W, C) uint8.
    """
    return np.clip(np.rint((images + 1) * 127.5), 0, 255).astype(np.uint8)


def save_grid(path: Path, images: np.ndarray, rows: int = COLUMNS, columns: int = COLUMNS) -> None:
    """Write the first images as a grid with one pixel between them.

    Args:
        path: ends in ``.png``.
        images: (N, H, W, C) float32 in [-1, 1], C 1 or 3; fewer than a full grid make fewer rows.
        rows: at most.
        columns: images in a row.
    """
    chosen = to_bytes(images[: rows * columns])
    height, width, channels = chosen.shape[1:]
    rows = -(-len(chosen) // columns)
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), 255, np.uint8)
    for i, image in enumerate(chosen):
        y, x = i // columns * (height + 1), i % columns * (width + 1)
        sheet[y : y + height, x : x + width] = image
    save_png(path, sheet)


def save_png(path: Path, image: np.ndarray) -> None:
    """Write one image.

    Args:
        path: ends in ``.png``.
        image: (H, W, C) uint8, C 1 or 3.
    """
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    with replacing(path) as partial:
        picture.save(partial, format="PNG", optimize=True)
