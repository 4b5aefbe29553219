"""Integer anchors: what reads dequantized operands computes on the bytes instead.

See `passes.qdq` for where this stands.  The integer part is exact; the float epilogue multiplies by
the product of the scales, as the Q/DQ graph does up to the order of float rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr, int_attr, ints_attr
from camshaft.ir.constants import loose, loose_constant
from camshaft.ir.expr import Expr
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import TensorType, f32, i32, u8
from camshaft.ops import CONV, DEQUANTIZE, MATMUL, POINTWISE, POOL, QUANTIZE, RESHAPE
from camshaft.ops.common import IDENTITY
from camshaft.ops.execute import folded
from camshaft.ops.quantize import along_axis
from camshaft.passes.constants import in_shape
from camshaft.passes.fusions.matmul import conv_of_rows, filters_of, row_shape
from camshaft.passes.qdq.rules import QuantNode, quant_node, scalar_params
from camshaft.passes.qdq.weights import (
    IntegerWeights,
    integer_weights,
    last_axis_sums,
    window_sums,
)
from camshaft.passes.rewrite import Rewrite, Rewriter

_MOST_TERMS = (1 << 31) // 255**2
"""Products of two bytes, less their zero points, whose sum is certain to fit 32 bits."""


def _is_of_bytes(q: QuantNode | None) -> bool:
    return q is not None and q.zero.dtype == np.uint8 and not q.source.is_const


def _is_activation(q: QuantNode | None) -> bool:
    return q is not None and q.per_tensor and _is_of_bytes(q)


def _rescaled(
    r: Rewriter,
    node: Node,
    scale: Tensor,
    weights: IntegerWeights,
    zero_point_term: Tensor | None,
    shift: Tensor | None = None,
) -> tuple[Expr, tuple[Tensor, ...]]:
    """The epilogue of `node` reading the i32 sum of products of bytes; its operands.

    scale: what the sum is multiplied by, for all or for each output channel.  zero_point_term: what the weights'
    points are multiplied by and subtracted, where they have any.  shift: subtracted from the sum, if given.
    """
    operands = list(node.args[2:])
    rest = [E.inp(i + 1) for i in range(len(operands))]

    def factor(values: Tensor, what: str) -> Expr:
        if values.type.rank == 0 and not values.changes:
            return E.const(float(values.content))
        operands.append(_vector(r, values, f"{node.output.name}:{what}"))
        return E.inp(len(operands))

    acc = E.cast(E.inp(0), f32)
    if zero_point_term is not None:
        operands.append(zero_point_term)
        sums = E.inp(len(operands))
        acc = E.sub(acc, E.mul(sums, factor(loose_constant(weights.points, "points"), "points")))
    if shift is not None:
        operands.append(shift)
        acc = E.sub(acc, E.inp(len(operands)))
    acc = E.mul(acc, factor(scale, "scale"))
    return E.substitute(expr_attr(node, "epilogue"), [acc, *rest]), tuple(operands)


def _vector(r: Rewriter, values: Tensor, name: str) -> Tensor:
    """A constant of the graph with at least one axis."""
    if values.type.rank == 0:
        return r.builder.derived(in_shape, [values], name, shape=(1,))
    return r.builder.constant(values.content, name, values.recipe)


def _times(a: np.ndarray, b: np.ndarray, each: int = 1) -> np.ndarray:
    """The product of scales.  each: how many of `a` there are for one of `b`."""
    b = b if each == 1 else np.repeat(b, each)
    return np.asarray(a.astype(np.float64) * b.astype(np.float64), np.float32)


def _stored(r: Rewriter, node: Node, weights: IntegerWeights) -> Tensor:
    """A convolution's weights, as a constant of the graph."""
    values = weights.values
    return r.builder.constant(values.content, f"{node.args[1].name}:int8", values.recipe)


