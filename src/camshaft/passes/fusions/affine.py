"""Batch norm, bias and scale are folded into the weights of a neighbouring contraction.

A per-channel `x*a + b` behind a convolution scales its filters; in front of one it scales their
input channels.  The arithmetic is done in float64 and rounded to float32 once.

Where steps cancel (x - m, x near m) one scale and shift do not: the shift's rounding error stays, as large as the shift
is.  Steps are merged only while that cannot matter: a summand is not absorbed by a far larger one before it
(`ABSORBING`), a shift is not scaled up to a large one (`LARGE_SHIFT`: what masks add to scores), and numbers stay
far from the ends of float32 (`ENDS`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr, int_attr
from camshaft.ir.expr import Expr
from camshaft.ir.extents.sizes import fixed_extent
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import Shape, TensorType, f32, i8
from camshaft.ops import CONV, DEQUANTIZE, MATMUL, POINTWISE, POOL, REDUCE, RESAMPLE
from camshaft.ops.functional.normalization import LARGE_SHIFT
from camshaft.passes.bodies import (
    Body,
    Inliner,
    body_of,
    emit_body,
    keeps_shape,
    replaced,
    varying_axis,
)
from camshaft.passes.fusions.pointwise import only_here, per_channel
from camshaft.passes.rewrite import Rewrite, Rewriter

ABSORBING = 1024.0
"""Largest ratio of a shift to a summand that is added to it: three of seven digits of the summand may be lost."""
ENDS = 1e-30, 1e30
"""Between these lies the largest magnitude of scales, shifts and weights, unless it is 0."""
_SCALE_SHIFT = E.add(E.mul(E.inp(0), E.inp(1)), E.inp(2))


@dataclass(frozen=True)
class Affine:
    """`top` equals input * a + b; a and b are [channels] or [1] in float64.  steps: operators."""

    top: Expr
    a: np.ndarray
    b: np.ndarray
    steps: int


def leading_affine(expr: Expr, start: Expr, value: Callable[[Expr], np.ndarray | None]) -> Affine:
    """The longest chain of affine operators on `start` alone.

    value: the per-channel constant that a subexpression stands for, or None.
    """
    readers: dict[Expr, list[Expr]] = {}
    for x in E.nodes(expr):
        for arg in x.args:
            readers.setdefault(arg, []).append(x)
    found = Affine(start, np.ones(1), np.zeros(1), 0)
    while found.top != expr and len(readers.get(found.top, ())) == 1:
        step = _step(found, readers[found.top][0], value)
        if step is None:
            break
        found = step
    return found


def _step(x: Affine, reader: Expr, value: Callable[[Expr], np.ndarray | None]) -> Affine | None:
    if reader.op == "neg":
        return Affine(reader, -x.a, -x.b, x.steps + 1)
    if reader.op not in ("add", "sub", "mul", "div"):
        return None
    left = reader.args[0] == x.top
    c = value(reader.args[1 if left else 0])
    if c is None or (reader.op == "div" and (not left or not np.all(c))):
        return None
    if reader.op == "mul":
        a, b = x.a * c, x.b * c
    elif reader.op == "div":
        a, b = x.a / c, x.b / c
    elif reader.op == "add":
        a, b = x.a + 0 * c, x.b + c
    else:
        a, b = (x.a + 0 * c, x.b - c) if left else (0 * c - x.a, c - x.b)
    step = Affine(reader, a, b, x.steps + 1)
    return step if _is_harmless(x, step, c) else None


def _largest(values: np.ndarray) -> float:
    return float(np.abs(values).max(initial=0.0))


def _is_harmless(before: Affine, after: Affine, c: np.ndarray) -> bool:
    """Whether `after`, which comes of `before` by one step with the constant c, may stand for both steps."""
    if not (fits(after.a) and fits(after.b)):
        return False
    shift = _largest(before.b)
    if after.top.op in ("add", "sub"):
        return _largest(c) == 0 or shift <= ABSORBING * _largest(c)
    return _largest(after.b) <= max(shift, LARGE_SHIFT)


def _values(body: Body, shape: Shape, axis: int) -> Callable[[Expr], np.ndarray | None]:
    """Per-channel value of a subexpression that reads constants only."""
    known = [None if t is None else per_channel(t, shape, axis) for t in body.operands]

    def value(x: Expr) -> np.ndarray | None:
        if any(known[i] is None for i in E.used_inputs(x)):
            return None
        if any(y.op in ("cast", "extent") for y in E.nodes(x)):
            return None
        arrays = [np.zeros(1) if k is None else k for k in known]
        result = np.asarray(E.evaluate(x, arrays), np.float64).reshape(-1)
        return result if np.all(np.isfinite(result)) else None

    return value


def channel_axis(node: Node) -> int:
    """Axis of the output channels in the node's output, counted from the front."""
    return 1 if node.attrs.get("layout") == "NCHW" else len(node.output.shape) - 1


