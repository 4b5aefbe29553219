"""Direct convolution over images whose height or width is known at run time only.

Filter rows outside the image are left out by run-time bounds, as everywhere.  An output row is cut
into tiles of `rows` pixels as `edges` says, short ones into tiles of 4 or 2; the shortest go
pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from camshaft.backends.cpu.conv.emit import Acc, ConvEmitter
from camshaft.backends.cpu.conv.panel import Panel, WeightStream
from camshaft.backends.cpu.conv.plan import Segment
from camshaft.backends.cpu.conv.row_cut import write_row, write_typical_row
from camshaft.backends.cpu.conv.taps import columns_inside, rows_inside
from camshaft.backends.cpu.edges import Windows, steps_from
from camshaft.backends.cpu.expr.epilogue import Epilogue
from camshaft.backends.cpu.lang import Index, Pointer, Value
from camshaft.backends.cpu.products.form import Parts
from camshaft.ir.types import i32


class OpenConvEmitter(ConvEmitter):
    """`ConvEmitter` for open heights and widths."""

    def _block(self, panel: Panel, first: Value, last: Value) -> None:
        k, plan, p = self.k, self.plan, self.problem
        if not p.has_open_columns:
            super()._block(panel, first, last)
        elif plan.is_one_row:
            x = panel.x.at(-p.pad[0] * p.x_strides[1])
            self._one_row(panel, x, first, last)
        else:
            with k.loop(first, last) as row:
                self._row(panel, *self._at_row(panel, row))

    # --- a row ------------------------------------------------------------------------------

    def _one_row(self, panel: Panel, x: Pointer, first: Value, last: Value) -> None:
        """Tiles first..last-1 of the only row, which has no border; its end in smaller tiles."""
        k, plan, p = self.k, self.plan, self.problem
        whole, none = p.ow // plan.rows, k.index(0)
        with k.loop(first, k.min(last, whole)) as tile:
            windows: Windows = ((0, p.s),) * plan.rows
            self._pixels(panel, windows, x, panel.epilogue, tile * plan.rows, none)
        ends = partial(k.eq, last, plan.units)
        for rest in k.rest(p.ow, whole * plan.rows, plan.rows, is_last=ends, halves=True):
            windows = ((0, p.s),) * rest.size
            self._pixels(panel, windows, x, panel.epilogue, k.index(rest.start), none)

    def _row(self, panel: Panel, x: Pointer, epilogue: Epilogue, oh: Value) -> None:
        def tile(windows: Windows, start: Value) -> None:
            self._pixels(panel, windows, x, epilogue, start, oh)

        def alone(ow: Value) -> None:
            self._pixel_alone(panel, x, epilogue, ow, oh)

        k, p, step = self.k, self.problem, self.plan.rows
        others = partial(write_row, k, p, steps_from(step), tile, alone)
        write_typical_row(k, p, step, tile, others)

    def _pixels(
        self,
        panel: Panel,
        windows: Windows,
        x: Pointer,
        epilogue: Epilogue,
        start: Value,
        oh: Value,
    ) -> None:
        """One tile from pixel `start` on."""
        p = self.problem
        sw = p.x_strides[2]
        segment = Segment(0, 1, windows, self.plan.least_room(windows))
        here = x.at(start * (p.stride[1] * sw)).at(-p.pad[1] * sw)
        number = oh * self.plan.tiles + start // self.plan.rows  # of the tile, in its image
        stream = self._stream(panel, number)
        self._sums(panel, segment, here, epilogue.at((0, 0, start, 0)), oh, stream)

    # --- a pixel whose window is known at run time only ---------------------------------------

    def _pixel_alone(
        self, panel: Panel, x: Pointer, epilogue: Epilogue, ow: Value, oh: Value
    ) -> None:
        k, plan, p = self.k, self.plan, self.problem
        step, sw = p.dilation[1], p.x_strides[2]
        first, last = columns_inside(k, p, ow)
        left = ow * p.stride[1] - p.pad[1]
        start = x.at(left * sw)
        stream = WeightStream(panel.weights, None, plan.kb)
        per_tap = plan.tap_steps
        rows = rows_inside(k, p, oh)
        acc = self._first_values(panel, rows, [(first, last)])
        run = replace(_ONE_PIXEL, count=1)
        with k.loop(*rows, carry=acc) as r:
            row = start.at(r * (p.dilation[0] * p.x_strides[1]))
            weights = stream.at(r * plan.row_steps)
            if plan.is_static and p.is_int8:
                self._quads_alone(acc, row, weights, (k.index(first), k.index(last)))
            else:
                with k.loop(first, last, carry=acc) as tap:
                    here = row.at(tap * (step * sw))
                    self._channels(acc, run, 1, here, weights.at(tap * per_tap))
        here_out = epilogue.at((0, 0, ow, 0))
        for j, total in enumerate(acc[0]):
            left_over = panel.count - j * plan.lanes
            here_out.store(total, (0, 0, 0, j * plan.lanes), min(left_over, total.lanes))

    def _quads_alone(
        self, acc: Acc, x: Pointer, stream: WeightStream, window: tuple[Value, Value]
    ) -> None:
        """Add a filter row whose quads span columns; those outside the window are 0."""
        k, p = self.k, self.problem
        with k.if_(window[0] < window[1], carry=acc):
            for step, quad in enumerate(self.plan.static_quads):
                word = k.const(0, i32)
                for b, place in enumerate(quad):
                    if place is None:
                        continue
                    column, channel = place
                    inside = k.bit("and", window[0] <= column, window[1] > column)
                    near = k.min(k.max(window[0], column), window[1] - 1)  # lies in the image
                    at = x.at(near * (p.dilation[1] * p.x_strides[2])).at(channel * p.x_strides[3])
                    byte = k.cast(k.load(at), i32)
                    word = word | k.select(inside, byte << (8 * b) if b else byte, 0)
                self._step(acc, (0,), partial(_same, word), stream.at(step))

    # --- first values of the sums -------------------------------------------------------------

    def _start(self, panel: Panel, segment: Segment, oh: Value) -> Acc:
        if not self.problem.zero_point:
            return super()._start(panel, segment, oh)
        return self._first_values(panel, rows_inside(self.k, self.problem, oh), segment.windows)

    def _first_values(
        self,
        panel: Panel,
        rows: tuple[Index, Index],
        windows: Sequence[tuple[Index, Index]],
    ) -> Acc:
        """0, or the zero point's compensation, from prefix sums (see `pack_prefix_sums`)."""
        k, plan, p = self.k, self.plan, self.problem
        widths = plan.widths(panel.count)
        if not p.zero_point:
            return [[k.const(0, p.form.sums, lanes) for lanes in widths] for _ in windows]
        width = plan.panels * plan.kb
        table = k.args["packed1"].at(panel.number * plan.kb).aligned(64)

        def total(r: Index, s: Index, j: int) -> Value:
            place = table.at(r * ((p.s + 1) * width)).at(s * width)
            return k.load(place.aligned(64).at(j * plan.lanes), widths[j])

        r1 = rows[1]
        r0 = rows[0] if isinstance(r1, int) else k.min(rows[0], r1)
        acc: Acc = []
        for s0, s1 in windows:
            s0 = s0 if isinstance(s1, int) else k.min(s0, s1)
            line = []
            for j in range(len(widths)):
                value = total(r1, s1, j) - total(r1, s0, j)
                line.append(value - (total(r0, s1, j) - total(r0, s0, j)))
            acc.append(line)
        return acc


_ONE_PIXEL = Segment(0, 1, ((0, 1),), (0,)).runs(1)[0]


def _same(word: Value, _pixel: int) -> Parts:
    return (word,)
