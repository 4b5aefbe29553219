"""Separable resampling of NHWC images by index and weight tables: every resize.

Indices of constant tables become element offsets in `prepack`, so the kernel need not multiply;
those of open extents are computed beside it and multiplied here.  Nothing is bounds-checked.  With one tap each way elements are copied, whatever their type.
Integer images are blended in float in the order the op's reference uses and truncated as it does,
hence to the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from camshaft.backends.base import KernelSpec, Source
from camshaft.backends.cpu.abi import constant_numbers, operand_pointer, phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.expr.epilogue import Epilogue
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Module, Pointer, Value
from camshaft.backends.cpu.lang.memory import Count
from camshaft.backends.cpu.pointwise.support import COMPUTABLE, printable
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr
from camshaft.ir.extents.extent import ceil_div
from camshaft.ir.extents.sizes import fixed_extent, is_static, typical
from camshaft.ir.types import DType, f32, i8, i64, row_major_strides, u8

_ITEM_BYTES = 8 << 10
_TABLES = 4
_UNROLLED_VECTORS = 4


class Resample:
    """y[h, w] = sum of wy[h, a] * wx[w, b] * x[iy[h, a], ix[w, b]] over a and b."""

    name = "resample"
    version = 2

    def plan(
        self, spec: KernelSpec, target: CpuTarget, threads: int
    ) -> Sequence[ResampleCandidate]:
        """One way, for adjacent channels."""
        if not _is_supported(spec):
            return ()
        return [ResampleCandidate(spec, target, _taps(spec))]


def _is_supported(spec: KernelSpec) -> bool:
    if spec.op != "resample" or len(spec.inputs) < 1 + _TABLES:
        return False
    x = spec.inputs[0]
    rows, columns = _taps(spec)
    if not is_static((x.shape[3], rows, columns)):
        return False
    if x.shape[3] != 1 and x.strides[3] != 1:
        return False
    # More than two taps (cubic) leave the range of 8-bit integers.
    integer = x.dtype in (u8, i8) and max(rows, columns) <= 2
    if not (x.dtype == f32 or integer or (x.dtype in COMPUTABLE and rows == columns == 1)):
        return False
    return printable(_epilogue(spec), [x.dtype, *(o.dtype for o in spec.inputs[1 + _TABLES :])])


class ResampleCandidate(CpuCandidate[tuple[int, int]]):
    """Blends row by row; `problem` is (taps per output row, taps per output column)."""

    def prepack(self, constants: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """The tables, indices as element offsets in x; the other constants as they are."""
        strides = {number: stride for number, stride in _strides(self.spec) if stride is not None}
        numbers = constant_numbers(self.spec)
        return [
            np.asarray(array, np.int64) * strides[number]
            if number in strides
            else np.ascontiguousarray(array)
            for number, array in zip(numbers, constants, strict=True)
        ]

    def emit(self) -> Source:
        """One phase; work items are runs of rows of one image."""
        spec = self.spec
        n, oh, ow, c = spec.outputs[0].shape
        row_bytes = typical(ow) * c * spec.inputs[0].dtype.bytes
        per_item = max(1, min(typical(oh), _ITEM_BYTES // max(1, row_bytes)))
        groups = ceil_div(oh, per_item)
        offsets = [number for number, stride in _strides(spec) if stride is not None]
        packed = [i64 if n in offsets else spec.inputs[n].dtype for n in constant_numbers(spec)]
        m = Module(self.target)
        items = n * groups if ow * c != 0 else 0
        with m.phase("resample", items, phase_args(spec, packed)) as k, k.loop(k.begin, k.end) as i:
            image, first = i // groups, (i % groups) * per_item
            writer = _ResampledImage(k, spec, image, self.problem)
            with k.loop(first, k.min(first + per_item, oh)) as y:
                writer.row(y)
        return m.source()


def _taps(spec: KernelSpec) -> tuple[int, int]:
    """Taps per output row and per output column."""
    rows, columns = (spec.inputs[n].shape[1] for n in (1, 3))
    return (
        fixed_extent(rows, "taps of an output row"),
        fixed_extent(columns, "taps of an output column"),
    )


def _strides(spec: KernelSpec) -> list[tuple[int, int | None]]:
    """The index tables (operand numbers) and by what `prepack` multiplies them, None: by nothing."""
    _, row, column, _ = spec.inputs[0].strides
    return [
        (number, stride if spec.inputs[number].const and isinstance(stride, int) else None)
        for number, stride in ((1, row), (3, column))
    ]


def _epilogue(spec: KernelSpec) -> E.Expr:
    return expr_attr(spec, "epilogue", E.inp(0))


class _ResampledImage:
    """Writes the loops over one image."""

    def __init__(
        self, k: FunctionBuilder, spec: KernelSpec, image: Value, taps: tuple[int, int]
    ) -> None:
        self.k = k
        x = spec.inputs[0]
        self.dtype: DType = x.dtype
        self.taps = taps
        self.columns, self.channels = spec.outputs[0].shape[2:]
        self.copies = self.taps == (1, 1)
        wide = max(self.dtype, _epilogue(spec).dtype or self.dtype, key=lambda d: d.bytes)
        self.lanes = k.target.lanes(wide if self.copies else f32)
        while self.lanes > k.target.lanes(f32) and self.lanes // 2 >= self.channels:
            self.lanes //= 2
        self.spec = spec
        numbers = constant_numbers(spec)
        self.tables = [operand_pointer(k, spec, 1 + n, numbers) for n in range(_TABLES)]
        operands = spec.inputs[1 + _TABLES :]
        pointers = [
            operand_pointer(k, spec, 1 + _TABLES + n, numbers) for n in range(len(operands))
        ]
        self.epilogue = Epilogue(
            k, _epilogue(spec), operands, pointers, spec.outputs[0], k.args["out0"]
        )
        self.image = image
        self.x = operand_pointer(k, spec, 0, numbers).at(image * x.strides[0])

    def row(self, y: Value) -> None:
        """One output row."""
        k = self.k
        lines = [self.x.at(offset) for offset in self._offsets(1, y)]
        by_row = [] if self.copies else list(self._entries(2, y))
        with k.loop(0, self.columns) as at:
            offsets = list(self._offsets(3, at))
            by_column = [] if self.copies else list(self._entries(4, at))
            sources = [[line.at(offset) for line in lines] for offset in offsets]
            self._pixel(sources, by_row, by_column, self.epilogue.at((self.image, y, at, 0)))

    def _entries(self, number: int, at: Value) -> Iterator[Value]:
        """Row `at` of table operand `number`."""
        k, table = self.k, self.spec.inputs[number]
        step, across = row_major_strides(table.shape) if table.const else table.strides
        if table.shape[0] == 1 and self.spec.outputs[0].shape[1 if number <= 2 else 2] != 1:
            step = 0
        start, taps = self.tables[number - 1], range(self.taps[0 if number <= 2 else 1])
        for tap in taps:
            yield k.load(start.at(at * step + tap * across if step != 0 else tap * across))

    def _offsets(self, number: int, at: Value) -> Iterator[Value]:
        """Where in x the pixels lie that row `at` of an index table names."""
        k = self.k
        entries = self._entries(number, at)
        if dict(_strides(self.spec))[number] is not None:
            yield from entries
            return
        stride = self.spec.inputs[0].strides[1 if number == 1 else 2]
        for entry in entries:
            yield k.cast(entry, i64) * stride

    def _pixel(
        self,
        sources: list[list[Pointer]],
        by_row: list[Value],
        by_column: list[Value],
        place: Epilogue,
    ) -> None:
        """All channels of one output pixel; sources[b][a] is the input pixel of tap (a, b)."""
        lanes = self.lanes
        step = lanes * _UNROLLED_VECTORS

        def vector(at: Index, count: Count) -> None:
            pixels = [[p.at(at) for p in column] for column in sources]
            value = self._value(pixels, by_row, by_column, count)
            place.store(value, (0, 0, 0, at), count)

        for tile in self.k.tiles(self.channels, step, fewest=2):
            for n, count in enumerate(tile.counts(lanes)):
                vector(tile.start + n * lanes, count)

    def _value(
        self,
        pixels: list[list[Pointer]],
        by_row: list[Value],
        by_column: list[Value],
        count: Count,
    ) -> Value:
        k = self.k
        if self.copies:
            return k.load(pixels[0][0], self.lanes, count)
        columns = [
            self._blend([k.cast(k.load(p, self.lanes, count), f32) for p in column], by_row)
            for column in pixels
        ]
        return self._truncated(self._blend(columns, by_column))

    def _blend(self, values: list[Value], weights: list[Value]) -> Value:
        """Weighted sum, first to last; without fused rounding where bits must match."""
        k = self.k
        result = values[0] * weights[0]
        for value, weight in zip(values[1:], weights[1:], strict=True):
            if self.dtype == f32:
                result = k.fma(value, weight, result)
            else:
                result = result + value * weight
        return result

    def _truncated(self, x: Value) -> Value:
        if self.dtype == f32:
            return x
        k = self.k
        whole = k.floor(x) if self.dtype == u8 else k.select(x < 0, k.ceil(x), k.floor(x))
        return k.cast(whole, self.dtype)
