"""Figures of an engine in words: bytes, sizes that vary, the arena."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any


def size(nbytes: int) -> str:
    """Bytes for people: 1.5 kB, 3.2 MB."""
    value = float(nbytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def apart_text(counts: Collection[int]) -> str:
    """How many input channels INT8 products leave to floats.  counts: of each product that leaves some."""
    layers = f"{len(counts)} INT8 layer{'s' * (len(counts) != 1)}"
    return f"{sum(counts)} input channels of {layers} in fp32"


def arena_text(arena: Mapping[str, int | None], lower_bound: int) -> str:
    """The arena's size beside what no plan can go below; where sizes vary, at least, typical and
    most sizes."""
    nbytes = arena["typical"] or 0
    ratio = f", {nbytes / lower_bound:.2f} times" if lower_bound else ""
    text = f"{size(nbytes)} (lower bound {size(lower_bound)}{ratio})"
    least, most = arena["least"], arena["most"]
    if least == most == nbytes:
        return text
    ends = f"least {size(least or 0)}, most {'unbounded' if most is None else size(most)}"
    return f"{text} at typical sizes; {ends}"


def sizes_text(symbols: Sequence[Mapping[str, Any]]) -> str:
    """The open sizes: "batch 1..16, typically 4"."""
    return ", ".join(
        f"{s['name']} {s['least']}..{'' if s['most'] is None else s['most']}, typically "
        f"{s['typical']}"
        for s in symbols
    )
