"""Arithmetic of sizes, in which plugins say the shapes of their outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, SupportsIndex

from camshaft.ir.extents.extent import Extent, ceil_div, largest, smallest
from camshaft.tensorrt.enums.plugins import DimensionOperation
from camshaft.tensorrt.network.params import whole
from camshaft.tensorrt.objects import Result

_OPERATIONS: Mapping[DimensionOperation, Callable[[Extent, Extent], Extent]] = {
    DimensionOperation.SUM: lambda a, b: a + b,
    DimensionOperation.PROD: lambda a, b: a * b,
    DimensionOperation.MAX: largest,
    DimensionOperation.MIN: smallest,
    DimensionOperation.SUB: lambda a, b: a - b,
    DimensionOperation.EQUAL: lambda a, b: int(a == b),
    DimensionOperation.LESS: lambda a, b: int(bool(a < b)),
    DimensionOperation.FLOOR_DIV: lambda a, b: a // b,
    DimensionOperation.CEIL_DIV: ceil_div,
}
Sizes = Mapping[int, Extent]
"""Number of an output that is a size tensor -> the size."""


class IDimensionExpr(Result):
    """A size: a number, one that is open, or one that a plugin only knows when it has run."""

    _compute: Callable[[Sizes], Extent | None]
    _size: tuple[int, IDimensionExpr] | None

    @classmethod
    def _made(
        cls,
        compute: Callable[[Sizes], Extent | None],
        size: tuple[int, IDimensionExpr] | None = None,
    ) -> IDimensionExpr:
        """compute: the size; None where one it hangs on is not known.  size: of a size tensor its output's number and the most."""
        made = cls.__new__(cls)
        made._compute, made._size = compute, size
        return made

    def is_constant(self) -> bool:
        """Whether it is a number."""
        return isinstance(self._value(), int)

    def get_constant_value(self) -> int:
        """The number; the least 32-bit one where it is none."""
        value = self._value()
        return value if isinstance(value, int) else -(1 << 31)

    def is_size_tensor(self) -> bool:
        """Whether it is what a size tensor will hold."""
        return self._size is not None

    def _value(self, sizes: Sizes | None = None) -> Extent | None:
        """The size, None where it is not known.  sizes: of size tensors."""
        return self._compute(sizes or {})


def constant(value: Extent) -> IDimensionExpr:
    """A number or an open size."""
    return IDimensionExpr._made(lambda sizes: value)


class DimsExprs:
    """Sizes of all axes."""

    def __init__(self, dims: Any) -> None:
        """dims: how many there are, or the sizes.  TypeError for other things."""
        if isinstance(dims, SupportsIndex):
            self._dims = [constant(0) for _ in range(whole(dims, "dims"))]
        else:
            self._dims = [_expression(d) for d in dims]

    def __len__(self) -> int:
        return len(self._dims)

    def __getitem__(self, index: Any) -> Any:
        return self._dims[index]

    def __setitem__(self, index: SupportsIndex, value: IDimensionExpr) -> None:
        self._dims[index] = _expression(value)

    def __iter__(self) -> Iterator[IDimensionExpr]:
        return iter(self._dims)


def _expression(given: Any) -> IDimensionExpr:
    if not isinstance(given, IDimensionExpr):
        raise TypeError(f"{given!r} is no IDimensionExpr; use IExprBuilder.constant")
    return given


class IExprBuilder:
    """Makes expressions."""

    def __init__(self) -> None:
        self._sizes: dict[int, IDimensionExpr] = {}

    def constant(self, value: int) -> IDimensionExpr:
        """A number."""
        return constant(int(value))

    def operation(
        self, op: DimensionOperation, first: IDimensionExpr, second: IDimensionExpr
    ) -> IDimensionExpr:
        """Two sizes, joined."""
        if op not in _OPERATIONS:
            raise TypeError(f"op={op!r} must be a member of DimensionOperation")
        compute, a, b = _OPERATIONS[op], _expression(first), _expression(second)

        def joined(sizes: Sizes) -> Extent | None:
            left, right = a._value(sizes), b._value(sizes)
            return None if left is None or right is None else compute(left, right)

        return IDimensionExpr._made(joined)

    def declare_size_tensor(
        self, output_index: int, opt: IDimensionExpr, upper: IDimensionExpr
    ) -> IDimensionExpr:
        """What an output, a scalar, will hold.  opt: a typical value.  upper: the most."""
        index = whole(output_index, "output_index")
        _expression(opt)
        made = IDimensionExpr._made(lambda sizes: sizes.get(index), (index, _expression(upper)))
        self._sizes[index] = _expression(upper)
        return made

    def _upper(self) -> dict[int, Extent]:
        """The most that each size tensor can hold."""
        uppers = {index: upper._value() for index, upper in self._sizes.items()}
        return {index: value for index, value in uppers.items() if value is not None}


def shape_of(dims: Iterable[IDimensionExpr], sizes: Sizes | None = None) -> list[Extent | None]:
    """The sizes as the graph has them; None where one hangs on data."""
    return [d._value(sizes) for d in dims]
