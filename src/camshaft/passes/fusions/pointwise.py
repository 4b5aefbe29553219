"""Pointwise chains become one expression, and expressions become epilogues.

After these rules an elementwise operator survives as a node of its own only where no producer can
compute it: behind a tensor that others read too, or behind a change of shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr
from camshaft.ir.expr import Expr
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import Shape, TensorType, f32, u8
from camshaft.ops import CONV, POINTWISE, POOL
from camshaft.passes.bodies import (
    Body,
    Inliner,
    anchored,
    body_of,
    broadcasts_to,
    emit_body,
    fits,
    has_body,
    is_light,
    keeps_shape,
    replaced,
)
from camshaft.passes.rewrite import Rewrite, Rewriter

_RELU = E.maximum(E.inp(0), E.const(0.0))
_ADD = E.add(E.inp(0), E.inp(1))


def only_here(node: Node, tensor: Tensor, r: Rewriter) -> bool:
    """Whether `node` is the only reader of `tensor` (it may read it more than once)."""
    return r.uses(tensor) <= sum(1 for t in node.args if t is tensor)


def _worth_repeating(producer: Node) -> bool:
    """Whether readers gain by reading the producer's narrower input and converting themselves."""
    wide = [t for t in producer.args if not t.is_const and t.shape == producer.output.shape]
    return (
        len(wide) == 1
        and is_light(expr_attr(producer, "expr"))
        and wide[0].type.dtype.bytes < producer.output.type.dtype.bytes
    )


def stays_apart(node: Node) -> bool:
    """Whether a pointwise node is computed by its reference, which should not compute more than it."""
    return node.op is POINTWISE and not E.has_code(
        expr_attr(node, "expr"), [t.type.dtype for t in node.args]
    )


def inlinable(tensor: Tensor | None, reader: Node, r: Rewriter) -> Node | None:
    """The pointwise producer of `tensor`, if `reader` should compute it itself."""
    producer = r.producer(tensor, POINTWISE)
    if producer is None or tensor is None or stays_apart(producer) or stays_apart(reader):
        return None
    if not (only_here(reader, tensor, r) or _worth_repeating(producer)):
        return None
    same_size = tensor.type.size == reader.outputs[0].type.size
    return producer if same_size or is_light(expr_attr(producer, "expr")) else None


class FusePointwise(Rewrite):
    """Pointwise (or epilogue) operands made by pointwise nodes are computed by their reader.

    A producer with several readers is repeated in each of them where that means less traffic
    (a dequantization or a widening cast).
    """

    name = "fuse-pointwise"

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        if not has_body(node):
            return None
        body = body_of(node)
        found = {t.name: n for t in body.operands if t and (n := self.inlined(t, node, r))}
        if not found:
            return None
        inliner = Inliner(anchored(node))
        args = [
            inliner.inline(body_of(found[t.name])) if t and t.name in found else inliner.leaf(t)
            for t in body.operands
        ]
        fused = inliner.body(E.substitute(body.expr, args))
        if not fits(fused):
            return None
        like = [*{id(n): n for n in found.values()}.values(), node]
        anchor = node if anchored(node) else None
        if not keeps_shape(fused, node):
            return None
        return [emit_body(r, anchor, fused, like)]

    def inlined(self, tensor: Tensor, reader: Node, r: Rewriter) -> Node | None:
        """The producer of `tensor` that `reader` takes in, if any."""
        return inlinable(tensor, reader, r)

    def example(self) -> Graph:
        b = GraphBuilder("swish")
        x = b.input("x", TensorType(f32, (2, 3)))
        sigmoid = b.emit(POINTWISE, [x], {"expr": E.sigmoid(E.inp(0))}, name="sigmoid")
        product = {"expr": E.mul(E.inp(0), E.inp(1))}
        return b.graph({"y": b.emit(POINTWISE, [x, sigmoid], product, name="mul")})


class PullWidening(FusePointwise):
    """Only what widens (a dequantization) moves into its readers, so that bytes are stored.

    Runs before the other fusions, which would join it to the quantization before it, and floats
    would be stored.
    """

    name = "pull-widening"

    def inlined(self, tensor: Tensor, reader: Node, r: Rewriter) -> Node | None:
        producer = r.producer(tensor, POINTWISE)
        return producer if producer is not None and _worth_repeating(producer) else None

    def example(self) -> Graph:
        b = GraphBuilder("widening")
        x = b.input("x", TensorType(f32, (2, 3)))
        q = b.emit(POINTWISE, [x], {"expr": E.cast(E.inp(0), u8)}, name="quantize")
        wide = b.emit(POINTWISE, [q], {"expr": E.cast(E.inp(0), f32)}, name="dequantize")
        return b.graph({"y": b.emit(POINTWISE, [wide, x], {"expr": _ADD}, name="add")})


