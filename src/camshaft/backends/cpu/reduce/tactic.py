"""Reductions (sum, product, maximum, minimum) over any axes, with prologue and epilogue.

Lanes lie along a kept axis where that is contiguous (each lane reduces for itself) and along the
reduced axis otherwise (lanes are joined at the end).  Long sums are made of short ones, so that
the rounding error stays near that of pairwise summation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from camshaft.backends.base import KernelSpec, Source
from camshaft.backends.cpu.abi import constant_numbers, operand_pointer, phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.expr.epilogue import emit_expr
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Module, Pointer, Tile, Value
from camshaft.backends.cpu.lang.memory import Count
from camshaft.backends.cpu.pointwise.axes import Nest, is_at_most, merged
from camshaft.backends.cpu.pointwise.support import CONVERTED, printable, widest
from camshaft.backends.cpu.pointwise.tactic import row_loop
from camshaft.backends.cpu.reduce.run import reduced_run
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr, ints_attr
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import is_positive, typical
from camshaft.ir.types import DType, Shape, boolean, i8, i32, u8

_RUN = 512  # steps summed in one accumulator before it is added to the total
_ITEM_BYTES = 16 << 10
_KINDS = ("sum", "prod", "max", "min")


@dataclass(frozen=True)
class ReduceProblem:
    """A "reduce" spec as loops.

    kept: axes of the output with strides of x, the epilogue operands and the output.
    reduced: the other axes of x.  along_kept: lanes lie along the last kept axis.
    sum_dtype: of the result before the epilogue.
    """

    kind: str
    prologue: E.Expr
    epilogue: E.Expr
    sum_dtype: DType
    kept: Nest
    reduced: Nest
    along_kept: bool
    lanes: int

    @staticmethod
    def of(spec: KernelSpec, target: CpuTarget) -> ReduceProblem:
        """Loops and types of a "reduce" spec."""
        attrs = dict(spec.attrs)
        x, out = spec.inputs[0], spec.outputs[0]
        rank = len(x.shape)
        prologue = expr_attr(spec, "prologue", E.inp(0))
        epilogue = expr_attr(spec, "epilogue", E.inp(0))
        axes = {a % rank for a in ints_attr(spec, "axes")}
        kept_axes = [a for a in range(rank) if a not in axes]
        keepdims = bool(attrs.get("keepdims", True))
        out_axes = kept_axes if keepdims else list(range(len(kept_axes)))
        full = [o.strides_over(len(out.shape)) for o in spec.inputs[1:]] + [tuple(out.strides)]
        strides = [tuple(x.strides[a] for a in kept_axes)]
        strides += [tuple(s[a] for a in out_axes) for s in full]
        kept = merged(tuple(x.shape[a] for a in kept_axes), strides)
        reduced_axes = sorted(axes)
        reduced = merged(
            tuple(x.shape[a] for a in reduced_axes), [tuple(x.strides[a] for a in reduced_axes)]
        )
        anchor = E.result_dtype(prologue, [x.dtype])
        kind = str(attrs["kind"])
        total = i32 if anchor in (u8, i8) and kind in ("sum", "prod") else anchor
        lanes = target.lanes(max(widest(prologue, [x.dtype]), total, key=lambda d: d.bytes))
        width, depth = typical(kept.shape[-1]), typical(reduced.shape[-1])
        along_kept = width >= 2 and (reduced.strides[0][-1] != 1 or depth < min(lanes, width))
        return ReduceProblem(kind, prologue, epilogue, total, kept, reduced, along_kept, lanes)

    @property
    def block(self) -> int:
        """Vectors of a kept axis that are reduced side by side."""
        return min(4, -(-typical(self.kept.shape[-1]) // self.lanes)) if self.along_kept else 1

    @property
    def rows(self) -> Shape:
        """Extents of the loops over results; the last counts blocks where lanes lie along it."""
        if not self.along_kept:
            return self.kept.shape
        return (*self.kept.shape[:-1], -(-self.kept.shape[-1] // (self.block * self.lanes)))

    @property
    def identity(self) -> float | int:
        """What changes no result."""
        if self.kind in ("sum", "prod"):
            return 0 if self.kind == "sum" else 1
        low = self.kind == "max"
        if self.sum_dtype.is_float:
            return float("-inf") if low else float("inf")
        return self.sum_dtype.range[0 if low else 1]

    def combine(self, k: FunctionBuilder, a: Value, b: Value) -> Value:
        """Two partial results joined."""
        if self.kind == "sum":
            return a + b
        if self.kind == "prod":
            return a * b
        return k.max(a, b) if self.kind == "max" else k.min(a, b)


class Reduce:
    """Reduction over any axes of any strided operand."""

    name = "reduce"
    version = 2

    def plan(self, spec: KernelSpec, target: CpuTarget, threads: int) -> Sequence[ReduceCandidate]:
        """One way; none for bools, halves (which the prologue may widen), constants, empty axes and
        expressions without CPU code."""
        if spec.op != "reduce" or spec.inputs[0].const or not spec.inputs[0].shape:
            return ()
        attrs = dict(spec.attrs)
        shape = spec.inputs[0].shape
        if attrs["kind"] not in _KINDS or 0 in shape:
            return ()
        if not all(is_positive(shape[a]) for a in ints_attr(spec, "axes")):
            return ()
        x = spec.inputs[0].dtype
        if not printable(expr_attr(spec, "prologue", E.inp(0)), [x]):
            return ()
        p = ReduceProblem.of(spec, target)
        operands = [o.dtype for o in spec.inputs[1:]]
        if p.sum_dtype in (boolean, *CONVERTED) or not printable(
            p.epilogue, [p.sum_dtype, *operands]
        ):
            return ()
        return [ReduceCandidate(spec, target, p)]


class ReduceCandidate(CpuCandidate[ReduceProblem]):
    """Reduces row by row, or block by block of a kept axis."""

    def emit(self) -> Source:
        """One phase; work items are runs of results or of blocks of results."""
        spec, p = self.spec, self.problem
        count = prod(p.rows)
        width = p.block * p.lanes if p.along_kept else 1
        unit = prod(p.reduced.shape) * width * spec.inputs[0].dtype.bytes
        per_item = max(1, _ITEM_BYTES // typical(unit))
        m = Module(self.target)
        args = phase_args(spec)
        with m.phase("reduce", -(-count // per_item), args) as k:
            writer = _Reduction(k, spec, p)
            first, last = k.begin * per_item, k.min(k.end * per_item, count)
            with row_loop(k, first, last, p.rows) as position:
                writer.at(position)
        return m.source()


class _Reduction:
    """Writes the reduction for one position of the kept axes."""

    def __init__(self, k: FunctionBuilder, spec: KernelSpec, p: ReduceProblem) -> None:
        self.k, self.p = k, p
        numbers = constant_numbers(spec, 1)
        count = len(spec.inputs)
        self.pointers = [operand_pointer(k, spec, n, numbers) for n in range(count)]
        self.pointers.append(k.args["out0"])

    def at(self, position: Sequence[Index]) -> None:
        """The result, or block of results, at `position` in the loops over results."""
        k, p = self.k, self.p
        if not p.along_kept:
            self._across(self._moved(position))
            return
        width, extent = p.block * p.lanes, p.kept.shape[-1]
        start = k.index(position[-1]) * width
        pointers = self._moved([*position[:-1], start])
        for tile in k.tile_at(extent, width, start, is_full=lambda: start + width <= extent):
            self._along(pointers, tile)

    def _moved(self, position: Sequence[Index]) -> list[Pointer]:
        result = []
        for pointer, strides in zip(self.pointers, self.p.kept.strides, strict=True):
            for index, stride, extent in zip(position, strides, self.p.kept.shape, strict=True):
                if extent != 1 and stride != 0:
                    pointer = pointer.at(index * stride)
            result.append(pointer)
        return result

    # --- lanes along a kept axis ------------------------------------------------------------

    def _along(self, pointers: list[Pointer], tile: Tile) -> None:
        """Neighbouring results, each in its own lane."""
        k, p, lanes = self.k, self.p, self.p.lanes
        stride = p.kept.strides[0][-1]
        counts = tile.counts(lanes)

        def read(x: Pointer, _: Count) -> list[Value]:
            return [
                self._entered(k.load_strided(x.at(n * lanes * stride), stride, lanes, count))
                for n, count in enumerate(counts)
            ]

        totals = self._reduced(pointers[0], read, len(counts), p.reduced.shape[-1], 1)
        for n, (total, count) in enumerate(zip(totals, counts, strict=True)):
            self._store(total, pointers, n * lanes, count)

    def _store(self, total: Value, pointers: list[Pointer], start: int, count: int | Value) -> None:
        k, p, lanes = self.k, self.p, self.p.lanes
        steps = [s[-1] for s in p.kept.strides]
        values = [total]
        for pointer, step in zip(pointers[1:-1], steps[1:-1], strict=True):
            if step == 0:
                values.append(k.load(pointer))
            else:
                values.append(k.load_strided(pointer.at(start * step), step, lanes, count))
        result = k.splat(emit_expr(k, p.epilogue, values), lanes)
        k.store_strided(result, pointers[-1].at(start * steps[-1]), steps[-1], count)

    # --- lanes along the reduced axis -------------------------------------------------------

    def _across(self, pointers: list[Pointer]) -> None:
        """One result from all lanes."""
        k, p, lanes = self.k, self.p, self.p.lanes
        stride = p.reduced.strides[0][-1]

        def read(x: Pointer, count: Count) -> list[Value]:
            value = self._entered(k.load_strided(x, stride, lanes, count))
            if count is None:
                return [value]
            return [k.select(k.lane_mask(count, lanes), value, p.identity)]

        extent = p.reduced.shape[-1]
        (total,) = self._reduced(pointers[0], read, 1, extent // lanes, lanes, extent % lanes)
        total = k.reduce(total, lambda a, b: p.combine(k, a, b))
        values = [total, *(k.load(pointer) for pointer in pointers[1:-1])]
        k.store(emit_expr(k, p.epilogue, values), pointers[-1])

    # --- the loops over reduced axes --------------------------------------------------------

    def _entered(self, x: Value) -> Value:
        """An element as it enters the reduction."""
        return self.k.cast(emit_expr(self.k, self.p.prologue, [x]), self.p.sum_dtype)

    def _initial(self, count: int) -> list[Value]:
        identity = self.k.const(self.p.identity, self.p.sum_dtype, self.p.lanes)
        return [identity for _ in range(count)]

    def _reduced(
        self,
        x: Pointer,
        read: Callable[[Pointer, Count], list[Value]],
        width: int,
        steps: Extent,
        step: int,
        rest: Extent = 0,
    ) -> list[Value]:
        """`width` vectors reduced over all reduced axes.

        The last of them takes `steps` steps of `step` elements and `rest` more.
        """
        k, p = self.k, self.p
        totals = self._initial(width)
        distance = step * p.reduced.strides[0][-1]

        def join(a: Value, b: Value) -> Value:
            return p.combine(k, a, b)

        def add(parts: list[Value]) -> None:
            totals[:] = [join(a, b) for a, b in zip(totals, parts, strict=True)]

        def run(at: Pointer, count: Extent) -> list[Value]:
            identity = self._initial(width)
            return reduced_run(k, at, count, distance, identity, lambda x: read(x, None), join)

        def nested(axis: int, at: Pointer) -> None:
            if axis < len(p.reduced.shape) - 1:
                with k.loop(0, p.reduced.shape[axis], carry=totals) as n:
                    nested(axis + 1, at.at(n * p.reduced.strides[0][axis]))
                return
            runs = 0 if is_at_most(steps, 2 * _RUN - 1) else steps // _RUN
            with k.loop(0, runs, carry=totals) as n:
                add(run(at.at(n * (_RUN * distance)), _RUN))
            left = steps - runs * _RUN
            if left != 0:
                add(run(at.at(runs * _RUN * distance), left))
            if isinstance(rest, int) and rest:
                add(read(at.at(steps * distance), rest))
            elif not isinstance(rest, int):
                with k.if_(k.index(rest) > 0, carry=totals):
                    add(read(at.at(steps * distance), k.index(rest)))

        nested(0, x)
        return totals
