"""What indices demand of the axis that they count along: that it has such elements.

Constant indices say it at once.  Those that a model counts out of its extents (places p to p + s - 1) say how
long an axis must be at least: a table of positions, a mask of all places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from camshaft.ir.expr import Expr
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.constraints import apart, require_at_least
from camshaft.ir.extents.extent import Dim, Extent, symbols_of
from camshaft.ir.extents.sizes import is_positive
from camshaft.ir.graph import GraphBuilder, Node, Tensor

Ends = tuple[Extent, Extent]
"""The first and the last element of a tensor that ascends along every axis: its least and its largest."""

_MOST_STEPS = 64
"""Ops between numbers in a row and the indices that are computed from them."""


def require_indices(builder: GraphBuilder, indices: np.ndarray, x: Tensor, axis: int) -> None:
    """ModelError names a constant index that does not count along the axis, from either end."""
    if indices.dtype.kind in "iu" and indices.size:
        for index in (int(indices.min()), int(indices.max())):
            at = index + x.shape[axis] if index < 0 else index
            require_inside(builder, at, x, axis, f"index {index}")


def require_inside(builder: GraphBuilder, at: Extent, x: Tensor, axis: int, what: str) -> None:
    """ModelError unless 0 <= at < the extent of the axis; open extents learn that it is so."""
    misfit = f"{what} leaves axis {axis} of {x.type}"
    with builder.constraints.learning(f"node {builder.layer!r}"):
        require_at_least(at, 0, misfit)
        require_at_least(x.shape[axis] - at, 1, misfit)


def require_counted(builder: GraphBuilder, indices: Tensor, x: Tensor, axis: int) -> None:
    """As `require_indices`, of a tensor; those that are neither constant nor counted demand nothing."""
    if indices.data is not None:
        require_indices(builder, indices.data, x, axis)
        return
    ends = _ends(builder, indices, _MOST_STEPS)
    if ends is None or not all(map(is_positive, indices.shape)) or bounds(ends[0])[0] < 0:
        return
    if any(s.from_data for s in symbols_of(x.shape[axis], *ends)):
        return  # judged where the size is found
    misfit = f"indices up to {ends[1]} leave axis {axis} of {x.type}"
    with builder.constraints.learning(f"node {builder.layer!r}"):
        require_at_least(*apart(x.shape[axis] - ends[1] - 1), misfit)


def _ends(builder: GraphBuilder, x: Tensor, steps: int) -> Ends | None:
    """The ends of x, None where it is not known to ascend.  steps: how far to look back."""
    if x.data is not None:
        return _ends_of(x.data)
    known = builder.known(x)
    if known is not None and known.size == 1:
        (only,) = known.flat
        return (only, only) if isinstance(only, int | Dim) else None
    node = builder.producer(x)
    if node is None or not steps:
        return None
    attrs: Any = node.attrs
    if node.op.name == "iota":
        return 0, attrs["count"] - 1
    if node.op.name in ("reshape", "broadcast", "transpose"):
        return _ends(builder, node.args[0], steps - 1)
    if node.op.name == "slice":
        part = _part(builder, node)
        return None if part is None else _ends(builder, part, steps - 1)
    if node.op.name != "pointwise":
        return None
    operands = [_ends(builder, t, steps - 1) for t in node.args]
    return _ends_at(attrs["expr"], operands)


def _ends_of(array: np.ndarray) -> Ends | None:
    if array.dtype.kind not in "iu" or not array.size:
        return None
    if any((np.diff(array, axis=axis) < 0).any() for axis in range(array.ndim)):
        return None
    return int(array.flat[0]), int(array.flat[-1])


def _part(builder: GraphBuilder, node: Node) -> Tensor | None:
    """The whole tensor that a slice takes out of a concatenation, if it does."""
    source = builder.producer(node.args[0])
    if source is None or source.op.name != "concat":
        return None
    axis: Any = source.attrs["axis"]
    at: Extent = 0
    for part in source.args:
        starts = tuple(at if a == axis else 0 for a in range(part.type.rank))
        if node.attrs["starts"] == starts and node.attrs["sizes"] == part.shape:
            return part
        at = at + part.shape[axis]
    return None


def _ends_at(expr: Expr, operands: Sequence[Ends | None]) -> Ends | None:
    """The ends of a sum or product of what ascends."""
    if expr.op == "input":
        return operands[int(expr.value)]
    if expr.op in ("const", "extent"):
        number: Extent | float = expr.value
        return (number, number) if isinstance(number, int | Dim) else None
    args = [_ends_at(arg, operands) for arg in expr.args]
    if expr.op == "cast" and expr.dtype is not None and expr.dtype.name in ("i64", "i32"):
        return args[0]
    if expr.op not in ("add", "mul") or args[0] is None or args[1] is None:
        return None
    (first, last), (other_first, other_last) = args[0], args[1]
    if expr.op == "add":
        return first + other_first, last + other_last
    if bounds(first)[0] < 0 or bounds(other_first)[0] < 0:
        return None
    return first * other_first, last * other_last