class FuseEpilogue(Rewrite):
    """anchor > pointwise: the pointwise expression becomes part of the anchor's epilogue.

    The anchor's result must have the pointwise output's shape and no other reader.  Where several
    operands qualify (two convolutions added), the one computed last takes the others as operands.
    An expression that widens (a dequantization) is left to its readers if it has several of them;
    what they did not take is fused by `FuseWideningEpilogue` in the end.
    """

    name = "fuse-epilogue"
    ops = (POINTWISE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        if r.old_uses(node.output) > 1 and _worth_repeating(node):
            return None
        return self.fused(node, r)

    def fused(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        """The node as the epilogue of one of its operands' anchors, or None."""
        if stays_apart(node):
            return None
        ready = [t for t in node.args if self._takes(t, node, r)]
        for result in sorted(ready, key=r.position, reverse=True):
            anchor = r.producer(result)
            assert anchor is not None
            inliner = Inliner(True)
            head = inliner.inline(body_of(anchor))
            args = [head if t is result else inliner.leaf(t) for t in node.args]
            fused = inliner.body(E.substitute(expr_attr(node, "expr"), args))
            if fits(fused):
                return [emit_body(r, anchor, fused, [anchor, node])]
        return None

    @staticmethod
    def _takes(tensor: Tensor, node: Node, r: Rewriter) -> bool:
        anchor = r.producer(tensor)
        return (
            anchor is not None
            and anchored(anchor)
            and only_here(node, tensor, r)
            and tensor.shape == node.output.shape
        )

    def example(self) -> Graph:
        b = GraphBuilder("residual")
        x = b.input("x", TensorType(f32, (1, 4, 5, 5)))
        rng = np.random.default_rng(0)
        w = b.constant(rng.standard_normal((4, 4, 1, 1), np.float32), "w")
        y = b.emit(CONV, [x, w], {"layout": "NCHW"}, name="conv")
        total = b.emit(POINTWISE, [y, x], {"expr": _ADD}, name="add")
        return b.graph({"y": b.emit(POINTWISE, [total], {"expr": _RELU}, name="relu")})


class FuseWideningEpilogue(FuseEpilogue):
    """anchor > widening expression with several readers: fused after all.

    Only for a last sweep: earlier sweeps let the readers repeat the expression.
    """

    name = "fuse-widening-epilogue"

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        return self.fused(node, r)

    def example(self) -> Graph:
        b = GraphBuilder("dequantized-output")
        x = b.input("x", TensorType(u8, (1, 4, 4, 3)))
        attrs: dict[str, Attr] = {"kind": "max", "kernel": (2, 2), "strides": (2, 2)}
        y = b.emit(POOL, [x], {**attrs, "layout": "NHWC"}, name="pool")
        expr = E.dequantize(E.inp(0), E.const(0.5), 3)
        y = b.emit(POINTWISE, [y], {"expr": expr}, name="dequantize")
        return b.graph({"y": y, "z": y})


class MultiplyNotDivide(Rewrite):
    """x / literal -> x * (1 / literal): one rounding more, many cycles fewer.

    Not where the expression rounds or makes integers: a quantization must round as the model says.
    """

    name = "multiply-not-divide"

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        if not has_body(node):
            return None
        body = body_of(node)
        parts = E.nodes(body.expr)
        if any(x.op in ("round", "cast", "floor", "ceil") for x in parts):
            return None
        divisions = [x for x in parts if x.op == "div" and self._by_literal(x)]
        if not divisions:
            return None
        dividend, by = divisions[0].args
        assert by.dtype is not None
        product = E.mul(dividend, E.const(1.0 / float(by.value or 1), by.dtype))
        expr = replaced(body.expr, divisions[0], product)
        anchor = node if anchored(node) else None
        return [emit_body(r, anchor, Body(expr, body.operands), [node])]

    @staticmethod
    def _by_literal(x: Expr) -> bool:
        by = x.args[1]
        float_literal = by.op == "const" and by.dtype is not None and by.dtype.is_float
        return float_literal and 1e-30 < abs(float(by.value or 0)) < 1e30

    def example(self) -> Graph:
        b = GraphBuilder("hard-swish")
        x = b.input("x", TensorType(f32, (2, 3)))
        gate = E.clip(E.add(E.inp(0), E.const(3.0)), 0.0, 6.0)
        expr = E.div(E.mul(E.inp(0), gate), E.const(6.0))
        return b.graph({"y": b.emit(POINTWISE, [x], {"expr": expr}, name="hard-swish")})


def per_channel(tensor: Tensor, shape: Shape, axis: int) -> np.ndarray | None:
    """A float constant that varies along `axis` of `shape` only: [extent] or [1], in float64."""
    if not tensor.is_const or not tensor.type.dtype.is_float or not broadcasts_to(tensor, shape):
        return None
    padded: Shape = (1,) * (len(shape) - len(tensor.shape)) + tensor.shape
    if any(d != 1 for i, d in enumerate(padded) if i != axis):
        return None
    return np.asarray(tensor.content, np.float64).reshape(-1)


POINTWISE_FUSIONS: tuple[Rewrite, ...] = (
    FusePointwise(),
    FuseEpilogue(),
    MultiplyNotDivide(),
)
LATE_FUSIONS: tuple[Rewrite, ...] = (FuseWideningEpilogue(),)