def float_weights(node: Node) -> np.ndarray | None:
    """Constant f32 weights of a convolution, or a constant 2-D right matrix; else None."""
    weights = node.args[1]
    if weights.data is None or weights.type.dtype != f32:
        return None
    return weights.data if node.op is CONV or weights.type.rank == 2 else None


def dequantized_weights(node: Node, r: Rewriter) -> Node | None:
    """The dequantize node of 8-bit weights around zero, with one scale or one for each output channel."""
    made = r.producer(node.args[1], DEQUANTIZE)
    if made is None or not all(t.is_const for t in made.args) or made.args[0].type.dtype != i8:
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
        _constant(r, np.where(factors == 0, 1.0, scales), stored.args[1].name),
        r.builder.constant(np.zeros(channels, zero.dtype), stored.args[2].name),
    ]
    made = r.builder.emit(DEQUANTIZE, constants, {"axis": output}, like=[stored])
    return _with_weights(node, made)


def fits(array: np.ndarray) -> bool:
    """Whether the largest magnitude, as float32, is far from the ends of its range, or 0."""
    return _largest(array) == 0 or ENDS[0] <= _largest(array) <= ENDS[1]


def _constant(r: Rewriter, array: np.ndarray, name: str) -> Tensor:
    rounded = np.ascontiguousarray(array, np.float32)
    rounded.flags.writeable = False
    return r.builder.constant(rounded, name)


def bias_constant(r: Rewriter, node: Node, bias: np.ndarray, name: str) -> Tensor:
    """A per-channel constant shaped to broadcast along the output channels of `node`."""
    channels = node.output.shape[channel_axis(node)]
    vector = np.broadcast_to(bias, fixed_extent(channels, f"output channels of {node.name!r}"))
    if node.attrs.get("layout") == "NCHW":
        vector = vector[:, None, None]
    return _constant(r, vector, name)


