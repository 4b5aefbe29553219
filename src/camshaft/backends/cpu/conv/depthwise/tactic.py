"""Depthwise convolution in INT8: u8 inputs, s8 filters, exact i32 sums.

Tactic for op "conv" with as many groups as input and output channels.  A dot product adds four
rows of one column at once: bytes of four input rows are interleaved (`byte_lanes`), weights are
packed to match (`quads`).  The kernel streams along an output row: each input column
is interleaved once and added to all the sums that it touches, which wait in registers until their
last column has passed.  Rows outside the image are read from a packed row of zero points (of open
width: each worker writes one into its scratch memory); columns outside it are known when the kernel
is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from camshaft.backends.base import KernelSpec, Packing, Params, Source
from camshaft.backends.cpu.abi import phase_args
from camshaft.backends.cpu.byte_lanes import with_negative_nans
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.conv.columns import (
    UNROLL_LIMIT,
    BandItems,
    computes,
    distinct,
    row_blocks,
)
from camshaft.backends.cpu.conv.depthwise.layout import DepthwiseLayout
from camshaft.backends.cpu.conv.depthwise.quads import (
    ChannelBlocks,
    Quads,
    pack_compensation,
    pack_weights,
    to_lane_order,
)
from camshaft.backends.cpu.conv.depthwise.stream import RowStream
from camshaft.backends.cpu.conv.problem import ConvProblem, SizedConvProblem
from camshaft.backends.cpu.lang import Arg, FunctionBuilder, Module, Pointer, Scalar
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import i8, i16, i32, u8


class ConvDepthwiseI8:
    """Depthwise convolution, u8 x [N,H,W,C] and s8 w [C,R,S,1] to y [N,OH,OW,C]."""

    name = "conv_depthwise_i8"
    version = 3

    def plan(
        self, spec: KernelSpec, target: CpuTarget, threads: int
    ) -> Sequence[ConvDepthwiseI8Candidate]:
        """Two rows at once where their sums fit in registers, and one.

        For depthwise u8 convolutions with contiguous channels; any pads and pitch, windows of up
        to some 15 x 15 (each column is written out).
        """
        if not computes(spec, integer=True):
            return ()
        p = ConvProblem.of(spec)
        if not isinstance(p.x_strides[2], int):
            return ()
        begun = (p.s - 1) * p.dilation[1] // p.stride[1] + 1
        written_out = 4 * len(Quads(p, 1).taps()) * begun
        if p.c != 1 or p.k != 1 or written_out > 4 * UNROLL_LIMIT:
            return ()
        return [
            ConvDepthwiseI8Candidate(spec, target, p, params)
            for params in _tiles(p.typical, target, threads)
        ]


def _tiles(p: SizedConvProblem, target: CpuTarget, threads: int) -> list[Params]:
    blocks = -(-p.groups * 8 // target.vector_bits)
    rows = row_blocks(p.oh, blocks * p.n, threads, 4)
    waiting = (p.s - 1) * p.dilation[1] // p.stride[1] * 4
    shapes = [(2, 1), (1, 2), (2, 2)] if p.stride[0] == 1 else [(2, 1), (1, 2), (1, 1)]
    if p.r > 4:
        shapes = [(1, 1), (1, 2)]
    return distinct(
        [
            {"tall": tall, "unroll": unroll, "rows": -(-rows // tall) * tall}
            for tall, unroll in shapes
            if tall == 1 or (tall <= p.oh and waiting * tall <= target.registers)
        ]
    )


class ConvDepthwiseI8Candidate(CpuCandidate[ConvProblem]):
    """Parameters: tall, output rows computed together; unroll, output columns computed together;
    rows, output rows of a work item."""

    @cached_property
    def layout(self) -> DepthwiseLayout:
        """What packing and code must agree on."""
        return DepthwiseLayout(self.spec, self.problem, self.params, self.target)

    @property
    def packing(self) -> Packing:
        """For the rows that are computed together."""
        return ("depthwise", self.layout.tall)

    def prepack(self, constants: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Weights for full tiles and for the last row's, compensation, a row of zero points, and
        the epilogue's constants (per-channel ones in lane order)."""
        layout = self.layout
        p, w = self.problem, constants[0][..., 0]
        packed = [
            pack_weights(Quads(p, tall), w, layout.blocks, halves=not self.target.has_vnni)
            for tall in (layout.tall, 1)
        ]
        packed.append(pack_compensation(p, w, layout.blocks))
        packed.append(np.full(layout.blank_row, p.zero_point, np.uint8))
        for place, number in enumerate(layout.constants[1:], 1):
            array = constants[place]
            if layout.in_lane_order and layout.is_per_channel(number):
                array = to_lane_order(array.reshape(-1), layout.blocks)
            packed.append(with_negative_nans(array))
        return packed

    def workspace(self, threads: int) -> Extent:
        """A row of zero points for each worker where rows are of open width."""
        return self.layout.scratch_row * threads

    def emit(self) -> Source:
        """One phase; full channel blocks and the narrower last one are functions of their own."""
        return _DepthwiseProgram(self.layout).source()


