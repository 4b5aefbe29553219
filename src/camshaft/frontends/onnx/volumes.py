"""Types of windows that run on the host: over three and more spatial axes, or of filters of open shape.

ONNX's shape inference gives up on a window over an extent that has no number, and with ceil_mode it
counts windows that begin in the padding behind the image, which are none.
"""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import NodeContext
from camshaft.frontends.onnx.handlers.windows import padding_of, per_axis
from camshaft.ir.extents.constraints import require_equal
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import Shape, TensorType, i64
from camshaft.ops.common import window_extent
from camshaft.ops.functional.spatial.windows import sides_of

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_POOLS = ("AveragePool", "LpPool", "MaxPool")


def window_types(ctx: NodeContext) -> list[TensorType] | None:
    """The types of all outputs of a convolution or pool; None of other operators.

    ModelError where operands do not fit; what is open is learned by the graph.
    """
    op_type = ctx.proto.op_type
    if ctx.domain or op_type not in (*_CONVOLUTIONS, *_POOLS):
        return None
    x = ctx.arg(0)
    if x.type.rank < 3:
        return None
    with ctx.builder.constraints.learning(f"node {ctx.name!r}"):
        shape = _pooled(ctx) if op_type in _POOLS else _convolved(ctx)
    return [TensorType(x.type.dtype, shape), TensorType(i64, shape)][: len(ctx.proto.output)]


def _pooled(ctx: NodeContext) -> Shape:
    x = ctx.arg(0)
    kernel = per_axis(ctx, "kernel_shape", x.type.rank - 2, 1)
    return (*x.shape[:2], *_windows(ctx, kernel))


def _convolved(ctx: NodeContext) -> Shape:
    x, w, groups = ctx.arg(0), ctx.arg(1), ctx.attr_int("group", 1)
    if w.type.rank != x.type.rank:
        raise ModelError(f"weights {w.type} do not have the rank of the input {x.type}")
    is_transposed = ctx.proto.op_type == "ConvTranspose"
    first, second = w.shape[0], w.shape[1] * groups
    wanted, channels = (first, second) if is_transposed else (second, first)
    require_equal(
        x.shape[1], wanted, f"input {x.type} does not have the {wanted} channels of {w.type}"
    )
    if ctx.has(2):
        bias = ctx.arg(2)
        misfit = f"bias {bias.type} has not one value for each of {channels} channels"
        require_equal(bias.type.size, channels, misfit)
    axes = _transposed(ctx, w.shape[2:]) if is_transposed else _windows(ctx, w.shape[2:])
    return (x.shape[0], channels, *axes)


def _windows(ctx: NodeContext, kernel: Sequence[Extent]) -> list[Extent]:
    """How many windows there are along each spatial axis."""
    sizes = ctx.arg(0).shape[2:]
    rank = len(sizes)
    strides, dilations = (per_axis(ctx, name, rank, 1) for name in ("strides", "dilations"))
    sides = sides_of(sizes, kernel, strides, padding_of(ctx, rank), dilations)
    ceil = bool(ctx.attr_int("ceil_mode"))
    return [
        window_extent(size, k, stride, pads, dilation, ceil)
        for size, k, stride, pads, dilation in zip(
            sizes, kernel, strides, sides, dilations, strict=True
        )
    ]


def _transposed(ctx: NodeContext, kernel: Sequence[Extent]) -> list[Extent]:
    """Extents of the image whose windows are the input's pixels."""
    sizes = ctx.arg(0).shape[2:]
    rank = len(sizes)
    given = ctx.attr_ints("output_shape")
    if given:
        return list(given[-rank:])
    strides, dilations = (per_axis(ctx, name, rank, 1) for name in ("strides", "dilations"))
    padding = padding_of(ctx, rank)
    if padding in ("same", "same_lower"):
        return [size * stride for size, stride in zip(sizes, strides, strict=True)]
    more = per_axis(ctx, "output_padding", rank, 0)
    sides = sides_of(sizes, kernel, strides, padding, dilations)
    return [
        (sizes[a] - 1) * strides[a] + dilations[a] * (kernel[a] - 1) + 1 + more[a] - sum(sides[a])
        for a in range(rank)
    ]
