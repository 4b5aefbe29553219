"""Lowering Q/DQ graphs to integer kernels: the one place where quantization becomes arithmetic.

Input: a channels-last graph with quantize/dequantize nodes, from a quantized model or from
`quant.placement`.  Output: convolutions on u8 x i8 with everything else, requantization included, as
pointwise expressions, which the ordinary fusions then pull into epilogues.

1. `unsign`: s8 activations become u8 with the zero point moved by 128 (dot-product instructions
   multiply u8 by i8).
2. `MOVE_RULES`: dequantize moves forward and quantize backward through ops that only move or
   select elements, so that those run on bytes; a pair with equal parameters vanishes.
3. `LEVEL_RULES`, `INTEGER_RULES`: [dequantize, dequantize] > conv becomes an integer conv with a float
   epilogue; where a function that makes levels of levels stands between, a pair that changes nothing is put
   behind it.
4. `EXPAND_RULES`: what is left becomes pointwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr
from camshaft.ir.constants import holds, loose_constant
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.rebuild import Rebuild
from camshaft.ir.types import DType, TensorType, f32, i8, u8
from camshaft.ops import CONCAT, CONV, DEQUANTIZE, MATMUL, POINTWISE, POOL, QUANTIZE
from camshaft.passes.rewrite import Rewrite, Rewriter


@dataclass(frozen=True)
class QuantNode:
    """Parameters of a quantize or dequantize node whose scale and zero point are constants.

    scales: the scale, rank 0 where one holds for all.
    """

    source: Tensor
    scales: Tensor
    zero: np.ndarray
    axis: int

    @property
    def scale(self) -> np.ndarray:
        """The scale's array."""
        return self.scales.content

    @property
    def per_tensor(self) -> bool:
        """Whether one scale and zero point hold for the whole tensor."""
        return self.scale.ndim == 0

    @property
    def increasing(self) -> bool:
        """Whether larger numbers get larger levels (ONNX allows negative scales, and zero)."""
        return holds(all_positive, [self.scales], "all scales are positive")

    @property
    def invertible(self) -> bool:
        """Whether quantizing what was dequantized gives the same levels."""
        return holds(all_invertible, [self.scales], "all scales are finite and not tiny")

    def same_as(self, other: QuantNode) -> bool:
        """Whether both map numbers alike."""
        return (
            self.zero.dtype == other.zero.dtype
            and _are_same(self.scales, other.scales)
            and np.array_equal(self.zero, other.zero)
            and (self.per_tensor or self.axis == other.axis)
        )


def quant_node(node: Node | None) -> QuantNode | None:
    """The node's parameters, or None if it is no (de)quantization with constant parameters, each for all
    or for an index of an axis."""
    if node is None or node.op not in (QUANTIZE, DEQUANTIZE):
        return None
    x, scale, zero = node.args
    axis = node.attrs["axis"]
    if not (scale.is_const and zero.is_const) or not isinstance(axis, int):
        return None
    if node.attrs.get("block"):
        return None
    rank = max(1, x.type.rank)
    return QuantNode(x, _scalar(scale, x.is_const), _plain(zero.array), axis % rank)


def quantized_tensors(graph: Graph) -> dict[str, QuantNode]:
    """Output of each quantize node with constant parameters -> what it was made of."""
    found = {n.output.name: quant_node(n) for n in graph.nodes if n.op is QUANTIZE}
    return {name: q for name, q in found.items() if q is not None}


def unsigned_zero(q: QuantNode) -> int:
    """The zero point of levels as `unsign` carries them (s8 as u8)."""
    return int(q.zero) + (128 if q.zero.dtype == np.int8 else 0)


def _scalar(t: Tensor, of_weights: bool) -> Tensor:
    """Per-channel parameters that are all equal (or of one channel) are per-tensor; but those of weights that may
    become different ones."""
    if t.changes and (of_weights or t.type.size != 1):
        return t
    plain = _plain(t.array)
    return t if plain.ndim == t.type.rank else loose_constant(plain, t.name)


def _plain(values: np.ndarray) -> np.ndarray:
    if values.ndim == 1 and values.size and np.all(values == values[0]):
        return np.asarray(values[0])
    return values


def _are_same(a: Tensor, b: Tensor) -> bool:
    if a.changes or b.changes:
        return a.known is b.known
    return np.array_equal(a.content, b.content)


def all_positive(scale: np.ndarray) -> bool:
    """Whether larger numbers get larger levels."""
    return bool(np.all(scale > 0))


def all_invertible(scale: np.ndarray) -> bool:
    """Whether the reciprocals are finite."""
    size = np.abs(scale)
    return bool(np.all((size >= f32.tiny) & np.isfinite(size)))


# --- 1. signed activations --------------------------------------------------------------------


