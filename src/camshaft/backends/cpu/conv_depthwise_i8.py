"""Depthwise convolution in INT8: u8 inputs, s8 filters, exact i32 sums.

Tactic for op "conv" with as many groups as input and output channels.  A dot product adds four
rows of one column at once: bytes of four input rows are interleaved (`byte_lanes`), weights are
packed to match (`conv_depthwise_quads`).  The kernel streams along an output row: each input column
is interleaved once and added to all the sums that it touches, which wait in registers until their
last column has passed.  Rows outside the image are read from a packed row of zero points; columns
outside it are known when the kernel is written.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.backends.base import KernelSpec, Operand, Params, Source
from camshaft.backends.cpu.abi import phase_args
from camshaft.backends.cpu.byte_lanes import can_narrow, interleave4, narrow, natural_order
from camshaft.backends.cpu.conv_columns import Items, choose, computes, distinct, row_blocks
from camshaft.backends.cpu.conv_depthwise_quads import (
    Block,
    Quads,
    channel_blocks,
    pack_compensation,
    pack_weights,
    padded_channels,
    to_lane_order,
)
from camshaft.backends.cpu.conv_problem import ConvProblem
from camshaft.backends.cpu.epilogue import Access, Epilogue
from camshaft.backends.cpu.lang import Arg, Index, Kernel, Module, Pointer, Scalar, Value
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.expr import result_dtype
from camshaft.ir.types import i8, i16, i32, u8

Sums = list[list[Value]]
"""Sums of one output column: [output row of the tile][vector]."""


class ConvDepthwiseI8:
    """Depthwise convolution, u8 x [N,H,W,C] and s8 w [C,R,S,1] to y [N,OH,OW,C].

    Parameters: tall, output rows computed together; rows, output rows of a work item.
    """

    name = "conv_depthwise_i8"
    version = 1

    def supports(self, spec: KernelSpec, target: CpuTarget) -> bool:
        """Depthwise u8 convolutions with contiguous channels; any window, pads and pitch."""
        channels = spec.inputs[0].shape[-1]
        if not computes(spec, u8) or spec.attr("groups") != channels:
            return False
        return spec.inputs[1].shape[0] == channels

    def candidates(self, spec: KernelSpec, target: CpuTarget, threads: int) -> Sequence[Params]:
        """Two rows at once where that fills the fourth place of a quad, and one."""
        p = ConvProblem.of(spec)
        blocks = sum(b.count for b in channel_blocks(p.groups, target))
        rows = row_blocks(p.oh, blocks * p.n, threads, 4)
        talls = (2, 1) if p.r * p.s <= 9 and p.oh > 1 else (1, 2)
        return distinct([{"tall": t, "rows": -(-rows // t) * t} for t in talls if t <= p.oh])

    def prepack(
        self, spec: KernelSpec, params: Params, target: CpuTarget, constants: Sequence[np.ndarray]
    ) -> Sequence[np.ndarray]:
        """Weights for full tiles and for the last row's, compensation, a row of zero points, and
        the epilogue's constants (per-channel ones in lane order)."""
        plan = _Plan(spec, params, target)
        p, w = plan.problem, constants[0][..., 0]
        packed = [
            pack_weights(Quads(p, tall), w, plan.blocks, halves=not target.has_vnni)
            for tall in (plan.tall, 1)
        ]
        packed.append(pack_compensation(p, w, plan.blocks))
        packed.append(np.full(plan.blank_row, p.zero_point, np.uint8))
        for place, number in enumerate(plan.constants[1:], 1):
            array = constants[place]
            if plan.in_lane_order and plan.is_per_channel(number):
                array = to_lane_order(array.reshape(-1), plan.blocks)
            packed.append(array)
        return packed

    def workspace(self, spec: KernelSpec, params: Params, threads: int) -> int:
        """None."""
        return 0

    def emit(self, spec: KernelSpec, params: Params, target: CpuTarget) -> Source:
        """One phase; full channel blocks and the narrower last one are functions of their own."""
        return _Writer(_Plan(spec, params, target)).source()


