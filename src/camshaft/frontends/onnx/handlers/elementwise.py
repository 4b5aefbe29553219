"""Elementwise operators: the table of `ops.elementwise`, and those that need more than a formula."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

import numpy as np
import onnx
from onnx import TensorProto

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.frontends.onnx.dtypes import NARROW_RANGE, inner_dtype
from camshaft.frontends.onnx.hosted import host_step
from camshaft.ir import expr as E
from camshaft.ir.graph import Tensor
from camshaft.ops import BROADCAST
from camshaft.ops.elementwise import ONNX_ELEMENTWISE, VARIADIC

MOST_OPERANDS = 12
"""Inputs that one expression of a variadic operator reads."""


def formula(ctx: NodeContext) -> Results:
    """An operator of the table: its expression over the node's inputs and attributes."""
    build = ONNX_ELEMENTWISE[ctx.proto.op_type]
    inputs = [ctx.arg(i) for i in range(len(ctx.inputs))]
    if not inputs:
        raise ModelError("has no inputs")
    if any(t.type.dtype.kind == "s" for t in inputs):
        return host_step(ctx)
    attrs: dict[str, float | int | str] = {}
    for a in ctx.proto.attribute:
        value = onnx.helper.get_attribute_value(a)
        attrs[a.name] = value.decode() if isinstance(value, bytes) else value
    try:
        inspect.signature(build).bind(*inputs, **attrs)
    except TypeError as error:
        raise ModelError(f"wrong number of inputs or an unknown attribute: {error}") from error
    if ctx.proto.op_type in VARIADIC:
        inputs = _few(ctx, build, inputs)
    return ctx.pointwise(build(*[E.inp(i) for i in range(len(inputs))], **attrs), *inputs)


def _few(ctx: NodeContext, build: Callable[..., E.Expr], inputs: list[Tensor]) -> list[Tensor]:
    """At most MOST_OPERANDS inputs: the first ones are combined, in order, by steps of their own."""
    while len(inputs) > MOST_OPERANDS:
        head, rest = inputs[:MOST_OPERANDS], inputs[MOST_OPERANDS:]
        expr = build(*(E.inp(i) for i in range(len(head))))
        inputs = [ctx.pointwise(expr, *head, last=False), *rest]
    return inputs


def prelu(ctx: NodeContext) -> Results:
    """PRelu; before opset 7 a slope of one value a channel lies along axis 1."""
    x, slope = ctx.arg(0), ctx.arg(1)
    if ctx.opset < 7 and slope.type.rank == 1 and slope.type.size > 1:
        slope = ctx.column(slope, x.type.rank)
    expr = E.select(E.binary("lt", E.inp(0), E.const(0.0)), E.mul(E.inp(0), E.inp(1)), E.inp(0))
    return ctx.pointwise(expr, x, slope)


def clip(ctx: NodeContext) -> Results:
    """Clip; constant bounds become literals.  Bounds were attributes before opset 11."""
    x = ctx.arg(0)
    dtype = x.type.dtype
    expr, operands = E.inp(0), [x]
    order = ((2, "max", "min"), (1, "min", "max"))
    if _crossed(ctx):  # the upper bound wins
        order = order[::-1]
    for index, name, op in order:
        if ctx.opset < 11:
            bound = ctx.attr_float(name, float("nan"))
            if bound == bound:
                expr = E.binary(op, expr, E.const(bound, dtype))
        elif ctx.has(index):
            limit = ctx.arg(index)
            if limit.type.size != 1 or limit.type.dtype != dtype:
                raise ModelError(f"bound {limit.name!r} is {limit.type}, not one {dtype.name}")
            if limit.data is not None:
                expr = E.binary(op, expr, E.const(limit.data.item(), dtype))
            else:
                operands.append(ctx.reshape(limit, ()))
                expr = E.binary(op, expr, E.inp(len(operands) - 1))
    return ctx.pointwise(expr, *operands)


def _crossed(ctx: NodeContext) -> bool:
    """Whether the lower bound may be above the upper one."""
    if ctx.opset < 11:
        return ctx.attr_float("min", -np.inf) > ctx.attr_float("max", np.inf)
    if not (ctx.has(1) and ctx.has(2)):
        return False
    low, high = ctx.arg(1).data, ctx.arg(2).data
    return low is None or high is None or bool(np.any(low > high))


def cast_to(ctx: NodeContext) -> Results:
    """Cast: half precision is f32 inside, so casts between floats of at most 32 bits vanish."""
    to = ctx.attr_int("to", TensorProto.UNDEFINED)
    return _cast(ctx, to)


