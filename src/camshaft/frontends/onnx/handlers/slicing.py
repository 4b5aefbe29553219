"""Operators that pick, drop, add or rearrange parts: Slice, Split, Gather, Pad, depth and space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.frontends.onnx.hosted import host_step
from camshaft.ir import expr as E
from camshaft.ir.graph import Tensor
from camshaft.ops import GATHER, PAD, POINTWISE, SLICE
from camshaft.ops.common import normal_axis


def slice_(ctx: NodeContext) -> Results:
    """Slice; starts, ends and axes were attributes before opset 10."""
    x = ctx.arg(0)
    starts = ctx.ints_or_input("starts", 1)
    ends = ctx.ints_or_input("ends", 2)
    if starts is None or ends is None:
        raise ModelError("starts and ends are missing")
    axes = ctx.ints_or_input("axes", 3)
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = ctx.const_ints(4, "steps") or (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise ModelError("starts, ends, axes and steps are not equally many")
    ranges = [range(d) for d in x.shape]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step == 0:
            raise ModelError("a step of 0 is not allowed")
        axis = normal_axis(axis, x.type.rank)
        ranges[axis] = _clamped(x.shape[axis], start, end, step)
    return taken(ctx, x, ranges, last=True)


def _clamped(size: int, start: int, end: int, step: int) -> range:
    """ONNX's rule, which is not Python's: a backward slice starts inside however far before 0."""
    start, end = (v + size if v < 0 else v for v in (start, end))
    if step > 0:
        return range(min(max(start, 0), size), min(max(end, 0), size), step)
    return range(min(max(start, 0), size - 1), min(max(end, -1), size - 1), step)


def taken(
    ctx: NodeContext, x: Tensor, ranges: Sequence[range], *, last: bool = False, out: int = 0
) -> Tensor:
    """The part of x at `ranges` (one an axis); x itself when that is all of it.

    A backward range is a forward slice whose elements are then gathered in reverse.
    """
    backward = [axis for axis, r in enumerate(ranges) if r.step < 0 and len(r) > 1]
    forward = [r[::-1] if r.step < 0 else r for r in ranges]
    if any(r != range(d) for r, d in zip(forward, x.shape, strict=True)):
        attrs = {
            "starts": tuple(r.start if len(r) else 0 for r in forward),
            "sizes": tuple(len(r) for r in forward),
            "steps": tuple(r.step for r in forward),
        }
        x = ctx.emit(SLICE, [x], attrs, last=last and not backward, out=out)
    for axis in backward:
        index = ctx.constant(np.arange(x.shape[axis])[::-1].copy(), "reversed")
        x = ctx.emit(
            GATHER, [x, index], {"axis": axis}, last=last and axis == backward[-1], out=out
        )
    return x


def split(ctx: NodeContext) -> Results:
    """Split into named sizes, or into equal parts (the last may be smaller from opset 18 on)."""
    x = ctx.arg(0)
    axis = normal_axis(ctx.attr_int("axis"), x.type.rank)
    parts = len(ctx.proto.output)
    sizes = ctx.ints_or_input("split", 1)
    if sizes is None:
        each = -(-x.shape[axis] // parts)
        if ctx.opset < 18 and each * parts != x.shape[axis]:
            raise ModelError(f"axis {axis} of {x.type} does not split into {parts} equal parts")
        sizes = tuple(max(0, min(each, x.shape[axis] - i * each)) for i in range(parts))
    if len(sizes) != parts or sum(sizes) != x.shape[axis] or min(sizes) < 0:
        raise ModelError(f"sizes {list(sizes)} do not split axis {axis} of {x.type} in {parts}")
    results, start = [], 0
    for i, size in enumerate(sizes):
        whole = [range(d) for d in x.shape]
        whole[axis] = range(start, start + size)
        start += size
        results.append(taken(ctx, x, whole, last=ctx.wants(i), out=i))
    return results


def gather(ctx: NodeContext) -> Results:
    """Gather; evenly spaced constant indices are a slice, a single one drops the axis."""
    x, index = ctx.arg(0), ctx.arg(1)
    axis = normal_axis(ctx.attr_int("axis"), x.type.rank)
    if x.type.dtype.kind == "s":
        return host_step(ctx)
    if index.data is not None and index.type.rank <= 1 and index.type.size:
        at = np.where(index.data < 0, index.data + x.shape[axis], index.data).reshape(-1)
        if at.min() < 0 or at.max() >= x.shape[axis]:
            raise ModelError(f"index {index.data.tolist()} leaves axis {axis} of {x.type}")
        step = int(at[1] - at[0]) if at.size > 1 else 1
        if step > 0 and np.all(np.diff(at) == step):
            whole = [range(d) for d in x.shape]
            whole[axis] = range(int(at[0]), int(at[-1]) + 1, step)
            if index.type.rank:
                return taken(ctx, x, whole, last=True)
            shape = (*x.shape[:axis], *x.shape[axis + 1 :])
            return ctx.reshape(taken(ctx, x, whole), shape, last=True)
    return ctx.result(GATHER, [x, index], axis=axis)


def pad(ctx: NodeContext) -> Results:
    """Pad; negative amounts cut, and were attributes before opset 11."""
    x = ctx.arg(0)
    rank = x.type.rank
    amounts = ctx.ints_or_input("pads", 1) or ctx.attr_ints("paddings")
    if amounts is None:
        raise ModelError("pads are missing")
    axes = ctx.const_ints(3, "axes")
    axes = tuple(range(rank)) if axes is None else tuple(normal_axis(a, rank) for a in axes)
    if len(amounts) != 2 * len(axes):
        raise ModelError(f"pads {list(amounts)} do not fit axes {list(axes)}")
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        before[axis], after[axis] = amounts[i], amounts[i + len(axes)]
    fill = ctx.attr_float("value") if ctx.opset < 11 else _pad_value(ctx)
    return padded(ctx, x, before, after, ctx.attr_str("mode", "constant"), fill)


def _pad_value(ctx: NodeContext) -> float:
    value = ctx.const(2, "padding value")
    return 0.0 if value is None or not value.size else float(value.reshape(-1)[0])


def padded(
    ctx: NodeContext,
    x: Tensor,
    before: Sequence[int],
    after: Sequence[int],
    mode: str,
    fill: float,
) -> Tensor:
    """x padded and, where amounts are negative, cut."""
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise ModelError(f"unknown padding mode {mode!r}")
    sides = list(zip(x.shape, before, after, strict=True))
    if any(d + min(b, 0) + min(a, 0) < 0 for d, b, a in sides):
        raise ModelError(f"pads {list(before)}, {list(after)} cut more than {x.type} has")
    grow = [max(b, 0) for b in before], [max(a, 0) for a in after]
    grows = any((*grow[0], *grow[1]))
    if mode == "reflect" and any(d < 2 and (b > 0 or a > 0) for d, b, a in sides):
        raise ModelError(f"{x.type} is too small to be padded by reflection")
    if mode != "constant" and any(d == 0 and (b > 0 or a > 0) for d, b, a in sides):
        raise ModelError(f"the empty tensor {x.type} can only be padded with a constant")
    kept = [range(max(0, -b), d - max(0, -a)) for d, b, a in sides]
    x = taken(ctx, x, kept, last=not grows)
    if not grows:
        return x
    return ctx.result(PAD, [x], before=tuple(grow[0]), after=tuple(grow[1]), mode=mode, value=fill)


def _blocks(ctx: NodeContext) -> tuple[Tensor, int]:
    x, block = ctx.arg(0), ctx.attr_int("blocksize")
    if x.type.rank != 4 or block < 1:
        raise ModelError(f"input {x.type} must have rank 4, blocksize {block} be at least 1")
    return x, block


def depth_to_space(ctx: NodeContext) -> Results:
    """DepthToSpace: a reshape, a transpose and a reshape."""
    x, b = _blocks(ctx)
    n, c, h, w = x.shape
    if c % (b * b):
        raise ModelError(f"{c} channels do not divide into blocks of {b}x{b}")
    if ctx.attr_str("mode", "DCR") == "DCR":
        split_, perm = (n, b, b, c // (b * b), h, w), (0, 3, 4, 1, 5, 2)
    else:
        split_, perm = (n, c // (b * b), b, b, h, w), (0, 1, 4, 2, 5, 3)
    y = ctx.transpose(ctx.reshape(x, split_), perm)
    return ctx.reshape(y, (n, c // (b * b), h * b, w * b), last=True)


def space_to_depth(ctx: NodeContext) -> Results:
    """SpaceToDepth: the inverse of DepthToSpace."""
    x, b = _blocks(ctx)
    n, c, h, w = x.shape
    if h % b or w % b:
        raise ModelError(f"{x.type} does not divide into blocks of {b}x{b}")
    perm = (0, 3, 5, 1, 2, 4) if ctx.attr_str("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    y = ctx.transpose(ctx.reshape(x, (n, c, h // b, b, w // b, b)), perm)
    return ctx.reshape(y, (n, c * b * b, h // b, w // b), last=True)


def trilu(ctx: NodeContext) -> Results:
    """Trilu: a choice between x and zero by a constant mask, where the diagonal is constant."""
    x = ctx.arg(0)
    k = ctx.const_ints(1, "diagonal") or (0,)
    if x.type.rank < 2:
        raise ModelError(f"input {x.type} is not a matrix")
    ones = np.ones(x.shape[-2:], np.bool_)
    mask = np.triu(ones, k[0]) if ctx.attr_int("upper", 1) else np.tril(ones, k[0])
    zero = E.const(0, x.type.dtype)
    expr = E.select(E.inp(1), E.inp(0), zero)
    return ctx.result(POINTWISE, [x, ctx.constant(mask, "mask")], expr=expr)


HANDLERS: Mapping[str, Handler] = {
    "DepthToSpace": depth_to_space,
    "Gather": gather,
    "Pad": pad,
    "Slice": slice_,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Trilu": trilu,
}