class _Plan:
    """What prepack and emit must agree on."""

    def __init__(self, spec: KernelSpec, params: Params, target: CpuTarget) -> None:
        self.spec, self.target = spec, target
        self.problem = p = ConvProblem.of(spec)
        self.tall, self.rows = int(params["tall"]), int(params["rows"])
        self.blocks = channel_blocks(p.groups, target)
        self.constants = [n for n, o in enumerate(spec.inputs) if o.const]
        self.blank_row = (p.w - 1) * p.x_strides[2] + p.groups if p.clips_rows else 1
        varying = [n for n in range(2, len(spec.inputs)) if self._has_channels(n)]
        self.in_lane_order = all(self.is_per_channel(n) for n in varying)

    def _operand(self, number: int) -> Operand:
        return self.problem.operands[number - 2]

    def _has_channels(self, number: int) -> bool:
        return self._operand(number).strides[3] != 0

    def is_per_channel(self, number: int) -> bool:
        """Whether an epilogue operand is constant with one value per channel."""
        operand = self._operand(number)
        return operand.const and self._has_channels(number) and not any(operand.strides[:3])

    def operands(self) -> list[Operand]:
        """The epilogue operands as the kernel sees them."""
        result = list(self.problem.operands)
        if self.in_lane_order:
            padded = padded_channels(self.blocks)
            for n, operand in enumerate(result):
                if self.is_per_channel(n + 2):
                    result[n] = Operand(operand.dtype, (1, 1, 1, padded), (0, 0, 0, 1), True)
        return result


class _Writer:
    """Writes the program of one candidate."""

    def __init__(self, plan: _Plan) -> None:
        self.plan, self.p, self.target = plan, plan.problem, plan.target
        weights = i8 if plan.target.has_vnni else i16
        extra = [plan.spec.inputs[n].dtype for n in plan.constants[1:]]
        self.args = phase_args(plan.spec, [weights, weights, i32, u8, *extra])

    def source(self) -> Source:
        """The module: a phase over items that calls a band function per channel block."""
        module = Module(self.target)
        plan = self.plan
        for n, block in enumerate(plan.blocks):
            self._band_function(module, f"band{n}", block)
        total = sum(b.count for b in plan.blocks)
        items = Items(self.p.n, self.p.oh, plan.rows, total)
        with module.phase("conv_depthwise", items.count, self.args) as k:
            pointers = [k.args[a.name] for a in self.args]
            with k.loop(k.begin, k.end) as item:
                image, first, last, number = items.decode(k, item)
                if len(plan.blocks) == 1:
                    k.call("band0", *pointers, image, first, last, number)
                else:
                    full = plan.blocks[0].count
                    with k.if_(number < full) as branch:
                        k.call("band0", *pointers, image, first, last, number)
                    with branch.otherwise():
                        k.call("band1", *pointers, image, first, last, k.index(0))
        return module.source()

    def _band_function(self, module: Module, symbol: str, block: Block) -> None:
        """One channel block of output rows first..last-1 (first is a multiple of `tall`)."""
        params: list[Arg | Scalar] = [*self.args]
        params += [Scalar(s) for s in ("image", "first", "last", "block")]
        tall = self.plan.tall
        with module.function(symbol, params) as k:
            first, last = k.scalars["first"], k.scalars["last"]
            with k.loop(first, last - (tall - 1), tall) as oh:
                _Row(self, k, block, Quads(self.p, tall), oh).write()
            if self.p.oh % tall:
                rest = (last - first) // tall * tall + first
                with k.loop(rest, last) as oh:
                    _Row(self, k, block, Quads(self.p, 1), oh).write()


