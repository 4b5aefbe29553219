"""The class by which the style colours what computes in a precision."""

from __future__ import annotations

from collections.abc import Iterable

from camshaft.report.page.markup import Markup, joined, tag

_CLASSES = {
    "f32": "f32",
    "f16": "f16",
    "bf16": "bf16",
    "i8": "i8",
    "u8": "i8",
    "i4": "i4",
    "u4": "i4",
    "i2": "i4",
    "u2": "i4",
    "": "none",
}


def precision_class(kind: str, precision: str) -> str:
    """Of a box, a row or a bar."""
    if kind in ("host", "script"):
        return "p-host"
    return f"p-{_CLASSES.get(precision, 'other')}"


def legend(found: Iterable[tuple[str, str]]) -> Markup:
    """The precisions that occur, with their colours.  found: kinds and precisions."""
    words: dict[str, dict[str, None]] = {}
    for kind, precision in found:
        class_ = precision_class(kind, precision)
        word = "in Python" if class_ == "p-host" else precision or "no step of its own"
        words.setdefault(class_, {})[word] = None
    entries = (
        tag("span", tag("i", class_=f"key {class_}"), ", ".join(said))
        for class_, said in sorted(words.items())
    )
    return tag("p", joined(*entries), class_="legend")
