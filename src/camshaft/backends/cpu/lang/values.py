"""Typed values of the kernel language: what a tactic computes with.

A `Value` is one SSA value (scalar or vector of an element type), a `Pointer` an address of
elements.  Both only name things; `Emitter` and its subclasses write the instructions.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np

from camshaft.errors import BuildError
from camshaft.ir.extents.extent import Dim, constant_term
from camshaft.ir.types import NARROW_FLOATS, NARROW_INTS, DType

_LLVM = {
    "f16": "half",
    "f32": "float",
    "f64": "double",
    "bf16": "i16",
    "i8": "i8",
    "u8": "i8",
    "i16": "i16",
    "u16": "i16",
    "i32": "i32",
    "u32": "i32",
    "i64": "i64",
    "u64": "i64",
    "bool": "i1",
    **{d.name: "i8" for d in (*NARROW_FLOATS, *NARROW_INTS)},
}


@cache
def llvm_type(dtype: DType, lanes: int = 1) -> str:
    """LLVM's spelling of a scalar or vector; bool is i1.

    A bf16 is its bits, as floats of fewer bits are: where a target has no instruction for them, LLVM takes bfloat
    values through f32 wherever they are put together, and calls library functions to come back, which a
    kernel cannot link.
    """
    try:
        scalar = _LLVM[dtype.name]
    except KeyError:
        raise BuildError(
            f"no CPU code for element type {dtype}; run such a step on the host"
        ) from None
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


def memory_type(dtype: DType, lanes: int = 1) -> str:
    """As `llvm_type`, for values in memory: bool is one byte."""
    if dtype.kind == "b":
        return "i8" if lanes == 1 else f"<{lanes} x i8>"
    return llvm_type(dtype, lanes)


def literal(value: float | bool, dtype: DType) -> str:
    """LLVM's spelling of a scalar constant."""
    if dtype.name in ("f32", "f64"):
        wide = float(np.float32(value)) if dtype.name == "f32" else float(value)
        return "0x" + struct.pack(">d", wide).hex().upper()
    if dtype.name == "f16":
        return "0xH" + np.float16(value).tobytes()[::-1].hex().upper()
    if dtype.name == "bf16":
        return str(int(np.asarray(value, dtype.numpy).view(np.uint16)))
    if dtype.kind == "b":
        return "true" if value else "false"
    return str(int(value))


class Operators(Protocol):
    """What values and pointers ask of the builder they belong to (`Arithmetic` has it)."""

    def emit(self, instruction: str) -> str: ...
    def index(self, number: Index) -> Value: ...
    def add(self, a: Number, b: Number) -> Value: ...
    def sub(self, a: Number, b: Number) -> Value: ...
    def mul(self, a: Number, b: Number) -> Value: ...
    def div(self, a: Number, b: Number) -> Value: ...
    def rem(self, a: Number, b: Number) -> Value: ...
    def min(self, a: Number, b: Number) -> Value: ...
    def max(self, a: Number, b: Number) -> Value: ...
    def udiv(self, a: Number, b: Number) -> Value: ...
    def urem(self, a: Number, b: Number) -> Value: ...
    def neg(self, x: Value) -> Value: ...
    def bit(self, op: str, a: Number, b: Number) -> Value: ...
    def shift(self, op: str, x: Value, by: Number) -> Value: ...
    def compare(self, op: str, a: Number, b: Number) -> Value: ...


