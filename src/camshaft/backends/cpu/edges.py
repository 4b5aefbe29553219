"""Rows of images of open width: which windows reach outside the image.  Convolutions and pools
share it.

A row of results is cut like this, in tiles of `step` pixels:

    left tiles | tiles whose windows lie in the image | right tiles

The left tiles start at pixel 0 and the right ones end at the last pixel, so which columns their
windows see is known when the code is written (for strides above 1 in some variants, since how far
the last window reaches depends on the width modulo the stride).  What lies between is a loop.  Where
tiles do not come out even they overlap, and some pixels are computed twice, to the same bits.  Rows
shorter than `fewest` must be cut in another way.  Narrow rows of the typical width, to which that would
do most harm, are cut as those of a fixed width (`typical_windows`).
"""

from __future__ import annotations

from dataclasses import dataclass

from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import typical

Windows = tuple[tuple[int, int], ...]
"""For each pixel of a tile the window's columns inside the image: first, and one past the last."""


def steps_from(step: int) -> list[int]:
    """A tile's pixels, and those of the tile for rows that are shorter than `Edges.fewest`."""
    return [step, 4 if step > 5 else 2] if step > 2 else [step]


@dataclass(frozen=True)
class Edges:
    """The windows of one row: `taps` columns, `dilation` apart; pixel 0's first is column -pad.

    last: position of the last pixel's last column, relative to the last column of the image, for
    each variant; variant: which of them it is, an extent.
    """

    taps: int
    stride: int
    dilation: int
    pad: int
    last: tuple[int, ...]
    variant: Extent

    @staticmethod
    def of(
        width: Extent,
        taps: int,
        stride: int,
        dilation: int,
        pads: tuple[int, int],
        *,
        ceil: bool = False,
    ) -> Edges:
        """Of an image `width` columns wide with pads (left, right).

        ceil: a last, partial window counts, unless it starts in the right pad (ops.common).
        """
        reach = dilation * (taps - 1)
        last = []
        for slack in range(stride):
            end = pads[1] - slack
            if ceil:
                end = pads[1] + -slack % stride
                beyond = end - reach - 1  # the last window's first column, behind the image's end
                end -= max(0, beyond // stride + 1) * stride
            last.append(end)
        variant = (width + pads[0] + pads[1] - reach - 1) % stride
        return Edges(taps, stride, dilation, pads[0], tuple(last), variant)

    @property
    def left(self) -> int:
        """Pixels at the left whose windows begin outside."""
        return max(0, -(-self.pad // self.stride))

    @property
    def right(self) -> int:
        """Most pixels at the right whose windows end outside."""
        return max(0, -(-max(self.last) // self.stride))

    def lefts(self, step: int) -> int:
        """Left tiles."""
        return -(-self.left // step)

    def rights(self, step: int) -> int:
        """Right tiles."""
        return -(-self.right // step)

    def fewest(self, step: int) -> int:
        """Pixels of the shortest row that can be cut so: no window of a left tile ends outside the
        image, none of a right tile begins outside, and between the ends is room for a tile."""
        left, right = self.left, self.right
        return max(
            self.lefts(step) * step + right, self.rights(step) * step + left, step + left + right
        )

    def pixels(self, step: int, row: int) -> int:
        """How many pixels a row of `row` (at least `fewest`) costs."""
        outer = (self.lefts(step) + self.rights(step)) * step
        return outer + max(0, -(-(row - outer) // step)) * step

    def typical_windows(self, step: int, row: int) -> Windows:
        """The windows of a row of the typical width, `row` pixels, if one or two tiles hold it and
        tiles of `step` that overlap would compute more; else none."""
        is_even = row >= self.fewest(step) and self.pixels(step, row) == row
        if is_even or row > 2 * step:
            return ()
        last = self.last[typical(self.variant)]
        ends = zip(self.left_windows(0, row), self.right_windows(last, row, row), strict=True)
        return tuple((low, max(low, high)) for (low, _), (_, high) in ends)

    def left_windows(self, first: int, count: int) -> Windows:
        """Of `count` pixels from `first` on, whose windows end inside."""
        found = []
        for pixel in range(first, first + count):
            outside = self.pad - pixel * self.stride
            found.append((min(self.taps, max(0, -(-outside // self.dilation))), self.taps))
        return tuple(found)

    def right_windows(self, last: int, first: int, count: int) -> Windows:
        """Of `count` pixels, the first of them `first` before the row's end, in one variant."""
        found = []
        for before in range(first - 1, first - 1 - count, -1):
            outside = last - before * self.stride
            found.append((0, self.taps - min(self.taps, max(0, -(-outside // self.dilation)))))
        return tuple(found)
