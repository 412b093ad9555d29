"""HTML that escapes by construction: whatever is not `Html` already is escaped."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

VOID = ("img", "meta", "link", "br", "hr", "input")


class Html(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


Child = str | int | None


def element(name: str, /, *children: Child, **attributes: str | int | bool | None) -> Html:
    """One element with escaped attributes and children.

    Args:
        name: the tag.
        children: text to escape, `Html` to keep, None to leave out.
        attributes: by name, ``class_`` for class and ``aria_label`` for aria-label; None or False
            leaves one out, True writes it without a value.

    Returns:
        The element, closed unless HTML forbids it.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[Child], separator: str = "") -> Html:
    """Children one after another, each escaped unless it is `Html`.

    Args:
        children: text, `Html` or None.
        separator: what stands between two, escaped likewise.

    Returns:
        The children as one piece of HTML.
    """
    return Html(_text(separator).join(_text(c) for c in children if c is not None))


def plain(text: Html) -> str:
    """What a piece of HTML says, without its tags."""
    return html.unescape(re.sub(r"<[^>]+>", "", text))


def table(
    headers: Sequence[Child],
    rows: Iterable[Html],
    caption: Child = None,
    label: str = "",
) -> Html:
    """A table that scrolls sideways where the screen is narrow, reachable by keyboard.

    Args:
        headers: one heading a column.
        rows: complete ``tr`` elements.
        caption: a sentence above the table.
        label: what a screen reader calls the scrolling region.

    Returns:
        The table in its region.
    """
    head = element("tr", *(element("th", h, scope="col") for h in headers))
    body = element(
        "table",
        element("caption", caption) if caption else None,
        element("thead", head),
        element("tbody", *rows),
    )
    return element("div", body, class_="scroll", tabindex=0, role="region", aria_label=label)


def json_script(identifier: str, value: Any) -> Html:
    """Data for the page's script, unable to end the element it stands in.

    Args:
        identifier: the element's id.
        value: anything strict JSON can hold.

    Returns:
        A script element of type application/json; ``<``, ``>`` and ``&`` are JSON escapes in it.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return element("script", Html(text), type="application/json", id=identifier)


def _text(child: Child) -> str:
    return child if isinstance(child, Html) else html.escape(str(child), quote=True)


def _attribute(key: str, value: str | int | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(str(value), quote=True)}"'
