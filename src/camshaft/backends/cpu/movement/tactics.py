"""Padding and gathering: the movement ops that are never only another view.

Both visit rows of the output: a row that lies contiguous in source and target is copied in
vectors; where a row comes from is index arithmetic once a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from camshaft.backends.base import KernelSpec, Source
from camshaft.backends.cpu.abi import constant_numbers, operand_pointer, phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Module, Pointer, Value
from camshaft.backends.cpu.movement.runs import MOVABLE, carrier, copy_run, fill_run
from camshaft.backends.cpu.pointwise.axes import merged
from camshaft.backends.cpu.pointwise.tactic import row_loop
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.attrs import axis_attr, extents_attr
from camshaft.ir.extents.extent import Extent, ceil_div, largest
from camshaft.ir.extents.sizes import is_positive
from camshaft.ir.strides import Strides
from camshaft.ir.types import DType, Shape, i64, row_major_strides, u64
from camshaft.program.view import REPORT_BYTES

_ITEM_BYTES = 32 << 10
_MODES = ("constant", "reflect", "edge", "wrap")


def _rows_per_item(row_bytes: Extent) -> Extent:
    return largest(1, _ITEM_BYTES // largest(1, row_bytes))


@dataclass(frozen=True)
class PadProblem:
    """Axes of a pad, the last of them a row: extents of x, pads, strides of x and the output."""

    shape: Shape
    before: Shape
    after: Shape
    steps: Strides
    out_steps: Strides
    mode: str

    @staticmethod
    def of(spec: KernelSpec) -> PadProblem:
        """The numbers of a "pad" spec; unpadded inner axes are merged into the row."""
        attrs = dict(spec.attrs)
        x, out = spec.inputs[0], spec.outputs[0]
        before, after = extents_attr(spec, "before"), extents_attr(spec, "after")
        mode = str(attrs.get("mode", "constant"))
        axes: list[list[Extent]] = [
            [d, b, a, s, t]
            for d, b, a, s, t in zip(x.shape, before, after, x.strides, out.strides, strict=True)
        ] or [[1, 0, 0, 1, 1]]
        while len(axes) > 1:
            outer, inner = axes[-2], axes[-1]
            extent = inner[0]
            padded = inner[1] != 0 or inner[2] != 0
            padded |= mode != "constant" and (outer[1] != 0 or outer[2] != 0)
            dense = (outer[0] == 1 or outer[3] == extent * inner[3]) and outer[4] == extent * inner[
                4
            ]
            if padded or not dense:
                break
            axes[-2:] = [[outer[0] * extent, outer[1] * extent, outer[2] * extent, *inner[3:]]]
        columns = [tuple(column) for column in zip(*axes, strict=True)]
        return PadProblem(columns[0], columns[1], columns[2], columns[3], columns[4], mode)

    @property
    def out_shape(self) -> Shape:
        """Extents of the output."""
        return tuple(b + d + a for b, d, a in zip(self.before, self.shape, self.after, strict=True))


class Pad:
    """Padding by a constant or by the tensor's own elements."""

    name = "pad"
    version = 2

    def plan(self, spec: KernelSpec, target: CpuTarget, threads: int) -> Sequence[PadCandidate]:
        """One way for every mode; none where an empty axis would have to be repeated."""
        if spec.op != "pad" or spec.inputs[0].const or spec.inputs[0].dtype not in MOVABLE:
            return ()
        mode = dict(spec.attrs).get("mode", "constant")
        filled = all(is_positive(d) for d in spec.inputs[0].shape)
        if mode not in _MODES or not (mode == "constant" or filled):
            return ()
        return [PadCandidate(spec, target, PadProblem.of(spec))]


