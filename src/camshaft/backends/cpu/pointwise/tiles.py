"""Tiles of an elementwise kernel: load every operand, print the expression, store.

A tile is some vectors (planes) of lanes.  Each operand is read the way it lies: straight along the
lanes, repeated, as interleaved planes, transposed, or element by element.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from camshaft.backends.cpu.expr.epilogue import emit_expr
from camshaft.backends.cpu.lang import FunctionBuilder, Pointer, Value
from camshaft.backends.cpu.lang.memory import Count
from camshaft.backends.cpu.pointwise.lanes import (
    deinterleaved,
    interleaved,
    interleaved_run,
    rows_of,
    store_interleaved_run,
    store_rows,
    transposed,
)
from camshaft.ir.expr import Expr
from camshaft.ir.extents.extent import Extent


@dataclass(frozen=True)
class TileShape:
    """Lanes of a vector, and how many of them exist (None: all)."""

    lanes: int
    count: Count


class Streams:
    """The operands of one row of tiles, the output last.

    bases: where the row's first element lies, per operand.  strides: (across planes, along lanes)
    per operand.  extent: of the whole plane axis; planes: how many this row has.
    Operands that do not change along the lanes are loaded here, once.
    """

    def __init__(
        self,
        k: FunctionBuilder,
        expr: Expr,
        bases: Sequence[Pointer],
        strides: Sequence[tuple[Extent, Extent]],
        extent: Extent,
        planes: int,
    ) -> None:
        self.k, self.expr, self.extent, self.planes = k, expr, extent, planes
        self.bases, self.strides = bases, strides
        self._fixed = {
            n: self._repeated(base, across)
            for n, (base, (across, along)) in enumerate(zip(bases, strides, strict=True))
            if along == 0 and n < len(bases) - 1
        }

    def _repeated(self, base: Pointer, across: Extent) -> list[Value]:
        if across == 0:
            return [self.k.load(base)] * self.planes
        return [self.k.load(base.at(u * across)) for u in range(self.planes)]

    def tiles(self, start: Value, shapes: Sequence[TileShape]) -> None:
        """Neighbouring tiles from lane position `start` on; all loads come before the stores."""
        results = []
        at = [base if along == 0 else base.at(start * along)
              for base, (_, along) in zip(self.bases, self.strides, strict=True)]  # fmt: skip
        for number, shape in enumerate(shapes):
            inputs = [
                self._fixed[n] if n in self._fixed else self._load(n, at[n], number, shape)
                for n in range(len(self.bases) - 1)
            ]
            results.append([self._value([x[u] for x in inputs], shape) for u in range(self.planes)])
        for number, shape in enumerate(shapes):
            self._store(results[number], at[-1], number, shape)

    def _value(self, inputs: Sequence[Value], shape: TileShape) -> Value:
        return self.k.splat(emit_expr(self.k, self.expr, inputs), shape.lanes)

    def _load(self, n: int, base: Pointer, number: int, shape: TileShape) -> list[Value]:
        k, lanes, count = self.k, shape.lanes, shape.count
        across, along = self.strides[n]
        here = base.at(number * lanes * along)
        if along == 1:
            return [k.load(here.at(u * across), lanes, count) for u in range(self.planes)]
        if self._is_interleaved(across, along):
            return deinterleaved(k, interleaved_run(k, here, self.planes, lanes, count))
        if across == 1:
            return self._load_transposed(here, along, lanes, count)
        return [
            k.load_strided(here.at(u * across), along, lanes, count) for u in range(self.planes)
        ]

    def _store(self, planes: list[Value], base: Pointer, number: int, shape: TileShape) -> None:
        k, lanes, count = self.k, shape.lanes, shape.count
        across, along = self.strides[-1]
        here = base.at(number * lanes * along)
        if along == 1:
            for u, value in enumerate(planes):
                k.store(value, here.at(u * across), count)
        elif self._is_interleaved(across, along):
            store_interleaved_run(k, interleaved(k, planes), here, count)
        elif across == 1:
            self._store_transposed(planes, here, along, lanes, count)
        else:
            for u, value in enumerate(planes):
                k.store_strided(value, here.at(u * across), along, count)

    def _is_interleaved(self, across: Extent, along: Extent) -> bool:
        return across == 1 and along == self.planes == self.extent and self.planes > 1

    def _load_transposed(
        self, base: Pointer, along: Extent, lanes: int, count: Count
    ) -> list[Value]:
        """Planes that lie side by side in memory, `lanes` of them at a time."""
        k = self.k
        planes: list[Value] = []
        for first in range(0, self.planes, lanes):
            wanted = min(lanes, self.planes - first)
            rows = rows_of(k, base, along, first, wanted, lanes, count)
            planes += transposed(k, rows)[:wanted]
        return planes

    def _store_transposed(
        self, planes: list[Value], base: Pointer, along: Extent, lanes: int, count: Count
    ) -> None:
        k = self.k
        for first in range(0, self.planes, lanes):
            group = planes[first : first + lanes]
            missing = [k.const(0, base.dtype, lanes)] * (lanes - len(group))
            rows = transposed(k, [*group, *missing])
            store_rows(k, rows, base, along, first, len(group), count)
