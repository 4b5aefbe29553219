"""Reductions and softmax."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results, retyped
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.graph import Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import boolean, i32, i64, u8
from camshaft.ops import BROADCAST, POINTWISE, REDUCE, SOFTMAX
from camshaft.ops.common import normal_axis

_X = E.inp(0)
_SQUARE = E.mul(_X, _X)
_FORMS: Mapping[str, tuple[str, Expr, Expr]] = {
    # kind, what is done to every element first, what to the result
    "ReduceL1": ("sum", E.unary("abs", _X), _X),
    "ReduceL2": ("sum", _SQUARE, E.unary("sqrt", _X)),
    "ReduceLogSum": ("sum", _X, E.unary("log", _X)),
    "ReduceMax": ("max", _X, _X),
    "ReduceMean": ("sum", _X, _X),
    "ReduceMin": ("min", _X, _X),
    "ReduceProd": ("prod", _X, _X),
    "ReduceSum": ("sum", _X, _X),
    "ReduceSumSquare": ("sum", _SQUARE, _X),
}


def reduce_axes(ctx: NodeContext, rank: int) -> tuple[int, ...]:
    """Axes to reduce, sorted; all where none are given; () where the op is then to do nothing."""
    given = ctx.ints_or_input("axes", 1)
    if not given:
        return () if ctx.attr_int("noop_with_empty_axes") else tuple(range(rank))
    return tuple(sorted({normal_axis(a, rank) for a in given}))


def reduction(ctx: NodeContext) -> Results:
    """The plain ReduceX operators."""
    x = ctx.arg(0)
    kind, before, after = _FORMS[ctx.proto.op_type]
    axes = reduce_axes(ctx, x.type.rank)
    truth = x.type.dtype is boolean
    x = ctx.cast(x, u8) if truth else x
    dtype = x.type.dtype
    if not axes:  # every element is its own group
        return ctx.pointwise(E.substitute(after, [before]), ctx.arg(0))
    if ctx.proto.op_type == "ReduceMean":
        count = prod(x.shape[a] for a in axes)
        if dtype.is_float:
            after = E.mul(_X, E.const(1.0 / max(count, 1), dtype))
        else:
            after = E.div(_X, E.const(max(count, 1), dtype))
    attrs: dict[str, Attr] = {
        "kind": kind,
        "axes": axes,
        "keepdims": bool(ctx.attr_int("keepdims", 1)),
        "prologue": retyped(before, dtype),
        "epilogue": retyped(after, dtype),
    }
    if x.type.size == 0 and kind in ("max", "min"):
        y = _of_nothing(ctx, x, kind, axes)
    else:
        y = ctx.emit(REDUCE, [x], attrs, last=not truth)
    return ctx.cast(y, boolean, last=True) if truth else y


def log_sum_exp(ctx: NodeContext) -> Results:
    """ReduceLogSumExp as max + log(sum(exp(x - max))), which does not overflow."""
    x = ctx.arg(0)
    axes = reduce_axes(ctx, x.type.rank)
    if not axes:
        return x
    keep = bool(ctx.attr_int("keepdims", 1))
    dtype = x.type.dtype
    attrs: dict[str, Attr] = {"kind": "sum", "axes": axes, "keepdims": keep}
    attrs["prologue"] = E.unary("exp", _X)
    if x.type.size == 0:
        return ctx.result(REDUCE, [x], **attrs, epilogue=E.unary("log", _X))
    finite = E.clip(E.inp(1), -3e38, 3e38)  # an all -inf group must not give inf - inf
    top = ctx.step(REDUCE, [x], kind="max", axes=axes)
    moved = ctx.pointwise(E.sub(_X, finite), x, top, last=False)
    kept = tuple(d for i, d in enumerate(x.shape) if i not in axes)
    beside = top if keep else ctx.reshape(top, kept)
    epilogue = retyped(E.add(E.unary("log", _X), finite), dtype)
    return ctx.result(REDUCE, [moved, beside], **attrs, epilogue=epilogue)


def _of_nothing(ctx: NodeContext, x: Tensor, kind: str, axes: tuple[int, ...]) -> Tensor:
    """The extreme of an empty set: the least or greatest value of the type."""
    dtype = x.type.dtype
    low, high = (-np.inf, np.inf) if dtype.is_float else dtype.range
    keep = ctx.attr_int("keepdims", 1)
    shape = tuple(1 if i in axes else d for i, d in enumerate(x.shape) if keep or i not in axes)
    value = ctx.constant(np.array(low if kind == "max" else high, dtype.numpy), "extreme")
    return ctx.step(BROADCAST, [value], shape=shape)


def arg_extreme(ctx: NodeContext) -> Results:
    """ArgMax and ArgMin: the least (or greatest) position at which the extreme stands.

    Where the extreme is NaN it stands nowhere, and the answer is a position at an end of the axis.
    """
    x = ctx.arg(0)
    axis = normal_axis(ctx.attr_int("axis"), x.type.rank)
    count = x.shape[axis]
    if not count:
        raise ModelError(f"axis {axis} of {x.type} is empty: nothing is extreme there")
    kind = "max" if ctx.proto.op_type == "ArgMax" else "min"
    last = bool(ctx.attr_int("select_last_index"))
    extreme = ctx.step(REDUCE, [x], kind=kind, axes=(axis,))
    places = np.arange(count, dtype=np.int32).reshape(count, *[1] * (x.type.rank - axis - 1))
    elsewhere = E.const(0 if last else count - 1, i32)
    standing = E.select(E.binary("eq", _X, E.inp(1)), E.inp(2), elsewhere)
    at = ctx.step(POINTWISE, [x, extreme, ctx.constant(places, "places")], expr=standing)
    return ctx.result(
        REDUCE,
        [at],
        kind="max" if last else "min",
        axes=(axis,),
        keepdims=bool(ctx.attr_int("keepdims", 1)),
        epilogue=E.cast(_X, i64),
    )


def softmax(ctx: NodeContext) -> Results:
    """Softmax and LogSoftmax.

    Before opset 13 all axes from `axis` on are one; that is the same where only one of them is
    longer than 1, and otherwise goes through a matrix.
    """
    x = ctx.arg(0)
    log = ctx.proto.op_type == "LogSoftmax"
    if ctx.opset >= 13:
        axis = normal_axis(ctx.attr_int("axis", -1), x.type.rank)
        return ctx.result(SOFTMAX, [x], axis=axis, log=log)
    axis = normal_axis(ctx.attr_int("axis", 1), x.type.rank)
    long = [a for a in range(axis, x.type.rank) if x.shape[a] != 1]
    if len(long) <= 1:
        return ctx.result(SOFTMAX, [x], axis=long[0] if long else axis, log=log)
    if 0 in x.shape:
        raise ModelError(f"softmax of the empty tensor {x.type} is not supported")
    matrix = ctx.reshape(x, (prod(x.shape[:axis]), prod(x.shape[axis:])))
    rows = ctx.emit(SOFTMAX, [matrix], {"axis": 1, "log": log}, last=matrix is x)
    return ctx.reshape(rows, x.shape, last=True)


HANDLERS: Mapping[str, Handler] = {
    **dict.fromkeys(_FORMS, reduction),
    "ArgMax": arg_extreme,
    "ArgMin": arg_extreme,
    "LogSoftmax": softmax,
    "ReduceLogSumExp": log_sum_exp,
    "Softmax": softmax,
}
