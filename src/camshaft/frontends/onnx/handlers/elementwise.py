"""Elementwise operators: a table of functions, and those whose spelling takes more."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

import numpy as np
from onnx import TensorProto

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import FOR_INFERENCE, Handler, NodeContext, Results
from camshaft.frontends.onnx.dtypes import boundary_dtype, inner_dtype, is_half, is_narrow
from camshaft.frontends.onnx.hosted import host_step
from camshaft.ir.graph import Tensor
from camshaft.ir.types import DType
from camshaft.ops import functional as F

_FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "Abs": F.abs,
    "Acos": F.acos,
    "Acosh": F.acosh,
    "Add": F.add,
    "And": F.logical_and,
    "Asin": F.asin,
    "Asinh": F.asinh,
    "Atan": F.atan,
    "Atanh": F.atanh,
    "Ceil": F.ceil,
    "Celu": F.celu,
    "Cos": F.cos,
    "Cosh": F.cosh,
    "Div": F.div,
    "Elu": F.elu,
    "Equal": F.eq,
    "Erf": F.erf,
    "Exp": F.exp,
    "Floor": F.floor,
    "Gelu": F.gelu,
    "Greater": F.gt,
    "GreaterOrEqual": F.ge,
    "HardSigmoid": F.hard_sigmoid,
    "HardSwish": F.hard_swish,
    "IsNaN": F.isnan,
    "LeakyRelu": F.leaky_relu,
    "Less": F.lt,
    "LessOrEqual": F.le,
    "Log": F.log,
    "Max": F.maximum,
    "Mean": F.mean_of,
    "Min": F.minimum,
    "Mish": F.mish,
    "Mul": F.mul,
    "Neg": F.neg,
    "Not": F.logical_not,
    "Or": F.logical_or,
    "Pow": F.pow,
    "PRelu": F.prelu,
    "Reciprocal": F.reciprocal,
    "Relu": F.relu,
    "Round": F.round,
    "Selu": F.selu,
    "Shrink": F.shrink,
    "Sigmoid": F.sigmoid,
    "Sign": F.sign,
    "Sin": F.sin,
    "Sinh": F.sinh,
    "Softplus": F.softplus,
    "Softsign": F.softsign,
    "Sqrt": F.sqrt,
    "Sub": F.sub,
    "Sum": F.add,
    "Swish": F.silu,
    "Tan": F.tan,
    "Tanh": F.tanh,
    "ThresholdedRelu": F.threshold,
    "Where": F.where,
    "Xor": F.logical_xor,
}
_ATTRIBUTES: Mapping[str, Mapping[str, tuple[str, float | str]]] = {
    "Celu": {"alpha": ("alpha", 1.0)},
    "Elu": {"alpha": ("alpha", 1.0)},
    "Gelu": {"approximate": ("approximate", "none")},
    "HardSigmoid": {"alpha": ("slope", 0.2), "beta": ("offset", 0.5)},
    "LeakyRelu": {"alpha": ("negative_slope", 0.01)},
    "Selu": {
        "alpha": ("alpha", 1.67326319217681884765625),
        "gamma": ("scale", 1.05070102214813232421875),
    },
    "Shrink": {"bias": ("bias", 0.0), "lambd": ("lambd", 0.5)},
    "Swish": {"alpha": ("alpha", 1.0)},
    "ThresholdedRelu": {"alpha": ("threshold", 1.0)},
}
"""ONNX's name of an attribute -> the function's name for it, and ONNX's default."""


def formula(ctx: NodeContext) -> Results:
    """An operator of the table."""
    function = _FUNCTIONS[ctx.proto.op_type]
    inputs = [ctx.arg(i) for i in range(len(ctx.inputs))]
    if not inputs:
        raise ModelError("has no inputs")
    if any(t.type.dtype.kind == "s" for t in inputs):
        return host_step(ctx)
    attrs: dict[str, float | str] = {}
    for name, (keyword, default) in _ATTRIBUTES.get(ctx.proto.op_type, {}).items():
        if isinstance(default, str):
            attrs[keyword] = ctx.attr_str(name, default)
        else:
            attrs[keyword] = ctx.attr_float(name, default)
    try:
        inspect.signature(function).bind(ctx.builder, *inputs, **attrs)
    except TypeError as error:
        raise ModelError(f"wrong number of inputs: {error}") from error
    return function(ctx.builder, *inputs, **attrs, output=ctx.output)


