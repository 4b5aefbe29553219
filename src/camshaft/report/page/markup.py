"""HTML and SVG as text.  What is no `Markup` is escaped, so that a layer may be called anything."""

from __future__ import annotations

import html
import re

_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""What no HTML file may hold."""

_VOID = frozenset(("br", "meta", "input", "rect", "path", "line", "circle"))
"""Elements without content."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escaped(text: str) -> Markup:
    """Any text as HTML; `Markup` as it is."""
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(_UNSEEN.sub("\ufffd", text)))


def joined(*parts: str) -> Markup:
    """Parts one after the other."""
    return Markup("".join(map(escaped, parts)))


def tag(element: str, /, *content: str, **attributes: object) -> Markup:
    """An element.

    attributes: `_` stands for `-`, and one at the end is dropped (`class_`).  One that is None or False is left
    out, one that is True has no value.
    """
    said = "".join(
        _attribute(key.rstrip("_").replace("_", "-"), value)
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if element in _VOID and not content:
        return Markup(f"<{element}{said}/>")
    return Markup(f"<{element}{said}>{joined(*content)}</{element}>")


def _attribute(key: str, value: object) -> str:
    if value is True:
        return f" {key}"
    if isinstance(value, float):
        value = f"{value:.6g}"
    return f' {key}="{escaped(str(value))}"'