class PadCandidate(CpuCandidate[PadProblem]):
    """Copies and fills the output row by row."""

    def emit(self) -> Source:
        """One phase; work items are runs of rows."""
        spec, p = self.spec, self.problem
        dtype = spec.inputs[0].dtype
        rows = p.out_shape[:-1]
        per_item = _rows_per_item(p.out_shape[-1] * dtype.bytes)
        count = prod(rows) if p.out_shape[-1] != 0 else 0
        m = Module(self.target)
        with m.phase("pad", -(-count // per_item), phase_args(spec)) as k:
            x = k.args["in0"].as_type(carrier(dtype))
            y = k.args["out0"].as_type(carrier(dtype))
            writer = _PaddedRow(
                k, p, x, y, _fill_value(k, dtype, dict(spec.attrs).get("value", 0.0))
            )
            first, last = k.begin * per_item, k.min(k.end * per_item, count)
            with row_loop(k, first, last, rows) as position:
                writer.row(position)
        return m.source()


def _fill_value(k: FunctionBuilder, dtype: DType, value: object) -> Value:
    """The fill value's bits."""
    bits = np.asarray(value).astype(dtype.numpy).reshape(1).view(f"i{dtype.bytes}")
    return k.const(int(bits[0]), carrier(dtype))


class _PaddedRow:
    """Writes one row of a padded tensor."""

    def __init__(
        self, k: FunctionBuilder, p: PadProblem, x: Pointer, y: Pointer, fill: Value
    ) -> None:
        self.k, self.p, self.x, self.y, self.fill = k, p, x, y, fill

    def row(self, position: Sequence[Index]) -> None:
        """The row at `position` of the output's outer axes."""
        k, p = self.k, self.p
        target = self.y
        for index, step in zip(position, p.out_steps, strict=False):
            target = target.at(k.index(index) * step)
        if p.mode != "constant":
            self._from_itself(position, target)
            return
        inside = None
        for axis, index in enumerate(position):
            if p.before[axis] != 0 or p.after[axis] != 0:
                place = k.index(index) - p.before[axis]
                here = k.bit("and", place >= 0, place < p.shape[axis])
                inside = here if inside is None else k.bit("and", inside, here)
        if inside is None:
            self._copied(position, target)
            return
        with k.if_else(inside) as branch:
            with branch.then():
                self._copied(position, target)
            with branch.otherwise():
                fill_run(k, self.fill, target, p.out_steps[-1], p.out_shape[-1])

    def _copied(self, position: Sequence[Index], target: Pointer) -> None:
        k, p = self.k, self.p
        source = self.x
        for axis, index in enumerate(position):
            source = source.at((k.index(index) - p.before[axis]) * p.steps[axis])
        before, after, step = p.before[-1], p.after[-1], p.out_steps[-1]
        fill_run(k, self.fill, target, step, before)
        copy_run(k, source, p.steps[-1], target.at(before * step), step, p.shape[-1])
        fill_run(k, self.fill, target.at((before + p.shape[-1]) * step), step, after)

    def _from_itself(self, position: Sequence[Index], target: Pointer) -> None:
        k, p = self.k, self.p
        source = self.x
        for axis, index in enumerate(position):
            source = source.at(self._mapped(axis, k.index(index)) * p.steps[axis])
        extent, before, step = p.shape[-1], p.before[-1], p.out_steps[-1]
        last = len(p.shape) - 1

        def scattered(low: Index, high: Index) -> None:
            with k.loop(low, high) as at:
                value = k.load(source.at(self._mapped(last, at) * p.steps[-1]))
                k.store(value, target.at(at * step))

        scattered(0, before)
        copy_run(k, source, p.steps[-1], target.at(before * step), step, extent)
        scattered(before + extent, p.out_shape[-1])

    def _mapped(self, axis: int, at: Value) -> Value:
        """The source index of output index `at` along an axis (reflect, edge, wrap)."""
        k, p = self.k, self.p
        extent, before = p.shape[axis], p.before[axis]
        if before == p.after[axis] == 0:
            return at
        if extent == 1:
            return k.index(0)
        if p.mode == "edge":
            return k.min(k.max(at - before, 0), extent - 1)
        period = extent if p.mode == "wrap" else largest(1, 2 * (extent - 1))
        turn = (at + (ceil_div(before, period) * period - before)) % period
        return turn if p.mode == "wrap" else k.min(turn, period - turn)


class Gather:
    """Slabs of a tensor picked by an integer tensor along one axis (embedding rows, reordering)."""

    name = "gather"
    version = 3

    def plan(self, spec: KernelSpec, target: CpuTarget, threads: int) -> Sequence[GatherCandidate]:
        """One way; none where there is nothing to pick from."""
        if spec.op != "gather" or len(spec.inputs) != 2:
            return ()
        x, index = spec.inputs
        if x.dtype not in MOVABLE or not index.dtype.is_int:
            return ()
        axis = axis_attr(spec, len(x.shape), 0)
        if 0 in x.shape or not is_positive(x.shape[axis]):
            return ()
        return [GatherCandidate(spec, target, axis)]


class GatherCandidate(CpuCandidate[int]):
    """Copies row by row; `problem` is the axis.  Reports an index outside it, and goes on with the
    nearest one."""

    @property
    def reports(self) -> bool:
        """Where the indices are known at run time only."""
        return not self.spec.inputs[1].const

    def workspace(self, threads: int) -> int:
        """A report, if any."""
        return REPORT_BYTES if self.reports else 0

    def emit(self) -> Source:
        """One phase; work items are runs of rows."""
        spec, axis = self.spec, self.problem
        x, index = spec.inputs
        out = spec.outputs[0]
        picked = axis + len(index.shape)
        slab = merged(x.shape[axis + 1 :], [x.strides[axis + 1 :], out.strides[picked:]])
        lead = len(x.shape[:axis])
        rows = (*x.shape[:axis], *index.shape, *slab.shape[:-1])
        x_steps = (*x.strides[:axis], *(0,) * len(index.shape), *slab.strides[0][:-1])
        out_steps = (*out.strides[:picked], *slab.strides[1][:-1])
        length = slab.shape[-1]
        per_item = _rows_per_item(length * x.dtype.bytes)
        count = prod(rows)
        m = Module(self.target)
        args = phase_args(spec)
        with m.phase("gather", -(-count // per_item), args) as k:
            numbers = constant_numbers(spec)
            source = operand_pointer(k, spec, 0, numbers).as_type(carrier(x.dtype))
            indices = operand_pointer(k, spec, 1, numbers)
            steps = row_major_strides(index.shape) if index.const else index.strides
            target_at = k.args["out0"].as_type(carrier(x.dtype))
            first, last = k.begin * per_item, k.min(k.end * per_item, count)
            with row_loop(k, first, last, rows) as position:
                at = indices
                for place, step in zip(position[lead:], steps, strict=False):
                    at = at.at(k.index(place) * step)
                number = k.cast(k.load(at), i64)
                number = k.select(number < 0, number + x.shape[axis], number)
                if self.reports:
                    number = self._reported(k, number, at)
                else:
                    number = k.min(k.max(number, 0), x.shape[axis] - 1)
                row, y = source.at(number * x.strides[axis]), target_at
                for place, step, out_step in zip(position, x_steps, out_steps, strict=True):
                    row, y = row.at(k.index(place) * step), y.at(k.index(place) * out_step)
                copy_run(k, row, slab.strides[0][-1], y, slab.strides[1][-1], length)
        return m.source()

    def _reported(self, k: FunctionBuilder, number: Value, at: Pointer) -> Value:
        """The index itself where the axis has it, at the price of one comparison; else it is
        reported, and this is the nearest one.  at: where it was read, for the report."""
        extent = k.index(self.spec.inputs[0].shape[self.problem])
        inside = [number]
        with k.if_(k.bitcast(number, u64) >= k.bitcast(extent, u64), carry=inside):
            report = k.args["workspace"].as_type(i64)
            k.store(k.cast(k.load(at), i64), report.at(1))
            k.store(extent, report.at(2))
            k.store(k.index(1), report)
            inside[0] = k.min(k.max(number, 0), extent - 1)
        return inside[0]
