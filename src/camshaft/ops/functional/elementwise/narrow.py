"""Rounding to the floats of at most 8 bits and the integers of fewer, which graphs hold in wider types."""

from __future__ import annotations

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import NARROW_FLOATS, NARROW_INTS, DType, f8e8m0, f32, f64, i32
from camshaft.ops.elementwise import POINTWISE, converted
from camshaft.ops.functional.core import NoCanonicalForm, emit
from camshaft.ops.functional.elementwise.arithmetic import A, cast, pointwise

ROUNDINGS = ("up", "down", "nearest")


def rounded(builder: GraphBuilder, x: Tensor, dtype: DType, *, output: str | None = None) -> Tensor:
    """x, of f32, with the values of a half float, half to even."""
    expr = E.cast(E.cast(E.inp(0), dtype), f32)
    return emit(builder, POINTWISE, [x], {"expr": expr}, output)


def narrowed(
    builder: GraphBuilder,
    x: Tensor,
    dtype: DType,
    *,
    saturate: bool = True,
    rounding: str = "up",
    output: str | None = None,
) -> Tensor:
    """x rounded to a type of at most 8 bits, in the type that holds it (`DType.held`).

    Floats are rounded half to even; x beyond the largest number becomes it with `saturate`, else infinity
    or NaN (the type's only one; the largest number where it has neither).  To powers of two (f8e8m0)
    they are rounded as `rounding` says: "up", "down", or "nearest" (of two the greater); what is less
    than the smallest becomes it with `saturate`, else NaN.  Integers wrap; floats are truncated toward
    zero on their way to them.
    Raises ModelError for an unknown `rounding`, NoCanonicalForm for strings.
    Source of the rules: the tables of ONNX's Cast.
    """
    if rounding not in ROUNDINGS:
        raise ModelError(f"rounding mode {rounding!r} is unknown; there is {', '.join(ROUNDINGS)}")
    source = x.type.dtype
    if source.kind == "s":
        raise NoCanonicalForm(f"cannot convert strings to {dtype.name}")
    if dtype in NARROW_INTS:
        whole = converted(A, source, i32) if source.is_float else A
        return pointwise(builder, E.cast(E.cast(whole, dtype), dtype.held), x, output=output)
    if dtype not in NARROW_FLOATS:
        raise ModelError(f"{dtype.name} is no type of at most 8 bits")
    wide = source if source in (f32, f64) and dtype != f8e8m0 else f32
    if dtype == f8e8m0:
        rounded = _power_of_two(A, saturate, rounding)
    else:
        rounded = rounded_to(A, wide, dtype, saturate)
    return pointwise(builder, rounded, cast(builder, x, wide), output=output)


def rounded_to(x: Expr, source: DType, dtype: DType, saturate: bool) -> Expr:
    """x, of type f32 or f64, rounded to a float type that has a sign, as f32."""
    if saturate:
        least, most = (E.const(sign * dtype.largest, source) for sign in (-1, 1))
        x = E.maximum(E.minimum(x, most), least)
    return E.cast(E.cast(x, dtype), f32)


def _power_of_two(x: Expr, saturate: bool, rounding: str) -> Expr:
    least, most = f8e8m0.tiny, f8e8m0.largest
    if saturate:
        x = E.clip(x, least, most)
    else:
        x = E.select(E.binary("lt", x, E.const(least)), E.const(float("nan")), x)
    below = E.cast(E.cast(x, f8e8m0), f32)
    if rounding == "down":
        return below
    if rounding == "up":
        goes_up = E.binary("lt", below, x)
    else:
        goes_up = E.binary("le", E.mul(below, E.const(1.5)), x)
    rounded = E.select(goes_up, E.add(below, below), below)
    return E.cast(E.cast(rounded, f8e8m0), f32)  # infinity, beyond the largest, to NaN
