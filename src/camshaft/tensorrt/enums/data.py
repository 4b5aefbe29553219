"""Enums of tensors, their types and where they lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from camshaft.tensorrt.enums.base import Enumeration, Member, Ordered


class DataType(Enumeration):
    """Type of a tensor's elements."""

    FLOAT = Member(0)
    HALF = Member(1)
    BF16 = Member(7)
    INT8 = Member(2)
    INT32 = Member(3)
    INT64 = Member(8)
    BOOL = Member(4)
    UINT8 = Member(5)
    FP8 = Member(6)
    INT4 = Member(9)
    FP4 = Member(10)
    E8M0 = Member(11)

    @property
    def itemsize(self) -> float:
        """Bytes of an element: an int, but 0.5 for INT4 and FP4.  TypeError if no type has the value."""
        return _form(self).itemsize


class TensorFormat(Ordered):
    """Layout of a tensor in memory."""

    LINEAR = Member(0)
    CHW2 = Member(1)
    HWC8 = Member(2)
    CHW4 = Member(3)
    CHW16 = Member(4)
    CHW32 = Member(5)
    DHWC8 = Member(6)
    CDHW32 = Member(7)
    HWC = Member(8)
    DLA_LINEAR = Member(9)
    DLA_HWC4 = Member(10)
    HWC16 = Member(11)
    DHWC = Member(12)


class TensorLocation(Enumeration):
    """Where a tensor's elements lie."""

    DEVICE = Member(0)
    HOST = Member(1)


class TensorIOMode(Enumeration):
    """Whether a tensor is an input or an output of an engine; NONE: neither."""

    NONE = Member(0)
    INPUT = Member(1)
    OUTPUT = Member(2)


class DeviceType(Enumeration):
    """Where a layer runs."""

    GPU = Member(0)
    DLA = Member(1)


class WeightsRole(Enumeration):
    """What a layer uses weights for."""

    KERNEL = Member(0)
    BIAS = Member(1)
    SHIFT = Member(2)
    SCALE = Member(3)
    CONSTANT = Member(4)
    ANY = Member(5)


class AllocatorFlag(Ordered):
    """What an allocator must be able to do with the memory that it gives."""

    RESIZABLE = Member(0)


@dataclass(frozen=True)
class _Form:
    """itemsize: bytes.  numpy: the scalar type; None: NumPy has none."""

    itemsize: float
    numpy: type[np.generic] | None = None


_FORMS = {
    DataType.FLOAT: _Form(4, np.float32),
    DataType.HALF: _Form(2, np.float16),
    DataType.BF16: _Form(2),
    DataType.INT8: _Form(1, np.int8),
    DataType.INT32: _Form(4, np.int32),
    DataType.INT64: _Form(8, np.int64),
    DataType.BOOL: _Form(1, np.bool_),
    DataType.UINT8: _Form(1, np.uint8),
    DataType.FP8: _Form(1),
    DataType.INT4: _Form(0.5),
    DataType.FP4: _Form(0.5),
    DataType.E8M0: _Form(1),
}
_BY_NUMPY = {np.dtype(form.numpy): kind for kind, form in _FORMS.items() if form.numpy}


def numpy_type(kind: DataType) -> type[np.generic] | None:
    """NumPy's scalar type of the same elements; None: it has none."""
    return _form(kind).numpy


def nptype(trt_type: DataType) -> type[np.generic]:
    """NumPy's scalar type of the same elements.  TypeError where there is none: BF16, FP8, INT4, FP4, E8M0."""
    scalar = numpy_type(trt_type)
    if scalar is None:
        raise TypeError(f"nptype({trt_type!s}): NumPy has no such type; view the bytes as uint8")
    return scalar


def type_of(dtype: np.dtype[Any]) -> DataType | None:
    """The type whose elements an array of this dtype has; None if there is none, as of float64."""
    return _BY_NUMPY.get(dtype)


def _form(kind: DataType) -> _Form:
    if not isinstance(kind, DataType) or kind not in _FORMS:
        raise TypeError(f"{kind!r} is no type of elements; pass a member of DataType")
    return _FORMS[kind]
