"""ONNX element types and tensors as camshaft's.

Floats of at most 16 bits are computed in f32, integers of fewer than 8 bits are held in ones of 8: inside
the graph, f16 tensors are f32 tensors and i4 tensors i8 tensors.  Only graph inputs and outputs keep
the type they declare (see `boundary_dtype`).  Inside, a tensor of a type of at most 8 bits has values of
that type alone, since `Cast` and `QuantizeLinear` round to it; one of a half may be more exact, but in an import that obeys
types (`walk.typed`).
"""

from __future__ import annotations

import numpy as np
from onnx import SparseTensorProto, TensorProto, TypeProto, helper, numpy_helper

from camshaft.errors import ModelError
from camshaft.ir import types as T
from camshaft.ir.types import DType, TensorType

_EXACT: dict[int, DType] = {
    TensorProto.FLOAT: T.f32,
    TensorProto.DOUBLE: T.f64,
    TensorProto.INT8: T.i8,
    TensorProto.INT16: T.i16,
    TensorProto.INT32: T.i32,
    TensorProto.INT64: T.i64,
    TensorProto.UINT8: T.u8,
    TensorProto.UINT16: T.u16,
    TensorProto.UINT32: T.u32,
    TensorProto.UINT64: T.u64,
    TensorProto.BOOL: T.boolean,
    TensorProto.STRING: T.string,
}
_HALF: dict[int, DType] = {TensorProto.FLOAT16: T.f16, TensorProto.BFLOAT16: T.bf16}
_NARROW: dict[int, DType] = {
    TensorProto.FLOAT8E4M3FN: T.f8e4m3fn,
    TensorProto.FLOAT8E4M3FNUZ: T.f8e4m3fnuz,
    TensorProto.FLOAT8E5M2: T.f8e5m2,
    TensorProto.FLOAT8E5M2FNUZ: T.f8e5m2fnuz,
    TensorProto.FLOAT8E8M0: T.f8e8m0,
    TensorProto.FLOAT6E2M3: T.f6e2m3,
    TensorProto.FLOAT6E3M2: T.f6e3m2,
    TensorProto.FLOAT4E2M1: T.f4e2m1,
    TensorProto.INT4: T.i4,
    TensorProto.UINT4: T.u4,
    TensorProto.INT2: T.i2,
    TensorProto.UINT2: T.u2,
}
_KNOWN = {**_EXACT, **_HALF, **_NARROW}
_TO_ONNX = {d: t for t, d in _KNOWN.items()}


def elem_name(elem_type: int) -> str:
    """ONNX's name of an element type, for messages."""
    if elem_type in TensorProto.DataType.values():
        return str(TensorProto.DataType.Name(elem_type))
    return f"number {elem_type}"


def is_narrow(elem_type: int) -> bool:
    """Whether the type is a float of at most 8 bits or an integer of fewer."""
    return elem_type in _NARROW


def is_half(elem_type: int) -> bool:
    """Whether the type is a float of 16 bits."""
    return elem_type in _HALF


def is_held(elem_type: int) -> bool:
    """Whether values of the type are held in another."""
    return inner_dtype(elem_type) != boundary_dtype(elem_type)


def inner_dtype(elem_type: int) -> DType:
    """The type in which values of an ONNX element type are held inside the graph."""
    return boundary_dtype(elem_type).held


def boundary_dtype(elem_type: int) -> DType:
    """The type of a graph input or output declared with an ONNX element type."""
    if elem_type not in _KNOWN:
        raise ModelError(f"element type {elem_name(elem_type)} is not supported")
    return _KNOWN[elem_type]


def onnx_dtype(dtype: DType) -> int:
    """The ONNX element type of a camshaft type."""
    return _TO_ONNX[dtype]


def tensor_proto(type: TensorType) -> TypeProto:
    """ONNX's spelling of a tensor type, symbolic extents by their text."""
    shape = [d if isinstance(d, int) else str(d) for d in type.shape]
    return helper.make_tensor_type_proto(onnx_dtype(type.dtype), shape)


def array_of(tensor: TensorProto) -> np.ndarray:
    """The array of a TensorProto in its inner type; ModelError names the tensor when damaged."""
    try:
        dtype = inner_dtype(tensor.data_type)
    except ModelError as error:
        raise ModelError(f"tensor {tensor.name!r}: {error}") from error
    if any(d < 0 for d in tensor.dims):
        raise ModelError(f"tensor {tensor.name!r} is damaged: shape {list(tensor.dims)}")
    try:
        array = np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, OSError, MemoryError, OverflowError) as error:
        raise ModelError(f"tensor {tensor.name!r} is damaged: {error}") from error
    if dtype is T.string:
        return array.astype(object)
    return np.asarray(array, dtype.numpy)


def weight_of(tensor: TensorProto) -> np.ndarray:
    """The array of a TensorProto in its own type, halves as such; errors as in `array_of`."""
    array = array_of(tensor)
    return array.astype(_HALF[tensor.data_type].numpy) if is_half(tensor.data_type) else array


def widened(halves: np.ndarray) -> np.ndarray:
    """Halves as they are held in graphs."""
    return halves.astype(np.float32)


def dense_of(sparse: SparseTensorProto) -> np.ndarray:
    """A sparse tensor's elements, zeros included."""
    values, indices = array_of(sparse.values), array_of(sparse.indices)
    array = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 1:
        array.reshape(-1)[indices] = values
    else:
        array[tuple(indices.T)] = values
    return array