class _DepthwiseProgram:
    """Writes the program of one candidate."""

    def __init__(self, plan: DepthwiseLayout) -> None:
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
        items = BandItems(self.p.n, self.p.oh, plan.rows, total)
        with module.phase("conv_depthwise", items.count, self.args) as k:
            if plan.scratch_row != 0:
                k.args["workspace"] = self._scratch_row(k)
            pointers = [k.args[a.name] for a in self.args]
            with k.loop(k.begin, k.end) as item:
                image, first, last, number = items.decode(k, item)
                if len(plan.blocks) == 1:
                    k.call("band0", *pointers, image, first, last, number)
                else:
                    full = plan.blocks[0].count
                    with k.if_else(number < full) as branch:
                        with branch.then():
                            k.call("band0", *pointers, image, first, last, number)
                        with branch.otherwise():
                            k.call("band1", *pointers, image, first, last, k.index(0))
        return module.source()

    def _scratch_row(self, k: FunctionBuilder) -> Pointer:
        """The worker's row of zero points, filled."""
        size, width = self.plan.scratch_row, self.target.vector_bits // 8
        row = k.args["workspace"].at(k.worker * size).aligned(64)
        with k.loop(0, size, width) as at:
            k.store(k.const(self.p.zero_point, u8, width), row.at(at).aligned(width))
        return row

    def _band_function(self, module: Module, symbol: str, block: ChannelBlocks) -> None:
        """One channel block of output rows first..last-1 (first is a multiple of `tall`)."""
        params: list[Arg | Scalar] = [*self.args]
        params += [Scalar(s) for s in ("image", "first", "last", "block")]
        with module.function(symbol, params) as k:
            if self.p.has_open_columns:
                self._open_columns(k, block)
            else:
                self._streams(k, block)

    def _streams(self, k: FunctionBuilder, block: ChannelBlocks) -> None:
        """The band's rows by streams, `tall` at once and then single ones."""
        tall = self.plan.tall
        first, last = k.scalars["first"], k.scalars["last"]
        with k.loop(first, last - (tall - 1), tall) as oh:
            RowStream(self.plan, k, block, Quads(self.p, tall), oh).write()
        if tall > 1 and self.p.oh % tall != 0:
            rest = (last - first) // tall * tall + first
            with k.loop(rest, last) as oh:
                RowStream(self.plan, k, block, Quads(self.p, 1), oh).write()

    def _open_columns(self, k: FunctionBuilder, block: ChannelBlocks) -> None:
        """The band where the width is known at run time only: pixel by pixel where the row is too
        short for streams, and what does not fill a unit of folded pixels."""
        units = self.p.ow // block.fold
        is_long = k.index(units) >= self.plan.fewest
        with k.if_(is_long):
            self._streams(k, block)
        done = k.select(is_long, units * block.fold, k.index(0))
        with (
            k.loop(done, self.p.ow) as ow,
            k.loop(k.scalars["first"], k.scalars["last"]) as oh,
        ):
            RowStream(self.plan, k, block.alone, Quads(self.p, 1), oh).write_alone(ow)
