"""Operators of ONNX Runtime's domain that ONNX has too, by now, and a few that neither needs any more."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.frontends.onnx.handlers.microsoft.spelling import Spelling
from camshaft.frontends.onnx.hosted import host_step
from camshaft.ir.extents.sizes import fixed_extent
from camshaft.ops import functional as F
from camshaft.ops.functional.core import constant

_FIRST_GRID_SAMPLE = 16
"""The opset of GridSample whose modes have the names that ONNX Runtime's have."""


def renamed(ctx: NodeContext) -> Results:
    """Pad and Trilu as ONNX's operators of that name."""
    s = Spelling(ctx)
    inputs = [s.name(i) for i in range(len(ctx.inputs))]
    return s.imported(s.node(ctx.proto.op_type, inputs, "y", s.attributes()))


def gather_nd(ctx: NodeContext) -> Results:
    """GatherND as ONNX's, which takes indices of 64 bits only."""
    s = Spelling(ctx)
    indices = s.node("Cast", [s.name(1)], "indices", to=TensorProto.INT64)
    return s.imported(s.node("GatherND", [s.name(0), indices], "y"))


def grid_sample(ctx: NodeContext) -> Results:
    """GridSample as ONNX's first one."""
    s = Spelling(ctx, opset=_FIRST_GRID_SAMPLE)
    return s.imported(s.node("GridSample", [s.name(0), s.name(1)], "y", s.attributes()))


def expand_dims(ctx: NodeContext) -> Results:
    """ExpandDims(x, axis): a new axis."""
    if ctx.arg(1).data is not None:
        return F.unsqueeze(
            ctx.builder, ctx.arg(0), ctx.const_ints(1, "axis") or (), output=ctx.output
        )
    s = Spelling(ctx)
    axis = s.node("Cast", [s.name(1)], "whole", to=TensorProto.INT64)
    axes = s.node("Reshape", [axis, s.constant("list", [1])], "axes")
    return s.imported(s.node("Unsqueeze", [s.name(0), axes], "wider"))


def range_of(ctx: NodeContext) -> Results:
    """Range(start, limit, step): ONNX's, with scalars of one axis and a step of 1 where it is left out."""
    s = Spelling(ctx)
    names = [s.node("Reshape", [s.name(i), s.constant("none", ())], f"r{i}") for i in (0, 1)]
    if ctx.has(2):
        names.append(s.node("Reshape", [s.name(2), "none"], "r2"))
    else:
        names.append(s.constant("one", 1, ctx.arg(0).type.dtype.numpy))
    return s.imported(s.node("Range", names, "range"))


def unique(ctx: NodeContext) -> Results:
    """Unique(x): elements in the order in which they come, where each stands among them, how often."""
    s = Spelling(ctx)
    s.node_of("Unique", [s.name(0)], ["y", "first", "index", "counts"], sorted=0)
    return s.imported_all(["y", "index", "counts"])


def cdist(ctx: NodeContext) -> Results:
    """CDist(a [M,K], b [N,K]): distances [M,N], squared or not, as |a|^2 + |b|^2 - 2 a b."""
    b, left, right = ctx.builder, ctx.arg(0), ctx.arg(1)
    metric = ctx.attr_str("metric", "sqeuclidean")
    if metric not in ("sqeuclidean", "euclidean"):
        raise ModelError(f"metric {metric!r} is neither 'sqeuclidean' nor 'euclidean'")
    products = F.matmul(b, left, F.transpose(b, right))
    squares = [F.sum_of_squares(b, t, 1, keepdims=True) for t in (left, right)]
    norms = F.add(b, squares[0], F.transpose(b, squares[1]))
    root = metric == "euclidean"
    distances = F.sub(b, norms, F.mul(b, products, 2.0))
    squared = F.clamp(b, distances, 0.0, output=None if root else ctx.output)
    return F.sqrt(b, squared, output=ctx.output) if root else squared


def inverse(ctx: NodeContext) -> Results:
    """Inverse of square matrices, on the host."""
    x = ctx.arg(0)
    if x.type.rank < 2 or x.shape[-1] != x.shape[-2]:
        raise ModelError(f"input {x.type} is not made of square matrices")
    return host_step(ctx, [x.type])


def _transform(ctx: NodeContext, length: int) -> np.ndarray:
    """e^(-2 pi i j k / length) for the frequencies k = 0 to length / 2 that are told apart, [j, k]."""
    for name, wanted in (("onesided", 1), ("normalized", 0), ("signal_ndim", 1)):
        if ctx.attr_int(name, wanted) != wanted:
            raise ModelError(f"attribute {name} must be {wanted}")
    turns = np.outer(np.arange(length), np.arange(length // 2 + 1)) / length
    return np.asarray(np.exp(-2j * np.pi * turns))


def rfft(ctx: NodeContext) -> Results:
    """Rfft of x [..., n]: [..., n/2 + 1, 2], as a product with the matrix of the transform."""
    b, x = ctx.builder, ctx.arg(0)
    length = fixed_extent(x.shape[-1], "the length of a signal")
    matrix = _transform(ctx, length)
    pairs = np.stack([matrix.real, matrix.imag], -1).reshape(length, -1)
    y = F.matmul(b, x, constant(b, pairs.astype(x.type.dtype.numpy), "transform"))
    return F.reshape(b, y, (*x.shape[:-1], length // 2 + 1, 2), output=ctx.output)


def irfft(ctx: NodeContext) -> Results:
    """Irfft of x [..., n/2 + 1, 2]: [..., n], the inverse of `rfft`."""
    b, x = ctx.builder, ctx.arg(0)
    count = fixed_extent(x.shape[-2], "the number of frequencies")
    length = 2 * (count - 1)
    matrix = _transform(ctx, length).conj().T / length
    matrix[1:-1] *= 2  # those that are left out are their mirror images
    pairs = np.stack([matrix.real, -matrix.imag], 1).reshape(2 * count, length)
    rows = F.reshape(b, x, (*x.shape[:-2], 2 * count))
    operand = constant(b, pairs.astype(x.type.dtype.numpy), "transform")
    return F.matmul(b, rows, operand, output=ctx.output)


HANDLERS: Mapping[str, Handler] = {
    "CDist": cdist,
    "ExpandDims": expand_dims,
    "GatherND": gather_nd,
    "GridSample": grid_sample,
    "Inverse": inverse,
    "Irfft": irfft,
    "Pad": renamed,
    "Range": range_of,
    "Rfft": rfft,
    "Trilu": renamed,
    "Unique": unique,
}
