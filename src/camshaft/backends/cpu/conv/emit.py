"""Code of the direct convolution: one register tile, and the loops around it.

A tile keeps rows x cols accumulators in registers over the whole reduction.  Each step loads
`cols` vectors of weights and broadcasts one input element (INT8: four channels, BF16: two) per pixel.
Element types differ in that, which `products` knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from camshaft.backends.base import KernelSpec
from camshaft.backends.cpu.abi import operand_pointer
from camshaft.backends.cpu.conv.panel import LINE, Panel, WeightStream
from camshaft.backends.cpu.conv.plan import ConvPlan, Run, Segment
from camshaft.backends.cpu.conv.taps import rows_inside
from camshaft.backends.cpu.expr.epilogue import Epilogue
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Pointer, Value
from camshaft.backends.cpu.products.form import Parts
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import i32

Acc = list[list[Value]]
Word = tuple[bool, list[Extent | None], list[bool]]
"""A quad of a pixel: may be read at once; each byte's offset; which bytes lie in the image."""


class ConvEmitter:
    """Writes the phase of one candidate into `k`."""

    def __init__(
        self, k: FunctionBuilder, spec: KernelSpec, plan: ConvPlan, packed: dict[int, int]
    ) -> None:
        self.k = k
        self.plan = plan
        self.problem = plan.problem
        self.spec = spec
        self.packed = packed

    # --- loops around the tile ------------------------------------------------------------

    def emit(self) -> None:
        """All work items begin .. end-1."""
        k, plan = self.k, self.plan
        with k.loop(k.begin, k.end) as item:
            if plan.panel_major:
                number, block = item // plan.blocks, item % plan.blocks
            else:
                number, block = item % plan.panels, item // plan.panels
            first = block * plan.block
            last = k.min(first + plan.block, plan.units)
            for tile in k.tile_at(
                plan.problem.k, plan.kb, 0, is_last=partial(self._is_last_panel, number)
            ):
                self._block(self._panel(number, tile.size), first, last)

    def _is_last_panel(self, number: Value) -> Value:
        """Whether a panel is the last of its group."""
        per_group = self.plan.panels_per_group
        return self.k.eq(number % per_group, per_group - 1)

    def _panel(self, number: Value, count: int) -> Panel:
        k, plan, p = self.k, self.plan, self.problem
        group = number // plan.panels_per_group
        channel: Index = number * plan.kb
        if p.groups > 1:
            channel = group * p.k + (number % plan.panels_per_group) * plan.kb
        x = k.args["in0"]
        if p.groups > 1:
            x = x.at(group * (p.c * p.x_strides[3]))
        size = p.r * plan.row_steps * plan.kb
        weights = k.args["packed0"].at(number * size).aligned(64)
        operands = [
            operand_pointer(k, self.spec, n, self.packed) for n in range(2, len(self.spec.inputs))
        ]
        whole = Epilogue(k, p.epilogue, p.operands, operands, p.output, k.args["out0"])
        epilogue = whole.at((0, 0, 0, channel))
        return Panel(count, number, x, weights, epilogue)

    def _block(self, panel: Panel, first: Value, last: Value) -> None:
        k, plan, p = self.k, self.plan, self.problem
        if plan.is_one_row:
            x = panel.x.at(-p.pad[0] * p.x_strides[1])
            for segment in plan.segments:
                low = k.max(first, segment.first)
                high = k.min(last, segment.first + segment.count)
                with k.loop(low, high) as tile:
                    stream = self._stream(panel, tile)
                    self._tile(panel, segment, x, panel.epilogue, tile, k.index(0), stream)
            return
        with k.loop(first, last) as row:
            x, epilogue, oh = self._at_row(panel, row)
            for segment in plan.segments:
                with k.loop(segment.first, segment.first + segment.count) as tile:
                    stream = self._stream(panel, row * plan.tiles + tile)
                    self._tile(panel, segment, x, epilogue, tile, oh, stream)

    def _at_row(self, panel: Panel, row: Value) -> tuple[Pointer, Epilogue, Value]:
        """x and the epilogue at output row `row` of all images, and its number in its image."""
        p = self.problem
        image: Index = row // p.oh if p.n != 1 else 0
        oh = row % p.oh if p.n != 1 else row
        sn, sh, _, _ = p.x_strides
        x = panel.x.at(image * sn) if isinstance(image, Value) else panel.x
        x = x.at((oh * p.stride[0] - p.pad[0]) * sh)
        return x, panel.epilogue.at((image, oh, 0, 0)), oh

    def _stream(self, panel: Panel, tile: Value) -> WeightStream:
        """The panel's weights; the first tiles also fetch the next panel's, a part each."""
        k, plan = self.k, self.plan
        if not plan.prefetches:
            return WeightStream(panel.weights, None, plan.kb)
        steps = plan.problem.r * plan.row_steps
        lines = steps * (LINE // panel.weights.dtype.bytes)
        ahead = steps * plan.kb + tile * lines
        # A tile with nothing left to prefetch prefetches what it reads anyway.
        offset = k.select(tile * lines < steps * plan.kb, ahead, 0)
        return WeightStream(panel.weights, panel.weights.at(offset), plan.kb)

    # --- one tile -------------------------------------------------------------------------

    def _tile(
        self,
        panel: Panel,
        segment: Segment,
        x: Pointer,
        epilogue: Epilogue,
        tile: Value,
        oh: Value,
        stream: WeightStream,
    ) -> None:
        """Sums and epilogue of one tile; x: image row of filter row 0, column of pixel 0 pending."""
        plan, p = self.plan, self.problem
        sw = p.x_strides[2]
        x = x.at(tile * (plan.rows * p.stride[1] * sw)).at(-p.pad[1] * sw)
        epilogue = epilogue.at((0, 0, tile * plan.rows, 0))
        self._sums(panel, segment, x, epilogue, oh, stream)

    def _sums(
        self,
        panel: Panel,
        segment: Segment,
        x: Pointer,
        epilogue: Epilogue,
        oh: Value,
        stream: WeightStream,
    ) -> None:
        """Sums and epilogue of a tile whose pixel 0 `x` and `epilogue` point to."""
        k, plan, p = self.k, self.plan, self.problem
        acc = self._start(panel, segment, oh)
        low, high = rows_inside(k, p, oh)
        if (low, high) == (0, 1):
            self._filter_row(acc, segment, x, stream)
        else:
            with k.loop(low, high, carry=acc) as r:
                row = x.at(r * (p.dilation[0] * p.x_strides[1]))
                self._filter_row(acc, segment, row, stream.at(r * plan.row_steps))
        counts = [min(panel.count - j * plan.lanes, v.lanes) for j, v in enumerate(acc[0])]
        epilogue.store_all(
            [
                (total, (0, 0, i, j * plan.lanes), counts[j])
                for i, line in enumerate(acc)
                for j, total in enumerate(line)
            ]
        )

    def _start(self, panel: Panel, segment: Segment, oh: Value) -> Acc:
        """First values of the accumulators: 0, or the zero point's compensation."""
        k, plan, p = self.k, self.plan, self.problem
        widths = plan.widths(panel.count)
        if not p.zero_point:
            return [[k.const(0, p.form.sums, lanes) for lanes in widths] for _ in segment.windows]
        width = plan.panels * plan.kb
        classes = plan.column_classes
        table = k.args["packed1"].at(panel.number * plan.kb).aligned(64)
        if len(plan.row_classes) > 1:
            table = table.at(self._row_class(oh) * (len(classes) * width)).aligned(64)
        return [
            [
                k.load(table.at(classes.index(window) * width + j * plan.lanes), lanes)
                for j, lanes in enumerate(widths)
            ]
            for window in segment.windows
        ]

    def _row_class(self, oh: Value) -> Value:
        k, (top, bottom) = self.k, self.plan.row_class_edges
        if top + bottom > self.problem.oh:
            return oh
        number = k.min(oh, top)
        return number + k.max(oh - (self.problem.oh - bottom - 1), 0)

    def _filter_row(self, acc: Acc, segment: Segment, x: Pointer, stream: WeightStream) -> None:
        """Add one filter row; x: input column under filter column 0 of pixel 0."""
        if self.plan.is_static:
            self._static_row(acc, segment, x, stream)
            return
        for run in segment.runs(self.problem.s):
            self._run(acc, run, x, stream)

    # --- many channels: loops -------------------------------------------------------------

    def _run(self, acc: Acc, run: Run, x: Pointer, stream: WeightStream) -> None:
        """Add filter columns that the same pixels see."""
        k, plan, p = self.k, self.plan, self.problem
        per_tap = plan.tap_steps
        step = p.dilation[1] * p.x_strides[2]
        x = x.at(run.first * step)
        stream = stream.at(run.first * per_tap)
        if run.count == 1 or (plan.merges_columns and p.c % p.form.group == 0):
            self._channels(acc, run, run.count, x, stream)
            return
        with k.loop(0, run.count, carry=acc) as tap:
            self._channels(acc, run, 1, x.at(tap * step), stream.at(tap * per_tap))

    def _channels(self, acc: Acc, run: Run, taps: int, x: Pointer, stream: WeightStream) -> None:
        """Add `taps` times all channels, which lie one behind the other."""
        k, p = self.k, self.problem
        channel, group = p.x_strides[3], p.form.group
        whole = taps * (p.c // group)
        per_step = group * channel

        def add(sums: Acc, place: Pointer, weights: WeightStream) -> None:
            read = self._quad_reader(place) if p.is_int8 else self._element_reader(place)
            self._step(sums, run.rows, read, weights)

        # The CPU overlaps passes by itself; only tiny tiles gain from fewer branches.
        unroll = 4 if whole % 4 == 0 and len(run.rows) * len(acc[0]) <= 4 else 1
        parts = [acc, *(self._zeros(acc) for _ in range(self.plan.sums - 1))]
        unroll = max(unroll, len(parts))
        even = whole // unroll * unroll
        if even:
            with k.loop(0, even, unroll, carry=parts) as step:
                here = x.at(step * per_step)
                now = stream.at(step)
                for u in range(unroll):
                    add(parts[u % len(parts)], here.at(u * per_step), now.at(u))
        for u in range(even, whole):
            add(parts[u % len(parts)], x.at(u * per_step), stream.at(u))
        for other in parts[1:]:
            for line, more in zip(acc, other, strict=True):
                line[:] = [a + b for a, b in zip(line, more, strict=True)]
        if p.c % group:
            read = self._tail_reader(x) if p.is_int8 else self._rest_reader(x)
            self._step(acc, run.rows, read, stream.at(whole))

    def _zeros(self, acc: Acc) -> Acc:
        """As many sums of nothing yet."""
        kind = self.problem.form.sums
        return [[self.k.const(0, kind, v.lanes) for v in line] for line in acc]

    def _step(
        self,
        acc: Acc,
        rows: tuple[int, ...],
        read: Callable[[int], Parts],
        stream: WeightStream,
    ) -> None:
        """One product per accumulator of the given pixels; `read(i)` is pixel i's input."""
        k, lanes, form = self.k, self.plan.lanes, self.problem.form
        if stream.ahead:
            k.prefetch(stream.ahead, locality=2)
        w = [k.load(stream.weights.at(j * lanes), v.lanes) for j, v in enumerate(acc[0])]
        parts = [form.widened(k, vector) for vector in w]
        for i in rows:
            element = read(i)
            for j, weights in enumerate(parts):
                spread = form.spread(k, element, w[j].lanes)
                acc[i][j] = form.add(k, spread, weights, acc[i][j])

    @property
    def _pixel(self) -> Extent:
        return self.problem.stride[1] * self.problem.x_strides[2]

    def _element_reader(self, x: Pointer) -> Callable[[int], Parts]:
        """A float, or a group of them."""
        p = self.problem
        return lambda i: p.form.element(self.k, x.at(i * self._pixel), p.x_strides[3])

    def _rest_reader(self, x: Pointer) -> Callable[[int], Parts]:
        """The last floats of a pixel that do not fill a group, read inside the pixel."""
        p, group = self.problem, self.problem.form.group
        sc, left = p.x_strides[3], p.c % group
        first = x.at((p.c - left) * sc)
        return lambda i: p.form.rest(self.k, first.at(i * self._pixel), sc, left)

    def _quad_reader(self, x: Pointer) -> Callable[[int], Parts]:
        """Four channels as one i32."""
        sc = self.problem.x_strides[3]
        if sc == 1:
            return lambda i: (self._word(x.at(i * self._pixel)),)
        return lambda i: (self._bytes([x.at(i * self._pixel + b * sc) for b in range(4)]),)

    def _tail_reader(self, x: Pointer) -> Callable[[int], Parts]:
        """The last 1 to 3 channels as an i32 with zeros behind them, read inside the pixel."""
        p = self.problem
        left, sc = p.c % 4, p.x_strides[3]
        if sc == 1 and p.c >= 4:
            last = x.at(p.c - 4)
            return lambda i: (
                self.k.shift("lshr", self._word(last.at(i * self._pixel)), 8 * (4 - left)),
            )
        first = x.at((p.c - left) * sc)
        return lambda i: (self._bytes([first.at(i * self._pixel + b * sc) for b in range(left)]),)

    def _word(self, x: Pointer) -> Value:
        return self.k.load(x.as_type(i32))

    def _bytes(self, places: Sequence[Pointer | None]) -> Value:
        """An i32 put together from single bytes (None: 0)."""
        k = self.k
        total: Value | None = None
        for b, place in enumerate(places):
            if place is None:
                continue
            byte = k.cast(k.load(place), i32)
            byte = byte << (8 * b) if b else byte
            total = byte if total is None else total | byte
        return total if total is not None else k.const(0, i32)

    # --- few channels: everything written out -----------------------------------------------

    def _static_row(self, acc: Acc, segment: Segment, x: Pointer, stream: WeightStream) -> None:
        if self.problem.is_int8:
            self._static_quads(acc, segment, x, stream)
            return
        p = self.problem
        _, _, sw, sc = p.x_strides
        for step, (s, c) in enumerate((s, c) for s in range(p.s) for c in range(p.c)):
            if c == 0:
                # Windows overlap: an element would stay in a register from tap to tap.
                x = self.k.opaque(x)
            rows = tuple(i for i, (low, high) in enumerate(segment.windows) if low <= s < high)
            if rows:
                place = x.at(s * p.dilation[1] * sw + c * sc)
                self._step(acc, rows, self._element_reader(place), stream.at(step))

    def _static_quads(self, acc: Acc, segment: Segment, x: Pointer, stream: WeightStream) -> None:
        plan = self.plan
        for step, quad in enumerate(plan.static_quads):
            x = self.k.opaque(x)
            offsets = [self._offset(place) for place in quad]
            first = offsets[0] or 0
            rows: list[int] = []
            words: dict[int, Word] = {}
            for i, (low, high) in enumerate(segment.windows):
                seen = [place is not None and low <= place[0] < high for place in quad]
                if not any(seen):
                    continue
                rows.append(i)
                # Bytes of padding meet zero weights: only bytes outside the image must be 0.
                clean = all(ok for ok, place in zip(seen, quad, strict=True) if place is not None)
                joined = all(o is None or o == first + b for b, o in enumerate(offsets))
                words[i] = (clean and joined and first + 4 <= segment.room[i], offsets, seen)
            if rows:
                read = self._word_reader(x, words)
                self._step(acc, tuple(rows), read, stream.at(step))

    def _word_reader(self, x: Pointer, words: dict[int, Word]) -> Callable[[int], Parts]:
        """Pixel i's quad: one load where its four bytes may be read, else byte by byte."""

        def read(i: int) -> Parts:
            base = x.at(i * self._pixel)
            is_whole, offsets, seen = words[i]
            if is_whole and offsets[0] is not None:
                return (self._word(base.at(offsets[0])),)
            places = [
                base.at(o) if ok and o is not None else None
                for o, ok in zip(offsets, seen, strict=True)
            ]
            return (self._bytes(places),)

        return read

    def _offset(self, place: tuple[int, int] | None) -> Extent | None:
        if place is None:
            return None
        p = self.problem
        return place[0] * p.dilation[1] * p.x_strides[2] + place[1] * p.x_strides[3]
