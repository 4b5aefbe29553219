"""Batch norm, bias and scale are folded into the weights of a neighbouring contraction.

A per-channel `x*a + b` behind a convolution scales its filters; in front of one it scales their
input channels.  The arithmetic is done in float64 and rounded to float32 once.

Where steps cancel (x - m, x near m) one scale and shift do not: the shift's rounding error stays, as large as the shift
is.  Steps are merged only while that cannot matter: a summand is not absorbed by a far larger one before it
(`affine_chain.ABSORBING`), a shift is not scaled up to a large one (`LARGE_SHIFT`: what masks add to scores), and
numbers stay far from the ends of float32 (`affine_chain.ENDS`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr, int_attr
from camshaft.ir.constants import holds
from camshaft.ir.expr import Expr
from camshaft.ir.extents.sizes import fixed_extent
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import Shape, TensorType, f32, i8
from camshaft.ops import CONV, DEQUANTIZE, MATMUL, POINTWISE, POOL, REDUCE, RESAMPLE
from camshaft.passes.bodies import (
    Body,
    Inliner,
    body_of,
    emit_body,
    keeps_shape,
    replaced,
    varying_axis,
)
from camshaft.passes.fusions import affine_chain
from camshaft.passes.fusions.affine_chain import Chain, chain_in, fits
from camshaft.passes.fusions.pointwise import only_here
from camshaft.passes.rewrite import Rewrite, Rewriter

_SCALE_SHIFT = E.add(E.mul(E.inp(0), E.inp(1)), E.inp(2))


def channel_axis(node: Node) -> int:
    """Axis of the output channels in the node's output, counted from the front."""
    return 1 if node.attrs.get("layout") == "NCHW" else len(node.output.shape) - 1


def _float_weights(node: Node) -> Tensor | None:
    """Constant f32 weights of a convolution, or a constant 2-D right matrix; else None."""
    weights = node.args[1]
    if not weights.is_const or weights.type.dtype != f32:
        return None
    return weights if node.op is CONV or weights.type.rank == 2 else None


def _dequantized_weights(node: Node, r: Rewriter) -> Node | None:
    """The dequantize node of 8-bit weights around zero, with one scale or one for each output channel."""
    made = r.producer(node.args[1], DEQUANTIZE)
    if made is None or not all(t.is_const for t in made.args) or made.args[0].type.dtype != i8:
        return None
    if any(t.changes for t in made.args):  # no function of them is sure to give bytes
        return None
    rank = made.args[0].type.rank
    output = 0 if node.op is CONV else rank - 1
    along = made.args[1].type.rank == 0 or int_attr(made, "axis") % rank == output
    usual = node.op is CONV or rank == 2
    return made if along and usual and not made.args[2].array.any() else None


def _with_scales(node: Node, stored: Node, a: np.ndarray, r: Rewriter) -> Node | None:
    """The node with weights whose scales are multiplied by `a`; the integers of negative ones change their sign.  None where
    scales leave float32's range or an integer has no opposite."""
    q, scale, zero = (t.array for t in stored.args)
    output = 0 if node.op is CONV else q.ndim - 1
    channels = q.shape[output]
    factors = np.broadcast_to(a, channels)
    scales = np.broadcast_to(scale, channels).astype(np.float64) * np.abs(factors)
    signs = np.sign(factors).astype(np.int8)
    lead = [-1 if n == output else 1 for n in range(q.ndim)]
    if not fits(scales) or (scales[factors != 0] < f32.tiny).any() or (q == -128).any():
        return None
    integers = q * signs.reshape(lead)
    constants = [
        r.builder.constant(np.ascontiguousarray(integers), stored.args[0].name),
        r.builder.constant(
            np.where(factors == 0, 1.0, scales).astype(np.float32), stored.args[1].name
        ),
        r.builder.constant(np.zeros(channels, zero.dtype), stored.args[2].name),
    ]
    made = r.builder.emit(DEQUANTIZE, constants, {"axis": output}, like=[stored])
    return _with_weights(node, made)


def _bias(r: Rewriter, node: Node, chain: Chain, name: str) -> Tensor:
    """The chain's shift as a constant shaped to broadcast along the output channels of `node`."""
    channels = fixed_extent(
        node.output.shape[channel_axis(node)], f"output channels of {node.name!r}"
    )
    column = node.attrs.get("layout") == "NCHW"
    return r.builder.derived(
        affine_chain.bias, chain.operands, name, channels=channels, column=column, **chain.params
    )


_IN_RANGE = "scaled weights lie within the range of float32"


