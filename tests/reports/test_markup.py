from __future__ import annotations

import json
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from reports.markup import Html, element, join, json_script


class Reader(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"))


@given(TEXT, TEXT)
def test_element_keeps_text_and_attribute_when_read_back(text: str, title: str) -> None:
    reader = Reader()
    reader.feed(element("p", text, title=title))
    reader.close()
    assert reader.tags == [("p", {"title": title})]
    assert reader.text == text


def test_element_nests_without_escaping_when_child_is_html() -> None:
    assert element("p", element("b", "<1>"), Html("&amp;"), None) == "<p><b>&lt;1&gt;</b>&amp;</p>"


def test_element_writes_void_and_bare_attributes_when_asked() -> None:
    assert element("img", alt="", hidden=True, id=None) == '<img alt="" hidden>'
    assert join(["a", element("i", "b")], " & ") == "a &amp; <i>b</i>"


@given(st.dictionaries(TEXT, TEXT))
def test_json_script_reads_back_and_cannot_end_its_element(value: dict[str, str]) -> None:
    script = json_script("data", value | {"x": "</script><!--<script>"})
    inner = script.split(">", 1)[1].removesuffix("</script>")
    assert "<" not in inner and ">" not in inner
    assert json.loads(inner) == value | {"x": "</script><!--<script>"}
