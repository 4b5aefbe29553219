"""Which scalar expressions the CPU can print, and how wide their values get.

Asked by `supports` of tactics before any code is emitted, so that an op without CPU code becomes
a host step instead of an error.
"""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.backends.cpu.lang.small_floats import SMALL_FLOATS
from camshaft.ir.expr import Expr, has_code, nodes, result_dtype
from camshaft.ir.types import (
    NARROW_INTS,
    DType,
    boolean,
    f32,
    f64,
    i8,
    i16,
    i32,
    i64,
    u8,
    u16,
    u32,
    u64,
)

COMPUTABLE = (f32, f64, i8, i16, i32, i64, u8, u16, u32, u64, boolean)
"""Element types with arithmetic on every target."""
CONVERTED = (*SMALL_FLOATS, *NARROW_INTS)
"""Element types that are only copied and converted."""

_NOT_BOOL = frozenset({"neg", "abs", "sqrt", "sign", "add", "sub", "mul", "div", "mod"})


def value_dtypes(expr: Expr, inputs: Sequence[DType]) -> tuple[DType, ...]:
    """Element types of all values of `expr`."""
    return tuple(result_dtype(e, inputs) for e in nodes(expr))


def printable(expr: Expr, inputs: Sequence[DType]) -> bool:
    """Whether `emit_expr` has code for `expr` on inputs of these types."""
    if any(d not in (*COMPUTABLE, *CONVERTED) for d in (*inputs, *value_dtypes(expr, inputs))):
        return False
    for e in nodes(expr):
        touched = (result_dtype(n, inputs) for n in (e, *e.args))
        if e.op not in ("input", "cast") and any(d in CONVERTED for d in touched):
            return False
        operand = result_dtype(e.args[0], inputs) if e.args else f32
        if e.op in _NOT_BOOL and operand == boolean:
            return False
        if e.op in ("sqrt", "isnan", "isinf", "reciprocal") and not operand.is_float:
            return False
    return has_code(expr, inputs)


def widest(expr: Expr, inputs: Sequence[DType]) -> DType:
    """The type with most bits among the inputs and values: it decides how many lanes fit."""
    return max((*inputs, *value_dtypes(expr, inputs)), key=lambda d: d.bytes)
