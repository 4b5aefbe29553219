"""The typical size of an open extent of which nothing is said, by rank and position (the rules stand in
`open_extents`)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from camshaft.ir.extents.said import Range

BATCH, PIXELS, LINE, LENGTH, FOUND = 1, 224, 320, 128, 32
MOST_ASSUMED = 2**24
"""Of an input whose sizes are assumed."""
SHORT = 64
"""A picture of at most this height is a line of text, typically LINE wide."""
_EVEN = (16, 8, 4, 2)
_HEIGHTS = ("h", "height", "rows", "image_height", "img_h")
"""Names of the first or second axis by which three axes are a picture without a batch."""


def suited(size: int, known: Range) -> int:
    """A size that is usual, moved into what the model's arithmetic allows."""
    low, high = known.low, known.high
    if low is None or high is None or low <= size <= high:
        return size
    return next((m for s in _EVEN if (m := -(-low // s) * s) <= high), low)


def usual_size(declared: Sequence[int | str | None], axis: int) -> int:
    """The typical size by rank and position."""
    rank = len(declared)
    sizes = [d if isinstance(d, int) and d >= 0 else None for d in declared]
    if rank == 3 and any(isinstance(d, str) and d.lower() in _HEIGHTS for d in declared[:2]):
        return usual_size([BATCH, *declared], axis + 1)
    if axis == 0 and rank > 1:
        return BATCH
    if rank != 4:
        return _halved(LENGTH, sizes)
    last, second = sizes[3], sizes[1]
    channels_last = last is not None and last <= 4 and (second is None or second > 4)
    spatial = (1, 2) if channels_last else (2, 3)
    if axis not in spatial:
        return 3
    other = sizes[spatial[1] if axis == spatial[0] else spatial[0]]
    if other is None:
        return _halved(PIXELS, sizes)
    return LINE if other <= SHORT else other


def usual_length(declared: Sequence[int | str | None]) -> int:
    """The typical size of an axis that is a length, whatever the input's rank."""
    return _halved(LENGTH, [d if isinstance(d, int) and d >= 0 else None for d in declared])


def _halved(size: int, sizes: Sequence[int | None]) -> int:
    """The size of axes that are None, besides the batch; small enough for MOST_ASSUMED where that can
    be."""
    known = prod(s for s in sizes if s)
    count = sum(s is None for s in (sizes[1:] or sizes))
    while size > 1 and known * size**count > MOST_ASSUMED:
        size //= 2
    return size