class FoldAffineBack(Rewrite):
    """conv/matmul whose epilogue begins with scale and shift: both go into weights and one bias."""

    name = "fold-affine-into-weights"
    ops = (CONV, MATMUL)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        weights, body = float_weights(node), body_of(node)
        stored = None if weights is not None else dequantized_weights(node, r)
        if (weights is None and stored is None) or body.expr.op == "input":
            return None
        axis = channel_axis(node)
        found = leading_affine(body.expr, E.inp(0), _values(body, node.output.shape, axis))
        plain = np.all(found.a == 1.0)
        if found.steps == 0 or (plain and found.steps == 1 and np.any(found.b)):
            return None
        inliner = Inliner(True)
        inliner.inline(body)
        head: Expr = E.inp(0)
        if np.any(found.b):
            head = E.add(head, inliner.leaf(bias_constant(r, node, found.b, f"{node.name}:bias")))
        operands = [inliner.leaf(t) for t in body.operands]
        marked = replaced(body.expr, found.top, E.inp(len(operands)))
        new = inliner.body(E.substitute(marked, [*operands, head]))
        anchor: Node | None = node
        if not plain and weights is not None:
            anchor = self._scaled(node, weights, found.a, r)
        elif not plain and stored is not None:
            anchor = _with_scales(node, stored, found.a, r)
        if anchor is None:
            return None
        return [emit_body(r, anchor, new, [node])]

    @staticmethod
    def _scaled(node: Node, weights: np.ndarray, a: np.ndarray, r: Rewriter) -> Node | None:
        """The node with scaled weights; None where these leave float32's range."""
        scale = a if node.op is MATMUL else a[:, None, None, None]
        scaled = weights.astype(np.float64) * scale
        if not fits(scaled):
            return None
        return _with_weights(node, _constant(r, scaled, node.args[1].name))

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
        weights = float_weights(node)
        producer = r.producer(node.args[0], POINTWISE)
        if weights is None or producer is None or not only_here(node, node.args[0], r):
            return None
        shape = producer.output.shape
        axis = 1 if node.attrs.get("layout") == "NCHW" else len(shape) - 1
        found = self._affine(producer, shape, axis)
        if found is None:
            return None
        source, affine = found
        if np.any(affine.b) and node.attrs.get("pads", (0, 0, 0, 0)) != (0, 0, 0, 0):
            return None
        channels = fixed_extent(shape[axis], f"input channels of {node.name!r}")
        a, b = (np.broadcast_to(v, channels) for v in (affine.a, affine.b))
        wide = weights.astype(np.float64)
        if node.op is MATMUL:
            new, shift = wide * a[:, None], b @ wide
        else:
            new, shift = _per_input_channel(node, wide, a, b)
        if not (fits(new) and fits(shift)):
            return None
        anchor = _with_input(_with_weights(node, _constant(r, new, node.args[1].name)), source)
        return [emit_body(r, anchor, self._shifted(node, shift, r), [producer, node])]

    @staticmethod
    def _affine(producer: Node, shape: Shape, axis: int) -> tuple[Tensor, Affine] | None:
        wide = [i for i, t in enumerate(producer.args) if not t.is_const]
        if len(wide) != 1:
            return None
        source = producer.args[wide[0]]
        if source.shape != shape or source.type.dtype != f32:
            return None
        expr = expr_attr(producer, "expr")
        values = _values(body_of(producer), shape, axis)
        found = leading_affine(expr, E.inp(wide[0]), values)
        return (source, found) if found.top == expr and found.steps else None

    @staticmethod
    def _shifted(node: Node, shift: np.ndarray, r: Rewriter) -> Body:
        body = body_of(node)
        if not np.any(shift):
            return body
        inliner = Inliner(True)
        inliner.inline(body)
        bias = inliner.leaf(bias_constant(r, node, shift, f"{node.name}:shift"))
        head = E.add(E.inp(0), bias)
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
        values = _values(body, shape, axis)
        for i, t in enumerate(body.operands):
            if t is not None and (t.is_const or t.type.dtype != f32):
                continue
            found = leading_affine(body.expr, E.inp(i), values)
            needed = int(np.any(found.a != 1.0)) + int(np.any(found.b))
            if found.steps > needed:
                return self._merged(node, body, i, found, axis, r)
        return None

    @staticmethod
    def _merged(
        node: Node, body: Body, start: int, found: Affine, axis: int, r: Rewriter
    ) -> Sequence[Tensor] | None:
        anchor = None if node.op is POINTWISE else node
        inliner = Inliner(anchor is not None)
        inliner.inline(body)
        head = inliner.leaf(body.operands[start])
        lead = (1,) * (len(node.output.shape) - 1 - axis)
        for make, vector, neutral, label in (
            (E.mul, found.a, 1.0, "scale"),
            (E.add, found.b, 0.0, "shift"),
        ):
            if np.any(vector != neutral):
                value = _constant(r, vector.reshape(-1, *lead), f"{node.name}:{label}")
                head = make(head, inliner.leaf(value))
        operands = [inliner.leaf(t) for t in body.operands]
        marked = replaced(body.expr, found.top, E.inp(len(operands)))
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


def _per_input_channel(
    node: Node, weights: np.ndarray, a: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(weights scaled by a along their input channels, sum of weights times b) of a convolution."""
    groups = int_attr(node, "groups")
    nchw = node.attrs["layout"] == "NCHW"
    w = weights.transpose(0, 2, 3, 1) if nchw else weights  # [K,R,S,C/g]
    k = w.shape[0]
    of_filter = np.repeat(np.arange(groups), k // groups)
    scale = a.reshape(groups, -1)[of_filter][:, None, None, :]
    offset = b.reshape(groups, -1)[of_filter][:, None, None, :]
    shift = (w * offset).sum(axis=(1, 2, 3))
    scaled = w * scale
    return (scaled.transpose(0, 3, 1, 2) if nchw else scaled), shift


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
