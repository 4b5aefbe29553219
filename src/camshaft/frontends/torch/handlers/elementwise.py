"""Elementwise ATen operators."""

from __future__ import annotations

import math
from collections.abc import Callable

from camshaft.frontends.torch.call import Call, handles
from camshaft.ir.graph import Tensor
from camshaft.ir.types import boolean
from camshaft.ops import functional as F

_UNARY: dict[str, Callable[..., Tensor]] = {
    "abs": F.abs,
    "acos": F.acos,
    "acosh": F.acosh,
    "asin": F.asin,
    "asinh": F.asinh,
    "atan": F.atan,
    "atanh": F.atanh,
    "ceil": F.ceil,
    "cos": F.cos,
    "cosh": F.cosh,
    "erf": F.erf,
    "exp": F.exp,
    "floor": F.floor,
    "hardswish": F.hard_swish,
    "log": F.log,
    "mish": F.mish,
    "neg": F.neg,
    "reciprocal": F.reciprocal,
    "relu": F.relu,
    "sigmoid": F.sigmoid,
    "silu": F.silu,
    "sin": F.sin,
    "sinh": F.sinh,
    "sqrt": F.sqrt,
    "tan": F.tan,
    "tanh": F.tanh,
}


@handles(*_UNARY)
def unary(c: Call) -> Tensor:
    return _UNARY[c.name.removeprefix("aten::")](c.builder, c.tensor("self", c.dtype))


@handles("rsqrt")
def rsqrt(c: Call) -> Tensor:
    return F.reciprocal(c.builder, F.sqrt(c.builder, c.tensor("self", c.dtype)))


@handles("square")
def square(c: Call) -> Tensor:
    x = c.tensor("self")
    return F.mul(c.builder, x, x)


@handles("expm1")
def expm1(c: Call) -> Tensor:
    return F.sub(c.builder, F.exp(c.builder, c.tensor("self", c.dtype)), 1.0)


@handles("log1p")
def log1p(c: Call) -> Tensor:
    return F.log(c.builder, F.add(c.builder, c.tensor("self", c.dtype), 1.0))


@handles("log2", "log10")
def log_of_base(c: Call) -> Tensor:
    base = 2.0 if c.name.endswith("2") else 10.0
    return F.mul(c.builder, F.log(c.builder, c.tensor("self", c.dtype)), 1 / math.log(base))


@handles("exp2")
def exp2(c: Call) -> Tensor:
    return F.exp(c.builder, F.mul(c.builder, c.tensor("self", c.dtype), math.log(2.0)))


@handles("round")
def rounded(c: Call) -> Tensor:
    if c.get("decimals", 0):
        raise c.refuse("decimals are not rounded to")
    return F.round(c.builder, c.tensor("self"))


@handles("trunc", "fix")
def trunc(c: Call) -> Tensor:
    return _truncated(c, c.tensor("self"))


def _truncated(c: Call, x: Tensor) -> Tensor:
    if not x.type.dtype.is_float:
        return x
    b = c.builder
    return F.mul(b, F.sign(b, x), F.floor(b, F.abs(b, x)))


@handles("gelu")
def gelu(c: Call) -> Tensor:
    return F.gelu(c.builder, c.tensor("self"), c.get("approximate", "none"))


@handles("hardsigmoid")
def hard_sigmoid(c: Call) -> Tensor:
    return F.hard_sigmoid(c.builder, c.tensor("self"))


@handles("relu6")
def relu6(c: Call) -> Tensor:
    return F.clamp(c.builder, c.tensor("self"), 0.0, 6.0)


@handles("hardtanh")
def hardtanh(c: Call) -> Tensor:
    return F.clamp(
        c.builder, c.tensor("self"), float(c.get("min_val", -1)), float(c.get("max_val", 1))
    )


@handles("leaky_relu")
def leaky_relu(c: Call) -> Tensor:
    return F.leaky_relu(c.builder, c.tensor("self"), float(c["negative_slope"]))


@handles("elu")
def elu(c: Call) -> Tensor:
    alpha, scale, input_scale = (float(c[n]) for n in ("alpha", "scale", "input_scale"))
    if input_scale != 1:
        raise c.refuse("input_scale is not 1")
    b, x = c.builder, c.tensor("self")
    return (
        F.elu(b, x, alpha)
        if scale == 1
        else F.mul(
            b,
            F.elu(b, x, alpha),
            scale,
        )
    )


