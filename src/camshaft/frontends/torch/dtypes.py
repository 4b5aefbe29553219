"""Element types of PyTorch and ours, and arrays of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from camshaft.ir import types
from camshaft.ir.types import DType
from camshaft.ops.functional import NoCanonicalForm

_NAMES: Mapping[str, DType] = {
    "torch.float16": types.f16,
    "torch.bfloat16": types.bf16,
    "torch.float32": types.f32,
    "torch.float64": types.f64,
    "torch.int8": types.i8,
    "torch.int16": types.i16,
    "torch.int32": types.i32,
    "torch.int64": types.i64,
    "torch.uint8": types.u8,
    "torch.uint16": types.u16,
    "torch.uint32": types.u32,
    "torch.uint64": types.u64,
    "torch.bool": types.boolean,
}


def dtype_of(dtype: Any) -> DType:
    """The type of a torch.dtype.  NoCanonicalForm for complex numbers and others that graphs do not hold."""
    found = _NAMES.get(str(dtype))
    if found is None:
        raise NoCanonicalForm(f"tensors of {dtype} are not computed")
    return found


def array_of(tensor: Any) -> np.ndarray:
    """The elements of a tensor on the CPU, in its own memory where that lies row by row."""
    dtype = dtype_of(tensor.dtype)
    plain = tensor.detach().cpu().contiguous()
    if dtype is types.bf16:
        bits = plain.view(_unsigned(plain)).numpy()
        return np.asarray(bits.view(dtype.numpy))
    return np.asarray(plain.numpy())


def _unsigned(tensor: Any) -> Any:
    """torch.int16, found without importing torch: bfloat16 has no NumPy type in PyTorch."""
    return tensor.new_empty(0).short().dtype