def _keeps(scaled: Tensor, weights: Tensor, chain: Chain) -> bool:
    """Whether scaled weights lie within float32's range, and are not rounded to 0."""
    vanished = not scaled.content.any() and weights.content.any() and bool(chain.affine.a.any())
    return not vanished and holds(fits, [scaled], _IN_RANGE)


class FoldAffineBack(Rewrite):
    """conv/matmul whose epilogue begins with scale and shift: both go into weights and one bias."""

    name = "fold-affine-into-weights"
    ops = (CONV, MATMUL)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        weights, body = _float_weights(node), body_of(node)
        stored = None if weights is not None else _dequantized_weights(node, r)
        if (weights is None and stored is None) or body.expr.op == "input":
            return None
        chain = chain_in(body, body.expr, E.inp(0), node.output.shape, channel_axis(node))
        found = chain.affine
        if found.steps == 0 or (not chain.scales and found.steps == 1 and chain.shifts):
            return None
        if stored is not None and chain.changes:
            return None
        inliner = Inliner(True)
        inliner.inline(body)
        head: Expr = E.inp(0)
        if chain.shifts:
            head = E.add(head, inliner.leaf(_bias(r, node, chain, f"{node.name}:bias")))
        operands = [inliner.leaf(t) for t in body.operands]
        marked = replaced(body.expr, found.top, E.inp(len(operands)))
        new = inliner.body(E.substitute(marked, [*operands, head]))
        anchor: Node | None = node
        if chain.scales and weights is not None:
            anchor = self._scaled(node, weights, chain, r)
        elif chain.scales and stored is not None:
            anchor = _with_scales(node, stored, found.a, r)
        if anchor is None:
            return None
        return [emit_body(r, anchor, new, [node])]

    @staticmethod
    def _scaled(node: Node, weights: Tensor, chain: Chain, r: Rewriter) -> Node | None:
        """The node with scaled weights; None where these leave float32's range."""
        params = {"filters": node.op is CONV, **chain.params}
        scaled = r.builder.derived(
            affine_chain.scaled_outputs, [weights, *chain.operands], weights.name, **params
        )
        return _with_weights(node, scaled) if _keeps(scaled, weights, chain) else None

    def example(self) -> Graph:
        b = GraphBuilder("conv-bn")
        rng = np.random.default_rng(0)
        x = b.input("x", TensorType(f32, (1, 3, 6, 6)))
        w = b.constant(rng.standard_normal((4, 3, 3, 3), np.float32), "w")
        y = b.emit(CONV, [x, w], {"layout": "NCHW"}, name="conv")
        scale, shift = (b.constant(rng.random((4, 1, 1), np.float32)) for _ in range(2))
        y = b.emit(POINTWISE, [y, scale, shift], {"expr": _SCALE_SHIFT}, name="bn")
        anchor = b.producer(y)
        assert anchor is not None
        conv = b.producer(anchor.args[0])
        assert conv is not None
        fused = {**conv.attrs, "epilogue": _SCALE_SHIFT}
        return b.graph({"y": b.emit(CONV, [x, w, scale, shift], fused, like=[conv, anchor])})


class FoldAffineForward(Rewrite):
    """scale and shift > conv/matmul: folded into the weights of what follows.

    A shift crosses a padded convolution only if it is zero, since padding adds unshifted zeros.
    """

    name = "fold-affine-into-next-weights"
    ops = (CONV, MATMUL)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        weights = _float_weights(node)
        producer = r.producer(node.args[0], POINTWISE)
        if weights is None or producer is None or not only_here(node, node.args[0], r):
            return None
        shape = producer.output.shape
        axis = 1 if node.attrs.get("layout") == "NCHW" else len(shape) - 1
        found = self._chain(producer, shape, axis)
        if found is None:
            return None
        source, chain = found
        if chain.shifts and node.attrs.get("pads", (0, 0, 0, 0)) != (0, 0, 0, 0):
            return None
        is_conv = node.op is CONV
        new, shift = r.builder.all_derived(
            affine_chain.scaled_inputs,
            [weights, *chain.operands],
            [weights.name, f"{node.name}:shift"],
            channels=fixed_extent(shape[axis], f"input channels of {node.name!r}"),
            groups=int_attr(node, "groups") if is_conv else 1,
            layout=str(node.attrs["layout"]) if is_conv else "",
            column=node.attrs.get("layout") == "NCHW",
            **chain.params,
        )
        if not (_keeps(new, weights, chain) and holds(fits, [shift], _IN_RANGE)):
            return None
        anchor = _with_input(_with_weights(node, new), source)
        added = shift if chain.shifts and (chain.changes or np.any(shift.content)) else None
        return [emit_body(r, anchor, self._shifted(node, added), [producer, node])]

    @staticmethod
    def _chain(producer: Node, shape: Shape, axis: int) -> tuple[Tensor, Chain] | None:
        wide = [i for i, t in enumerate(producer.args) if not t.is_const]
        if len(wide) != 1:
            return None
        source = producer.args[wide[0]]
        if source.shape != shape or source.type.dtype != f32:
            return None
        expr = expr_attr(producer, "expr")
        chain = chain_in(body_of(producer), expr, E.inp(wide[0]), shape, axis)
        found = chain.affine
        return (source, chain) if found.top == expr and found.steps else None

    @staticmethod
    def _shifted(node: Node, shift: Tensor | None) -> Body:
        body = body_of(node)
        if shift is None:
            return body
        inliner = Inliner(True)
        inliner.inline(body)
        head = E.add(E.inp(0), inliner.leaf(shift))
        operands = [head, *(inliner.leaf(t) for t in body.operands[1:])]
        return inliner.body(E.substitute(body.expr, operands))

    def example(self) -> Graph:
        b = GraphBuilder("normalise-conv")
        rng = np.random.default_rng(0)
        x = b.input("x", TensorType(f32, (1, 6, 6, 4)))
        scale, shift = (b.constant(rng.random(4, np.float32)) for _ in range(2))
        y = b.emit(POINTWISE, [x, scale, shift], {"expr": _SCALE_SHIFT}, name="normalise")
        w = b.constant(rng.standard_normal((6, 3, 3, 2), np.float32), "w")
        attrs: dict[str, Attr] = {"layout": "NHWC", "groups": 2}
        return b.graph({"y": b.emit(CONV, [y, w], attrs, name="conv")})


