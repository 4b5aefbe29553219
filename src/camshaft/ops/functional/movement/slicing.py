"""Functions that pick, drop, add or rearrange parts: slice, split, take, pad, depth and space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.constraints import require_at_least
from camshaft.ir.extents.extent import Extent, ceil_div, largest, smallest
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import i64
from camshaft.ops.common import normal_axis
from camshaft.ops.elementwise import POINTWISE
from camshaft.ops.functional.core import NoCanonicalForm, constant, emit, require_same
from camshaft.ops.functional.elementwise.arithmetic import pointwise
from camshaft.ops.functional.movement.counting import iota
from camshaft.ops.functional.movement.inside import (
    require_counted,
    require_indices,
    require_inside,
)
from camshaft.ops.functional.movement.shape import reshape, transpose
from camshaft.ops.movement import GATHER, PAD, SLICE

_ROW, _COLUMN = E.inp(0), E.inp(1)


@dataclass(frozen=True)
class _Span:
    """Elements start, start + step, ... of an axis, `size` of them; a step may be negative."""

    start: Extent
    size: Extent
    step: int = 1

    @property
    def forward(self) -> _Span:
        """The same elements in ascending order."""
        if self.step > 0:
            return self
        return _Span(self.start + (self.size - 1) * self.step, self.size, -self.step)

    def is_all_of(self, extent: Extent) -> bool:
        """Whether these are all elements of an axis, in order."""
        if self.size != extent:
            return False
        return self.size == 0 or (self.start == 0 and (self.step == 1 or self.size == 1))


def _spans(x: Tensor) -> list[_Span]:
    return [_Span(0, d) for d in x.shape]


def _parts(
    builder: GraphBuilder, x: Tensor, spans: Sequence[_Span], output: str | None = None
) -> Tensor:
    """The part of x at `spans` (one an axis); x itself when that is all of it.

    A backward span is a forward slice whose elements are then gathered in reverse.
    """
    backward = [a for a, s in enumerate(spans) if s.step < 0 and s.size != 0 and s.size != 1]
    forward = [s.forward for s in spans]
    if not all(s.is_all_of(d) for s, d in zip(forward, x.shape, strict=True)):
        attrs = {
            "starts": tuple(0 if s.size == 0 else s.start for s in forward),
            "sizes": tuple(s.size for s in forward),
            "steps": tuple(s.step for s in forward),
        }
        x = emit(builder, SLICE, [x], attrs, None if backward else output)
    for axis in backward:
        last = E.extent(x.shape[axis] - 1, i64)
        index = pointwise(builder, E.sub(last, E.inp(0)), iota(builder, x.shape[axis]))
        held = output if axis == backward[-1] else None
        x = emit(builder, GATHER, [x, index], {"axis": axis}, held)
    return x


def slice(
    builder: GraphBuilder,
    x: Tensor,
    starts: Sequence[Extent],
    ends: Sequence[Extent],
    axes: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
    *,
    output: str | None = None,
) -> Tensor:
    """x[starts:ends:steps] along `axes` (the leading ones where None); x itself when that is all.

    Bounds below 0 count from the end and are held inside the axis, as NumPy's are.  One rule is not
    NumPy's: a backward slice that starts before the axis starts at its first element.
    """
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise ModelError("starts, ends, axes and steps are not equally many")
    spans = _spans(x)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step == 0:
            raise ModelError("a step of 0 is not allowed")
        axis = normal_axis(axis, x.type.rank)
        spans[axis] = _clamped(x.shape[axis], start, end, step)
    return _parts(builder, x, spans, output)


def _clamped(size: Extent, start: Extent, end: Extent, step: int) -> _Span:
    start, end = (_from_front(v, size) for v in (start, end))
    if step > 0:
        start, end = (smallest(largest(v, 0), size) for v in (start, end))
        return _Span(start, largest(0, ceil_div(end - start, step)), step)
    start, end = smallest(largest(start, 0), size - 1), smallest(largest(end, -1), size - 1)
    return _Span(start, largest(0, ceil_div(start - end, -step)), step)


FAR = 1 << 28
"""Bounds of slices from here on mean the end of the axis, however long that is."""


def _from_front(bound: Extent, size: Extent) -> Extent:
    if isinstance(bound, int) and abs(bound) >= FAR and not isinstance(size, int):
        return size if bound > 0 else -1
    return bound + size * smallest(largest(-bound, 0), 1)  # once the size where it is negative


def narrow(
    builder: GraphBuilder,
    x: Tensor,
    axis: int,
    start: Extent,
    length: Extent,
    *,
    output: str | None = None,
) -> Tensor:
    """`length` elements of x along `axis`, from `start` on; ModelError where x has fewer."""
    spans = _spans(x)
    spans[normal_axis(axis, x.type.rank)] = _Span(start, length)
    return _parts(builder, x, spans, output)


def select(
    builder: GraphBuilder, x: Tensor, axis: int, index: Extent, *, output: str | None = None
) -> Tensor:
    """x at `index` of `axis`, without that axis; an index below 0 counts from the end."""
    axis = normal_axis(axis, x.type.rank)
    at = index + x.shape[axis] if index < 0 else index
    require_inside(builder, at, x, axis, f"index {index}")
    shape = (*x.shape[:axis], *x.shape[axis + 1 :])
    return reshape(builder, narrow(builder, x, axis, at, 1), shape, output=output)


def split(
    builder: GraphBuilder,
    x: Tensor,
    sizes: Sequence[Extent],
    axis: int = 0,
    *,
    outputs: Sequence[str | None] = (),
) -> list[Tensor]:
    """x in consecutive parts of the given sizes along `axis`; outputs: their names, where given."""
    axis = normal_axis(axis, x.type.rank)
    misfit = f"sizes {list(sizes)} do not split axis {axis} of {x.type} in {len(sizes)}"
    require_same(builder, x.shape[axis], sum(sizes), misfit)
    with builder.constraints.learning(f"node {builder.layer!r}"):
        for size in sizes:
            require_at_least(size, 0, misfit)
    names = [*outputs, *([None] * (len(sizes) - len(outputs)))]
    parts: list[Tensor] = []
    start: Extent = 0
    for size, name in zip(sizes, names, strict=True):
        parts.append(narrow(builder, x, axis, start, size, output=name))
        start = start + size
    return parts


def equal_parts(extent: Extent, count: int) -> tuple[Extent, ...]:
    """Sizes of `count` parts of an axis, as equal as whole numbers are; the last ones are smaller."""
    each = ceil_div(extent, count)
    return tuple(largest(0, smallest(each, extent - i * each)) for i in range(count))


def take(
    builder: GraphBuilder,
    x: Tensor,
    indices: Tensor | int | Sequence[int] | np.ndarray,
    axis: int = 0,
    *,
    output: str | None = None,
) -> Tensor:
    """x at `indices` along `axis`, as NumPy's take: the axis becomes the axes of `indices`.

    indices: integers, those below 0 count from the end.  Evenly ascending constant ones of rank 0 or
    1 are a slice.  ModelError for a constant index outside the axis; NoCanonicalForm for strings.
    """
    axis = normal_axis(axis, x.type.rank)
    if x.type.dtype.kind == "s":
        raise NoCanonicalForm("works on numbers, not on strings")
    data = indices.data if isinstance(indices, Tensor) else np.asarray(indices, np.int64)
    if data is not None:
        require_indices(builder, data, x, axis)
    elif isinstance(indices, Tensor):
        require_counted(builder, indices, x, axis)
    if data is not None and data.dtype.kind in "iu" and data.ndim <= 1 and data.size:
        span = _even(data.reshape(-1).tolist(), x, axis)
        if span is not None:
            spans = _spans(x)
            spans[axis] = span
            if data.ndim:
                return _parts(builder, x, spans, output)
            shape = (*x.shape[:axis], *x.shape[axis + 1 :])
            return reshape(builder, _parts(builder, x, spans), shape, output=output)
    if not isinstance(indices, Tensor):
        assert data is not None
        indices = constant(builder, data, "indices")
    return emit(builder, GATHER, [x, indices], {"axis": axis}, output)


def _even(indices: list[int], x: Tensor, axis: int) -> _Span | None:
    """Evenly ascending indices, which are inside the axis, as a span."""
    extent = x.shape[axis]
    at = [i + extent if i < 0 else i for i in indices]
    step = at[1] - at[0] if len(at) > 1 else 1
    even = all(b - a == step for a, b in pairwise(at))
    return _Span(at[0], len(at), step) if even and isinstance(step, int) and step > 0 else None


def pad(
    builder: GraphBuilder,
    x: Tensor,
    widths: Sequence[tuple[Extent, Extent]],
    mode: str = "constant",
    value: float = 0.0,
    *,
    output: str | None = None,
) -> Tensor:
    """x with elements added around it, as NumPy's pad; negative widths cut, before others add.

    widths: (before, after) for each axis.  Adding a constant, one side may cut more than a fixed axis has if
    the other adds as much: nothing of x is left then.  mode: "constant" adds `value`, "edge" the last element,
    "reflect" the elements mirrored at it, "wrap" those of the other end.
    """
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise ModelError(f"unknown padding mode {mode!r}")
    if len(widths) != x.type.rank:
        raise ModelError(f"widths {list(widths)} do not fit the {x.type.rank} axes of {x.type}")
    if mode == "constant":
        widths = [_emptied(d, *width) for d, width in zip(x.shape, widths, strict=True)]
    sides = [(d, before, after) for d, (before, after) in zip(x.shape, widths, strict=True)]
    pads = [b for b, _ in widths], [a for _, a in widths]
    grown = [d for d, b, a in sides if max(bounds(b)[1], bounds(a)[1]) > 0]  # at some sizes
    with builder.constraints.learning(f"node {builder.layer!r}"):
        for d, b, a in sides:
            cut = f"pads {pads[0]}, {pads[1]} cut more than {x.type} has"
            require_at_least(d + smallest(b, 0) + smallest(a, 0), 0, cut)
        for d in grown:
            if mode == "reflect":
                require_at_least(d, 2, f"{x.type} is too small to be padded by reflection")
            elif mode != "constant":
                empty = f"the empty tensor {x.type} can only be padded with a constant"
                require_at_least(d, 1, empty)
    kept = [_Span(largest(0, -b), d - largest(0, -b) - largest(0, -a)) for d, b, a in sides]
    x = _parts(builder, x, kept, None if grown else output)
    if not grown:
        return x
    before, after = (tuple(largest(w[i], 0) for w in widths) for i in (0, 1))
    attrs = {"before": before, "after": after, "mode": mode, "value": value}
    return emit(builder, PAD, [x], attrs, output)


def _emptied(d: Extent, before: Extent, after: Extent) -> tuple[Extent, Extent]:
    """Widths of the same result where one of them cuts more than there is, in fixed extents."""
    if not (isinstance(d, int) and isinstance(before, int) and isinstance(after, int)):
        return before, after
    out, rest = d + before + after, d + min(before, 0) + min(after, 0)
    return (-d, out) if rest < 0 <= out else (before, after)


def _check_blocks(x: Tensor, block: int, order: str) -> None:
    if x.type.rank != 4 or block < 1:
        raise ModelError(f"input {x.type} must have rank 4, block {block} be at least 1")
    if order not in ("DCR", "CRD"):
        raise ModelError(f"order {order!r} is neither 'DCR' nor 'CRD'")


def depth_to_space(
    builder: GraphBuilder, x: Tensor, block: int, order: str = "DCR", *, output: str | None = None
) -> Tensor:
    """[N,C,H,W] as [N,C/b^2,H*b,W*b]: channels become blocks of b x b pixels.

    order: "DCR", the place in the block is the slower part of a channel's number (TensorFlow), or
    "CRD", it is the faster part (PyTorch's pixel_shuffle).
    """
    _check_blocks(x, block, order)
    n, c, h, w = x.shape
    b = block
    require_same(builder, c % (b * b), 0, f"{c} channels do not divide into blocks of {b}x{b}")
    deep = c // (b * b)
    apart = (n, b, b, deep, h, w) if order == "DCR" else (n, deep, b, b, h, w)
    perm = (0, 3, 4, 1, 5, 2) if order == "DCR" else (0, 1, 4, 2, 5, 3)
    y = transpose(builder, reshape(builder, x, apart), perm)
    return reshape(builder, y, (n, deep, h * b, w * b), output=output)


def space_to_depth(
    builder: GraphBuilder, x: Tensor, block: int, order: str = "DCR", *, output: str | None = None
) -> Tensor:
    """[N,C,H,W] as [N,C*b^2,H/b,W/b]: the inverse of `depth_to_space`."""
    _check_blocks(x, block, order)
    n, c, h, w = x.shape
    b = block
    for extent in (h, w):
        require_same(builder, extent % b, 0, f"{x.type} does not divide into blocks of {b}x{b}")
    perm = (0, 3, 5, 1, 2, 4) if order == "DCR" else (0, 1, 3, 5, 2, 4)
    y = transpose(builder, reshape(builder, x, (n, c, h // b, b, w // b, b)), perm)
    return reshape(builder, y, (n, c * b * b, h // b, w // b), output=output)


def triu(
    builder: GraphBuilder, x: Tensor, diagonal: int = 0, *, output: str | None = None
) -> Tensor:
    """x [..., M, N] with 0 below the diagonal; `diagonal` counts from the main one upwards."""
    row = E.add(_ROW, E.const(diagonal, i64))
    return _masked(builder, x, E.binary("le", row, _COLUMN), output)


def tril(
    builder: GraphBuilder, x: Tensor, diagonal: int = 0, *, output: str | None = None
) -> Tensor:
    """x [..., M, N] with 0 above the diagonal; `diagonal` counts from the main one upwards."""
    row = E.add(_ROW, E.const(diagonal, i64))
    return _masked(builder, x, E.binary("le", _COLUMN, row), output)


def _masked(builder: GraphBuilder, x: Tensor, kept: Expr, output: str | None) -> Tensor:
    """x, and 0 where `kept`, an expression of the numbers _ROW and _COLUMN, does not hold."""
    if x.type.rank < 2:
        raise ModelError(f"input {x.type} is not a matrix")
    rows, columns = x.shape[-2:]
    row = reshape(builder, iota(builder, rows), (rows, 1))
    mask = pointwise(builder, kept, row, iota(builder, columns))
    expr = E.select(E.inp(1), E.inp(0), E.const(0, x.type.dtype))
    return emit(builder, POINTWISE, [x, mask], {"expr": expr}, output)
