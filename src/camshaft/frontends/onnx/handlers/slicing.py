"""Operators that pick, drop, add or rearrange parts: Slice, Split, Gather, Pad, depth and space."""

from __future__ import annotations

from collections.abc import Mapping

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.frontends.onnx.hosted import host_step
from camshaft.frontends.onnx.sizes.demands import demand
from camshaft.ir.types import TensorType
from camshaft.ops import functional as F
from camshaft.ops.common import normal_axis


def slice_(ctx: NodeContext) -> Results:
    """Slice; starts, ends and axes were attributes before opset 10."""
    starts = ctx.ints_or_input("starts", 1)
    ends = ctx.ints_or_input("ends", 2)
    if starts is None or ends is None:
        raise ModelError("starts and ends are missing")
    axes = ctx.ints_or_input("axes", 3)
    steps = ctx.const_ints(4, "steps") or None
    return F.slice(ctx.builder, ctx.arg(0), starts, ends, axes, steps, output=ctx.output)


def split(ctx: NodeContext) -> Results:
    """Split into named sizes, or into equal parts (the last may be smaller from opset 18 on)."""
    x = ctx.arg(0)
    axis = normal_axis(ctx.attr_int("axis"), x.type.rank)
    parts = len(ctx.proto.output)
    given = ctx.ints_or_input("split", 1)
    sizes = F.equal_parts(x.shape[axis], parts) if given is None else given
    if given is None and ctx.opset < 18:
        sizes = (x.shape[axis] // parts,) * parts
    if len(sizes) != parts:
        raise ModelError(f"sizes {list(sizes)} do not split axis {axis} of {x.type} in {parts}")
    names = [ctx.output_name(i) if ctx.wants(i) else None for i in range(parts)]
    return F.split(ctx.builder, x, sizes, axis, outputs=names)


def gather(ctx: NodeContext) -> Results:
    """Gather."""
    axis = ctx.attr_int("axis")
    return F.take(ctx.builder, ctx.arg(0), ctx.arg(1), axis, output=ctx.output)


def gather_elements(ctx: NodeContext) -> Results:
    """GatherElements."""
    axis = ctx.attr_int("axis")
    return F.take_along_axis(ctx.builder, ctx.arg(0), ctx.arg(1), axis, output=ctx.output)


def gather_nd(ctx: NodeContext) -> Results:
    """GatherND; a host step where the length of an index is open."""
    demand(ctx)
    x, indices, batch = ctx.arg(0), ctx.arg(1), ctx.attr_int("batch_dims")
    depth = indices.shape[-1] if indices.type.rank else None
    if not isinstance(depth, int):
        return host_step(ctx)
    if x.type.dtype.kind == "s" or not indices.type.dtype.is_int:
        shape = (*indices.shape[:-1], *x.shape[batch + depth :])
        return host_step(ctx, [TensorType(x.type.dtype, shape)])
    return F.gather_nd(ctx.builder, x, indices, batch, output=ctx.output)


def pad(ctx: NodeContext) -> Results:
    """Pad; amounts and value were attributes before opset 11."""
    x = ctx.arg(0)
    rank = x.type.rank
    amounts = ctx.ints_or_input("pads", 1)
    if amounts is None:
        raise ModelError("pads are missing")
    axes = ctx.const_ints(3, "axes")
    axes = tuple(range(rank)) if axes is None else tuple(normal_axis(a, rank) for a in axes)
    if len(amounts) != 2 * len(axes):
        raise ModelError(f"pads {list(amounts)} do not fit axes {list(axes)}")
    widths = [(0, 0)] * rank
    for axis, before, after in zip(axes, amounts, amounts[len(axes) :], strict=False):
        widths[axis] = before, after
    value = ctx.attr_float("value") if ctx.opset < 11 else _pad_value(ctx)
    mode = ctx.attr_str("mode", "constant")
    return F.pad(ctx.builder, x, widths, mode, value, output=ctx.output)


def _pad_value(ctx: NodeContext) -> float:
    value = ctx.const(2, "padding value")
    return 0.0 if value is None or not value.size else float(value.reshape(-1)[0])


def depth_to_space(ctx: NodeContext) -> Results:
    """DepthToSpace."""
    block, mode = ctx.attr_int("blocksize"), ctx.attr_str("mode", "DCR")
    return F.depth_to_space(ctx.builder, ctx.arg(0), block, mode, output=ctx.output)


def space_to_depth(ctx: NodeContext) -> Results:
    """SpaceToDepth."""
    block, mode = ctx.attr_int("blocksize"), ctx.attr_str("mode", "DCR")
    return F.space_to_depth(ctx.builder, ctx.arg(0), block, mode, output=ctx.output)


def trilu(ctx: NodeContext) -> Results:
    """Trilu, where the diagonal is constant."""
    (k,) = ctx.const_ints(1, "diagonal") or (0,)
    function = F.triu if ctx.attr_int("upper", 1) else F.tril
    return function(ctx.builder, ctx.arg(0), k, output=ctx.output)


HANDLERS: Mapping[str, Handler] = {
    "DepthToSpace": depth_to_space,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "Pad": pad,
    "Slice": slice_,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Trilu": trilu,
}