def unsign(graph: Graph) -> Graph:
    """Carry every s8 activation as u8 with its zero point moved by 128; results are the same.

    Ops that are neither (de)quantization nor mere movement see the s8 value again.
    """
    rebuild = Rebuild(graph)
    b, get = rebuild.builder, rebuild.get
    moved: set[str] = set()  # names of old s8 tensors for which u8 + 128 stands

    def plain(t: Tensor) -> Tensor:
        """The value in its own type."""
        return _offset(b, get(t), -128, i8) if t.name in moved else get(t)

    def biased(t: Tensor) -> Tensor:
        """The value as u8 + 128."""
        return get(t) if t.name in moved else _offset(b, get(t), 128, u8)

    for node in graph.nodes:
        q = quant_node(node)
        s8 = q is not None and q.zero.dtype == np.int8
        if node.op is QUANTIZE and s8:
            inputs = [get(node.args[0]), get(node.args[1]), _moved_zero(b, node.args[2])]
            outs = b.add(QUANTIZE, inputs, node.attrs, like=node)
            moved.add(node.output.name)
        elif node.op is DEQUANTIZE and s8 and not node.args[0].is_const:
            inputs = [biased(node.args[0]), get(node.args[1]), _moved_zero(b, node.args[2])]
            outs = b.add(DEQUANTIZE, inputs, node.attrs, like=node)
        elif commutes(node) and any(t.name in moved for t in node.args):
            attrs = _with_values(node, lambda value: value + 128)
            data, rest = _split(node)
            inputs = [*map(biased, data), *map(get, rest)]
            outs = b.add(node.op, inputs, attrs, like=node)
            moved.add(node.output.name)
        else:
            args = [None if t is None else plain(t) for t in node.inputs]
            outs = b.add(node.op, args, node.attrs, like=node, name=node.name)
        rebuild.replace(node, outs)
    return rebuild.finish(plain)


def _moved_zero(b: GraphBuilder, zero: Tensor) -> Tensor:
    return b.constant((zero.array.astype(np.int16) + 128).astype(np.uint8), f"{zero.name}:u8")


def _offset(b: GraphBuilder, t: Tensor, by: int, dtype: DType) -> Tensor:
    expr = E.cast(E.add(E.cast(E.inp(0), f32), E.const(float(by))), dtype)
    return b.emit(POINTWISE, [t], {"expr": expr}, name=f"{t.name}:{dtype.name}")


# --- 2. moving through ops that commute -------------------------------------------------------


def commutes(node: Node) -> bool:
    """Whether op(Q(x)) == Q(op(x)): elements are moved or selected by order, never combined."""
    return node.op.commutes_with_quantization([t.type for t in node.args], node.attrs)


def commutes_with(node: Node, q: QuantNode) -> bool:
    """Whether the node, on levels of these parameters, selects and pads what it does on numbers."""
    if node.op.commutes is None or not (commutes(node) and q.invertible):
        return False
    return q.increasing or not node.op.commutes.ordered


def _split(node: Node) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The inputs of a node that commutes: those that carry the data, and tables and indices."""
    assert node.op.commutes is not None
    count = node.op.commutes.data
    return (node.args, ()) if count is None else (node.args[:count], node.args[count:])


def _with_values(node: Node, change: Callable[[float], float]) -> dict[str, Attr]:
    """The node's attributes, with those changed that are values of the data's type."""
    assert node.op.commutes is not None
    attrs = dict(node.attrs)
    for name in node.op.commutes.values:
        attrs[name] = change(float(attrs[name]))  # type: ignore[arg-type]
    return attrs


def _axis_behind(node: Node, axis: int) -> int | None:
    """Where scales along `axis` of the node's input run in its output, None if they cannot pass."""
    assert node.op.commutes is not None
    return node.op.commutes.axis(axis, node.args[0].type, node.output.type, node.attrs)


class ForwardDequantize(Rewrite):
    """op(DQ(x)) -> DQ(op(x)) where op commutes with quantization."""

    name = "dequantize-forward"

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        if not commutes(node):
            return None
        data, rest = _split(node)
        found = [r.producer(t, DEQUANTIZE) for t in data]
        params = [quant_node(n) for n in found]
        first, dq = params[0], found[0]
        if first is None or dq is None or not commutes_with(node, first):
            return None
        axis = first.axis if first.per_tensor else _axis_behind(node, first.axis)
        if axis is None:
            return None
        if any(p is None or not p.same_as(first) for p in params):
            return None
        inputs = [*(p.source for p in params if p is not None), *rest]
        attrs = _with_values(node, lambda _: float(first.zero))
        name = f"{node.output.name}:q"
        q = r.emit(node.op, inputs, attrs, like=node, output=name)
        return [r.emit(DEQUANTIZE, [q, *dq.args[1:]], {"axis": axis}, like=[dq, node])]

    def example(self) -> Graph:
        b = GraphBuilder("dequantize forward")
        x = b.input("x", TensorType(u8, (1, 4, 4, 2)))
        d = b.emit(DEQUANTIZE, [x, *scalar_params(b, 0.1, 3)], {"axis": 0}, name="dq")
        attrs: dict[str, Attr] = {
            "kind": "max",
            "kernel": (2, 2),
            "strides": (2, 2),
            "layout": "NHWC",
        }
        return b.graph({"y": b.emit(POOL, [d], attrs, name="pool")})


