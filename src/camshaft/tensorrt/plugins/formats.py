"""Element types that a plugin takes, found by asking it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from camshaft.errors import ModelError
from camshaft.ir import types
from camshaft.ir.types import DType
from camshaft.tensorrt.enums.data import DataType

_DATA_TYPES = {
    types.f32: DataType.FLOAT,
    types.f16: DataType.HALF,
    types.bf16: DataType.BF16,
    types.i8: DataType.INT8,
    types.i32: DataType.INT32,
    types.i64: DataType.INT64,
    types.boolean: DataType.BOOL,
    types.u8: DataType.UINT8,
}
_DTYPES = {kind: dtype for dtype, kind in _DATA_TYPES.items()}
_OTHERS = {
    DataType.FLOAT: (DataType.HALF, DataType.BF16),
    DataType.HALF: (DataType.FLOAT, DataType.BF16),
    DataType.BF16: (DataType.FLOAT, DataType.HALF),
    DataType.INT64: (DataType.INT32,),
    DataType.INT32: (DataType.INT64,),
    DataType.BOOL: (DataType.INT8,),
}
"""What else a tensor can be cast to, the nearest first."""


def data_type(dtype: DType) -> DataType:
    """TensorRT's type of a tensor.  ModelError if it has none."""
    if dtype not in _DATA_TYPES:
        raise ModelError(f"plugins take no tensors of {dtype.name}")
    return _DATA_TYPES[dtype]


def dtype_of(kind: DataType) -> DType:
    """Our type of elements.  ModelError if there is none."""
    if kind not in _DTYPES:
        raise ModelError(f"{kind} is no type that plugins can have here")
    return _DTYPES[kind]


def accepted(
    wanted: Sequence[DataType], supports: Callable[[int, Sequence[DataType]], bool]
) -> list[DataType]:
    """Types that a plugin takes together, as near to those wanted as it takes.  ModelError if there are none.

    supports: (position, types of all tensors) -> whether it takes that tensor so, those before it as they are.
    """
    found = _search(list(wanted), 0, supports)
    if found is None:
        raise ModelError(
            f"the plugin's supports_format_combination takes no LINEAR tensors like {', '.join(k.name for k in wanted)}"
        )
    return found


def _search(
    kinds: list[DataType], at: int, supports: Callable[[int, Sequence[DataType]], bool]
) -> list[DataType] | None:
    if at == len(kinds):
        return kinds
    for kind in (kinds[at], *_OTHERS.get(kinds[at], ())):
        tried = [*kinds[:at], kind, *kinds[at + 1 :]]
        if supports(at, tried):
            found = _search(tried, at + 1, supports)
            if found is not None:
                return found
    return None
