"""What compiled functions say of their parameters, held against how kernels call them."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.types import dtype_of

_CALLED = "a pointer for each input and result, one to scratch memory if any is asked for, what arguments says, begin and end"
_C_FUNCTION: Any = ctypes.CFUNCTYPE(None).__mro__[1]
_SIMPLE: Any = ctypes.c_int.__mro__[1]
_POINTER: Any = ctypes.POINTER(ctypes.c_int).__mro__[1]
_CFFI_FLOATS = {"float": "f32", "double": "f64", "_Float16": "f16"}


@dataclass(frozen=True)
class Parameter:
    """One parameter.  kind: as LLVM spells it ("ptr", "i64", "double").  element: name of the type of what a pointer points to,
    "" where that is open: nothing is said, or bytes."""

    kind: str
    element: str = ""

    def __str__(self) -> str:
        return f"{self.kind} to {self.element}" if self.element else self.kind

    def takes(self, given: Parameter) -> bool:
        """Whether it can be given that."""
        alike = not self.element or not given.element or self.element == given.element
        return self.kind == given.kind and alike


def mismatch(declared: Sequence[Parameter], given: Sequence[Parameter]) -> str:
    """Why a function that declares these parameters cannot be called with those, "" if it can."""
    if len(declared) == len(given) and all(
        d.takes(g) for d, g in zip(declared, given, strict=True)
    ):
        return ""
    return (
        f"its parameters are ({', '.join(map(str, declared))}), and it is called with "
        f"({', '.join(map(str, given))}): {_CALLED}"
    )


def declared_by(function: Any) -> tuple[Parameter, ...] | None:
    """The parameters of a ctypes or cffi function pointer or numba's cfunc, None where they are not known."""
    if isinstance(getattr(function, "address", None), int):  # numba's cfunc
        function = getattr(function, "ctypes", None)
    if isinstance(function, _C_FUNCTION):
        # A prototype without types is what stands for any function.
        return tuple(_of_ctypes(t) for t in function.argtypes or ()) or None
    cffi = sys.modules.get("_cffi_backend")
    if cffi is not None and isinstance(function, cffi.FFI.CData):
        kind = cffi.typeof(function)
        known = kind.kind == "function" and kind.args and not kind.ellipsis
        return tuple(_of_cffi(cffi, t) for t in kind.args) if known else None
    return None


def _of_ctypes(kind: Any) -> Parameter:
    if issubclass(kind, _POINTER):
        return Parameter("ptr", _element(kind._type_))
    if issubclass(kind, _C_FUNCTION):
        return Parameter("ptr")
    if not issubclass(kind, _SIMPLE):
        return Parameter(kind.__name__)
    if kind._type_ in "zZPO":
        return Parameter("ptr")
    return _number(np.dtype(kind))


def _element(kind: Any) -> str:
    """What a pointer of ctypes points to, as ours; "" where it is open."""
    try:
        dtype = np.dtype(kind)
        return "" if dtype.itemsize == 1 else dtype_of(dtype).name
    except (TypeError, ModelError):  # a structure, or a pointer
        return ""


def _number(dtype: np.dtype) -> Parameter:
    """A number by value."""
    floats = {4: "float", 8: "double"}
    if dtype.kind == "f":
        return Parameter(floats.get(dtype.itemsize, dtype.name))
    return Parameter(f"i{8 * dtype.itemsize}")


def _of_cffi(cffi: Any, kind: Any) -> Parameter:
    if kind.kind in ("pointer", "array"):
        item = kind.item
        if item.kind != "primitive" or cffi.sizeof(item) == 1:
            return Parameter("ptr")
        return Parameter("ptr", _name_of_cffi(cffi, item))
    if kind.kind == "function":
        return Parameter("ptr")
    if kind.kind != "primitive":
        return Parameter(kind.cname)
    if kind.cname in _CFFI_FLOATS:
        return Parameter(kind.cname)
    return Parameter(f"i{8 * cffi.sizeof(kind)}")


def _name_of_cffi(cffi: Any, kind: Any) -> str:
    if kind.cname in _CFFI_FLOATS:
        return _CFFI_FLOATS[kind.cname]
    unsigned = kind.cname.startswith(("u", "size_t"))
    return f"{'u' if unsigned else 'i'}{8 * cffi.sizeof(kind)}"