@handles("selu")
def selu(c: Call) -> Tensor:
    return F.selu(c.builder, c.tensor("self"))


@handles("celu")
def celu(c: Call) -> Tensor:
    return F.celu(c.builder, c.tensor("self"), float(c["alpha"]))


@handles("softplus")
def softplus(c: Call) -> Tensor:
    b, x = c.builder, c.tensor("self")
    beta, threshold = float(c["beta"]), float(c["threshold"])
    scaled = x if beta == 1 else F.mul(b, x, beta)
    smooth = F.softplus(b, scaled)
    smooth = smooth if beta == 1 else F.mul(b, smooth, 1 / beta)
    return F.where(b, F.gt(b, scaled, threshold), x, smooth)


@handles("softsign")
def softsign(c: Call) -> Tensor:
    return F.softsign(c.builder, c.tensor("self"))


@handles("threshold")
def threshold(c: Call) -> Tensor:
    return F.threshold(c.builder, c.tensor("self"), float(c["threshold"]), float(c["value"]))


@handles("log_sigmoid")
def log_sigmoid(c: Call) -> Tensor:
    b = c.builder
    return F.neg(b, F.softplus(b, F.neg(b, c.tensor("self"))))


@handles("prelu", "_prelu_kernel")
def prelu(c: Call) -> Tensor:
    b, x, weight = c.builder, c.tensor("self"), c.tensor("weight")
    if weight.type.rank == 1 and x.type.rank > 1 and weight.shape[0] != 1:
        weight = F.reshape(b, weight, (weight.shape[0], *(1,) * (x.type.rank - 2)))
    return F.prelu(b, x, weight)


@handles("glu")
def glu(c: Call) -> Tensor:
    b, x, axis = c.builder, c.tensor("self"), c.axis()
    first, second = F.split(b, x, F.equal_parts(x.shape[axis], 2), axis)
    return F.mul(b, first, F.sigmoid(b, second))


# --- two operands ---------------------------------------------------------------------------------


@handles("add", "sub", "rsub")
def add(c: Call) -> Tensor:
    b, alpha = c.builder, c.get("alpha", 1)
    left, right = c.operands(c.dtype, "self", "other")
    if c.name == "aten::rsub":
        left, right = right, left
    if alpha != 1:
        right = (
            F.mul(b, right, float(alpha) if c.dtype.is_float else alpha)
            if isinstance(right, Tensor)
            else right * alpha
        )
    if c.name == "aten::add":
        return F.logical_or(b, left, right) if c.dtype == boolean else F.add(b, left, right)
    return F.sub(b, left, right)


@handles("mul")
def mul(c: Call) -> Tensor:
    left, right = c.operands(c.dtype, "self", "other")
    if c.dtype == boolean:
        return F.logical_and(c.builder, left, right)
    return F.mul(c.builder, left, right)


@handles("div", "true_divide")
def div(c: Call) -> Tensor:
    b, mode = c.builder, c.get("rounding_mode")
    left, right = c.operands(c.dtype, "self", "other")
    if mode == "floor":
        return _floor_div(c, left, right)
    made = F.div(b, left, right)
    return made if mode is None else _truncated(c, made)


@handles("floor_divide")
def floor_divide(c: Call) -> Tensor:
    return _floor_div(c, *c.operands(c.dtype, "self", "other"))


def _floor_div(c: Call, left: Tensor | float, right: Tensor | float) -> Tensor:
    """As Python divides: the quotient of what is left when the remainder is taken off."""
    b = c.builder
    x, y = c.as_tensor(left, c.dtype), c.as_tensor(right, c.dtype)
    if c.dtype.is_float:
        rest = F.fmod(b, x, y)
        whole = F.div(b, F.sub(b, x, rest), y)
        signs = F.logical_xor(b, F.lt(b, rest, 0.0), F.lt(b, y, 0.0))
        below = F.logical_and(b, F.ne(b, rest, 0.0), signs)
        whole = F.round(b, F.sub(b, whole, F.cast(b, below, c.dtype)))
        return F.where(b, F.eq(b, y, 0.0), F.div(b, x, y), whole)
    whole = F.div(b, x, y)
    rest = F.sub(b, x, F.mul(b, whole, y))
    signs = F.logical_xor(b, F.lt(b, rest, 0), F.lt(b, y, 0))
    below = F.logical_and(b, F.ne(b, rest, 0), signs)
    return F.sub(b, whole, F.cast(b, below, c.dtype))


