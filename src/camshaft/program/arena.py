"""Offsets in the arena at any sizes.

The build places buffers for typical sizes.  Of two buffers that live at the same time one then lies
above the other, and stays there whatever the sizes are: a buffer's offset is the largest end among
those it lies above.  So no two that live at the same time ever overlap, and typical sizes give the
typical placement.
"""

from __future__ import annotations

from collections.abc import Sequence

ALIGNMENT = 64
"""Alignment in bytes of the arena, of buffers in it, and of constants."""


def aligned_up(nbytes: int) -> int:
    """The next multiple of ALIGNMENT."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def stacked(above: Sequence[Sequence[int]], sizes: Sequence[int]) -> tuple[list[int], int]:
    """Byte offset of every buffer, and the bytes of all together.

    above[i]: numbers below i of the buffers that buffer i lies above.  sizes: in bytes.
    """
    offsets: list[int] = []
    ends: list[int] = []
    for below, nbytes in zip(above, sizes, strict=True):
        offsets.append(max((aligned_up(ends[j]) for j in below), default=0))
        ends.append(offsets[-1] + nbytes)
    return offsets, max(ends, default=0)