def cast_like(ctx: NodeContext) -> Results:
    """CastLike: a Cast to the second input's type."""
    return ctx.cast(ctx.arg(0), ctx.arg(1).type.dtype, last=True)


def _cast(ctx: NodeContext, to: int) -> Results:
    x = ctx.arg(0)
    if to in NARROW_RANGE:
        return host_step(ctx)
    dtype = inner_dtype(to)
    if "s" in (dtype.kind, x.type.dtype.kind):
        return host_step(ctx)
    return ctx.cast(x, dtype, last=True)


def modulo(ctx: NodeContext) -> Results:
    """Mod: the divisor's sign as in Python, or with fmod=1 the dividend's as in C."""
    a, b = E.inp(0), E.inp(1)
    if ctx.attr_int("fmod"):
        if ctx.arg(0).type.dtype.kind == "i":  # whose smallest value has no magnitude
            whole = E.mul(E.div(a, b), b)
            return ctx.pointwise(E.sub(a, whole), ctx.arg(0), ctx.arg(1))
        rest = E.binary("mod", E.unary("abs", a), E.unary("abs", b))
        return ctx.pointwise(E.mul(E.unary("sign", a), rest), ctx.arg(0), ctx.arg(1))
    return ctx.pointwise(E.binary("mod", a, b), ctx.arg(0), ctx.arg(1))


def power(ctx: NodeContext) -> Results:
    """Pow: the result has the base's type, whatever the exponent's."""
    base, exponent = ctx.arg(0), ctx.arg(1)
    if base.type.dtype == exponent.type.dtype and base.type.dtype.is_float:
        return ctx.pointwise(E.binary("pow", E.inp(0), E.inp(1)), base, exponent)
    wide = inner_dtype(TensorProto.FLOAT if base.type.dtype.is_float else TensorProto.DOUBLE)
    if base.type.dtype.is_float:
        wide = base.type.dtype
    raised = ctx.pointwise(
        E.binary("pow", E.inp(0), E.inp(1)),
        ctx.cast(base, wide),
        ctx.cast(exponent, wide),
        last=base.type.dtype == wide,
    )
    return ctx.cast(raised, base.type.dtype, last=True)


def is_inf(ctx: NodeContext) -> Results:
    """IsInf, of both signs or one."""
    x = E.inp(0)
    infinite = E.unary("isinf", x)
    positive, negative = ctx.attr_int("detect_positive", 1), ctx.attr_int("detect_negative", 1)
    if not (positive and negative):
        side = (E.const(0.0), x) if positive else (x, E.const(0.0))
        infinite = E.binary("and", infinite, E.binary("lt", *side))
    if not positive and not negative:
        infinite = E.binary("and", infinite, E.unary("not", infinite))
    return ctx.pointwise(infinite, ctx.arg(0))


def mean(ctx: NodeContext) -> Results:
    """Mean of any number of broadcast inputs."""
    inputs = [ctx.arg(i) for i in range(len(ctx.inputs))]
    if not inputs:
        raise ModelError("has no inputs")
    share = E.const(1.0 / len(inputs))
    inputs = _few(ctx, ONNX_ELEMENTWISE["Sum"], inputs)
    total = ONNX_ELEMENTWISE["Sum"](*[E.inp(i) for i in range(len(inputs))])
    return ctx.pointwise(E.mul(total, share), *inputs)


def tangent(ctx: NodeContext) -> Results:
    """Tan as sin / cos."""
    x = E.inp(0)
    return ctx.pointwise(E.div(E.unary("sin", x), E.unary("cos", x)), ctx.arg(0))


def identity(ctx: NodeContext) -> Results:
    """Identity: nothing is emitted."""
    return ctx.arg(0)


def dropout(ctx: NodeContext) -> Results:
    """Dropout in inference: the input; the mask, where wanted, is all true."""
    x = ctx.arg(0)
    if ctx.const(2, "training mode") is not None and bool(ctx.arg(2).array):
        raise ModelError("is in training mode; export the model for inference")
    if not ctx.wants(1):
        return x
    mask = np.ones((), x.type.dtype.numpy if ctx.opset < 10 else np.bool_)
    shape = {"shape": x.shape}
    return x, ctx.emit(BROADCAST, [ctx.constant(mask, "kept")], shape, last=True, out=1)


HANDLERS: Mapping[str, Handler] = {
    **dict.fromkeys(ONNX_ELEMENTWISE, formula),
    "Cast": cast_to,
    "CastLike": cast_like,
    "Clip": clip,
    "Dropout": dropout,
    "Identity": identity,
    "IsInf": is_inf,
    "Mean": mean,
    "Mod": modulo,
    "Pow": power,
    "PRelu": prelu,
    "Tan": tangent,
}
