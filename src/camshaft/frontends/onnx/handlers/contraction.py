"""Conv, ConvTranspose, Gemm, MatMul and their integer forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.frontends.onnx.handlers.windows import as_2d, pads_of, per_axis, window_of
from camshaft.frontends.onnx.hosted import host_step
from camshaft.ir import expr as E
from camshaft.ir.graph import Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import Shape
from camshaft.ops import CONV, CONV_TRANSPOSE, MATMUL
from camshaft.ops.common import IDENTITY

BIAS = E.add(E.inp(0), E.inp(1))


def conv(ctx: NodeContext) -> Results:
    """Conv over one or two spatial axes; more run on the host."""
    x, w = ctx.arg(0), ctx.arg(1)
    if x.type.rank not in (3, 4):
        return host_step(ctx)
    bias = [ctx.column(ctx.arg(2), 4)] if ctx.has(2) else []
    return conv_node(ctx, x, w, bias, {"epilogue": BIAS if bias else IDENTITY})


def conv_node(
    ctx: NodeContext,
    x: Tensor,
    w: Tensor,
    operands: Sequence[Tensor],
    attrs: Mapping[str, Attr],
    *,
    last: bool = True,
) -> Tensor:
    """A canonical conv with the node's window, strides and groups; operands: the epilogue's."""
    if w.type.rank != x.type.rank:
        raise ModelError(f"weights {w.type} do not have the rank of the input {x.type}")
    window = window_of(ctx, x.shape[2:], w.shape[2:])
    declared = ctx.attr_ints("kernel_shape")
    if declared and declared != w.shape[2:]:
        raise ModelError(f"kernel_shape {list(declared)} is not that of the weights {w.type}")
    line = x.type.rank == 3
    groups = ctx.attr_int("group", 1)
    if groups < 1:
        raise ModelError(f"group={groups} is below 1")
    given: dict[str, Attr] = {
        "layout": "NCHW",
        "strides": window.strides,
        "pads": window.pads,
        "dilations": window.dilations,
        "groups": groups,
        **attrs,
    }
    inputs = [as_2d(ctx, x), as_2d(ctx, w), *operands]
    y = ctx.emit(CONV, inputs, given, last=last and not line)
    return ctx.reshape(y, (*y.shape[:2], y.shape[3]), last=last) if line else y


def conv_transpose(ctx: NodeContext) -> Results:
    """ConvTranspose over one or two spatial axes; the bias is added behind it."""
    x, w = ctx.arg(0), ctx.arg(1)
    rank = x.type.rank - 2
    if rank not in (1, 2):
        return host_step(ctx)
    if w.type.rank != x.type.rank:
        raise ModelError(f"weights {w.type} do not have the rank of the input {x.type}")
    strides = per_axis(ctx, "strides", rank, 1)
    dilations = per_axis(ctx, "dilations", rank, 1)
    begin, end, extra = _transposed_pads(ctx, x.shape[2:], w.shape[2:], strides, dilations)
    ones, zeros = ((1,), (0,)) if rank == 1 else ((), ())
    attrs: dict[str, Attr] = {
        "strides": (*ones, *strides),
        "pads": (*zeros, *begin, *zeros, *end),
        "dilations": (*ones, *dilations),
        "output_padding": (*zeros, *extra),
        "groups": ctx.attr_int("group", 1),
    }
    biased = ctx.has(2)
    y = ctx.emit(
        CONV_TRANSPOSE, [as_2d(ctx, x), as_2d(ctx, w)], attrs, last=not biased and rank == 2
    )
    if rank == 1:
        y = ctx.reshape(y, (*y.shape[:2], y.shape[3]), last=not biased)
    return ctx.pointwise(BIAS, y, ctx.column(ctx.arg(2), y.type.rank)) if biased else y


def _transposed_pads(
    ctx: NodeContext,
    spatial: Shape,
    kernel: Shape,
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """(before, after, output padding) of a ConvTranspose.

    With `output_shape`, or auto_pad SAME (output = input * stride), the total padding follows from
    the output's extent; SAME_UPPER cuts the odd element at the end, everything else at the start.
    """
    rank = len(spatial)
    extra = per_axis(ctx, "output_padding", rank, 0)
    auto = ctx.attr_str("auto_pad", "NOTSET")
    wanted: Sequence[int] | None = ctx.attr_ints("output_shape")
    if not wanted and auto not in ("SAME_UPPER", "SAME_LOWER"):
        begin, end = pads_of(ctx, spatial, kernel, strides, dilations)
        return begin, end, extra
    if not wanted:
        wanted = [size * stride for size, stride in zip(spatial, strides, strict=True)]
    begin_, end_, extra_ = [], [], []
    for axis, out in enumerate(wanted[-rank:]):
        reach = dilations[axis] * (kernel[axis] - 1) + 1
        total = (spatial[axis] - 1) * strides[axis] + extra[axis] + reach - out
        extra_.append(extra[axis] + max(0, -total))
        small, large = max(0, total) // 2, max(0, total) - max(0, total) // 2
        begin_.append(small if auto == "SAME_UPPER" else large)
        end_.append(large if auto == "SAME_UPPER" else small)
    return tuple(begin_), tuple(end_), tuple(extra_)


def gemm(ctx: NodeContext) -> Results:
    """Gemm: alpha * A' * B' + beta * C; transposes of constants fold, scalars go to the epilogue."""
    a, b = (
        ctx.transpose(t, (1, 0)) if ctx.attr_int(name) else t
        for t, name in ((ctx.arg(0), "transA"), (ctx.arg(1), "transB"))
    )
    if a.type.rank != 2 or b.type.rank != 2:
        raise ModelError(f"operands {a.type} and {b.type} must be matrices")
    dtype = a.type.dtype
    alpha = E.const(ctx.attr_float("alpha", 1.0), dtype)
    beta = E.const(ctx.attr_float("beta", 1.0), dtype)
    scaled = E.mul(E.inp(0), alpha)
    operands = [ctx.arg(2)] if ctx.has(2) else []
    if operands:
        scaled = E.add(scaled, E.mul(E.inp(1), beta))
    return ctx.result(MATMUL, [a, b, *operands], epilogue=scaled)


def matmul(ctx: NodeContext) -> Results:
    """MatMul; vectors become matrices of one row or column."""
    return matmul_node(ctx, ctx.arg(0), ctx.arg(1), [], {})


def matmul_node(
    ctx: NodeContext,
    a: Tensor,
    b: Tensor,
    operands: Sequence[Tensor],
    attrs: Mapping[str, Attr],
    *,
    last: bool = True,
) -> Tensor:
    """NumPy's matmul of a and b, vectors included; operands fit the product of the matrices."""
    if not a.type.rank or not b.type.rank:
        raise ModelError(f"operands {a.type} and {b.type} must not be scalars")
    row, column = a.type.rank == 1, b.type.rank == 1
    left = ctx.reshape(a, (1, *a.shape)) if row else a
    right = ctx.reshape(b, (*b.shape, 1)) if column else b
    y = ctx.emit(MATMUL, [left, right, *operands], attrs, last=last and not (row or column))
    if not (row or column):
        return y
    shape = list(y.shape)
    if column:
        del shape[-1]
    if row:
        del shape[-1 if column else -2]
    return ctx.reshape(y, shape, last=last)


HANDLERS: Mapping[str, Handler] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "MatMul": matmul,
}
