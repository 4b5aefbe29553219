"""Activations: elementwise functions of one tensor of floats (relu: also of integers).

Shape and element type are those of x.  Formulas are those of the papers that introduced them, in the
form that neither overflows nor divides by what may be 0.
"""

from __future__ import annotations

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ops.functional.core import TensorLike
from camshaft.ops.functional.elementwise.arithmetic import pointwise

X = E.inp(0)
ZERO = E.const(0.0)
ONE = E.const(1.0)
BELOW_ZERO = E.binary("lt", X, ZERO)


def relu(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """max(x, 0)."""
    return pointwise(builder, E.maximum(X, ZERO), x, output=output)


def leaky_relu(
    builder: GraphBuilder, x: Tensor, negative_slope: float = 0.01, *, output: str | None = None
) -> Tensor:
    """x, times `negative_slope` where it is below 0."""
    expr = E.select(BELOW_ZERO, E.mul(X, E.const(negative_slope)), X)
    return pointwise(builder, expr, x, output=output)


def prelu(
    builder: GraphBuilder, x: Tensor, weight: TensorLike, *, output: str | None = None
) -> Tensor:
    """x, times `weight` where it is below 0; weight broadcasts to x, e.g. [C,1,1] of a [N,C,H,W]."""
    expr = E.select(BELOW_ZERO, E.mul(X, E.inp(1)), X)
    return pointwise(builder, expr, x, weight, output=output)


def threshold(
    builder: GraphBuilder,
    x: Tensor,
    threshold: float,
    value: float = 0.0,
    *,
    output: str | None = None,
) -> Tensor:
    """x where it is above `threshold`, else `value`."""
    expr = E.select(E.binary("lt", E.const(threshold), X), X, E.const(value))
    return pointwise(builder, expr, x, output=output)


def elu(
    builder: GraphBuilder, x: Tensor, alpha: float = 1.0, *, output: str | None = None
) -> Tensor:
    """x, or alpha * (e^x - 1) below 0 (Clevert, Unterthiner, Hochreiter 2015)."""
    return pointwise(builder, elu_expr(alpha), x, output=output)


def selu(
    builder: GraphBuilder,
    x: Tensor,
    alpha: float = 1.67326319217681884765625,
    scale: float = 1.05070102214813232421875,
    *,
    output: str | None = None,
) -> Tensor:
    """scale * elu(x, alpha) (Klambauer et al. 2017)."""
    return pointwise(builder, E.mul(E.const(scale), elu_expr(alpha)), x, output=output)


def celu(
    builder: GraphBuilder, x: Tensor, alpha: float = 1.0, *, output: str | None = None
) -> Tensor:
    """x, or alpha * (e^(x / alpha) - 1) below 0 (Barron 2017)."""
    if not alpha:
        raise ModelError("alpha=0 divides by zero")
    inner = E.unary("exp", E.minimum(E.div(X, E.const(alpha)), ZERO))
    negative = E.mul(E.const(alpha), E.sub(inner, ONE))
    return pointwise(builder, E.select(BELOW_ZERO, negative, X), x, output=output)


def elu_expr(alpha: float) -> Expr:
    """ELU of i0."""
    negative = E.mul(E.const(alpha), E.sub(E.unary("exp", E.minimum(X, ZERO)), ONE))
    return E.select(BELOW_ZERO, negative, X)


def sigmoid(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """1 / (1 + e^-x)."""
    return pointwise(builder, E.sigmoid(X), x, output=output)


def silu(
    builder: GraphBuilder, x: Tensor, alpha: float = 1.0, *, output: str | None = None
) -> Tensor:
    """x * sigmoid(alpha * x), also called swish (Ramachandran, Zoph, Le 2017)."""
    expr = E.mul(X, E.sigmoid(E.mul(X, E.const(alpha))))
    return pointwise(builder, expr, x, output=output)


def hard_sigmoid(
    builder: GraphBuilder,
    x: Tensor,
    slope: float = 1.0 / 6.0,
    offset: float = 0.5,
    *,
    output: str | None = None,
) -> Tensor:
    """slope * x + offset, held between 0 and 1."""
    return pointwise(builder, hard_sigmoid_expr(slope, offset), x, output=output)


def hard_swish(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """x * hard_sigmoid(x) (Howard et al. 2019)."""
    return pointwise(builder, E.mul(X, hard_sigmoid_expr(1.0 / 6.0, 0.5)), x, output=output)


def hard_sigmoid_expr(slope: float, offset: float) -> Expr:
    """Hard sigmoid of i0."""
    return E.clip(E.add(E.mul(X, E.const(slope)), E.const(offset)), 0.0, 1.0)


def tanh(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """The hyperbolic tangent."""
    return pointwise(builder, E.unary("tanh", X), x, output=output)


def gelu(
    builder: GraphBuilder, x: Tensor, approximate: str = "none", *, output: str | None = None
) -> Tensor:
    """x times the normal distribution's P(X <= x) (Hendrycks, Gimpel 2016).

    approximate: "none" by erf, "tanh" by the paper's approximation.
    """
    if approximate not in ("none", "tanh"):
        raise ModelError(f"approximate={approximate!r} is neither 'none' nor 'tanh'")
    if approximate == "tanh":
        cubic = E.add(X, E.mul(E.const(0.044715), E.mul(X, E.mul(X, X))))
        inner = E.unary("tanh", E.mul(E.const(0.7978845608028654), cubic))
    else:
        inner = E.unary("erf", E.mul(X, E.const(0.7071067811865476)))
    expr = E.mul(E.mul(E.const(0.5), X), E.add(ONE, inner))
    return pointwise(builder, expr, x, output=output)


def softplus(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """log(1 + e^x), as max(x, 0) + log(1 + e^-|x|), which cannot overflow."""
    return pointwise(builder, softplus_expr(), x, output=output)


def softplus_expr() -> Expr:
    """Softplus of i0."""
    tail = E.unary("log", E.add(ONE, E.unary("exp", E.unary("neg", E.unary("abs", X)))))
    return E.add(E.maximum(X, ZERO), tail)


def softsign(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """x / (1 + |x|)."""
    return pointwise(builder, E.div(X, E.add(ONE, E.unary("abs", X))), x, output=output)


def mish(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """x * tanh(softplus(x)) (Misra 2019)."""
    return pointwise(builder, E.mul(X, E.unary("tanh", softplus_expr())), x, output=output)


def shrink(
    builder: GraphBuilder,
    x: Tensor,
    lambd: float = 0.5,
    bias: float = 0.0,
    *,
    output: str | None = None,
) -> Tensor:
    """0 between -lambd and lambd; x - bias above, x + bias below.

    bias 0 is hard shrinkage, bias lambd soft shrinkage.
    """
    low = E.select(E.binary("lt", X, E.const(-lambd)), E.add(X, E.const(bias)), ZERO)
    expr = E.select(E.binary("lt", E.const(lambd), X), E.sub(X, E.const(bias)), low)
    return pointwise(builder, expr, x, output=output)
