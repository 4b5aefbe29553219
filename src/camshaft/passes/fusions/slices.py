"""One expression per channel, written channel by channel, is one expression over all of them.

Exporters spell the re-normalisation of an image (torchvision's `transform_input`) as three slices,
three multiply-adds and a concat.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr, extents_attr, ints_attr
from camshaft.ir.expr import Expr
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import is_static
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.types import TensorType, f32
from camshaft.ops import CONCAT, POINTWISE, RESHAPE, SLICE
from camshaft.passes.canonical.shapes import axis_of
from camshaft.passes.canonical.slices import slice_attrs
from camshaft.passes.rewrite import Rewrite, Rewriter


class _Differ(Exception):
    """Two expressions differ in more than their literals."""


class JoinSlicedPointwise(Rewrite):
    """concat of f_i(slice_i(x)) -> f(x), where the f_i differ in literals only.

    The literals become constants that vary along the axis of the concat.
    """

    name = "join-sliced-pointwise"
    ops = (CONCAT,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        axis = axis_of(node)
        found = [self._branch(t, node, r) for t in node.args]
        branches = [b for b in found if b is not None]
        if len(branches) < len(found) or len(branches) < 2:
            return None
        sizes = [extents_attr(b[1], "sizes")[axis] for b in branches]
        if not is_static(sizes):
            return None
        first = branches[0][1]
        at = extents_attr(first, "starts")[axis]
        for (_, piece, _), size in zip(branches, sizes, strict=True):
            if not self._continues(piece, first, axis, at):
                return None
            at += size
        try:
            expr, literals = _unified([b[0] for b in branches])
        except _Differ:
            return None
        like = [n for b in branches for n in (b[1], *b[2])] + [node]
        whole = {**first.attrs, "sizes": node.output.shape}
        label = f"{node.output.name}:whole"
        x = r.emit(SLICE, first.inputs, whole, like=like, output=label)
        lead = node.output.type.rank - axis - 1
        operands = []
        for values in literals:
            array = np.repeat(np.asarray(values, np.float32), sizes)
            operands.append(r.builder.constant(array.reshape(-1, *(1,) * lead), "per-channel"))
        return [r.emit(POINTWISE, [x, *operands], {"expr": expr}, like=like)]

    @staticmethod
    def _branch(part: Tensor, node: Node, r: Rewriter) -> tuple[Expr, Node, list[Node]] | None:
        """(expression, slice, nodes between) behind one part of the concat, or None."""
        expr = E.inp(0)
        between: list[Node] = []
        maker = r.producer(part, RESHAPE, POINTWISE, SLICE)
        while maker is not None and maker.op is not SLICE:
            if len(maker.args) != 1 or not r.single_use(maker.output):
                return None
            if maker.op is POINTWISE:
                expr = E.substitute(expr, [expr_attr(maker, "expr")])
            between.insert(0, maker)
            maker = r.producer(maker.args[0], RESHAPE, POINTWISE, SLICE)
        if maker is None or maker.output.type != part.type or part.type.dtype != f32:
            return None
        return (expr, maker, between) if expr != E.inp(0) else None

    @staticmethod
    def _continues(piece: Node, first: Node, axis: int, at: Extent) -> bool:
        """Whether the slice takes up along `axis` where the one before it ended."""
        starts, want = extents_attr(piece, "starts"), list(extents_attr(first, "starts"))
        want[axis] = at
        return (
            piece.args[0] is first.args[0]
            and starts == tuple(want)
            and set(ints_attr(piece, "steps")) == {1}
        )

    def example(self) -> Graph:
        b = GraphBuilder("transform-input")
        x = b.input("x", TensorType(f32, (1, 3, 4, 4)))
        parts = []
        for c, (scale, shift) in enumerate(((0.458, -0.03), (0.448, -0.088), (0.45, -0.188))):
            y = b.emit(SLICE, [x], slice_attrs(x.shape, 1, c, 1), name=f"channel{c}")
            y = b.emit(RESHAPE, [y], {"shape": (1, 4, 4)}, name=f"squeeze{c}")
            expr = E.add(E.mul(E.inp(0), E.const(scale)), E.const(shift))
            y = b.emit(POINTWISE, [y], {"expr": expr}, name=f"normalise{c}")
            parts.append(b.emit(RESHAPE, [y], {"shape": (1, 1, 4, 4)}, name=f"unsqueeze{c}"))
        return b.graph({"y": b.emit(CONCAT, parts, {"axis": 1}, name="concat")})


def _unified(exprs: Sequence[Expr]) -> tuple[Expr, list[list[float]]]:
    """One expression for all: input 0 as before, input 1 + j the j-th literal that differs."""
    literals: list[list[float]] = []

    def walk(xs: Sequence[Expr]) -> Expr:
        first = xs[0]
        if all(x == first for x in xs):
            return first
        if all(x.op == "const" and x.dtype == f32 for x in xs):
            literals.append([float(x.value or 0) for x in xs])
            return E.inp(len(literals))
        if any(
            (x.op, len(x.args), x.dtype) != (first.op, len(first.args), first.dtype) for x in xs
        ):
            raise _Differ
        if not first.args:
            raise _Differ
        args = tuple(walk([x.args[i] for x in xs]) for i in range(len(first.args)))
        return Expr(first.op, args, first.value, first.dtype)

    return walk(exprs), literals


SLICE_FUSIONS: tuple[Rewrite, ...] = (JoinSlicedPointwise(),)
