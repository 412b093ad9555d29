from __future__ import annotations

import copy
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from reports.tradeoff import write_tradeoff
from reports.wording import ABSENT

BAD = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'</style>"


class Reader(HTMLParser):
    """Collects visible text, ids, links, images and rows of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.inside = "", ""
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.sources: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.inside = tag
        self.ids += [str(found["id"])] if found.get("id") else []
        self.targets += [str(found["href"])] if tag == "a" else []
        self.sources += [str(found["src"])] if tag == "img" else []

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside not in ("script", "style"):
            self.text += data


def read(found: dict[str, Any], folder: Path) -> Reader:
    """Write the page and read it."""
    path = write_tradeoff(found, folder / "tradeoff.html")
    assert path == folder / "tradeoff.html" and path.stat().st_size <= 8_000_000
    return Reader(path.read_text(encoding="utf-8"))


def test_page_is_whole_and_stands_alone_when_written(
    tradeoff: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "tradeoff.json").write_text("{}")
    free = tradeoff["rows"][1]
    free["retention_low"] = free["retention_high"] = free["retention"] = 0.7654
    before = copy.deepcopy(tradeoff)
    page = read(tradeoff, tmp_path)
    assert tradeoff == before
    assert "0.77[" not in page.text and "0.77 to" not in page.text
    assert len(page.ids) == len(set(page.ids))
    assert {f"row-{i}" for i in range(8)} | {f"attempt-{i}" for i in range(1, 5)} <= set(page.ids)
    assert len(page.sources) == 2
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    for target in page.targets:
        assert target[1:] in page.ids if target[0] == "#" else (tmp_path / target).exists()
    assert "Planned: 50 → 7 → 4 steps. 47 times as far." in page.text
    for said in ("0.93[0.89 to 0.96]", "0.970[0.940 to 0.990]", "iterations doubled", "✗ refused"):
        assert said in page.text


def test_everything_typed_is_text_when_it_looks_like_a_script(
    tradeoff: dict[str, Any], tmp_path: Path
) -> None:
    texts = ("label", "solver", "schedule", "samples", "method", "action", "note", "stage")
    for row in (*tradeoff["rows"], *tradeoff["stages"]):
        row.update({name: BAD for name in texts if name in row})
    tradeoff |= {"name": BAD, "device": BAD, "plan": tradeoff["plan"] | {"reason": BAD}}
    page = read(tradeoff, tmp_path)
    assert page.text.count(BAD) > 3 * len(tradeoff["rows"])
    assert page.sources == [] and page.text.count("No sample grid was kept.") == 2


def test_page_says_so_when_no_student_passed(tradeoff: dict[str, Any], tmp_path: Path) -> None:
    tradeoff["rows"] = tradeoff["rows"][:5]
    page = read(tradeoff, tmp_path)
    assert "No student passed the gate at retention 0.95" in page.text
    assert page.sources == [] and "ringed" not in page.text


@pytest.mark.parametrize("kept", [None, math.nan])
def test_page_shows_dashes_when_figures_are_missing(
    tradeoff: dict[str, Any], tmp_path: Path, kept: float | None
) -> None:
    for row in tradeoff["rows"]:
        row |= {"retention": kept, "gap": kept, "latency_ms": kept, "size_mb": kept}
    tradeoff["stages"] = [s | {"retention": kept, "training_s": kept} for s in tradeoff["stages"]]
    text = read(tradeoff, tmp_path).text
    assert "nan" not in text and "None" not in text and f"at retention {ABSENT}" in text


def test_page_is_written_when_there_is_next_to_nothing(tmp_path: Path) -> None:
    page = read({}, tmp_path)
    assert "Nothing was trained" in page.text and "No setting was measured." in page.text
    assert "tradeoff.json" not in page.targets
