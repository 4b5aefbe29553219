"""What is known about a tensor's values without running anything: an interval, or nothing.

Walks back from a tensor through expressions and ops that only select or average values.  Used to
drop clips that cannot bite and to move a padding of zeros into a max pool behind a ReLU.
"""

from __future__ import annotations

import numpy as np

from camshaft.ir.graph import Node, Tensor
from camshaft.ir.op import Operands, ValueRange
from camshaft.ir.types import DType
from camshaft.passes.bodies import body_of, has_body
from camshaft.passes.canonical.simplify import bounds, range_of_type
from camshaft.passes.rewrite import Rewriter

MAX_DEPTH = 6


def value_bounds(tensor: Tensor, r: Rewriter, depth: int = 0) -> ValueRange:
    """An interval that holds every non-NaN element of `tensor`."""
    known: dict[str, ValueRange] = r.notes("value bounds", dict)
    found = known.get(tensor.name)
    if found is None:
        found = _found_bounds(tensor, r, depth)
        if depth == 0:
            known[tensor.name] = found
    return found


def _found_bounds(tensor: Tensor, r: Rewriter, depth: int) -> ValueRange:
    widest = range_of_type(tensor.type.dtype)
    if tensor.is_const:
        return widest if tensor.changes else _constant_bounds(tensor.content, widest)
    node = r.producer(tensor)
    if node is None or depth >= MAX_DEPTH:
        return widest
    if has_body(node):
        return _body_bounds(node, r, depth)
    return _result_range(node, r, depth) or widest


def _constant_bounds(data: np.ndarray, widest: ValueRange) -> ValueRange:
    if data.size == 0 or data.dtype.kind not in "iuf" or data.size > 1 << 16:
        return widest
    low, high = float(data.min()), float(data.max())
    return widest if np.isnan(low + high) else (low, high)


def _body_bounds(node: Node, r: Rewriter, depth: int) -> ValueRange:
    body = body_of(node)
    dtypes, limits = [], []
    for t in body.operands:
        if t is not None:
            dtypes.append(t.type.dtype)
            limits.append(value_bounds(t, r, depth + 1))
        else:
            dtype = anchor_dtype(node)
            dtypes.append(dtype)
            limits.append(_result_range(node, r, depth) or range_of_type(dtype))
    return bounds(body.expr, dtypes, limits)


def anchor_dtype(node: Node) -> DType:
    """Element type of an anchored node's result before its epilogue."""
    (type,) = node.op.anchor_types([t.type for t in node.args], node.attrs)
    return type.dtype


def _result_range(node: Node, r: Rewriter, depth: int) -> ValueRange | None:
    """What the op says of its result, before the epilogue if it has one."""
    args = node.args
    known = Operands(
        tuple(t.type for t in args),
        tuple(None if t.changes else t.stored for t in args),
        lambda i: value_bounds(args[i], r, depth + 1),
    )
    return node.op.value_range(known, node.attrs)