@dataclass(eq=False, slots=True)
class Value:
    """An SSA value: `lanes` elements of `dtype` (1: a scalar); operators emit instructions.

    i64 scalars are indices: non-negative where divided.  Python numbers mix in as constants, run-time
    extents as i64 scalars.
    Comparisons give bool values; equality is `k.eq(a, b)`, because `==` stays Python's identity.
    """

    k: Operators
    ref: str
    dtype: DType
    lanes: int = 1

    @property
    def type(self) -> str:
        """LLVM type."""
        return llvm_type(self.dtype, self.lanes)

    def __add__(self, other: Number) -> Value:
        return self.k.add(self, other)

    def __radd__(self, other: Number) -> Value:
        return self.k.add(other, self)

    def __sub__(self, other: Number) -> Value:
        return self.k.sub(self, other)

    def __rsub__(self, other: Number) -> Value:
        return self.k.sub(other, self)

    def __mul__(self, other: Number) -> Value:
        return self.k.mul(self, other)

    def __rmul__(self, other: Number) -> Value:
        return self.k.mul(other, self)

    def __truediv__(self, other: Number) -> Value:
        return self.k.div(self, other)

    def __rtruediv__(self, other: Number) -> Value:
        return self.k.div(other, self)

    def __floordiv__(self, other: Number) -> Value:
        return self.k.udiv(self, other)

    def __mod__(self, other: Number) -> Value:
        return self.k.urem(self, other)

    def __neg__(self) -> Value:
        return self.k.neg(self)

    def __and__(self, other: Number) -> Value:
        return self.k.bit("and", self, other)

    def __or__(self, other: Number) -> Value:
        return self.k.bit("or", self, other)

    def __xor__(self, other: Number) -> Value:
        return self.k.bit("xor", self, other)

    def __lshift__(self, other: int) -> Value:
        return self.k.shift("shl", self, other)

    def __rshift__(self, other: int) -> Value:
        return self.k.shift("ashr" if self.dtype.kind == "i" else "lshr", self, other)

    def __lt__(self, other: Number) -> Value:
        return self.k.compare("lt", self, other)

    def __le__(self, other: Number) -> Value:
        return self.k.compare("le", self, other)

    def __gt__(self, other: Number) -> Value:
        return self.k.compare("gt", self, other)

    def __ge__(self, other: Number) -> Value:
        return self.k.compare("ge", self, other)


Number = Value | int | float | bool | Dim
"""What operators accept: values, Python numbers as constants of the other operand's type, and
run-time extents."""

Index = Value | int | Dim
"""An i64 scalar, a Python int, or an extent that is known when the kernel runs."""


@dataclass(eq=False, slots=True)
class Pointer:
    """Address of elements of `dtype`: base register plus a constant number of elements.

    align: bytes the address is known to be a multiple of (at least the element's size).
    """

    k: Operators
    ref: str
    dtype: DType
    offset: int = 0
    align: int = 1

    def at(self, index: Index) -> Pointer:
        """Address of the element `index` further on (constants cost no instruction)."""
        size = self.dtype.bytes
        if isinstance(index, int):
            align = _known_alignment(self.align, index * size)
            return Pointer(self.k, self.ref, self.dtype, self.offset + index, align)
        if isinstance(index, Dim) and (constant := constant_term(index)):
            return self.at(index - constant).at(constant)  # neighbours share what is loaded
        index = self.k.index(index)
        ref = self.k.emit(
            f"getelementptr {memory_type(self.dtype)}, ptr {self.ref}, i64 {index.ref}"
        )
        return Pointer(self.k, ref, self.dtype, self.offset, min(self.align, size))

    def as_type(self, dtype: DType) -> Pointer:
        """The same address, read as elements of `dtype` (for example u8 quadruples as i32)."""
        distance = self.offset * self.dtype.bytes
        if distance % dtype.bytes == 0:
            return Pointer(self.k, self.ref, dtype, distance // dtype.bytes, self.align)
        return Pointer(self.k, self.address(), dtype, 0, self.align)

    def aligned(self, align: int) -> Pointer:
        """The same address with a promise: it is a multiple of `align` bytes."""
        return Pointer(self.k, self.ref, self.dtype, self.offset, align)

    def address(self) -> str:
        """A register with the full address."""
        if self.offset == 0:
            return self.ref
        elem = memory_type(self.dtype)
        return self.k.emit(f"getelementptr {elem}, ptr {self.ref}, i64 {self.offset}")


def _known_alignment(align: int, distance: int) -> int:
    return align if distance == 0 else min(align, distance & -distance)
