"""Sizes as the functions of plugins compute them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeVar

from camshaft.tensorrt.dims import Dims
from camshaft.tensorrt.enums.plugins import DimensionOperation
from camshaft.tensorrt.plugins.descriptions import DynamicPluginTensorDesc, PluginTensorDesc
from camshaft.tensorrt.plugins.expressions import IDimensionExpr, IExprBuilder, constant

_BUILDER = IExprBuilder()
E = TypeVar("E", bound="SymIntExpr")


class SymIntExpr:
    """A whole number that may be open; arithmetic with such, and with ints, gives another."""

    def __init__(self, value: int | IDimensionExpr | SymIntExpr = 0) -> None:
        """TypeError for other values."""
        if isinstance(value, SymIntExpr):
            self._expr: IDimensionExpr = value._expr
        elif isinstance(value, IDimensionExpr):
            self._expr = value
        else:
            self._expr = constant(int(value))

    def _op(self: E, op: DimensionOperation, other: Any) -> E:
        return type(self)(_BUILDER.operation(op, self._expr, SymIntExpr(other)._expr))

    def __add__(self: E, other: Any) -> E:
        return self._op(DimensionOperation.SUM, other)

    __radd__ = __add__

    def __sub__(self: E, other: Any) -> E:
        return self._op(DimensionOperation.SUB, other)

    def __rsub__(self: E, other: Any) -> E:
        return type(self)(other)._op(DimensionOperation.SUB, self)

    def __mul__(self: E, other: Any) -> E:
        return self._op(DimensionOperation.PROD, other)

    __rmul__ = __mul__

    def __floordiv__(self: E, other: Any) -> E:
        return self._op(DimensionOperation.FLOOR_DIV, other)

    def __eq__(self, other: object) -> Any:
        return self._op(DimensionOperation.EQUAL, other)

    def __lt__(self, other: Any) -> Any:
        return self._op(DimensionOperation.LESS, other)

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        if not self._expr.is_constant():
            raise RuntimeError("the truth of an open size is not known; ask is_constant first")
        return bool(self._expr.get_constant_value())

    def __repr__(self) -> str:
        known = self._expr.get_constant_value() if self._expr.is_constant() else "open"
        return f"{type(self).__name__}[{known}]"

    @property
    def is_constant(self) -> bool:
        """Whether it is a number."""
        return self._expr.is_constant()

    def constant_value(self) -> int:
        """The number.  RuntimeError if it is open."""
        if not self._expr.is_constant():
            raise RuntimeError("the size is open; it has no constant value")
        return self._expr.get_constant_value()


class SymInt32(SymIntExpr):
    """A whole number of 32 bits."""


class ShapeExpr(SymInt32):
    """The extent of an axis."""

    @property
    def is_fake(self) -> bool:
        """False: sizes are known wherever functions are called."""
        return False

    @property
    def is_size_tensor(self) -> bool:
        """Whether it is what a size tensor will hold."""
        return self._expr.is_size_tensor()


class SymExprs:
    """Several of them."""

    _kind: type[SymIntExpr] = SymIntExpr

    def __init__(self, length: int) -> None:
        self._exprs = [self._kind(0) for _ in range(length)]

    @classmethod
    def from_tuple(cls, shape_exprs: Iterable[Any]) -> Any:
        """Of expressions and ints."""
        values = list(shape_exprs)
        made = cls(len(values))
        for i, value in enumerate(values):
            made[i] = value
        return made

    def __iter__(self) -> Iterator[SymIntExpr]:
        return iter(self._exprs)

    def __getitem__(self, index: Any) -> Any:
        return self._exprs[index]

    def __setitem__(self, index: int, value: Any) -> None:
        self._exprs[index] = value if isinstance(value, self._kind) else self._kind(value)

    def __len__(self) -> int:
        return len(self._exprs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}[{', '.join(map(repr, self._exprs))}]"


class SymIntExprs(SymExprs):
    """Whole numbers."""


class ShapeExprs(SymExprs):
    """The extents of all axes."""

    _kind = ShapeExpr

    def numel(self) -> ShapeExpr:
        """How many elements there are."""
        return prod(self._exprs, start=ShapeExpr(1))  # type: ignore[return-value]

    def _clone(self) -> ShapeExprs:
        made: ShapeExprs = ShapeExprs.from_tuple(self._exprs)
        return made


@dataclass
class KernelLaunchParams:
    """How a CUDA kernel that is compiled ahead is launched: what functions under `aot_impl` give, which are not called here."""

    grid_x: Any = 1
    grid_y: Any = 1
    grid_z: Any = 1
    block_x: Any = 1
    block_y: Any = 1
    block_z: Any = 1
    shared_mem: Any = 0


class Shape:
    """A shape of ints; -1 for open extents, which `min`, `opt` and `max` bound."""

    def __init__(
        self, tensor_desc: Sequence[int] | DynamicPluginTensorDesc | PluginTensorDesc = ()
    ) -> None:
        self._desc = tensor_desc
        if isinstance(tensor_desc, DynamicPluginTensorDesc):
            self._sizes = [int(d) for d in tensor_desc.desc.dims]
        elif isinstance(tensor_desc, PluginTensorDesc):
            self._sizes = [int(d) for d in tensor_desc.dims]
        else:
            self._sizes = [int(d) for d in tensor_desc]

    def numel(self) -> int:
        """How many elements there are.  ValueError if extents are open."""
        if self.is_dynamic:
            raise ValueError("the shape has open extents")
        return prod(self._sizes)

    def __iter__(self) -> Iterator[int]:
        return iter(self._sizes)

    def __getitem__(self, index: Any) -> Any:
        return self._sizes[index]

    def __setitem__(self, index: int, value: int) -> None:
        self._sizes[index] = int(value)

    def __len__(self) -> int:
        return len(self._sizes)

    def __repr__(self) -> str:
        return f"Shape{tuple(self._sizes)}"

    @property
    def is_dynamic(self) -> bool:
        """Whether extents are open."""
        return -1 in self._sizes

    @property
    def min(self) -> tuple[int, ...]:
        """The least extents.  ValueError if none is open."""
        return self._of("min")

    @property
    def opt(self) -> tuple[int, ...]:
        """The typical extents.  ValueError if none is open."""
        return self._of("opt")

    @property
    def max(self) -> tuple[int, ...]:
        """The largest extents.  ValueError if none is open."""
        return self._of("max")

    def _of(self, name: str) -> tuple[int, ...]:
        if not isinstance(self._desc, DynamicPluginTensorDesc) or not self.is_dynamic:
            raise ValueError(f"{name} is there only where extents are open")
        found: Dims = getattr(self._desc, name)
        return tuple(found)


def cdiv(first: Any, second: Any) -> Any:
    """The quotient, rounded up."""
    if isinstance(first, int) and isinstance(second, int):
        return -(-first // second)
    return _either(first, second)(first)._op(DimensionOperation.CEIL_DIV, second)


def maximum(first: Any, second: Any) -> Any:
    """The larger one."""
    if isinstance(first, int) and isinstance(second, int):
        return first if first > second else second
    return _either(first, second)(first)._op(DimensionOperation.MAX, second)


def minimum(first: Any, second: Any) -> Any:
    """The smaller one."""
    if isinstance(first, int) and isinstance(second, int):
        return first if first < second else second
    return _either(first, second)(first)._op(DimensionOperation.MIN, second)


def _either(first: Any, second: Any) -> type[SymIntExpr]:
    return type(first) if isinstance(first, SymIntExpr) else type(second)