class _Row:
    """A tile: `tall` output rows from `oh` on, all columns, one block of channels."""

    def __init__(self, writer: _Writer, k: Kernel, block: Block, quads: Quads, oh: Value) -> None:
        self.plan, self.p, self.k = writer.plan, writer.p, k
        self.block, self.quads, self.oh = block, quads, oh
        self.taps = quads.taps()
        p = self.p
        self.reach = (p.s - 1) * p.dilation[1]
        self.pending = self.reach // p.stride[1]
        self.channel = k.scalars["block"] * block.width + block.channel
        self.rows = self._row_pointers()
        self.weights = self._weights()
        first = self._padded_channel()
        self.first_sums = k.args["packed2"].at(first)
        self.finish = _Finish(self, first)

    # --- operands -------------------------------------------------------------------------

    def _padded_channel(self) -> Value:
        """Where this block starts in per-channel constants."""
        return self.k.scalars["block"] * self.block.width + self.block.channel

    def _row_pointers(self) -> list[Pointer]:
        """Input rows under the tile at column 0 and this block's first channel."""
        k, p = self.k, self.p
        sn, sy, _, _ = p.x_strides
        image = k.args["in0"].at(k.scalars["image"] * sn + self.channel)
        blank = k.args["packed3"].at(self.channel)
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
        """This block's packed weights, as i32 (four bytes or two i16 each)."""
        k, block = self.k, self.block
        words = 1 if self.plan.target.has_vnni else 2
        per_channel = len(self.taps) * words
        name = "packed0" if self.quads.tall == self.plan.tall else "packed1"
        start = k.scalars["block"] * (block.width * per_channel) + block.channel * per_channel
        return k.args[name].as_type(i32).at(start).aligned(4 * block.lanes)

    def _fresh(self) -> Sums:
        """Sums to which nothing has been added."""
        k, lanes = self.k, self.block.lanes
        if self.p.zero_point:
            one = [k.load(self.first_sums.at(g * lanes), lanes) for g in range(4)]
        else:
            one = [k.const(0, i32, lanes) for _ in range(4)]
        return [list(one) for _ in range(self.quads.tall)]

    # --- streaming ------------------------------------------------------------------------

    def write(self) -> None:
        """Columns from left to right; those that need no clipping in a loop."""
        p, k = self.p, self.k
        sums = [self._fresh() for _ in range(self.pending)]
        for column in range(self.reach - p.stride[1] + 1):
            self._add_column(column, None, sums, 0)
        start = self._first_inside()
        stop = max(start, self._past_inside())
        for ow in range(start):
            self._output(k.index(ow), ow, sums)
        if stop > start:
            with k.loop(start, stop, carry=sums) as position:
                self._output(position, None, sums)
        for ow in range(stop, p.ow):
            self._output(k.index(ow), ow, sums)

    def _new_columns(self, ow: int) -> range:
        """Padded input columns that output column `ow` is the first to need as its last."""
        end = ow * self.p.stride[1] + self.reach + 1
        return range(end - self.p.stride[1], end)

    def _first_inside(self) -> int:
        p = self.p
        return next((o for o in range(p.ow) if self._new_columns(o)[0] >= p.pad[1]), p.ow)

    def _past_inside(self) -> int:
        p = self.p
        last = p.pad[1] + p.w
        return next((o for o in range(p.ow) if self._new_columns(o)[-1] >= last), p.ow)

    def _output(self, position: Value, known: int | None, sums: list[Sums]) -> None:
        """Add the new columns of output column `position`, store it, open a new one behind.

        known: the position where it is known now (columns may have to be clipped), else None.
        """
        sums.append(self._fresh())
        for offset in self._new_columns(0):
            if known is None:
                self._add_column(offset, position, sums, None)
            else:
                self._add_column(offset + known * self.p.stride[1], None, sums, known)
        self.finish.store(sums.pop(0), position)

    def _add_column(
        self, column: int, position: Value | None, sums: list[Sums], first: int | None
    ) -> None:
        """Add one input column to the sums it touches.

        column: counted from the left padding, relative to output column `position` if that is
        given.  sums[0] belongs to `position`, or to output column `first`.
        """
        p = self.p
        relative = column if first is None else column - first * p.stride[1]
        users = []
        for s in range(p.s):
            i, rest = divmod(relative - s * p.dilation[1], p.stride[1])
            if rest == 0 and 0 <= i < len(sums) and (first is None or first + i < p.ow):
                users.append((i, s))
        outside = position is None and not p.pad[1] <= column < p.pad[1] + p.w
        if not users or (outside and p.zero_point == 0):
            return
        for q in range(len(self.quads.quads)):
            quad = self._blank_quad() if outside else self._quad(q, column - p.pad[1], position)
            for i, s in users:
                for row in range(self.quads.tall):
                    if (row, s, q) in self.taps:
                        self._add(quad, self.taps[row, s, q], sums[i][row])

    def _blank_quad(self) -> list[Value]:
        return [self.k.const(self.p.zero_point * 0x01010101, i32, self.block.lanes)] * 4

    def _quad(self, q: int, column: int, position: Value | None) -> list[Value]:
        """Four rows interleaved at input column `column` (+ stride * position)."""
        k, p, block = self.k, self.p, self.block
        step = p.x_strides[2]
        rows = []
        for place in range(4):
            if place >= len(self.quads.quads[q]):
                rows.append(k.const(0, u8, block.width))
                continue
            pointer = self.rows[4 * q + place]
            if position is not None:
                pointer = pointer.at(position * (p.stride[1] * step))
            rows.append(k.load(pointer.at(column * step), block.width, block.valid))
        return interleave4(k, rows)

    def _add(self, quad: Sequence[Value], tap: int, sums: list[Value]) -> None:
        k, lanes = self.k, self.block.lanes
        for g in range(4):
            if self.plan.target.has_vnni:
                w = k.load(self.weights.at((tap * 4 + g) * lanes), lanes)
                sums[g] = k.dot4(quad[g], w, sums[g])
            else:
                even = k.load(self.weights.at((tap * 8 + g) * lanes), lanes)
                odd = k.load(self.weights.at((tap * 8 + 4 + g) * lanes), lanes)
                sums[g] = k.dot4_halves(quad[g], even, odd, sums[g])


