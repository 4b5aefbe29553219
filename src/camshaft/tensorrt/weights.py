"""Weights: the elements of a layer's constants, in an array or at an address."""

from __future__ import annotations

import operator
from math import ceil
from typing import Any, SupportsIndex, SupportsInt

import numpy as np

from camshaft.tensorrt import memory
from camshaft.tensorrt.enums.data import DataType, numpy_type, type_of

Array = np.ndarray[Any, np.dtype[Any]]


class Weights:
    """Elements of one type in a row.

    `Weights(type)` has none, `Weights(array)` shares the array's memory, `Weights(type, ptr, count)` the memory at an address,
    which belongs to somebody else and has to stay as long as the weights do.
    """

    def __init__(
        self,
        type: DataType | Array = DataType.FLOAT,
        ptr: SupportsInt | None = None,
        count: SupportsIndex | None = None,
        *,
        a: Array | None = None,
    ) -> None:
        """type: of the elements, or the array.  ptr: address of `count` elements.  a: the array, by its name.

        An array is of any shape.  ValueError if it is not in C order or of a type that DataType lacks, as float64 is; TypeError
        for other arguments than these.
        """
        array = type if isinstance(type, np.ndarray) else a
        if array is not None:
            if not isinstance(array, np.ndarray) or ptr is not None or count is not None:
                raise TypeError("Weights takes an array alone, or a type, an address and a count")
            self._dtype, self._elements = _of_array(array)
        elif not isinstance(type, DataType):
            raise TypeError(f"Weights(type={type!r}): pass a member of DataType, or an array")
        elif (ptr is None) != (count is None):
            raise TypeError("Weights takes ptr and count together")
        else:
            self._dtype = type
            self._elements = _at(type, int(ptr or 0), operator.index(count or 0))
        self._count = operator.index(count or 0) if array is None else array.size

    @classmethod
    def _prototype(cls, kind: DataType, count: int) -> Weights:
        """What says type and count only."""
        made = cls(kind)
        made._count = count
        return made

    @property
    def dtype(self) -> DataType:
        """Type of the elements."""
        return self._dtype

    @property
    def size(self) -> int:
        """How many elements there are."""
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes of all elements; two of INT4 or FP4 share one."""
        return ceil(self._dtype.itemsize * self._count)

    def numpy(self) -> Array | Weights:
        """The elements, without a copy, in one dimension; of a type that NumPy lacks: the weights themselves."""
        return self if numpy_type(self._dtype) is None else self._elements

    def __len__(self) -> int:
        return self._count


def weights_of(value: object, what: str) -> Weights:
    """What an argument of type Weights says, for which an array does as well.  TypeError, that names `what`, for others."""
    if isinstance(value, Weights):
        return value
    if isinstance(value, np.ndarray):
        return Weights(value)
    raise TypeError(f"{what}={value!r:.60} must be Weights or an array")


def _of_array(array: Array) -> tuple[DataType, Array]:
    kind = type_of(array.dtype)
    if kind is None:
        raise ValueError(
            f"weights cannot be of {array.dtype}; convert them with astype, to float32 say"
        )
    if not array.flags.c_contiguous:
        raise ValueError("weights must lie in C order; pass numpy.ascontiguousarray(weights)")
    return kind, array.reshape(-1)


def _at(kind: DataType, address: int, count: int) -> Array:
    """The elements at an address, as bytes where NumPy lacks the type."""
    if count < 0 or (count and not address):
        raise ValueError(f"count={count} elements cannot lie at address {address}")
    held = np.empty(0, np.uint8)
    if count:
        size = ceil(kind.itemsize * count)
        try:
            held = memory.as_array(address, (size,), np.uint8, "weights")
        except memory.CudaFault as error:
            raise ValueError(str(error)) from error
    return held.view(numpy_type(kind) or np.uint8)
