"""Tensors as the functions of plugins are given them: descriptions, and memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from camshaft.tensorrt.enums.data import DataType, TensorFormat
from camshaft.tensorrt.plugins.expressions import IDimensionExpr
from camshaft.tensorrt.plugins.quick.shapes import Shape, ShapeExpr, ShapeExprs


class TensorDesc:
    """A tensor: its type, and its shape in expressions."""

    def __init__(self, shape_expr: ShapeExprs | None = None, dtype: DataType | None = None) -> None:
        self.shape_expr = ShapeExprs(0) if shape_expr is None else shape_expr
        self.dtype = DataType.FLOAT if dtype is None else dtype
        self.format, self.scale = TensorFormat.LINEAR, 1.0
        self._aliased_to: TensorDesc | None = None
        self._shape: Shape | None = None

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self.shape_expr)

    @property
    def is_size_tensor(self) -> bool:
        """Whether it holds a size."""
        return False

    @property
    def has_shape(self) -> bool:
        """Whether `shape` is known."""
        return self._shape is not None

    @property
    def shape(self) -> Shape:
        """The shape in numbers.  ValueError where a plugin's shapes are still being computed."""
        if self._shape is None:
            raise ValueError("the shape is known in autotune and impl; use shape_expr")
        return self._shape

    def numel(self) -> int:
        """How many elements there are.  ValueError if extents are open."""
        return self.shape.numel()

    def like(self) -> TensorDesc:
        """A tensor of the same type and shape."""
        return TensorDesc(self.shape_expr._clone(), self.dtype)

    def aliased(self) -> TensorDesc:
        """This tensor, that the plugin changes in place."""
        made = self.like()
        made._aliased_to = self
        return made

    @property
    def is_aliased(self) -> bool:
        """Whether it is one that is changed in place."""
        return self._aliased_to is not None

    def get_aliased(self) -> TensorDesc | None:
        """The tensor that is changed in place; None."""
        return self._aliased_to


class SizeTensorDesc(TensorDesc):
    """A scalar that holds a size."""

    def __init__(self, opt: Any, upper_bound: Any) -> None:
        super().__init__(ShapeExprs(0), DataType.INT32)
        self.opt, self.upper_bound = ShapeExpr(opt), ShapeExpr(upper_bound)
        self._index = -1

    @property
    def is_size_tensor(self) -> bool:
        """True."""
        return True

    def expr(self) -> ShapeExpr:
        """The size, for shapes of other tensors."""
        upper = self.upper_bound._expr
        return ShapeExpr(
            IDimensionExpr._made(lambda sizes: sizes.get(self._index), (self._index, upper))
        )


def size_tensor(opt: Any, upper_bound: Any) -> SizeTensorDesc:
    """An output that holds a size, which shapes of other outputs are made of.  opt: a typical value.  upper_bound: the most."""
    return SizeTensorDesc(opt, upper_bound)


def from_shape_expr(shape_expr: Any, dtype: DataType) -> TensorDesc:
    """A tensor of this shape: ShapeExprs, or a tuple of expressions and ints."""
    given = shape_expr if isinstance(shape_expr, ShapeExprs) else ShapeExprs.from_tuple(shape_expr)
    return TensorDesc(given, dtype)


class Tensor:
    """Memory of an input or output.  np.asarray, torch.as_tensor and whatever takes `__array_interface__` see it."""

    def __init__(self, array: np.ndarray[Any, Any], dtype: DataType, alias: Any = None) -> None:
        self._array, self._dtype, self._alias = array, dtype, alias

    @property
    def dtype(self) -> DataType:
        """Type of the elements."""
        return self._dtype

    @property
    def shape(self) -> Shape:
        """The shape."""
        return Shape(self._array.shape)

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return self._array.ndim

    @property
    def format(self) -> TensorFormat:
        """LINEAR."""
        return TensorFormat.LINEAR

    @property
    def scale(self) -> float:
        """1."""
        return 1.0

    @property
    def strides(self) -> tuple[int, ...]:
        """Elements from one index of an axis to the next."""
        return tuple(s // self._array.itemsize for s in self._array.strides)

    @property
    def data_ptr(self) -> int:
        """The address."""
        return int(self._array.ctypes.data)

    def numel(self) -> int:
        """How many elements there are."""
        return self._array.size

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self._array.__array_interface__

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.array(self._array, dtype=dtype, copy=copy)

    def __dlpack__(self, **named: Any) -> Any:
        return self._array.__dlpack__(**named)

    def __dlpack_device__(self) -> tuple[Any, Any]:
        return self._array.__dlpack_device__()

    @property
    def is_aliased(self) -> bool:
        """Whether it is an input that is changed in place."""
        return self._alias is not None

    def get_aliased(self) -> Any:
        """The input that is changed in place; None."""
        return self._alias

    def aliased(self, shape: Sequence[int] | Shape | None = None) -> Tensor:
        """The same memory, or the first elements of it, in another shape."""
        if shape is None:
            return Tensor(self._array, self._dtype, self)
        sizes: Iterable[int] = [int(d) for d in shape]
        count = int(np.prod([*sizes], dtype=np.int64))
        return Tensor(self._array.reshape(-1)[:count].reshape([*sizes]), self._dtype, self)
