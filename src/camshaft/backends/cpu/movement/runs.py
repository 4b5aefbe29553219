"""Copying and filling runs of elements, whatever their type: the inner loops of data movement.

Elements are moved as unsigned integers of their size, so that no value changes on its way.
"""

from __future__ import annotations

from collections.abc import Callable

from camshaft.backends.cpu.lang import FunctionBuilder, Index, Pointer, Value
from camshaft.backends.cpu.lang.memory import Count
from camshaft.backends.cpu.pointwise.axes import is_at_most
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import ALL_DTYPES, DType, u8, u16, u32, u64

_BY_SIZE = {1: u8, 2: u16, 4: u32, 8: u64}
_SIDE = 4

MOVABLE = tuple(d for d in ALL_DTYPES if d.name != "str")
"""Element types that can be moved."""


def carrier(dtype: DType) -> DType:
    """The unsigned integer type in which elements of `dtype` travel."""
    return _BY_SIZE[dtype.bytes]


def copy_run(
    k: FunctionBuilder, source: Pointer, stride: Index, target: Pointer, step: Index, n: Extent
) -> None:
    """Copy n elements, `stride` apart in the source and `step` apart in the target."""

    def read(at: Index, lanes: int, count: Count) -> Value:
        return k.load_strided(source.at(at * stride), stride, lanes, count)

    _run(k, read, target, step, n)


def fill_run(k: FunctionBuilder, value: Value, target: Pointer, step: Index, n: Extent) -> None:
    """Set n elements to a scalar."""
    _run(k, lambda _at, lanes, _count: k.splat(value, lanes), target, step, n)


def _run(
    k: FunctionBuilder,
    read: Callable[[Index, int, Count], Value],
    target: Pointer,
    step: Index,
    n: Extent,
) -> None:
    lanes = k.target.lanes(target.dtype)
    while lanes > 1 and is_at_most(n, lanes // 2):
        lanes //= 2

    def move(at: Index, count: Count) -> None:
        value = read(at, lanes, count)
        k.store_strided(value, target.at(at * step), step, count)

    if lanes == 1 and isinstance(n, int):
        for at in range(n):
            k.store(read(at, 1, None), target.at(at * step))
        return
    for tile in k.tiles(n, _SIDE * lanes, fewest=2, lanes=lanes):
        for j, count in enumerate(tile.counts(lanes)):
            move(tile.start + j * lanes, count)
