"""Elementwise arithmetic and conversion, and `pointwise`, of which every elementwise function is made.

Tensors broadcast together as in NumPy and have one element type, which is the result's, where a
docstring does not say otherwise.  A number takes the element type of the tensors beside it; an array
becomes a constant.  ModelError where types or shapes do not fit, or a number has no value of the
type.  `functional.comparison` has comparisons, logic and choice, `functional.activation` the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import DType, f32, f64
from camshaft.ops.elementwise import POINTWISE, converted, retyped
from camshaft.ops.functional.core import NoCanonicalForm, TensorLike, constant, emit

A, B = E.inp(0), E.inp(1)
MOST_OPERANDS = 12
"""Inputs that one expression of a function of many operands reads."""


def pointwise(
    builder: GraphBuilder, expr: Expr, *operands: TensorLike, output: str | None = None
) -> Tensor:
    """expr(operands) for every element; input i of `expr` is operand i.

    The expression's f32 literals take the tensors' element type where they all have the same one.
    An expression that is its first input gives that operand back.
    Raises ModelError without a tensor among the operands, NoCanonicalForm for strings.
    """
    tensors = [o for o in operands if isinstance(o, Tensor)]
    if not tensors:
        raise ModelError("needs a tensor among its operands; numbers alone have no element type")
    kinds = list(dict.fromkeys(t.type.dtype for t in tensors))
    chooses = all(e.op in ("input", "select") for e in E.nodes(expr))
    if any(k.kind == "s" for k in kinds) and not chooses:
        raise NoCanonicalForm("works on numbers, not on strings")
    if len(kinds) == 1:
        expr = retyped(expr, kinds[0])
    numeric = next((k for k in kinds if k.kind != "b"), kinds[0])
    inputs: list[Tensor] = []
    places: list[Expr] = []
    for operand in operands:
        if isinstance(operand, np.ndarray):
            operand = constant(builder, operand, "constant")
        if isinstance(operand, Tensor):
            places.append(E.inp(len(inputs)))
            inputs.append(operand)
        else:
            places.append(literal(operand, numeric))
    if len(inputs) < len(operands):
        expr = E.substitute(expr, places)
    if expr == A:
        return inputs[0]
    return emit(builder, POINTWISE, inputs, {"expr": expr}, output)


def literal(value: float, dtype: DType) -> Expr:
    """`value` as a literal of `dtype`; ModelError where it has no such value."""
    if dtype.is_int:
        low, high = dtype.range
        if not low <= value <= high or value != int(value):
            raise ModelError(f"{value} is no value of type {dtype.name}")
    return E.const(value, dtype)


def cast(builder: GraphBuilder, x: Tensor, dtype: DType, *, output: str | None = None) -> Tensor:
    """x in another element type; x itself where it has that type.

    Floats are truncated toward zero on their way to integers, and saturate; integers wrap; bool is
    "not zero".  NoCanonicalForm to and from strings.
    """
    if x.type.dtype == dtype:
        return x
    if "s" in (x.type.dtype.kind, dtype.kind):
        raise NoCanonicalForm(f"cannot convert {x.type.dtype.name} to {dtype.name}")
    return emit(builder, POINTWISE, [x], {"expr": converted(A, x.type.dtype, dtype)}, output)


# --- arithmetic -----------------------------------------------------------------------------


def _unary(builder: GraphBuilder, op: str, x: Tensor, output: str | None) -> Tensor:
    return pointwise(builder, E.unary(op, A), x, output=output)


def _binary(
    builder: GraphBuilder, op: str, a: TensorLike, b: TensorLike, output: str | None
) -> Tensor:
    return pointwise(builder, E.binary(op, A, B), a, b, output=output)


def _chain(builder: GraphBuilder, op: str, xs: Sequence[TensorLike], output: str | None) -> Tensor:
    few = _few(builder, op, xs)
    return pointwise(builder, _chained(op, len(few)), *few, output=output)


def _few(builder: GraphBuilder, op: str, xs: Sequence[TensorLike]) -> Sequence[TensorLike]:
    """At most MOST_OPERANDS operands: the first ones are combined, in order, by nodes of their own."""
    while len(xs) > MOST_OPERANDS:
        head = pointwise(builder, _chained(op, MOST_OPERANDS), *xs[:MOST_OPERANDS])
        xs = [head, *xs[MOST_OPERANDS:]]
    return xs


def _chained(op: str, count: int) -> Expr:
    """i0 op i1 op i2 ..., from the left; ModelError for no operand."""
    if not count:
        raise ModelError("needs at least one operand")
    result = A
    for i in range(1, count):
        result = E.binary(op, result, E.inp(i))
    return result


def add(builder: GraphBuilder, *xs: TensorLike, output: str | None = None) -> Tensor:
    """x0 + x1 + ..., from the left."""
    return _chain(builder, "add", xs, output)


def sub(
    builder: GraphBuilder, a: TensorLike, b: TensorLike, *, output: str | None = None
) -> Tensor:
    """a - b."""
    return _binary(builder, "sub", a, b, output)


def mul(builder: GraphBuilder, *xs: TensorLike, output: str | None = None) -> Tensor:
    """x0 * x1 * ..., from the left."""
    return _chain(builder, "mul", xs, output)


def div(
    builder: GraphBuilder, a: TensorLike, b: TensorLike, *, output: str | None = None
) -> Tensor:
    """a / b; integers truncate toward zero, and give 0 where b is 0."""
    return _binary(builder, "div", a, b, output)


def maximum(builder: GraphBuilder, *xs: TensorLike, output: str | None = None) -> Tensor:
    """The greatest of the operands; NaN where one is NaN."""
    return _chain(builder, "max", xs, output)


def minimum(builder: GraphBuilder, *xs: TensorLike, output: str | None = None) -> Tensor:
    """The least of the operands; NaN where one is NaN."""
    return _chain(builder, "min", xs, output)


def mean_of(builder: GraphBuilder, *xs: TensorLike, output: str | None = None) -> Tensor:
    """(x0 + x1 + ...) / count, of floats."""
    few = _few(builder, "add", xs)
    share = E.const(1.0 / max(1, len(xs)))
    return pointwise(builder, E.mul(_chained("add", len(few)), share), *few, output=output)


def pow(
    builder: GraphBuilder, x: Tensor, exponent: TensorLike, *, output: str | None = None
) -> Tensor:
    """x ** exponent, in x's element type whatever the exponent's.

    Computed in x's type, or in f64 where that is an integer.
    """
    dtype = x.type.dtype
    wide = dtype if dtype.is_float else f64
    if not isinstance(exponent, Tensor):
        exponent = constant(builder, np.asarray(exponent, wide.numpy), "exponent")
    if dtype == exponent.type.dtype and dtype.is_float:
        return _binary(builder, "pow", x, exponent, output)
    operands = cast(builder, x, wide), cast(builder, exponent, wide)
    raised = _binary(builder, "pow", *operands, output if wide == dtype else None)
    return cast(builder, raised, dtype, output=output)


def remainder(
    builder: GraphBuilder, a: Tensor, b: TensorLike, *, output: str | None = None
) -> Tensor:
    """a - b * floor(a / b): the divisor's sign, as Python's %; 0 where an integer b is 0."""
    return _binary(builder, "mod", a, b, output)


def fmod(builder: GraphBuilder, a: Tensor, b: TensorLike, *, output: str | None = None) -> Tensor:
    """a - b * trunc(a / b): the dividend's sign, as C's fmod; 0 where an integer b is 0."""
    if a.type.dtype.kind == "i":  # whose smallest value has no magnitude
        whole = E.mul(E.div(A, B), B)
        return pointwise(builder, E.sub(A, whole), a, b, output=output)
    rest = E.binary("mod", E.unary("abs", A), E.unary("abs", B))
    return pointwise(builder, E.mul(E.unary("sign", A), rest), a, b, output=output)


def abs(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """|x|."""
    return _unary(builder, "abs", x, output)


def neg(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """-x."""
    return _unary(builder, "neg", x, output)


def sign(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """-1, 0 or 1."""
    return _unary(builder, "sign", x, output)


def reciprocal(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """1 / x, of floats."""
    return _unary(builder, "reciprocal", x, output)


def ceil(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """The least integer that is not below x."""
    return _unary(builder, "ceil", x, output)


def floor(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """The greatest integer that is not above x."""
    return _unary(builder, "floor", x, output)


def round(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """The nearest integer, halves to the even one."""
    return _unary(builder, "round", x, output)


def exp(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """e ** x."""
    return _unary(builder, "exp", x, output)


def log(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """The natural logarithm."""
    return _unary(builder, "log", x, output)


def sqrt(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """The square root."""
    return _unary(builder, "sqrt", x, output)


def erf(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """The error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    return _unary(builder, "erf", x, output)


def sin(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """The sine of x radians."""
    return _unary(builder, "sin", x, output)


def cos(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """The cosine of x radians."""
    return _unary(builder, "cos", x, output)


def tan(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """The tangent of x radians, as sin x / cos x."""
    return pointwise(builder, E.div(E.unary("sin", A), E.unary("cos", A)), x, output=output)


def reciprocal_of(count: Extent, dtype: DType = f32) -> Expr:
    """1 / count as a literal, or computed when sizes are set."""
    if isinstance(count, int):
        return E.const(1.0 / count, dtype)
    return E.unary("reciprocal", E.extent(count, dtype))