def clip(ctx: NodeContext) -> Results:
    """Clip; bounds were attributes before opset 11."""
    low: F.TensorLike | None
    high: F.TensorLike | None
    if ctx.opset < 11:
        low, high = (ctx.attr_float(name, float("nan")) for name in ("min", "max"))
        low, high = (None if bound != bound else bound for bound in (low, high))
    else:
        low, high = (ctx.arg(i) if ctx.has(i) else None for i in (1, 2))
    return F.clamp(ctx.builder, ctx.arg(0), low, high, output=ctx.output)


def cast_to(ctx: NodeContext) -> Results:
    """Cast: half precision is f32 inside, so casts between floats of 16 and 32 bits vanish."""
    return _cast(ctx, ctx.attr_int("to", TensorProto.UNDEFINED))


def cast_like(ctx: NodeContext) -> Results:
    """CastLike: a Cast to the second input's type."""
    return _cast(ctx, ctx.narrow_type(1), ctx.arg(1).type.dtype)


def _cast(ctx: NodeContext, to: int, inner: DType | None = None) -> Results:
    """inner: the type where the result is held in its own."""
    if not is_narrow(to):
        if is_half(to):
            ctx.makes_narrow(to)
        dtype = inner or inner_dtype(to)
        return F.cast(ctx.builder, ctx.arg(0), dtype, output=ctx.output)
    ctx.makes_narrow(to)
    return F.narrowed(
        ctx.builder,
        ctx.arg(0),
        boundary_dtype(to),
        saturate=bool(ctx.attr_int("saturate", 1)),
        rounding=ctx.attr_str("round_mode", "up"),
        output=ctx.output,
    )


def modulo(ctx: NodeContext) -> Results:
    """Mod: the divisor's sign as in Python, or with fmod=1 the dividend's as in C."""
    function = F.fmod if ctx.attr_int("fmod") else F.remainder
    return function(ctx.builder, ctx.arg(0), ctx.arg(1), output=ctx.output)


def is_inf(ctx: NodeContext) -> Results:
    """IsInf, of both signs or one."""
    return F.isinf(
        ctx.builder,
        ctx.arg(0),
        positive=bool(ctx.attr_int("detect_positive", 1)),
        negative=bool(ctx.attr_int("detect_negative", 1)),
        output=ctx.output,
    )


def identity(ctx: NodeContext) -> Results:
    """Identity: nothing is emitted."""
    return ctx.arg(0)


def _drops_nothing(ctx: NodeContext) -> bool:
    ratio = ctx.arg(1).data if ctx.has(1) else None
    return ratio is not None and not ratio.any()


def dropout(ctx: NodeContext) -> Results:
    """Dropout in inference: the input; the mask, where wanted, is all true."""
    x = ctx.arg(0)
    trains = ctx.const(2, "training mode")
    if trains is not None and bool(trains.reshape(-1)[0]) and not _drops_nothing(ctx):
        raise ModelError(f"drops elements at random: it is in training mode; {FOR_INFERENCE}")
    if not ctx.wants(1):
        return x
    mask = np.ones((), x.type.dtype.numpy if ctx.opset < 10 else np.bool_)
    return x, F.full(ctx.builder, x.shape, mask, output=ctx.output_name(1))


HANDLERS: Mapping[str, Handler] = {
    **dict.fromkeys(_FUNCTIONS, formula),
    "Cast": cast_to,
    "CastLike": cast_like,
    "Clip": clip,
    "Dropout": dropout,
    "Identity": identity,
    "IsInf": is_inf,
    "Mod": modulo,
}
