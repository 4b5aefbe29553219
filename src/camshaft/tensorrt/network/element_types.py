"""Types of elements: TensorRT's beside ONNX's."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper

from camshaft.errors import ModelError
from camshaft.tensorrt.enums.data import DataType

ONNX_TYPES = {
    DataType.FLOAT: TensorProto.FLOAT,
    DataType.HALF: TensorProto.FLOAT16,
    DataType.BF16: TensorProto.BFLOAT16,
    DataType.INT8: TensorProto.INT8,
    DataType.INT32: TensorProto.INT32,
    DataType.INT64: TensorProto.INT64,
    DataType.BOOL: TensorProto.BOOL,
    DataType.UINT8: TensorProto.UINT8,
    DataType.FP8: TensorProto.FLOAT8E4M3FN,
    DataType.INT4: TensorProto.INT4,
}
_BY_ONNX = {int(number): kind for kind, number in ONNX_TYPES.items()} | {
    int(TensorProto.DOUBLE): DataType.FLOAT,
    int(TensorProto.UINT32): DataType.INT64,
    int(TensorProto.UINT64): DataType.INT64,
    int(TensorProto.INT16): DataType.INT32,
    int(TensorProto.UINT16): DataType.INT32,
}
"""Types that DataType lacks appear as the nearest that it has."""
PRECISIONS = {
    DataType.FLOAT: "fp32",
    DataType.HALF: "fp16",
    DataType.BF16: "bf16",
    DataType.INT8: "int8",
}
"""As options of a build call them."""
_NO_NUMBERS = frozenset([TensorProto.STRING, TensorProto.COMPLEX64, TensorProto.COMPLEX128])
FLOATS = frozenset([DataType.FLOAT, DataType.HALF, DataType.BF16])
FLOAT = DataType.FLOAT
INT32 = DataType.INT32
INT64 = DataType.INT64


def onnx_type(kind: DataType) -> int:
    """ONNX's number of a type.  ModelError if ONNX has no such type."""
    if kind not in ONNX_TYPES:
        raise ModelError(f"{kind} is no type that networks can hold here; use FLOAT")
    return int(ONNX_TYPES[kind])


def data_type(number: int) -> DataType:
    """The type of ONNX's number; FLOAT where nothing is known."""
    return _BY_ONNX.get(number, FLOAT)


def border_type(number: int, name: str) -> DataType:
    """The type that an input or output of ONNX's number has for scripts, the nearest where DataType lacks it.

    ModelError, that calls it by `name`, for elements that are no real numbers.
    """
    if number in _NO_NUMBERS:
        said = TensorProto.DataType.Name(number)
        raise ModelError(f"{name} is of {said}, which TensorRT's API has no elements for; use camshaft.build")  # fmt: skip
    return data_type(number)


def stored_type(kind: DataType) -> np.dtype[Any]:
    """NumPy's type for ONNX's elements of this kind, perhaps one of the package ml_dtypes."""
    return np.dtype(helper.tensor_dtype_to_np_dtype(onnx_type(kind)))