class BackwardQuantize(Rewrite):
    """Q(op(x)) -> op(Q(x)) where op commutes with it and nobody else reads its result."""

    name = "quantize-backward"
    ops = (QUANTIZE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        q, mover = quant_node(node), r.producer(node.args[0])
        if q is None or mover is None or not q.per_tensor or not commutes_with(mover, q):
            return None
        if not r.single_use(node.args[0]):
            return None
        data, rest = _split(mover)
        parts = [
            r.emit(QUANTIZE, [t, *node.args[1:]], {"axis": 0}, like=node, output=f"{t.name}:q")
            for t in data
        ]
        attrs = _with_values(mover, lambda _: float(q.zero))
        return [r.emit(mover.op, [*parts, *rest], attrs, like=[mover, node])]

    def example(self) -> Graph:
        b = GraphBuilder("quantize backward")
        parts = [b.input(n, TensorType(f32, (1, 2, 2, 3))) for n in "xy"]
        c = b.emit(CONCAT, parts, {"axis": 3}, name="concat")
        return b.graph({"z": b.emit(QUANTIZE, [c, *scalar_params(b, 0.1, 3)], name="q")})


class CancelPair(Rewrite):
    """Q(DQ(x)) -> x when both have the same parameters."""

    name = "cancel-quantize-of-dequantize"
    ops = (QUANTIZE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        q, dq = quant_node(node), quant_node(r.producer(node.args[0], DEQUANTIZE))
        if q is None or dq is None or not q.same_as(dq) or not q.invertible:
            return None
        return [dq.source]

    def example(self) -> Graph:
        b = GraphBuilder("cancel")
        x = b.input("x", TensorType(u8, (5,)))
        params = scalar_params(b, 0.1, 3)
        d = b.emit(DEQUANTIZE, [x, *params], {"axis": 0}, name="dq")
        return b.graph({"y": b.emit(QUANTIZE, [d, *params], {"axis": 0}, name="q")})


class KeepLevels(Rewrite):
    """conv(f(DQ(x)), w) -> conv(DQ(Q(f(DQ(x)))), w) where f, such as ReLU, makes levels of levels: the product
    then multiplies bytes, though the model has no pair before it."""

    name = "keep-levels"
    ops = (CONV, MATMUL)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        kept = []
        for t in node.args[:2]:
            made = t if r.producer(t, DEQUANTIZE) is not None else self._paired(t, r)
            if made is None:
                return None
            kept.append(made)
        if kept == list(node.args[:2]):
            return None
        inputs = [*kept, *node.args[2:]]
        return [r.emit(node.op, inputs, node.attrs, like=node, name=node.name)]

    @staticmethod
    def _paired(t: Tensor, r: Rewriter) -> Tensor | None:
        """`t` quantized as what it is a function of, and dequantized; None where that would change it."""
        made = r.producer(t, POINTWISE)
        if made is None or len(made.args) != 1:
            return None
        source = r.producer(made.args[0], DEQUANTIZE)
        q = quant_node(source)
        if source is None or q is None or not (q.per_tensor and q.invertible):
            return None
        if q.zero.dtype != np.uint8 or q.source.is_const or t.type.dtype != f32:
            return None
        levels = np.arange(256, dtype=np.float32) - np.float32(q.zero)
        with np.errstate(all="ignore"):
            got = E.evaluate(expr_attr(made, "expr"), [levels * q.scale])
            back = np.rint(got / q.scale)
        kept = np.array_equal(back * q.scale, got) and np.all(
            np.abs(back + q.zero - 127.5) <= 127.5
        )
        if not kept:
            return None
        params = source.args[1:]
        name = f"{t.name}:levels"
        stored = r.emit(QUANTIZE, [t, *params], {"axis": 0}, like=made, output=name)
        return r.emit(DEQUANTIZE, [stored, *params], {"axis": 0}, like=made)

    def example(self) -> Graph:
        b = GraphBuilder("keep levels")
        x = b.input("x", TensorType(u8, (1, 4, 4, 2)))
        d = b.emit(DEQUANTIZE, [x, *scalar_params(b, 0.1, 3)], {"axis": 0}, name="dq")
        relu = b.emit(POINTWISE, [d], {"expr": E.maximum(E.inp(0), E.const(0.0))}, name="relu")
        w = b.constant(np.ones((3, 1, 1, 2), np.int8), "w")
        params = [b.constant(np.float32(0.02)), b.constant(np.int8(0))]
        dw = b.emit(DEQUANTIZE, [w, *params], {"axis": 0}, name="dq w")
        return b.graph({"y": b.emit(CONV, [relu, dw], {"layout": "NHWC"}, name="conv")})


def scalar_params(b: GraphBuilder, scale: float, zero: int) -> list[Tensor]:
    """Scale (f32) and zero point (u8) of a whole tensor, as constants."""
    return [b.constant(np.float32(scale), "scale"), b.constant(np.uint8(zero), "zero")]


MOVE_RULES: tuple[Rewrite, ...] = (
    CancelPair(),
    ForwardDequantize(),
    BackwardQuantize(),
)
LEVEL_RULES: tuple[Rewrite, ...] = (KeepLevels(),)
