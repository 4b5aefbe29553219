"""How depthwise and grouped convolutions are cut into column tiles and work items.

A tile is a number of neighbouring pixels of an output row; which of its filter columns lie outside
the image is known when the kernel is written (static clipping), so tiles that clip alike share code
and form a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from camshaft.backends.base import KernelSpec, Params
from camshaft.backends.cpu.conv.problem import ConvProblem
from camshaft.backends.cpu.lang import FunctionBuilder, Pointer, Value
from camshaft.backends.cpu.pointwise.support import printable
from camshaft.backends.cpu.products.form import may_meet
from camshaft.ir.expr import result_dtype
from camshaft.ir.extents.extent import Extent, ceil_div
from camshaft.ir.types import i8, u8

UNROLL_LIMIT = 1024
"""Most multiply-adds (vector instructions) that one tile may spell out."""


def computes(spec: KernelSpec, *, integer: bool) -> bool:
    """Whether `spec` is a convolution of floats, or of u8 with s8 weights, whose operands suit these
    tactics: x and y with adjacent channels, w constant, an epilogue with CPU code."""
    if spec.op != "conv":
        return False
    x, w, *operands = spec.inputs
    y = spec.outputs[0]
    fits = (x.dtype, w.dtype) == (u8, i8) if integer else x.dtype.is_float
    if not fits or not may_meet(x.dtype, w.dtype) or not w.const:
        return False
    if (x.strides[3] != 1 and x.shape[3] > 1) or (y.strides[3] != 1 and y.shape[3] > 1):
        return False
    types = [x.dtype.accumulator, *(o.dtype for o in operands)]
    epilogue = ConvProblem.of(spec).epilogue
    return printable(epilogue, types) and result_dtype(epilogue, types) == y.dtype


@dataclass(frozen=True)
class ColumnRun:
    """`count` tiles side by side, `width` output columns each, from output column `start` on.

    inside: for each output column of a tile its filter columns inside the image.
    """

    start: int
    count: int
    width: int
    inside: tuple[tuple[int, ...], ...]

    def taps(self, problem: ConvProblem) -> dict[int, list[tuple[int, int]]]:
        """For each input column (relative to that under filter column 0 of the tile's first
        output column), ascending: which (output column of the tile, filter column) read it."""
        stride, dilation = problem.stride[1], problem.dilation[1]
        taps: dict[int, list[tuple[int, int]]] = {}
        for i, inside in enumerate(self.inside):
            for s in inside:
                taps.setdefault(i * stride + s * dilation, []).append((i, s))
        return dict(sorted(taps.items()))


def column_runs(problem: ConvProblem, width: int) -> list[ColumnRun]:
    """The output row cut into tiles of `width` columns (the last may be narrower), as runs."""
    runs: list[ColumnRun] = []
    for start in range(0, problem.columns, width):
        columns = range(start, min(start + width, problem.columns))
        inside = tuple(
            tuple(s for s in range(problem.s) if problem.has_column(ow, s)) for ow in columns
        )
        last = runs[-1] if runs else None
        if last and last.inside == inside:
            runs[-1] = ColumnRun(last.start, last.count + 1, width, inside)
        else:
            runs.append(ColumnRun(start, 1, len(columns), inside))
    return runs


def choose(k: FunctionBuilder, condition: Value, a: Pointer, b: Pointer) -> Pointer:
    """Pointer `a` where the scalar bool holds, else `b`."""
    ref = k.emit(f"select i1 {condition.ref}, ptr {a.address()}, ptr {b.address()}")
    return Pointer(k, ref, a.dtype, 0, min(a.align, b.align))


@dataclass(frozen=True)
class BandItems:
    """Work items of a kernel: (image, block of output rows, block of channels); images and output
    rows may be symbolic.

    Channel blocks vary fastest, so that a worker's share is a band of rows, as its share of the
    pointwise layers before and after is.
    """

    images: Extent
    oh: Extent
    rows: int
    blocks: int

    @property
    def bands(self) -> Extent:
        """Row blocks of one image."""
        return ceil_div(self.oh, self.rows)

    @property
    def count(self) -> Extent:
        """All items."""
        return self.images * self.bands * self.blocks

    def decode(self, k: FunctionBuilder, item: Value) -> tuple[Value, Value, Value, Value]:
        """(image, first output row, one past the last output row, channel block) of an item."""
        rest, block = _divide(k, item, self.blocks)
        image, band = _divide(k, rest, self.bands)
        first = band * self.rows
        return image, first, k.min(first + self.rows, self.oh), block


def _divide(k: FunctionBuilder, x: Value, by: Extent) -> tuple[Value, Value]:
    if by == 1:
        return x, k.index(0)
    quotient = x // by
    return quotient, x - quotient * by


def row_blocks(oh: int, blocks: int, threads: int, least: int) -> int:
    """Output rows per item: all if the channel blocks keep the threads busy, else at least
    `least` rows, so that each thread gets about four items."""
    wanted = -(-4 * threads // max(1, blocks))
    return max(min(oh, least), -(-oh // wanted))


def distinct(candidates: Sequence[Params]) -> list[Params]:
    """Candidates in order without repetitions."""
    found: list[Params] = []
    for candidate in candidates:
        if candidate not in found:
            found.append(candidate)
    return found
