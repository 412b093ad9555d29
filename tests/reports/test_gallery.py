from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from reports.gallery import Grid, Purse, card, data_uri, grids
from studies.record import StudyRecord

MakeStudy = Callable[..., StudyRecord]


def pixels(uri: str) -> np.ndarray:
    """The image inside a data URI."""
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)))


def test_data_uri_keeps_every_pixel_and_drops_text(tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 7, 3), np.uint8))
    path = tmp_path / "a.png"
    image.info["Comment"] = "<script>"
    image.save(path)
    uri = data_uri(path, purse := Purse(10_000))
    assert np.array_equal(pixels(uri), np.asarray(image))
    assert purse.left < 10_000


def test_data_uri_is_empty_when_missing_broken_or_too_large(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)
    good = tmp_path / "good.png"
    Image.new("L", (64, 64)).save(good)
    truncated = tmp_path / "truncated.png"
    truncated.write_bytes(good.read_bytes()[:60])
    assert data_uri(tmp_path / "none.png", Purse()) == ""
    assert data_uri(broken, Purse()) == ""
    assert data_uri(truncated, Purse()) == ""
    assert data_uri(good, purse := Purse(10)) == "" and purse.left == 10


def test_grids_start_with_reference_then_pick(make_study: MakeStudy, tmp_path: Path) -> None:
    record = make_study()
    found = grids(record, tmp_path / "ado-runs", Purse())
    assert found[0].title == "Reference: the teacher"
    assert found[1].title == f"Trial {record.best}, the pick"
    assert len(found) == 1 + len(record.front)
    assert all(g.source for g in found)


def test_grids_have_no_image_when_files_are_elsewhere(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    found = grids(make_study(), tmp_path / "elsewhere", Purse())
    assert not any(g.source for g in found)
    assert "No sample grid was kept." in card(found[0])


def test_card_escapes_its_texts() -> None:
    assert "<b>" not in card(Grid("<b>", "<b>", "", "<b>", "#<b>"))