class MergeAffine(Rewrite):
    """Several per-channel scales and shifts in a row, with no weights near, are one of each."""

    name = "merge-affine"
    ops = (POINTWISE, POOL, REDUCE, RESAMPLE)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        body = body_of(node)
        shape = node.output.shape
        along = [varying_axis(t, len(shape)) for t in body.operands if t and t.is_const]
        axis = next((a for a in along if a is not None and a >= 0), len(shape) - 1)
        for i, t in enumerate(body.operands):
            if t is not None and (t.is_const or t.type.dtype != f32):
                continue
            chain = chain_in(body, body.expr, E.inp(i), shape, axis)
            if chain.affine.steps > int(chain.scales) + int(chain.shifts):
                return self._merged(node, body, i, chain, axis, r)
        return None

    @staticmethod
    def _merged(
        node: Node, body: Body, start: int, chain: Chain, axis: int, r: Rewriter
    ) -> Sequence[Tensor] | None:
        anchor = None if node.op is POINTWISE else node
        inliner = Inliner(anchor is not None)
        inliner.inline(body)
        head = inliner.leaf(body.operands[start])
        along = (-1, *(1,) * (len(node.output.shape) - 1 - axis))
        for make, there, function, label in (
            (E.mul, chain.scales, affine_chain.factor, "scale"),
            (E.add, chain.shifts, affine_chain.summand, "shift"),
        ):
            if there:
                value = r.builder.derived(
                    function, chain.operands, f"{node.name}:{label}", shape=along, **chain.params
                )
                head = make(head, inliner.leaf(value))
        operands = [inliner.leaf(t) for t in body.operands]
        marked = replaced(body.expr, chain.affine.top, E.inp(len(operands)))
        new = inliner.body(E.substitute(marked, [*operands, head]))
        return [emit_body(r, anchor, new, [node])] if keeps_shape(new, node) else None

    def example(self) -> Graph:
        b = GraphBuilder("norm-scale")
        rng = np.random.default_rng(0)
        x = b.input("x", TensorType(f32, (1, 6, 6, 4)))
        vectors = [b.constant(rng.random(4, np.float32)) for _ in range(4)]
        expr = E.add(E.mul(_SCALE_SHIFT, E.inp(3)), E.inp(4))
        attrs = {"expr": E.maximum(expr, E.const(0.0))}
        return b.graph({"y": b.emit(POINTWISE, [x, *vectors], attrs, name="norm")})


def _with_weights(node: Node, weights: Tensor) -> Node:
    inputs = (node.inputs[0], weights, *node.inputs[2:])
    return Node(node.op, inputs, node.outputs, node.attrs, node.name, node.origin)


def _with_input(node: Node, x: Tensor) -> Node:
    inputs = (x, *node.inputs[1:])
    return Node(node.op, inputs, node.outputs, node.attrs, node.name, node.origin)


AFFINE_FUSIONS: tuple[Rewrite, ...] = (
    FoldAffineBack(),
    FoldAffineForward(),
    MergeAffine(),
)