class IntegerConv(Rewrite):
    """conv(DQ(x), DQ(w)) -> integer conv of (x, w) with the scales in its epilogue."""

    name = "integer-conv"
    ops = (CONV,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        x = quant_node(r.producer(node.args[0], DEQUANTIZE))
        w = quant_node(r.producer(node.args[1], DEQUANTIZE))
        if x is None or w is None or not _is_activation(x) or node.attrs["layout"] != "NHWC":
            return None
        weights = integer_weights(w, axis=0)
        if weights is None:
            return None
        zero_point_term = None if weights.symmetric else window_sums(x, node, r)
        scale = loose(_times, [w.scales, x.scales], "scale")
        epilogue, operands = _rescaled(r, node, scale, weights, zero_point_term)
        attrs: dict[str, Attr] = {**node.attrs, "x_zero_point": int(x.zero), "epilogue": epilogue}
        wq = _stored(r, node, weights)
        return [r.emit(CONV, [x.source, wq, *operands], attrs, like=node, name=node.name)]

    def example(self) -> Graph:
        b = GraphBuilder("integer conv")
        x = b.input("x", TensorType(u8, (1, 5, 5, 4)))
        dx = b.emit(DEQUANTIZE, [x, *scalar_params(b, 0.02, 7)], {"axis": 0}, name="dq x")
        rng = np.random.default_rng(0)
        w = b.constant(rng.integers(-127, 128, (6, 3, 3, 4)).astype(np.int8), "w")
        scale = b.constant(rng.uniform(0.01, 0.02, 6).astype(np.float32), "scale")
        zero = b.constant(np.zeros(6, np.int8), "zero")
        dw = b.emit(DEQUANTIZE, [w, scale, zero], {"axis": 0}, name="dq w")
        attrs: dict[str, Attr] = {"layout": "NHWC", "pads": (1, 1, 1, 1)}
        return b.graph({"y": b.emit(CONV, [dx, dw], attrs, name="conv")})


class IntegerDepthwiseConv(Rewrite):
    """conv(DQ(x), DQ(w)) where x has a scale for each channel, as some tools write before convolutions whose
    filters see one channel each -> integer conv of (x, w).

    Zero points that differ are multiplied by the weights that lie on the image and subtracted.
    """

    name = "integer-depthwise-conv"
    ops = (CONV,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        x = quant_node(r.producer(node.args[0], DEQUANTIZE))
        w = quant_node(r.producer(node.args[1], DEQUANTIZE))
        if x is None or w is None or not _is_of_bytes(x) or node.attrs["layout"] != "NHWC":
            return None
        if x.per_tensor or x.axis != 3 or node.args[1].shape[3] != 1:
            return None
        weights = integer_weights(w, axis=0)
        if weights is None or not weights.symmetric:
            return None
        each = len(w.source.content) // x.scale.size
        shift, zero = None, int(x.zero.flat[0])
        if np.any(x.zero != zero):
            shift, zero = self._zero_points(x, weights.values.array, each, node, r), 0
            if shift is None:
                return None
        scale = loose(_times, [w.scales, x.scales], "scale", each=each)
        epilogue, operands = _rescaled(r, node, scale, weights, None, shift)
        attrs: dict[str, Attr] = {**node.attrs, "x_zero_point": zero, "epilogue": epilogue}
        wq = _stored(r, node, weights)
        return [r.emit(CONV, [x.source, wq, *operands], attrs, like=node, name=node.name)]

    @staticmethod
    def _zero_points(
        x: QuantNode, values: np.ndarray, each: int, node: Node, r: Rewriter
    ) -> Tensor | None:
        """What zero points add to the sums of each place: f32 [1,OH,OW,K], or [1,1,1,K] without padding.  None
        for an image whose size is open."""
        shape, attrs = x.source.shape, dict(node.attrs)
        height, width = (shape[1], shape[2]) if any(ints_attr(node, "pads")) else values.shape[1:3]
        if not (isinstance(height, int) and isinstance(width, int)):
            return None
        image = np.repeat(x.zero.astype(np.float32), each)
        image = np.broadcast_to(image, (1, height, width, values.shape[0]))
        attrs |= {"groups": values.shape[0], "epilogue": IDENTITY, "x_zero_point": 0}
        (sums,) = CONV.reference([image, values.astype(np.float32)], attrs)
        return r.builder.constant(sums, f"{node.output.name}:zero points")

    def example(self) -> Graph:
        b = GraphBuilder("integer depthwise conv")
        rng = np.random.default_rng(0)
        x = b.input("x", TensorType(u8, (1, 5, 5, 4)))
        params = [
            b.constant(rng.uniform(0.01, 0.02, 4).astype(np.float32), "scale"),
            b.constant(np.array([0, 3, 128, 255], np.uint8), "zero"),
        ]
        dx = b.emit(DEQUANTIZE, [x, *params], {"axis": 3}, name="dq x")
        w = b.constant(rng.integers(-127, 128, (8, 3, 3, 1)).astype(np.int8), "w")
        scale = b.constant(rng.uniform(0.01, 0.02, 8).astype(np.float32), "w scale")
        zero = b.constant(np.zeros(8, np.int8), "w zero")
        dw = b.emit(DEQUANTIZE, [w, scale, zero], {"axis": 0}, name="dq w")
        attrs: dict[str, Attr] = {"layout": "NHWC", "pads": (1, 1, 1, 1), "groups": 4}
        return b.graph({"y": b.emit(CONV, [dx, dw], attrs, name="conv")})


class IntegerMatmul(Rewrite):
    """matmul(DQ(a), DQ(const b)) -> integer 1x1 conv, as fully connected layers are run."""

    name = "integer-matmul"
    ops = (MATMUL,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        a = quant_node(r.producer(node.args[0], DEQUANTIZE))
        b = quant_node(r.producer(node.args[1], DEQUANTIZE))
        if a is None or b is None or not _is_activation(a) or node.args[1].type.rank != 2:
            return None
        weights = integer_weights(b, axis=1)
        if weights is None or node.attrs["a_zero_point"] or node.attrs["b_zero_point"]:
            return None
        if any(row_shape(t, node.output.shape) is None for t in node.args[2:]):
            return None
        zero_point_term = None if weights.symmetric else last_axis_sums(a, node, r)
        scale = loose(_times, [b.scales, a.scales], "scale")
        epilogue, operands = _rescaled(r, node, scale, weights, zero_point_term)
        w = r.builder.derived(filters_of, [weights.values], f"{node.args[1].name}:int8")
        return [conv_of_rows(r, node, a.source, w, operands, int(a.zero), epilogue)]

    def example(self) -> Graph:
        b = GraphBuilder("integer matmul")
        x = b.input("x", TensorType(u8, (3, 8)))
        dx = b.emit(DEQUANTIZE, [x, *scalar_params(b, 0.02, 7)], {"axis": 0}, name="dq x")
        rng = np.random.default_rng(0)
        w = b.constant(rng.integers(-127, 128, (8, 5)).astype(np.int8), "w")
        zero = b.constant(np.int8(0), "zero")
        dw = b.emit(DEQUANTIZE, [w, b.constant(np.float32(0.01)), zero], {"axis": 0}, name="dq w")
        return b.graph({"y": b.emit(MATMUL, [dx, dw], name="fc")})


class IntegerProduct(Rewrite):
    """matmul(DQ(a), DQ(b)) of bytes that are computed, as in attention, or of stacks of constant matrices
    -> integer matmul with the scales in its epilogue."""

    name = "integer-product"
    ops = (MATMUL,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        a = quant_node(r.producer(node.args[0], DEQUANTIZE))
        b = quant_node(r.producer(node.args[1], DEQUANTIZE))
        if a is None or b is None or node.attrs["a_zero_point"] or node.attrs["b_zero_point"]:
            return None
        ranks = a.source.type.rank, b.source.type.rank
        if min(ranks) < 2 or bounds(a.source.shape[-1])[1] > _MOST_TERMS:
            return None
        left, right = _factors(a, ranks[0] - 2, (-1, 1)), _factors(b, ranks[1] - 1, (-1,))
        if left is None or right is None:
            return None
        operands, acc = list(node.args[2:]), E.cast(E.inp(0), f32)
        rest = [E.inp(i + 1) for i in range(len(operands))]
        ranks = left.type.rank, right.type.rank
        scale = loose(_times, [left, right], "scale") if 0 in ranks else None
        for factor in [left, right] if scale is None else [scale]:
            if factor.type.rank or factor.changes:
                operands.append(_vector(r, factor, f"{node.output.name}:scale"))
                acc = E.mul(acc, E.inp(len(operands)))
            else:
                acc = E.mul(acc, E.const(float(factor.content)))
        attrs: dict[str, Attr] = {
            "a_zero_point": int(a.zero.flat[0]),
            "b_zero_point": int(b.zero.flat[0]),
            "epilogue": E.substitute(expr_attr(node, "epilogue"), [acc, *rest]),
        }
        return [r.emit(MATMUL, [a.source, b.source, *operands], attrs, like=node, name=node.name)]

    def example(self) -> Graph:
        b = GraphBuilder("integer product")
        parts = []
        for name, shape, zero in (("q", (2, 3, 8), 7), ("k", (2, 8, 5), 130)):
            x = b.input(name, TensorType(u8, shape))
            params = scalar_params(b, 0.02, zero)
            parts.append(b.emit(DEQUANTIZE, [x, *params], {"axis": 0}, name=f"dq {name}"))
        return b.graph({"y": b.emit(MATMUL, parts, name="scores")})


def _factors(q: QuantNode, axis: int, shape: tuple[int, ...]) -> Tensor | None:
    """Scales of 8-bit integers with one zero point, one for all or, shaped so, for each index of `axis`; None
    where they are quantized otherwise."""
    if q.zero.dtype not in (np.int8, np.uint8) or np.any(q.zero != q.zero.flat[0]):
        return None
    if q.scale.ndim == 0:
        return q.scales
    return loose(in_shape, [q.scales], q.scales.name, shape=shape) if q.axis == axis else None


class IntegerPool(Rewrite):
    """average pool of DQ(x) -> average pool of the bytes, scaled in its epilogue."""

    name = "integer-average-pool"
    ops = (POOL,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        x = quant_node(r.producer(node.args[0], DEQUANTIZE))
        if x is None or not _is_activation(x) or node.attrs["kind"] != "avg":
            return None
        epilogue = expr_attr(node, "epilogue")
        operands = node.args[1:]
        scaled = [E.mul(E.inp(0), E.const(float(x.scale)))]
        epilogue = E.substitute(epilogue, [*scaled, *(E.inp(i + 1) for i in range(len(operands)))])
        attrs: dict[str, Attr] = {**node.attrs, "x_zero_point": int(x.zero), "epilogue": epilogue}
        return [r.emit(POOL, [x.source, *operands], attrs, like=node, name=node.name)]

    def example(self) -> Graph:
        b = GraphBuilder("integer average pool")
        x = b.input("x", TensorType(u8, (1, 4, 4, 3)))
        dx = b.emit(DEQUANTIZE, [x, *scalar_params(b, 0.02, 7)], {"axis": 0}, name="dq x")
        attrs: dict[str, Attr] = {"kind": "avg", "kernel": (2, 2), "layout": "NHWC"}
        return b.graph({"y": b.emit(POOL, [dx], attrs, name="pool")})


class FoldConstant(Rewrite):
    """DQ of a constant nobody multiplies as integers (a bias, an odd weight) -> float constant."""

    name = "fold-dequantized-constant"
    ops = (DEQUANTIZE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        if not all(t.is_const for t in node.args):
            return None
        attrs: dict[str, Attr] = {"op": DEQUANTIZE.name, **node.attrs}
        return [r.builder.derived(folded, node.args, node.output.name, **attrs)]

    def example(self) -> Graph:
        b = GraphBuilder("fold bias")
        x = b.input("x", TensorType(f32, (4,)))
        bias = b.constant(np.arange(4, dtype=np.int32), "bias")
        params = [b.constant(np.float32(0.5)), b.constant(np.int32(0))]
        d = b.emit(DEQUANTIZE, [bias, *params], {"axis": 0}, name="dq")
        add = {"expr": E.add(E.inp(0), E.inp(1))}
        return b.graph({"y": b.emit(POINTWISE, [x, d], add, name="add")})


class FoldBias(FoldConstant):
    """The same for 32-bit constants only: these are never weights, so they fold at once."""

    name = "fold-dequantized-bias"

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        return super().apply(node, r) if node.args[0].type.dtype == i32 else None


class Expand(Rewrite):
    """A quantize or dequantize that stayed becomes pointwise."""

    name = "quantization-to-pointwise"
    ops = (QUANTIZE, DEQUANTIZE)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        q = quant_node(node)
        if q is None:
            return self._with_operands(node, r)
        inputs = [node.args[0]]
        scale: Expr = E.const(float(q.scales.array)) if q.per_tensor else E.inp(1)
        if not q.per_tensor:
            along: dict[str, Attr] = {"axis": q.axis, "rank": node.args[0].type.rank}
            name = f"{node.output.name}:scale"
            inputs.append(r.builder.derived(along_axis, [q.scales], name, **along))
        if np.any(q.zero != q.zero.flat[0]):
            return self._with_operands(node, r)
        zero = int(q.zero.flat[0])
        if node.op is QUANTIZE:
            expr = E.quantize(E.inp(0), scale, zero, node.output.type.dtype)
        else:
            expr = E.dequantize(E.inp(0), scale, zero)
        return [r.emit(POINTWISE, inputs, {"expr": expr}, like=node, name=node.name)]

    def _with_operands(self, node: Node, r: Rewriter) -> Sequence[Tensor]:
        """Scale or zero point known only at run time, or one zero point per channel."""
        x, scale, zero = node.args
        axis = int_attr(node, "axis")
        if scale.type.rank == 1:
            shape: list[Extent] = [1] * x.type.rank
            shape[axis] = scale.shape[0]
            scale, zero = (
                r.emit(RESHAPE, [t], {"shape": tuple(shape)}, like=node, output=f"{t.name}:axis")
                for t in (scale, zero)
            )
        xs, s, z = E.inp(0), E.inp(1), E.cast(E.inp(2), f32)
        if node.op is QUANTIZE:
            rounded = E.unary("round", E.div(xs, s))
            expr = E.cast(E.add(rounded, z), node.output.type.dtype)
        else:
            expr = E.mul(E.sub(E.cast(xs, f32), z), s)
        return [r.emit(POINTWISE, [x, scale, zero], {"expr": expr}, like=node, name=node.name)]

    def example(self) -> Graph:
        b = GraphBuilder("expand")
        x = b.input("x", TensorType(f32, (1, 2, 2, 3)))
        q = b.emit(QUANTIZE, [x, *scalar_params(b, 0.02, 7)], {"axis": 0}, name="q")
        d = b.emit(DEQUANTIZE, [q, *scalar_params(b, 0.02, 7)], {"axis": 0}, name="dq")
        return b.graph({"y": d})


BIAS_RULES: tuple[Rewrite, ...] = (FoldBias(),)
INTEGER_RULES: tuple[Rewrite, ...] = (
    IntegerConv(),
    IntegerDepthwiseConv(),
    IntegerMatmul(),
    IntegerProduct(),
    IntegerPool(),
)
EXPAND_RULES: tuple[Rewrite, ...] = (FoldConstant(), Expand())
