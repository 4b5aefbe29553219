"""Tiles: axes cut into pieces that fit registers, whole ones first, then what is left.

The one place that knows how a remainder is handled.  Where the extent is an int, the remainder is
written out as one smaller tile.  Where it is known at run time only, it is either masked (lanes of
vectors) or covered by tiles of half the size each, 4, 2, 1, behind a test each (rows of register
tiles, whose number of accumulators must be known).

    for tile in k.tiles(n, 4 * lanes):
        for j, count in enumerate(tile.counts(lanes)):
            k.store(k.load(x.at(tile.start + j * lanes), lanes, count), ...)

Each tile that the generator yields is code written once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from camshaft.backends.cpu.lang.control import Carry
from camshaft.backends.cpu.lang.strided import StridedAccess
from camshaft.backends.cpu.lang.values import Index, Value
from camshaft.ir.extents.extent import Extent, ceil_div


@dataclass(frozen=True)
class Tile:
    """A piece of an axis: its first element, and how many of its `size` elements exist.

    count: an int, or an i64 from 1 to size.
    """

    start: Index
    size: int
    count: int | Value

    def counts(self, lanes: int) -> list[int | Value]:
        """How many lanes exist of each vector of the tile; at run time none may be left (below 1)."""
        if isinstance(self.count, int):
            return [min(lanes, self.count - n) for n in range(0, self.count, lanes)]
        return [self.count - n for n in range(0, self.size, lanes)]


@dataclass(frozen=True)
class Part:
    """What a work item does of an axis: `size` elements from `low` on, a multiple of the tiles.

    is_last: writes code that computes whether the axis ends in this part; the remainder belongs to
    the last part.
    """

    low: Index
    size: Extent
    is_last: Callable[[], Value]


class TileLoops(StridedAccess):
    """Adds tiles to control flow."""

    def tiles(
        self,
        extent: Extent,
        step: int,
        *,
        part: Part | None = None,
        carry: Carry | None = None,
        fewest: int = 1,
        lanes: int | None = None,
        halves: bool = False,
    ) -> Iterator[Tile]:
        """An axis in tiles of `step` elements: whole tiles in a loop, then `rest`.

        part: the whole tiles that lie in it, and the rest if it is the last.  carry: as in `loop`.
        fewest: with fewer whole tiles than this no loop is written; they belong to the rest.
        """
        whole = extent // step * step
        if isinstance(whole, int) and whole < fewest * step:
            whole = 0
        if whole != 0:
            low: Index = 0
            high: Index = whole
            if part is not None:
                low = part.low
                high = self.min(self.add(self.index(low), part.size), whole)
            with self.loop(low, high, step, carry) as start:
                yield Tile(start, step, step)
        is_last = part.is_last if part else None
        yield from self.rest(
            extent, whole, step, is_last=is_last, carry=carry, lanes=lanes, halves=halves
        )

    def rest(
        self,
        extent: Extent,
        whole: Extent,
        step: int,
        *,
        is_last: Callable[[], Value] | None = None,
        carry: Carry | None = None,
        lanes: int | None = None,
        halves: bool = False,
    ) -> Iterator[Tile]:
        """The end of an axis behind `whole` elements in tiles of `step`; nothing if there is none.

        is_last: writes code of the condition under which the end is computed at all.
        At run time there are these ways, where less than `step` is left:
        lanes: whole tiles of `lanes` elements in a loop, then one with a run-time count;
        halves: tiles of 1, 2, 4, ... elements; neither: one tile with a run-time count.
        """
        left = extent - whole
        if isinstance(left, int) and left == 0:
            return
        if is_last is None:
            yield from self._rest(whole, left, step, carry, lanes, halves)
            return
        with self.if_(is_last(), carry):
            yield from self._rest(whole, left, step, carry, lanes, halves)

    def _rest(
        self,
        start: Extent,
        left: Extent,
        step: int,
        carry: Carry | None,
        lanes: int | None,
        halves: bool,
    ) -> Iterator[Tile]:
        if isinstance(left, int):
            yield Tile(start, left, left)
        elif halves:
            count = self.index(left)
            size = 1 << max(0, (step - 1).bit_length() - 1)
            while size and step > 1:
                with self.if_(self.ne(count & size, 0), carry):
                    yield Tile(self.add(count & -(2 * size), start), size, size)
                size //= 2
        elif lanes is not None and lanes < step:
            yield from self._rest_of_vectors(start, left, lanes, carry)
        elif step > 1:
            with self.if_(self.index(left) > 0, carry):
                yield Tile(start, step, self.index(left))

    def _rest_of_vectors(
        self, start: Extent, left: Extent, lanes: int, carry: Carry | None
    ) -> Iterator[Tile]:
        whole = left // lanes * lanes
        with self.loop(start, start + whole, lanes, carry) as at:
            yield Tile(at, lanes, lanes)
        yield from self._rest(start + whole, left - whole, lanes, carry, None, halves=False)

    def tile_at(
        self,
        extent: Extent,
        step: int,
        start: Index = 0,
        *,
        is_full: Callable[[], Value] | None = None,
        is_last: Callable[[], Value] | None = None,
    ) -> Iterator[Tile]:
        """The one tile that begins at `start`: a full one, or the axis's last.

        is_full, is_last: one of them, which writes the condition's code; the case for which it
        holds comes first.  A last tile need not be short.
        """
        left = extent % step
        if isinstance(left, int) and left == 0:
            yield Tile(start, step, step)
            return
        if isinstance(left, int):
            last = Tile(start, left, left)
        else:
            last = Tile(start, step, self.index(extent - (ceil_div(extent, step) - 1) * step))
        if isinstance(extent, int) and extent < step:
            yield last
            return
        condition = is_full or is_last
        assert condition is not None
        full = Tile(start, step, step)
        order = (full, last) if is_full else (last, full)
        first = condition()
        if not isinstance(left, int):
            even = self.index(left)
            first = first | self.eq(even, 0) if is_full else first & self.ne(even, 0)
        with self.if_else(first) as branch:
            with branch.then():
                yield order[0]
            with branch.otherwise():
                yield order[1]
