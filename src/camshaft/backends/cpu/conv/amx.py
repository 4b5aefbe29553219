"""Convolution of bf16 or 8-bit integers on AMX's tiles.

The rows of a tile of x are 16 neighbouring pixels of an output row, its 64 bytes channels of the pixels
under one filter tap: the tile is read straight from the image, with the distance of pixels as its stride.
For that a first phase copies the images into the workspace with their pads written out (zero points, which
add nothing in the end: padding is like any pixel), channels rounded up to 64 bytes, and room for the pixels
of the last tile that do not exist:

    [image][row][column][channels], rows: (oh - 1) stride + (r - 1) dilation + 1, columns likewise of whole tiles

Weights lie in panels [r][s][channels/g][columns][g].  No machine of ours has AMX; see `matmul.amx`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial

import numpy as np

from camshaft.backends.base import KernelSpec, Packing, Source
from camshaft.backends.cpu.abi import constant_numbers, operand_pointer, phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.conv.columns import computes
from camshaft.backends.cpu.conv.problem import ConvProblem
from camshaft.backends.cpu.expr.epilogue import Epilogue
from camshaft.backends.cpu.lang import FunctionBuilder, Module, Pointer, Value
from camshaft.backends.cpu.lang.matrix_tiles import TILE_BYTES, TILE_ROWS, whole_tiles
from camshaft.backends.cpu.products.form import ProductForm
from camshaft.backends.cpu.products.tile_sums import TileSums, blocks_for, scratch_bytes
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.extent import Extent, ceil_div
from camshaft.ir.types import DType, bf16, i32, u8, u16

_ALIGN = 64
_LEAST_CHANNELS = 16
"""Fewer would fill less than half of a tile's row."""


class ConvAmx:
    """Convolution on tiles, for targets with AMX."""

    name = "conv_amx"
    version = 1

    def plan(self, spec: KernelSpec, target: CpuTarget, threads: int) -> Sequence[ConvAmxCandidate]:
        """Blocks of tiles; for adjacent channels, 16 of them at least, and one group."""
        if not target.has_amx:
            return ()
        if not (computes(spec, integer=True) or computes(spec, integer=False)):
            return ()
        p = ConvProblem.of(spec)
        half = p.x_dtype == p.w_dtype == bf16
        if not (half or p.is_int8) or p.groups > 1 or p.c < _LEAST_CHANNELS:
            return ()
        return [
            ConvAmxCandidate(spec, target, p, params) for params in blocks_for(p.typical.ow, p.k)
        ]


