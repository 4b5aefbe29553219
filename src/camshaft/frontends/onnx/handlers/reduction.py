"""Reductions, softmax, and what stands first in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.frontends.onnx.hosted import host_step
from camshaft.ir.extents.constraints import require_at_least
from camshaft.ir.extents.sizes import is_positive
from camshaft.ir.graph import Tensor
from camshaft.ir.types import TensorType, i64
from camshaft.ops import functional as F
from camshaft.ops.common import normal_axis

_FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "ReduceL1": F.l1_norm,
    "ReduceL2": F.l2_norm,
    "ReduceLogSum": F.log_sum,
    "ReduceLogSumExp": F.logsumexp,
    "ReduceMax": F.amax,
    "ReduceMean": F.mean,
    "ReduceMin": F.amin,
    "ReduceProd": F.prod,
    "ReduceSum": F.sum,
    "ReduceSumSquare": F.sum_of_squares,
}


def reduction(ctx: NodeContext) -> Results:
    """The ReduceX operators: over all axes where none are given, unless told to do nothing then."""
    axes = ctx.ints_or_input("axes", 1)
    if not axes:
        axes = () if ctx.attr_int("noop_with_empty_axes") else None
    reduce = _FUNCTIONS[ctx.proto.op_type]
    keepdims = bool(ctx.attr_int("keepdims", 1))
    return reduce(ctx.builder, ctx.arg(0), axes, keepdims=keepdims, output=ctx.output)


def arg_extreme(ctx: NodeContext) -> Results:
    """ArgMax and ArgMin."""
    find = F.argmax if ctx.proto.op_type == "ArgMax" else F.argmin
    return find(
        ctx.builder,
        ctx.arg(0),
        ctx.attr_int("axis"),
        keepdims=bool(ctx.attr_int("keepdims", 1)),
        last=bool(ctx.attr_int("select_last_index")),
        output=ctx.output,
    )


def top_k(ctx: NodeContext) -> Results:
    """TopK, a host step; k may be computed from open extents, and is at most the axis's extent."""
    x = ctx.arg(0)
    (count,) = (
        (ctx.attr_int("k"),) if ctx.opset < 10 else ctx.const_ints(1, "k", are_sizes=True) or (0,)
    )
    axis = normal_axis(ctx.attr_int("axis", -1), x.type.rank)
    with ctx.builder.constraints.learning(f"node {ctx.name!r}"):
        require_at_least(count, 0, f"k={count} is negative")
        more = f"k={count} is more than axis {axis} of {x.type} has"
        require_at_least(x.shape[axis], count, more)
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    return host_step(ctx, [TensorType(x.type.dtype, shape), TensorType(i64, shape)])


def softmax(ctx: NodeContext) -> Results:
    """Softmax and LogSoftmax."""
    return _by_rows(ctx, F.log_softmax if ctx.proto.op_type == "LogSoftmax" else F.softmax)


def hardmax(ctx: NodeContext) -> Results:
    """Hardmax; a host step where the tensor may be empty."""
    if not all(map(is_positive, ctx.arg(0).shape)):
        return host_step(ctx)
    return _by_rows(ctx, F.hardmax)


def _by_rows(ctx: NodeContext, function: Callable[..., Tensor]) -> Results:
    """function(builder, x, axis).

    Before opset 13 all axes from `axis` on are one; that is the same where only one of them is
    longer than 1, and otherwise goes through a matrix.
    """
    x = ctx.arg(0)
    if ctx.opset >= 13:
        return function(ctx.builder, x, ctx.attr_int("axis", -1), output=ctx.output)
    axis = normal_axis(ctx.attr_int("axis", 1), x.type.rank)
    long = [a for a in range(axis, x.type.rank) if x.shape[a] != 1]
    if len(long) <= 1:
        return function(ctx.builder, x, long[0] if long else axis, output=ctx.output)
    if 0 in x.shape:
        raise ModelError(f"softmax of the empty tensor {x.type} is not supported")
    matrix = F.reshape(ctx.builder, x, (prod(x.shape[:axis]), prod(x.shape[axis:])))
    rows = function(ctx.builder, matrix, 1, output=ctx.output if matrix is x else None)
    return F.reshape(ctx.builder, rows, x.shape, output=ctx.output)


HANDLERS: Mapping[str, Handler] = {
    **dict.fromkeys(_FUNCTIONS, reduction),
    "ArgMax": arg_extreme,
    "ArgMin": arg_extreme,
    "Hardmax": hardmax,
    "LogSoftmax": softmax,
    "Softmax": softmax,
    "TopK": top_k,
}
