"""The inner part of INT8 depthwise convolution: streaming along output rows.

A stream computes `tall` output rows of one block of channels, column by column.  Each input column is
interleaved once and added to all the sums that it touches; a sum waits in registers until its last
column has passed, then goes through the epilogue.  Where one pixel has fewer channels than a vector
has bytes, several neighbouring pixels are *folded* into one block: the stream then counts in units of
`fold` output columns and reads `fold` neighbouring pixels at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from camshaft.backends.cpu.byte_lanes import (
    can_narrow,
    interleave4,
    narrow,
    natural_order,
    only_negative_nans,
)
from camshaft.backends.cpu.conv.columns import choose
from camshaft.backends.cpu.conv.depthwise.layout import DepthwiseLayout
from camshaft.backends.cpu.conv.depthwise.quads import ChannelBlocks, Quads
from camshaft.backends.cpu.conv.depthwise.units import Origin, Units
from camshaft.backends.cpu.expr.epilogue import Access, Epilogue
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Pointer, Value
from camshaft.ir.extents.sizes import fixed_extent
from camshaft.ir.types import i32, u8

Sums = list[list[Value]]
"""Sums of one unit: [output row][vector]."""

Quad = list[Value]
"""Four interleaved rows of one input column: [vector]."""


class RowStream:
    """Output rows oh .. oh + tall - 1, one block of channels, all columns."""

    def __init__(
        self,
        plan: DepthwiseLayout,
        k: FunctionBuilder,
        block: ChannelBlocks,
        quads: Quads,
        oh: Value,
    ) -> None:
        self.plan, self.p, self.k = plan, plan.problem, k
        self.block, self.quads, self.oh = block, quads, oh
        self.taps = quads.taps()
        self.units = Units(self.p, quads, block.fold)
        self.channel = k.scalars["block"] * block.width + block.channel
        self.rows = self._row_pointers()
        self.weights = self._weights()
        self.first_sums = k.args["packed2"].at(self.channel).aligned(4 * block.packed)
        self.finish = _Finish(plan, k, block, oh, self.channel)

    # --- operands -------------------------------------------------------------------------

    def _row_pointers(self) -> list[Pointer]:
        """Input rows under the stream at column 0 and the block's first channel."""
        k, p = self.k, self.p
        sn, sy, _, _ = p.x_strides
        image = k.args["in0"].at(k.scalars["image"] * sn + self.channel)
        blank = k.args["workspace" if p.has_open_columns else "packed3"].at(self.channel)
        rows = []
        for row in self.quads.rows:
            iy = self.oh * p.stride[0] + (row - p.pad[0])
            pointer = image.at(iy * sy)
            if p.clips_rows:
                inside = k.bit("and", iy >= 0, iy < p.h)
                pointer = choose(k, inside, pointer, blank)
            rows.append(pointer)
        return rows

    def _weights(self) -> Pointer:
        """The block's packed weights, as i32 (four bytes or two i16 each)."""
        words = 1 if self.plan.target.has_vnni else 2
        name = "packed0" if self.quads.tall == self.plan.tall else "packed1"
        start = self.channel * (len(self.taps) * words)
        return self.k.args[name].as_type(i32).at(start).aligned(4 * self.block.packed)

    def _fresh(self) -> Sums:
        """Sums to which nothing has been added."""
        k, lanes = self.k, self.block.lanes
        if self.p.zero_point:
            one = [k.load(self.first_sums.at(g * self.block.packed), lanes) for g in range(4)]
        else:
            one = [k.const(0, i32, lanes) for _ in range(4)]
        return [list(one) for _ in range(self.quads.tall)]

    # --- the order of work ------------------------------------------------------------------

    def write(self) -> None:
        """Units from left to right; those that need no clipping in a loop."""
        units = self.units
        sums = [self._fresh() for _ in range(units.begun)]
        if self.p.has_open_columns:
            self._write_open(sums)
        else:
            self._write_static(sums, fixed_extent(units.count, "the units of a row"))

    def _write_static(self, sums: list[Sums], count: int) -> None:
        k, units, unroll = self.k, self.units, self.plan.unroll
        whole = Origin(None, 0, fixed_extent(self.p.w, "the width of an image"), count)
        self._add_columns(range(units.reach - units.step + 1), 0, whole, sums, None)
        inside = [all(self._is_inside(c) for c in units.new_columns(o)) for o in range(count)]
        start = inside.index(True) if True in inside else count
        stop = inside.index(False, start) if False in inside[start:] else count
        stop -= (stop - start) % unroll
        for unit in range(start):
            self._units(unit, 1, whole, sums)
        if stop > start:
            with k.loop(start, stop, unroll, carry=sums) as position:
                self._units(0, unroll, Origin(position), sums)
        for unit in range(stop, count):
            self._units(unit, 1, whole, sums)

    def _write_open(self, sums: list[Sums]) -> None:
        """A row of at least `DepthwiseLayout.fewest` units: the loop in the middle runs."""
        k, units, unroll = self.k, self.units, self.plan.unroll
        beginning = Origin(None, low=0)
        self._add_columns(range(units.reach - units.step + 1), 0, beginning, sums, None)
        for unit in range(units.left):
            self._units(unit, 1, beginning, sums)
        stop = units.count - units.right
        odd = (stop - units.left) % unroll
        for n in range(1, unroll):
            with k.if_(k.index(odd) >= n, carry=sums):
                self._units(units.left + n - 1, 1, beginning, sums)
        with k.loop(units.left + odd, stop, unroll, carry=sums, nonempty=True) as position:
            self._units(0, unroll, Origin(position), sums)
        end, which = k.index(units.count), k.index(units.variant)
        for number, high in enumerate(units.ends if units.right else ()):
            ending = Origin(end, high=high, units=0)
            with k.if_(k.eq(which, number)) if len(units.ends) > 1 else nullcontext():
                own = [[list(vectors) for vectors in rows] for rows in sums]
                for unit in range(-units.right, 0):
                    self._units(unit, 1, ending, own)

    def write_alone(self, ow: Value) -> None:
        """One output column, whose window is known at run time only; the block is not folded."""
        p = self.p
        sums = self._fresh()
        for s in range(p.s):
            column = ow * p.stride[1] + (s * p.dilation[1] - p.pad[1])
            for q in range(len(self.quads.quads)):
                users = [row for row in range(self.quads.tall) if (row, s, q) in self.taps]
                if not users:
                    continue
                quad = self._quad_alone(q, column)
                for row in users:
                    for g in range(4):
                        weights = self._load_weights(self.taps[row, s, q], g)
                        sums[row][g] = self._add(quad[g], weights, sums[row][g])
        for row, vectors in enumerate(sums):
            values = [self.finish.begin(total, g, row, ow) for g, total in enumerate(vectors)]
            self.finish.store(values, row, ow)

    def _quad_alone(self, q: int, column: Value) -> Quad:
        k, p, block = self.k, self.p, self.block
        rows: list[Value] = []
        for n, left in self.quads.quads[q]:
            at = column + left * p.dilation[1]
            inside = k.bit("and", at >= 0, at < p.w)
            blank = k.args["packed3"].at(self.channel)
            pointer = choose(k, inside, self.rows[n].at(at * p.x_strides[2]), blank)
            rows.append(k.load(pointer, block.width, block.valid))
        rows += [k.const(0, u8, block.width)] * (4 - len(rows))
        return interleave4(k, rows)

    def _is_inside(self, column: int) -> bool:
        """Whether all pixels interleaved at an input column lie in the image."""
        first = column - self.p.pad[1]
        return first >= self.quads.back and first + self.block.fold <= self.p.w

    def _units(self, first: int, count: int, origin: Origin, sums: list[Sums]) -> None:
        """Finish units first .. first + count - 1 from the origin on.

        On entry and on return `sums` holds the units that have begun and not ended.
        """
        sums += [self._fresh() for _ in range(count)]
        columns = [c for unit in range(first, first + count) for c in self.units.new_columns(unit)]
        finished: list[list[list[Value]]] = [
            [[] for _ in range(self.quads.tall)] for _ in range(count)
        ]
        self._add_columns(columns, first, origin, sums, finished)
        for n, rows in enumerate(finished):
            place = _unit(origin, first + n)
            for row, values in enumerate(rows):
                self.finish.store(values, row, place)
        del sums[:count]

    def _add_columns(
        self,
        columns: Sequence[int],
        first: int,
        origin: Origin,
        sums: list[Sums],
        finished: list[list[list[Value]]] | None,
    ) -> None:
        """Add input columns to the sums they touch; sums[0] belongs to unit `first`.

        One vector after the other, each weight loaded once for all columns.  finished: takes the
        leading sums through the first half of the epilogue, [unit][output row][vector].
        """
        uses: dict[tuple[int, int, int], list[tuple[Quad, int]]] = {}
        for column in columns:
            users = [
                (u - first, s) for u, s in self.units.users(column) if 0 <= u - first < len(sums)
            ]
            users = [(u, s) for u, s in users if u + first < origin.units]
            for q in range(len(self.quads.quads)):
                wanted = [
                    ((row, s, q), u)
                    for u, s in users
                    for row in range(self.quads.tall)
                    if (row, s, q) in self.taps
                ]
                quad = self._quad(q, column - self.p.pad[1], origin) if wanted else None
                if quad is not None:
                    for tap, u in wanted:
                        uses.setdefault(tap, []).append((quad, u))
        for g in range(4):
            for (row, s, q), readers in sorted(uses.items(), key=lambda item: item[0]):
                weights = self._load_weights(self.taps[row, s, q], g)
                for quad, u in readers:
                    sums[u][row][g] = self._add(quad[g], weights, sums[u][row][g])
            for n, rows in enumerate(finished or ()):
                for row, values in enumerate(rows):
                    place = _unit(origin, first + n)
                    values.append(self.finish.begin(sums[n][row][g], g, row, place))

    # --- one column -----------------------------------------------------------------------

    def _quad(self, q: int, column: int, origin: Origin) -> Quad | None:
        """Quad q interleaved at input column `column` from the origin on.

        None where it adds nothing, outside the image without a zero point.
        """
        k, p, block = self.k, self.p, self.block
        pitch = p.x_strides[2]
        rows: list[Value] = []
        seen = False
        for n, left in self.quads.quads[q]:
            first = column + left * p.dilation[1]
            inside = [
                origin.low <= pixel < origin.high for pixel in range(first, first + block.fold)
            ]
            seen = seen or any(inside)
            pointer = self.rows[n]
            if origin.position is not None:
                pointer = pointer.at(origin.position * (self.units.step * pitch))
            rows.append(self._bytes(pointer.at(first * pitch), inside))
        if not seen and not p.zero_point:
            return None
        rows += [k.const(0, u8, block.width)] * (4 - len(rows))
        return interleave4(k, rows)

    def _bytes(self, pixel: Pointer, inside: Sequence[bool]) -> Value:
        """The block's bytes at a pixel; zero points where a folded pixel is not in the image."""
        k, block = self.k, self.block
        if all(inside):
            return k.load(pixel, block.width, block.valid)
        if not any(inside):
            return k.const(self.p.zero_point, u8, block.width)
        each = block.width // block.fold
        exists = [inside[lane // each] for lane in range(block.width)]
        first, count = exists.index(True), exists.count(True)
        zero = k.const(self.p.zero_point, u8, count)
        part = k.load(pixel.at(first), count)
        picks = [lane - first if exists[lane] else count for lane in range(block.width)]
        return k.shuffle(part, zero, picks)

    def _load_weights(self, tap: int, g: int) -> list[Value]:
        """The weights of one dot product, or their two halves."""
        k, lanes, packed = self.k, self.block.lanes, self.block.packed
        if self.plan.target.has_vnni:
            return [k.load(self.weights.at((tap * 4 + g) * packed), lanes)]
        return [k.load(self.weights.at((tap * 8 + 4 * h + g) * packed), lanes) for h in range(2)]

    def _add(self, x: Value, weights: Sequence[Value], total: Value) -> Value:
        if self.plan.target.has_vnni:
            return self.k.dot4(x, weights[0], total)
        return self.k.dot4_halves(x, weights[0], weights[1], total)


def _unit(origin: Origin, number: int) -> Index:
    """Number of the unit `number` from the origin on."""
    return number if origin.position is None else origin.position + number


class _Finish:
    """Turns finished sums into outputs: `begin` each vector, then `store` the four."""

    def __init__(
        self,
        plan: DepthwiseLayout,
        k: FunctionBuilder,
        block: ChannelBlocks,
        oh: Value,
        channel: Value,
    ) -> None:
        self.k, self.block = k, block
        self.in_lane_order = plan.in_lane_order
        self.p = p = plan.problem
        places = {n: m for m, n in enumerate(plan.constants, 3)}
        pointers = [
            k.args[f"packed{places[n]}"] if n in places else k.args[f"in{n}"]
            for n in range(2, len(plan.spec.inputs))
        ]
        expr = p.epilogue
        self.packs = plan.in_lane_order and can_narrow(k.target, expr, plan.dtypes)
        self.negative_nans = only_negative_nans(expr, p.operands)
        if self.packs:
            expr = expr.args[0]
        out = k.args["out0"]
        position = (k.scalars["image"], oh, 0, channel)
        operands = plan.operands()
        epilogue = Epilogue(k, expr, operands, pointers, p.output, out, coarse=self.packs)
        self.epilogue = epilogue.at(position)
        self.out = Access(out, p.output.strides).at(position)

    def begin(self, total: Value, g: int, row: int, unit: Index) -> Value:
        """Vector g of a sum through the epilogue, if lane order suits its operands."""
        if not self.in_lane_order:
            return total
        return self.epilogue.apply(total, (0, row, unit * self.block.fold, g * self.block.packed))

    def store(self, values: Sequence[Value], row: int, unit: Index) -> None:
        """Store the four vectors of one output row at output unit `unit`."""
        k, block = self.k, self.block
        place = (0, row, unit * block.fold, 0)
        if self.packs:
            value = narrow(k, values, self.p.output.dtype, negative_nans=self.negative_nans)
        else:
            wide = k.concat(k.concat(values[0], values[1]), k.concat(values[2], values[3]))
            value = k.shuffle(wide, None, natural_order(block.width))
        if self.in_lane_order:
            k.store(value, self.out.at(place).pointer, block.valid)
        else:
            self.epilogue.store(value, place, block.valid)