@handles("remainder")
def remainder(c: Call) -> Tensor:
    left, right = c.operands(c.dtype, "self", "other")
    return F.remainder(c.builder, c.as_tensor(left, c.dtype), right)


@handles("fmod")
def fmod(c: Call) -> Tensor:
    left, right = c.operands(c.dtype, "self", "other")
    return F.fmod(c.builder, c.as_tensor(left, c.dtype), right)


@handles("pow")
def power(c: Call) -> Tensor:
    b, exponent = c.builder, c["exponent"]
    if isinstance(exponent, int | float) and not isinstance(exponent, bool):
        x = c.tensor("self", c.dtype)
        if exponent == 2:
            return F.mul(b, x, x)
        if exponent == 3:
            return F.mul(b, F.mul(b, x, x), x)
        if exponent == 0.5:
            return F.sqrt(b, x)
        if exponent == -0.5:
            return F.reciprocal(b, F.sqrt(b, x))
        if exponent == 1:
            return x
        if exponent == -1:
            return F.reciprocal(b, x)
        return F.pow(b, x, float(exponent) if c.dtype.is_float else exponent)
    return F.pow(b, c.tensor("self", c.dtype), c.tensor("exponent", c.dtype))


@handles("maximum", "fmax")
def maximum(c: Call) -> Tensor:
    made = F.maximum(c.builder, *c.operands(c.dtype, "self", "other"))
    return _without_nan(c, made) if c.name == "aten::fmax" else made


@handles("minimum", "fmin")
def minimum(c: Call) -> Tensor:
    made = F.minimum(c.builder, *c.operands(c.dtype, "self", "other"))
    return _without_nan(c, made) if c.name == "aten::fmin" else made


def _without_nan(c: Call, made: Tensor) -> Tensor:
    """The other operand where one is NaN."""
    if not c.dtype.is_float:
        return made
    b = c.builder
    left, right = (c.tensor(n, c.dtype) for n in ("self", "other"))
    return F.where(b, F.isnan(b, left), right, F.where(b, F.isnan(b, right), left, made))


@handles("sign")
def sign(c: Call) -> Tensor:
    b, x = c.builder, c.tensor("self", c.dtype)
    made = F.sign(b, x)
    return F.where(b, F.isnan(b, x), 0.0, made) if c.dtype.is_float else made


@handles("atan2")
def atan2(c: Call) -> Tensor:
    b = c.builder
    y, x = (c.tensor(n, c.dtype) for n in ("self", "other"))
    high, wide = F.abs(b, y), F.abs(b, x)
    equal = F.cast(b, F.ne(b, high, 0.0), c.dtype)
    slope = F.where(b, F.eq(b, high, wide), equal, F.div(b, high, wide))
    angle = F.atan(b, slope)
    turned = F.where(b, _is_negative(c, x), F.sub(b, math.pi, angle), angle)
    return F.where(b, _is_negative(c, y), F.neg(b, turned), turned)


def _is_negative(c: Call, x: Tensor) -> Tensor:
    """Whether the sign is set, also of zeros."""
    b = c.builder
    return F.logical_or(b, F.lt(b, x, 0.0), F.lt(b, F.reciprocal(b, x), 0.0))


@handles("lerp")
def lerp(c: Call) -> Tensor:
    b, start = c.builder, c.tensor("self", c.dtype)
    span = F.sub(b, c.tensor("end", c.dtype), start)
    return F.add(b, start, F.mul(b, span, c.operand("weight", c.dtype)))


@handles("addcmul", "addcdiv")
def addcmul(c: Call) -> Tensor:
    b = c.builder
    x, one, two = (c.tensor(n, c.dtype) for n in ("self", "tensor1", "tensor2"))
    made = F.mul(b, one, two) if c.name.endswith("mul") else F.div(b, one, two)
    value = c.get("value", 1)
    return F.add(b, x, made if value == 1 else F.mul(b, made, float(value)))