class _Finish:
    """Turns finished sums into outputs."""

    def __init__(self, row: _Row, padded_channel: Value) -> None:
        self.k, self.block, plan = row.k, row.block, row.plan
        self.in_lane_order = plan.in_lane_order
        self.p = p = plan.problem
        k = self.k
        position = (k.scalars["image"], row.oh, 0, row.channel)
        places = {n: m for m, n in enumerate(plan.constants, 3)}
        pointers = [
            k.args[f"packed{places[n]}"] if n in places else k.args[f"in{n}"]
            for n in range(2, len(plan.spec.inputs))
        ]
        types = [i32, *(o.dtype for o in p.operands)]
        self.expr = p.epilogue
        self.packs = False
        if plan.in_lane_order and self.expr.op == "cast" and self.expr.dtype is not None:
            source = result_dtype(self.expr.args[0], types)
            if can_narrow(k, source, self.expr.dtype):
                self.packs, self.expr = True, self.expr.args[0]
        out = k.args["out0"]
        self.epilogue = Epilogue(k, self.expr, plan.operands(), pointers, p.output, out)
        self.epilogue = self.epilogue.at(position)
        self.out = Access(out, p.output.strides).at(position)

    def store(self, sums: Sums, position: Value) -> None:
        """Apply the epilogue and store output column `position` of all rows of the tile."""
        for row, one in enumerate(sums):
            self._store(one, (0, row, position, 0))

    def _store(self, sums: list[Value], offset: Sequence[Index]) -> None:
        k, block = self.k, self.block
        wide = k.concat(k.concat(sums[0], sums[1]), k.concat(sums[2], sums[3]))
        order = natural_order(block.width)
        if not self.in_lane_order:
            self.epilogue.store(k.shuffle(wide, None, order), offset, block.valid)
            return
        value = self.epilogue.apply(wide, offset)
        if self.packs:
            value = narrow(k, value, self.p.output.dtype)
        else:
            value = k.shuffle(value, None, order)
        k.store(value, self.out.at(offset).pointer, block.valid)
