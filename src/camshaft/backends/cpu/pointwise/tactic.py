"""Elementwise kernels: out = expr(inputs) for any strides, also every copy and layout change.

The tactic merges axes, picks the vector axis (`axes`) and visits the output tile by tile
(`tiles`); the expression is printed once per vector.  What is left of a transposed or
channel-shuffled tensor after the build's placing of tensors ends here too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod

from camshaft.backends.base import KernelSpec, Params, Source
from camshaft.backends.cpu.abi import constant_numbers, operand_pointer, phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Module, Part, Pointer, Value
from camshaft.backends.cpu.pointwise.axes import Nest, Tiling, is_at_most, merged, tiling_of
from camshaft.backends.cpu.pointwise.support import COMPUTABLE, CONVERTED, printable, widest
from camshaft.backends.cpu.pointwise.tiles import Streams, TileShape
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr
from camshaft.ir.extents.extent import Extent, ceil_div, largest
from camshaft.ir.extents.sizes import typical
from camshaft.ir.types import DType, u8, u16, u32, u64

_SAME_SIZE = {1: u8, 2: u16, 4: u32, 8: u64}
_COPIED = (*COMPUTABLE, *CONVERTED)
_MAX_TRANSPOSED_LANES = 16
_SPILLING = frozenset({"log", "tanh", "erf", "sin", "cos", "pow"})
"""Functions that need so many registers that only one or two vectors go side by side."""
_GRAIN = 32 << 10  # bytes read and written by one work item
_WORTH_TIMING = 1 << 14  # elements


@dataclass(frozen=True)
class Loops:
    """Everything decided before code is written.

    nest, tiling: loops.  lanes: of one vector; unroll: vectors in a row per step.  rows: (outer
    position, plane group) pairs; chunk: elements of the lane axis per work item, of which a row has
    `chunks` where rows are long, else (None) rows_per_item rows make an item.  dtypes: of the inputs and the output in memory.
    """

    nest: Nest
    tiling: Tiling
    lanes: int
    unroll: int
    outer: tuple[int, ...]
    rows: Extent
    chunk: int | None
    chunks: Extent
    rows_per_item: Extent
    items: Extent
    dtypes: tuple[DType, ...]

    @property
    def length(self) -> Extent:
        """Extent of the lane axis."""
        return self.nest.shape[self.tiling.lane_axis]

    @property
    def plane_extent(self) -> Extent:
        """Extent of the plane axis (1 if there is none)."""
        axis = self.tiling.plane_axis
        return 1 if axis is None else self.nest.shape[axis]

    @property
    def groups(self) -> Extent:
        """Groups of planes, the last possibly short."""
        return -(-self.plane_extent // self.tiling.planes)


def loops_of(spec: KernelSpec, params: Params, target: CpuTarget) -> Loops:
    """Loops, tile and work split for a "pointwise" spec."""
    expr = expr_attr(spec, "expr")
    out = spec.outputs[0]
    operands = (*spec.inputs, out)
    dtypes = tuple(o.dtype for o in operands)
    if expr.op == "input":  # a copy: any bits
        dtypes = tuple(_SAME_SIZE[d.bytes] for d in dtypes)
    nest = merged(out.shape, [o.strides_over(len(out.shape)) for o in operands])
    widest_dtype = dtypes[-1] if expr.op == "input" else widest(expr, dtypes[:-1])
    lanes = target.lanes(widest_dtype)
    square = min(lanes, _MAX_TRANSPOSED_LANES)
    tiling = tiling_of(nest, square)
    unroll = int(params["unroll"])
    if tiling.plane_axis is not None:
        lanes, unroll = square, 1
    outer = tuple(
        a for a in range(len(nest.shape)) if a not in (tiling.lane_axis, tiling.plane_axis)
    )
    extent = 1 if tiling.plane_axis is None else nest.shape[tiling.plane_axis]
    rows = prod(nest.shape[a] for a in outer) * -(-extent // tiling.planes)
    length = nest.shape[tiling.lane_axis]
    element = tiling.planes * sum(d.bytes for d in dtypes)
    row_bytes = element * largest(1, length)
    grain, step = int(params["grain"]), lanes * unroll
    if isinstance(rows, int) and rows == 1 and not isinstance(length, int):
        chunk: int | None = -(-grain // (element * step)) * step
    elif typical(row_bytes) >= 2 * grain:
        pieces = -(-typical(row_bytes) // grain)
        chunk = -(-typical(length) // pieces // step) * step
    else:
        chunk = None
    if chunk is not None and is_at_most(length, chunk):
        chunk = None
    rows_per_item = largest(1, grain // row_bytes) if chunk is None else 1
    chunks = 1 if chunk is None else largest(1, ceil_div(length, chunk))
    items = ceil_div(rows, rows_per_item) if chunk is None else rows * chunks
    return Loops(
        nest, tiling, lanes, unroll, outer, rows, chunk, chunks, rows_per_item,
        items if 0 not in out.shape else 0, dtypes,
    )  # fmt: skip


class Pointwise:
    """Streams every operand once; transposes tiles in registers where layouts differ."""

    name = "pointwise"
    version = 4

    def plan(
        self, spec: KernelSpec, target: CpuTarget, threads: int
    ) -> Sequence[PointwiseCandidate]:
        """Steps of several vectors, fewer where functions need many registers; none for
        expressions without CPU code."""
        if spec.op != "pointwise":
            return ()
        expr = expr_attr(spec, "expr")
        if not _is_computable(spec, expr):
            return ()
        unrolls = [2, 1] if _SPILLING & {e.op for e in E.nodes(expr)} else [4, 2]
        if typical(prod(spec.outputs[0].shape)) < _WORTH_TIMING:
            unrolls = unrolls[:1]
        return [
            PointwiseCandidate(spec, target, expr, {"unroll": u, "grain": _GRAIN}) for u in unrolls
        ]


def _is_computable(spec: KernelSpec, expr: E.Expr) -> bool:
    if expr.op == "input":
        return len(spec.inputs) == 1 and spec.inputs[0].dtype in _COPIED
    return printable(expr, [o.dtype for o in spec.inputs])


class PointwiseCandidate(CpuCandidate[E.Expr]):
    """Parameters: unroll, vectors of a step; grain, bytes read and written by a work item."""

    def emit(self) -> Source:
        """One phase; work items are runs of rows, or pieces of long rows."""
        loops = loops_of(self.spec, self.params, self.target)
        m = Module(self.target)
        with m.phase("pointwise", loops.items, phase_args(self.spec)) as k:
            if loops.items != 0:
                _PointwiseLoops(k, self.spec, loops).all_items()
        return m.source()


class _PointwiseLoops:
    """Writes the loops of one kernel."""

    def __init__(self, k: FunctionBuilder, spec: KernelSpec, plan: Loops) -> None:
        self.k, self.plan = k, plan
        self.expr = expr_attr(spec, "expr")
        numbers = constant_numbers(spec)
        pointers = [operand_pointer(k, spec, n, numbers) for n in range(len(spec.inputs))]
        pointers.append(k.args["out0"])
        self.pointers = [p.as_type(d) for p, d in zip(pointers, plan.dtypes, strict=True)]

    def all_items(self) -> None:
        """Every work item of this call."""
        k, plan = self.k, self.plan
        if plan.chunk is None:
            first = k.begin * plan.rows_per_item
            last = k.min(k.end * plan.rows_per_item, plan.rows)
            for position in self._rows(first, last):
                self._row(position, None)
            return
        with k.loop(k.begin, k.end) as item:
            row, piece = item // plan.chunks, item % plan.chunks
            for position in self._rows(row, row + 1):
                self._row(position, piece)

    def _rows(self, first: Value, last: Value) -> Iterator[list[Index]]:
        """Opens loops over rows first..last-1; yields (outer positions..., plane group) once.

        The innermost of these axes is a plain loop, so that only runs of rows pay for division.
        """
        extents = [self.plan.nest.shape[a] for a in self.plan.outer] + [self.plan.groups]
        with row_loop(self.k, first, last, extents) as position:
            yield position

    def _row(self, position: list[Index], piece: Value | None) -> None:
        """One row: a run of tiles along the lane axis."""
        k, plan, group = self.k, self.plan, position[-1]
        for tile in k.tile_at(
            plan.plane_extent,
            plan.tiling.planes,
            is_full=lambda: k.index(group) < plan.groups - 1,
        ):
            if isinstance(tile.count, int):
                self._tiles(position, piece, tile.count)
                continue
            with k.loop(0, tile.count) as plane:
                self._tiles(position, piece, 1, plane)

    def _tiles(
        self, position: list[Index], piece: Value | None, planes: int, first: Value | None = None
    ) -> None:
        """The tiles of `planes` planes, from plane `first` of the group on."""
        k, plan = self.k, self.plan
        bases, strides = self._bases(position), self._tile_strides()
        if first is not None:
            across = (step for step, _ in strides)
            bases = [_moved(b, first, step) for b, step in zip(bases, across, strict=True)]
        streams = Streams(k, self.expr, bases, strides, plan.plane_extent, planes)
        lanes, part = plan.lanes, None
        if piece is not None and plan.chunk is not None:
            part = Part(piece * plan.chunk, plan.chunk, lambda: k.eq(piece, plan.chunks - 1))
        for tile in k.tiles(plan.length, lanes * plan.unroll, part=part, lanes=lanes):
            counts = [None if count == lanes else count for count in tile.counts(lanes)]
            streams.tiles(k.index(tile.start), [TileShape(lanes, count) for count in counts])

    def _bases(self, position: list[Index]) -> list[Pointer]:
        plan = self.plan
        bases = []
        for pointer, strides in zip(self.pointers, plan.nest.strides, strict=True):
            for axis, index in zip(plan.outer, position, strict=False):
                pointer = _moved(pointer, index, strides[axis])
            if plan.tiling.plane_axis is not None:
                step = plan.tiling.planes * strides[plan.tiling.plane_axis]
                pointer = _moved(pointer, position[-1], step)
            bases.append(pointer)
        return bases

    def _tile_strides(self) -> list[tuple[Extent, Extent]]:
        tiling = self.plan.tiling
        planes = tiling.plane_axis
        return [
            (0 if planes is None else s[planes], s[tiling.lane_axis])
            for s in self.plan.nest.strides
        ]


def _moved(pointer: Pointer, index: Index, stride: Extent) -> Pointer:
    if stride == 0 or (isinstance(index, int) and index == 0):
        return pointer
    return pointer.at(index * stride)


@contextmanager
def row_loop(
    k: FunctionBuilder, first: Value, last: Value, extents: Sequence[Extent]
) -> Iterator[list[Index]]:
    """Loop over row numbers first..last-1 of a row-major space; yields the position per axis.

    Axes of extent 1 yield the constant 0.
    """
    axes = [axis for axis, extent in enumerate(extents) if extent != 1]
    divisors = [largest(1, extent) for extent in extents]  # also where there are no rows
    position: list[Index] = [0] * len(extents)
    if not axes:
        with k.if_(first < last):
            yield position
        return
    inner = divisors[axes[-1]]
    if len(axes) == 1:
        with k.loop(first, last) as index:
            position[axes[-1]] = index
            yield position
        return
    with k.loop(first // inner, (last + (inner - 1)) // inner) as run:
        base = run * inner
        rest: Value = run
        for axis in reversed(axes[:-1]):
            if axis == axes[0]:
                position[axis] = rest
            else:
                position[axis] = rest % divisors[axis]
                rest = rest // divisors[axis]
        low = k.max(first - base, 0)
        high = k.min(last - base, inner)
        with k.loop(low, high) as index:
            position[axes[-1]] = index
            yield position
