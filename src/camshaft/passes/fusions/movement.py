"""Expressions change places with ops that only move elements, to reach an anchor's epilogue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.attrs import ints_attr
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import typical
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import Shape, TensorType, f32
from camshaft.ops import CONCAT, CONV, INTERLEAVE, POINTWISE, RESHAPE, SLICE, TRANSPOSE
from camshaft.passes.bodies import anchored, varying_axis
from camshaft.passes.canonical.shapes import axis_of, reshaped
from camshaft.passes.canonical.slices import slice_attrs
from camshaft.passes.constants import in_shape
from camshaft.passes.fusions.pointwise import only_here
from camshaft.passes.rewrite import Rewrite, Rewriter

_RELU = E.maximum(E.inp(0), E.const(0.0))
_ADD = E.add(E.inp(0), E.inp(1))


class HoistAboveMovement(Rewrite):
    """anchor > reshape/transpose/slice > pointwise: the pointwise goes first, into the epilogue.

    Its other operands must vary along one axis at most, and that axis must exist on both sides, or be
    reshaped along with it, as what is added to a layer's result.
    A slice must keep most of what it reads, else the expression would be evaluated for nothing.
    """

    name = "hoist-pointwise-above-movement"
    ops = (POINTWISE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        for moved in node.args:
            move = r.producer(moved, RESHAPE, TRANSPOSE, SLICE)
            if move is None or moved.shape != node.output.shape or not only_here(node, moved, r):
                continue
            if not self._leads_to_anchor(move, r):
                continue
            others = [t for t in node.args if t is not moved]
            shapes = {t.name: s for t in others if (s := self._before(t, move)) is not None}
            if len(shapes) < len({t.name for t in others}):
                continue
            source = move.args[0]
            operands = [
                source if t is moved else reshaped(r, t, shapes[t.name], node, "moved")
                for t in node.args
            ]
            label = f"{source.name}:{node.output.name}"
            early = r.emit(POINTWISE, operands, node.attrs, like=node, output=label)
            return [r.emit(move.op, [early], move.attrs, like=[move, node])]
        return None

    def _leads_to_anchor(self, move: Node, r: Rewriter) -> bool:
        source = move.args[0]
        kept, whole = typical(move.output.type.size), typical(source.type.size)
        if move.op is SLICE and 4 * kept < 3 * whole:
            return False
        root = r.producer(source)
        if root is None or not only_here(move, source, r):
            return False
        if root.op in (RESHAPE, TRANSPOSE, SLICE):
            return self._leads_to_anchor(root, r)
        return anchored(root) or root.op in (POINTWISE, INTERLEAVE)

    @staticmethod
    def _before(operand: Tensor, move: Node) -> Shape | None:
        """Shape in which the operand broadcasts to what `move` reads, or None."""
        x, out = move.args[0].shape, move.output.shape
        if move.op is RESHAPE and operand.shape == out and not operand.is_const:
            return x
        axis = varying_axis(operand, len(out))
        if axis is None:
            return None
        if axis < 0:
            return (1,)
        if move.op is RESHAPE:
            last = axis == len(out) - 1 and x[-1:] == out[-1:]
            return out[-1:] if last else None
        if move.op is SLICE and x[axis] != out[axis]:
            return None
        source = ints_attr(move, "perm")[axis] if move.op is TRANSPOSE else axis
        return (out[axis], *(1,) * (len(x) - 1 - source))

    def example(self) -> Graph:
        b = GraphBuilder("head")
        rng = np.random.default_rng(0)
        x = b.input("x", TensorType(f32, (1, 4, 4, 3)))
        w = b.constant(rng.standard_normal((6, 1, 1, 3), np.float32), "w")
        y = b.emit(CONV, [x, w], {"layout": "NHWC"}, name="conv")
        y = b.emit(RESHAPE, [y], {"shape": (2, 8, 6)}, name="reshape")
        scale = b.constant(rng.random(6, np.float32), "scale")
        expr = E.mul(E.sigmoid(E.inp(0)), E.inp(1))
        return b.graph({"y": b.emit(POINTWISE, [y, scale], {"expr": expr}, name="decode")})


class SinkIntoParts(Rewrite):
    """pointwise(concat(a, b)) -> concat(pointwise(a), pointwise(b)), likewise for interleave.

    Only where every part is an anchor that then takes the expression as its epilogue.  Constant
    operands that vary along the axis of the concat are cut to measure.
    """

    name = "sink-pointwise-into-parts"
    ops = (POINTWISE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        for joined in node.args:
            join = r.producer(joined, CONCAT, INTERLEAVE)
            if join is None or joined.shape != node.output.shape or not only_here(node, joined, r):
                continue
            others = [t for t in node.args if t is not joined]
            if not self._parts_ready(join, r) or not all(self._fits(t, join) for t in others):
                continue
            at: Extent = 0
            parts = []
            for part in join.args:
                parts.append(self._part(node, join, part, at, r))
                at += part.shape[axis_of(join)] if join.op is CONCAT else 0
            return [r.emit(join.op, parts, join.attrs, like=[join, node])]
        return None

    @staticmethod
    def _parts_ready(join: Node, r: Rewriter) -> bool:
        makers = [(r.producer(part), part) for part in join.args]
        return all(n and anchored(n) and only_here(join, part, r) for n, part in makers)

    @staticmethod
    def _fits(operand: Tensor, join: Node) -> bool:
        rank = len(join.output.shape)
        lead = rank - len(operand.shape)
        if join.op is CONCAT:
            axis = axis_of(join) - lead
            return axis < 0 or operand.shape[axis] == 1 or operand.is_const
        return all(a < lead or operand.shape[a - lead] == 1 for a in (1, 2))

    @staticmethod
    def _part(node: Node, join: Node, part: Tensor, at: Extent, r: Rewriter) -> Tensor:
        operands = []
        for t in node.args:
            if t is join.output:
                t = part
            elif join.op is CONCAT:
                axis = axis_of(join) - len(join.output.shape) + len(t.shape)
                if axis >= 0 and t.shape[axis] != 1:
                    attrs = slice_attrs(t.shape, axis, at, part.shape[axis_of(join)])
                    t = r.emit(SLICE, [t], attrs, like=node, output=t.name)
            operands.append(t)
        return r.emit(POINTWISE, operands, node.attrs, like=node, output=f"{part.name}:{node.name}")

    def example(self) -> Graph:
        b = GraphBuilder("concat-bias-relu")
        x = b.input("x", TensorType(f32, (1, 5, 5, 4)))
        rng = np.random.default_rng(0)
        attrs: dict[str, Attr] = {"layout": "NHWC"}
        parts = []
        for k in (2, 3):
            w = b.constant(rng.standard_normal((k, 1, 1, 4), np.float32))
            parts.append(b.emit(CONV, [x, w], attrs, name=f"conv{k}"))
        joined = b.emit(CONCAT, parts, {"axis": 3}, name="concat")
        bias = b.constant(rng.standard_normal(5, np.float32), "bias")
        relu = E.substitute(_RELU, [_ADD])
        return b.graph({"y": b.emit(POINTWISE, [joined, bias], {"expr": relu}, name="relu")})


class TransposeInputFirst(Rewrite):
    """input > pointwise > transpose: the graph input is transposed first.

    What is done to an image before the first convolution (normalising, quantizing) can then fold
    into that convolution, or write channels-last as it goes.
    """

    name = "transpose-input-first"
    ops = (TRANSPOSE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        first = r.producer(node.args[0], POINTWISE)
        if first is None or not only_here(node, node.args[0], r):
            return None
        perm = ints_attr(node, "perm")
        rank = len(perm)
        for t in first.args:
            from_input = not t.is_const and r.producer(t) is None and t.type.rank == rank
            if not from_input and varying_axis(t, rank) is None:
                return None
            if not from_input and not t.is_const:
                return None
        operands = [self._operand(t, perm, node, r) for t in first.args]
        return [r.emit(POINTWISE, operands, first.attrs, like=[first, node])]

    @staticmethod
    def _operand(tensor: Tensor, perm: tuple[int, ...], node: Node, r: Rewriter) -> Tensor:
        rank = len(perm)
        if not tensor.is_const:
            label = f"{tensor.name}:transposed"
            return r.emit(TRANSPOSE, [tensor], {"perm": perm}, like=node, output=label)
        axis = varying_axis(tensor, rank)
        if axis is None or axis < 0:
            if tensor.type.rank <= 1:
                return tensor
            return r.builder.derived(in_shape, [tensor], "const", shape=(1,))
        shape = (-1, *(1,) * (rank - 1 - perm.index(axis)))
        return r.builder.derived(in_shape, [tensor], tensor.name, shape=shape)

    def example(self) -> Graph:
        b = GraphBuilder("normalise")
        x = b.input("x", TensorType(f32, (1, 3, 4, 5)))
        scale = b.constant(np.arange(3, dtype=np.float32)[:, None, None], "scale")
        attrs: dict[str, Attr] = {"expr": E.mul(E.inp(0), E.inp(1))}
        y = b.emit(POINTWISE, [x, scale], attrs, name="normalise")
        return b.graph({"y": b.emit(TRANSPOSE, [y], {"perm": (0, 2, 3, 1)}, name="to-nhwc")})


MOVEMENT_FUSIONS: tuple[Rewrite, ...] = (
    HoistAboveMovement(),
    SinkIntoParts(),
    TransposeInputFirst(),
)
