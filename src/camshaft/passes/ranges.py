"""What is known about a tensor's values without running anything: an interval, or nothing.

Walks back from a tensor through expressions and ops that only select or average values.  Used to
drop clips that cannot bite and to move a padding of zeros into a max pool behind a ReLU.
"""

from __future__ import annotations

import numpy as np

from camshaft.ir.graph import Node, Tensor
from camshaft.ir.types import DType, f32
from camshaft.ops import CONCAT, POINTWISE, POOL, RESAMPLE, SOFTMAX
from camshaft.ops.common import IDENTITY
from camshaft.passes.bodies import anchored, body_of
from camshaft.passes.canonical.simplify import Interval, bounds, interval_of_type
from camshaft.passes.rewrite import Rewriter

MAX_DEPTH = 6


def value_bounds(tensor: Tensor, r: Rewriter, depth: int = 0) -> Interval:
    """An interval that holds every non-NaN element of `tensor`."""
    found = r.bounds.get(tensor.name)
    if found is None:
        found = _found_bounds(tensor, r, depth)
        if depth == 0:
            r.bounds[tensor.name] = found
    return found


def _found_bounds(tensor: Tensor, r: Rewriter, depth: int) -> Interval:
    widest = interval_of_type(tensor.type.dtype)
    if tensor.data is not None:
        return _constant_bounds(tensor.data, widest)
    node = r.producer(tensor)
    if node is None or depth >= MAX_DEPTH:
        return widest
    if node.op is SOFTMAX:
        return widest if node.attrs["log"] else (0.0, 1.0)
    if node.op is POINTWISE or anchored(node):
        return _body_bounds(node, r, depth)
    if node.op is CONCAT or ("movement" in node.op.traits and len(node.args) == 1):
        found = [value_bounds(t, r, depth + 1) for t in node.args]
        if node.op.name == "pad" and node.attrs["mode"] == "constant":
            value = node.attrs["value"]
            assert isinstance(value, (int, float))
            found.append((float(value), float(value)))
        return min(f[0] for f in found), max(f[1] for f in found)
    return widest


def _constant_bounds(data: np.ndarray, widest: Interval) -> Interval:
    if data.size == 0 or data.dtype.kind not in "iuf" or data.size > 1 << 16:
        return widest
    low, high = float(data.min()), float(data.max())
    return widest if np.isnan(low + high) else (low, high)


def _body_bounds(node: Node, r: Rewriter, depth: int) -> Interval:
    body = body_of(node)
    dtypes, limits = [], []
    for t in body.operands:
        if t is not None:
            dtypes.append(t.type.dtype)
            limits.append(value_bounds(t, r, depth + 1))
        else:
            dtype = anchor_dtype(node)
            dtypes.append(dtype)
            limits.append(_anchor_bounds(node, r, depth) or interval_of_type(dtype))
    return bounds(body.expr, dtypes, limits)


def anchor_dtype(node: Node) -> DType:
    """Element type of an anchored node's result before its epilogue."""
    anchors = node.args[: node.op.anchors]
    if all(t.type.dtype == f32 for t in anchors[:2]) and "prologue" not in node.attrs:
        return f32
    bare = {**node.attrs, "epilogue": IDENTITY}
    (type,) = node.op.infer([t.type for t in anchors], bare)
    return type.dtype


def _anchor_bounds(node: Node, r: Rewriter, depth: int) -> Interval | None:
    """Bounds of a pool's or a linear resize's result before its epilogue."""
    if node.op is POOL and node.args[0].type.dtype.is_float:
        low, high = value_bounds(node.args[0], r, depth + 1)
        padded = node.attrs["kind"] == "avg" and node.attrs["count_include_pad"]
        return (min(low, 0.0), max(high, 0.0)) if padded else (low, high)
    if node.op is RESAMPLE:
        weights = [node.args[i].data for i in (2, 4)]
        if all(w is not None and np.all(w >= 0) and np.all(w.sum(1) <= 1.0) for w in weights):
            low, high = value_bounds(node.args[0], r, depth + 1)
            return min(low, 0.0), max(high, 0.0)
    return None
