"""Elementwise comparison, logic and choice; the rules of `functional.elementwise` hold.

Comparisons give bool.  One with NaN is false, but for `not_equal`.
"""

from __future__ import annotations

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ops.functional.core import TensorLike
from camshaft.ops.functional.elementwise.arithmetic import literal, pointwise
from camshaft.ops.functional.movement.shape import reshape

A, B, C = E.inp(0), E.inp(1), E.inp(2)


def eq(builder: GraphBuilder, a: TensorLike, b: TensorLike, *, output: str | None = None) -> Tensor:
    """a == b."""
    return pointwise(builder, E.binary("eq", A, B), a, b, output=output)


def ne(builder: GraphBuilder, a: TensorLike, b: TensorLike, *, output: str | None = None) -> Tensor:
    """a != b."""
    return pointwise(builder, E.unary("not", E.binary("eq", A, B)), a, b, output=output)


def lt(builder: GraphBuilder, a: TensorLike, b: TensorLike, *, output: str | None = None) -> Tensor:
    """a < b."""
    return pointwise(builder, E.binary("lt", A, B), a, b, output=output)


def le(builder: GraphBuilder, a: TensorLike, b: TensorLike, *, output: str | None = None) -> Tensor:
    """a <= b."""
    return pointwise(builder, E.binary("le", A, B), a, b, output=output)


def gt(builder: GraphBuilder, a: TensorLike, b: TensorLike, *, output: str | None = None) -> Tensor:
    """a > b."""
    return pointwise(builder, E.binary("lt", B, A), a, b, output=output)


def ge(builder: GraphBuilder, a: TensorLike, b: TensorLike, *, output: str | None = None) -> Tensor:
    """a >= b."""
    return pointwise(builder, E.binary("le", B, A), a, b, output=output)


def logical_and(
    builder: GraphBuilder, a: TensorLike, b: TensorLike, *, output: str | None = None
) -> Tensor:
    """a and b, of bools."""
    return pointwise(builder, E.binary("and", A, B), a, b, output=output)


def logical_or(
    builder: GraphBuilder, a: TensorLike, b: TensorLike, *, output: str | None = None
) -> Tensor:
    """a or b, of bools."""
    return pointwise(builder, E.binary("or", A, B), a, b, output=output)


def logical_xor(
    builder: GraphBuilder, a: TensorLike, b: TensorLike, *, output: str | None = None
) -> Tensor:
    """a or b, not both, of bools."""
    return pointwise(builder, E.binary("xor", A, B), a, b, output=output)


def logical_not(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """Not x, of bools."""
    return pointwise(builder, E.unary("not", A), x, output=output)


def isnan(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """Whether x is NaN; x is of a float type."""
    return pointwise(builder, E.unary("isnan", A), x, output=output)


def isinf(
    builder: GraphBuilder,
    x: Tensor,
    *,
    positive: bool = True,
    negative: bool = True,
    output: str | None = None,
) -> Tensor:
    """Whether x, of a float type, is +inf (where `positive`) or -inf (where `negative`)."""
    infinite = E.unary("isinf", A)
    if not (positive and negative):
        side = (E.const(0.0), A) if positive else (A, E.const(0.0))
        infinite = E.binary("and", infinite, E.binary("lt", *side))
    if not positive and not negative:
        infinite = E.binary("and", infinite, E.unary("not", infinite))
    return pointwise(builder, infinite, x, output=output)


def where(
    builder: GraphBuilder,
    condition: Tensor,
    if_true: TensorLike,
    if_false: TensorLike,
    *,
    output: str | None = None,
) -> Tensor:
    """`if_true` where the bool `condition` holds, else `if_false`; all three broadcast together."""
    if condition.type.dtype.kind != "b":
        raise ModelError(f"condition {condition.name!r} is {condition.type}, not bool")
    return pointwise(builder, E.select(A, B, C), condition, if_true, if_false, output=output)


def clamp(
    builder: GraphBuilder,
    x: Tensor,
    min: TensorLike | None = None,
    max: TensorLike | None = None,
    *,
    output: str | None = None,
) -> Tensor:
    """x held between two bounds; either may be None.  The upper one wins where they cross.

    min, max: numbers, or one value of x's element type as a tensor of any rank; constants become
    literals.  ModelError for a bound of another type or of more than one value.
    """
    bounds = (
        (("min", max), ("max", min)) if not _crossed(min, max) else (("max", min), ("min", max))
    )
    expr, operands, dtype = A, [x], x.type.dtype
    for op, bound in bounds:
        if bound is None:
            continue
        if isinstance(bound, Tensor) and (bound.type.size != 1 or bound.type.dtype != dtype):
            raise ModelError(f"bound {bound.name!r} is {bound.type}, not one {dtype.name}")
        value = _known(bound)
        if value is not None:
            expr = E.binary(op, expr, literal(value, dtype))
        else:
            assert isinstance(bound, Tensor)
            operands.append(reshape(builder, bound, ()))
            expr = E.binary(op, expr, E.inp(len(operands) - 1))
    return pointwise(builder, expr, *operands, output=output)


def _known(bound: TensorLike) -> float | None:
    """The number that a bound is, None where only a run knows it."""
    array = bound.data if isinstance(bound, Tensor) else np.asarray(bound)
    if array is None:
        return None
    if array.size != 1:
        raise ModelError(f"a bound has {array.size} values, not one")
    value: float = array.item()
    return value


def _crossed(low: TensorLike | None, high: TensorLike | None) -> bool:
    """Whether the lower bound may be above the upper one."""
    if low is None or high is None:
        return False
    least, most = _known(low), _known(high)
    return least is None or most is None or least > most