class ConvAmxCandidate(CpuCandidate[ConvProblem]):
    """Parameters: rows, cols (tiles of pixels and of output channels that are summed at once)."""

    @cached_property
    def form(self) -> ProductForm:
        """How groups of channels are multiplied."""
        return ProductForm.packed(self.problem.x_dtype, self.problem.w_dtype, adjacent=True)

    @property
    def pixels(self) -> int:
        """Of a block."""
        return int(self.params["rows"]) * TILE_ROWS

    @property
    def width(self) -> int:
        """Output channels of a block."""
        return int(self.params["cols"]) * TILE_ROWS

    @property
    def panels(self) -> int:
        """Blocks of output channels."""
        return -(-self.problem.k // self.width)

    @property
    def blocks(self) -> Extent:
        """Blocks of pixels in an output row."""
        return ceil_div(self.problem.ow, self.pixels)

    @property
    def channel_steps(self) -> int:
        """Steps of 64 bytes that hold the channels."""
        return -(-self.problem.c * self.problem.x_dtype.bytes // TILE_BYTES)

    @property
    def pixel_bytes(self) -> int:
        """Of a copied pixel."""
        return self.channel_steps * TILE_BYTES

    @property
    def copied(self) -> tuple[Extent, Extent]:
        """Rows and columns of a copied image."""
        p = self.problem
        rows = (p.oh - 1) * p.stride[0] + (p.r - 1) * p.dilation[0] + 1
        columns = (self.blocks * self.pixels - 1) * p.stride[1] + (p.s - 1) * p.dilation[1] + 1
        return rows, columns

    @property
    def copied_bytes(self) -> Extent:
        """Of all images."""
        rows, columns = self.copied
        return self.problem.n * rows * columns * self.pixel_bytes

    @property
    def _scratch_bytes(self) -> int:
        return scratch_bytes(int(self.params["rows"]), int(self.params["cols"]))

    @property
    def packing(self) -> Packing:
        """In panels of whole tiles."""
        return ("tiles", self.width)

    def prepack(self, constants: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """The tiles' configuration, weights in panels, for INT8 -zero_point * (sum of its weights) of each
        output channel, constant epilogue operands."""
        p, numbers = self.problem, constant_numbers(self.spec)
        w = constants[numbers[1]]
        channels = self.pixel_bytes // p.x_dtype.bytes
        wide = np.zeros((self.panels * self.width, p.r, p.s, channels), w.dtype)
        wide[: p.k, ..., : p.c] = w
        shape = (self.panels, self.width, p.r, p.s, channels // self.form.group, self.form.group)
        packed = [
            whole_tiles(),
            np.ascontiguousarray(wide.reshape(shape).transpose(0, 2, 3, 4, 1, 5)),
        ]
        if p.is_int8:
            sums = wide.sum(axis=(1, 2, 3), dtype=np.int64)
            packed.append((-p.zero_point * sums).astype(np.int32))
        return packed + [np.ascontiguousarray(constants[numbers[n]]) for n in numbers if n > 1]

    def workspace(self, threads: int) -> Extent:
        """The copied images, and each worker's sums."""
        return self.copied_bytes + self._scratch_bytes * threads

    def emit(self) -> Source:
        """A phase that copies the images, and the products."""
        p, spec = self.problem, self.spec
        own: list[DType] = [u8, p.w_dtype, *([i32] if p.is_int8 else [])]
        packed = {n: m + len(own) - 1 for n, m in constant_numbers(spec, 2).items()}
        args = phase_args(spec, [*own, *(spec.inputs[n].dtype for n in packed)])
        m = Module(self.target)
        with m.phase("copy", p.n * self.copied[0] * self.blocks, args) as k:
            _copy_rows(k, self)
        items = p.n * p.oh * self.blocks * self.panels
        with m.phase("conv_amx", items, args) as k:
            _Products(k, self, packed).all_items()
        return m.source()


def _copy_rows(k: FunctionBuilder, c: ConvAmxCandidate) -> None:
    """The work items of the first phase: the pixels of a copied row that a block begins with each."""
    p = c.problem
    rows, columns = c.copied
    with k.loop(k.begin, k.end) as item:
        block, line = item % c.blocks, item // c.blocks
        image, row = line // rows, line % rows
        y = row - p.pad[0]
        inside = k.bit("and", y >= 0, y < p.h)
        low = block * (c.pixels * p.stride[1])
        ends = k.select(k.eq(block, c.blocks - 1), columns, low + c.pixels * p.stride[1])
        # Columns first .. last-1 are the image's, where the row is.
        first = k.min(k.max(k.select(inside, p.pad[1], low), low), ends)
        last = k.min(k.max(k.select(inside, k.index(p.w + p.pad[1]), low), low), ends)
        copy = _PixelCopy(k, c, image * p.x_strides[0], y * p.x_strides[1], line * columns)
        copy.blanks(low, first)
        copy.pixels(first, last)
        copy.blanks(last, ends)


class _PixelCopy:
    """Writes pixels of one copied row.  image, line: where the row of x lies; copied: the row's first pixel."""

    def __init__(
        self, k: FunctionBuilder, c: ConvAmxCandidate, image: Value, line: Value, copied: Value
    ) -> None:
        self.k, self.c, self.p = k, c, c.problem
        self.kind = u8 if c.problem.is_int8 else u16
        self.lanes = TILE_BYTES // self.kind.bytes
        self.source = k.args["in0"].as_type(self.kind).at(image).at(line)
        target = k.args["workspace"].at(copied * c.pixel_bytes)
        self.target = target.aligned(_ALIGN).as_type(self.kind)

    def _at(self, column: Value) -> Pointer:
        place = self.target.at(column * (self.c.pixel_bytes // self.kind.bytes))
        return place.aligned(_ALIGN)

    def blanks(self, low: Value, high: Value) -> None:
        """Columns low .. high-1 hold padding."""
        k = self.k
        blank = k.const(self.p.zero_point, self.kind, self.lanes)
        with k.loop(low, high) as column:
            for n in range(self.c.channel_steps):
                k.store(blank, self._at(column).at(n * self.lanes))

    def pixels(self, low: Value, high: Value) -> None:
        """Columns low .. high-1 hold the image's; channels behind the last are 0, as their weights are."""
        k, p, lanes = self.k, self.p, self.lanes
        with k.loop(low, high) as column:
            pixel = self.source.at((column - p.pad[1]) * p.x_strides[2])
            for n in range(self.c.channel_steps):
                count = min(lanes, p.c - n * lanes)
                value = k.load(pixel.at(n * lanes), lanes, count)
                k.store(value, self._at(column).at(n * lanes))


class _Products:
    """Writes the second phase: a block of pixels x output channels for each work item."""

    def __init__(self, k: FunctionBuilder, c: ConvAmxCandidate, packed: dict[int, int]) -> None:
        self.k, self.c, self.p = k, c, c.problem
        p, spec, params = c.problem, c.spec, c.params
        pointers = [operand_pointer(k, spec, n, packed) for n in range(2, len(spec.inputs))]
        self.epilogue = Epilogue(k, p.epilogue, p.operands, pointers, p.output, k.args["out0"])
        scratch = k.args["workspace"].at(c.copied_bytes).at(k.worker * c._scratch_bytes)
        scratch = scratch.as_type(c.form.sums).aligned(_ALIGN)
        self.sums = TileSums(k, int(params["rows"]), int(params["cols"]), c.form, scratch)

    def all_items(self) -> None:
        """Every work item of this call: panels of one block of pixels follow each other."""
        k, p, c = self.k, self.p, self.c
        rows, columns = c.copied
        k.tile_configure(k.args["packed0"])
        with k.loop(k.begin, k.end) as item:
            panel, rest = item % c.panels, item // c.panels
            block, line = rest % c.blocks, rest // c.blocks
            oh, image = line % p.oh, line // p.oh
            first, start = block * c.pixels, panel * c.width
            place = (image * rows + oh * p.stride[0]) * columns + first * p.stride[1]
            self._block(k.args["workspace"].at(place * c.pixel_bytes).aligned(_ALIGN), panel)
            constants = k.args["packed2"].at(start).aligned(_ALIGN) if p.is_int8 else None
            here = self.epilogue.at((image, oh, first, start))
            count = k.min(p.ow - first, c.pixels)
            for tile in k.tile_at(p.k, c.width, 0, is_full=partial(self._is_full, panel)):
                self.sums.finish(here, 4, count, tile.counts(TILE_ROWS), constants)
        k.tile_release()

    def _is_full(self, panel: Value) -> Value:
        """Whether all output channels of a panel exist."""
        return panel < self.c.panels - 1

    def _block(self, x: Pointer, panel: Value) -> None:
        """The sums of a block, whose pixel 0 has its window at `x`."""
        k, p, c = self.k, self.p, self.c
        _, columns = c.copied
        step = TILE_ROWS * c.width * c.form.group
        taps = p.r * p.s * c.channel_steps
        weights = k.args["packed1"].at(panel * (taps * step)).aligned(_ALIGN)
        stride = p.stride[1] * c.pixel_bytes
        self.sums.clear()
        with k.loop(0, p.r) as r, k.loop(0, p.s) as s:
            pixel = x.at(r * (p.dilation[0] * columns * c.pixel_bytes))
            pixel = pixel.at(s * (p.dilation[1] * c.pixel_bytes))
            line = weights.at((r * p.s + s) * (c.channel_steps * step))
            with k.loop(0, c.channel_steps) as n:
                here = pixel.at(n * TILE_BYTES)
                self.sums.add(here, TILE_ROWS * stride, stride, line.at(n * step))
        self.sums.store()
