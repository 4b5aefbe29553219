"""Products of floats with dequantized constants keep the constants as integers.

matmul(x, dequantize(w)) with scales for each column, or for blocks of it, becomes matmul_nbits.  Blocks
are recognised at once: no integer product could be made of them.  Whole columns are left to the
integer products first, for which x must be dequantized too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from camshaft.ir.attrs import axis_attr, expr_attr, int_attr
from camshaft.ir.expr import Expr
from camshaft.ir.extents.sizes import fixed
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.rebuild import Rebuild
from camshaft.ir.types import TensorType, f32, i8, i16, u8, u16
from camshaft.ops import CONV, DEQUANTIZE, MATMUL, MATMUL_NBITS, RESHAPE, TRANSPOSE
from camshaft.ops.functional.nbits import NbitsMatrix
from camshaft.passes.rewrite import Rewrite, Rewriter

_LEVELS = (i8, u8, i16, u16)
_LEAST_SIZE = 1 << 12
"""Elements of a matrix without blocks below which it may as well be floats."""


@dataclass(frozen=True)
class _Columns:
    """A constant matrix [K, N] of bytes; scale, zero: [K / block, N]."""

    whole: np.ndarray
    scale: np.ndarray
    zero: np.ndarray
    block: int

    @staticmethod
    def of(node: Node | None) -> _Columns | None:
        """What a dequantize node is made of; None where that is no constant matrix of bytes, or scales
        lie otherwise."""
        if node is None or not all(t.is_const for t in node.args):
            return None
        whole, scale, zero = (t.array for t in node.args)
        if whole.ndim != 2 or whole.dtype not in (np.int8, np.uint8) or not whole.size:
            return None
        axis, block = axis_attr(node, 2), int_attr(node, "block")
        if block:
            return _Columns(whole, scale, zero, block) if axis == 0 else None
        if scale.ndim and axis != 1:
            return None
        n = whole.shape[1]
        scale, zero = (np.broadcast_to(t, (1, n)) for t in (scale, zero))
        return _Columns(whole, scale, zero, len(whole))

    def matrix(self) -> NbitsMatrix:
        """The transposed matrix."""
        whole, scale, zero = (
            np.ascontiguousarray(a.T) for a in (self.whole, self.scale, self.zero)
        )
        return NbitsMatrix.of_integers(whole, scale, zero, self.block)


def _tables(matrix: NbitsMatrix, name: str) -> list[tuple[np.ndarray, str]]:
    """Weights, scales and zero points, with their names."""
    return [(matrix.w, name), (matrix.scale, f"{name}:scale"), (matrix.zero, f"{name}:zero")]


def _attrs_of(matrix: NbitsMatrix, node: Node) -> dict[str, Attr]:
    """Attributes of a product with these weights in place of `node`."""
    return {"bits": matrix.bits, "block": matrix.block, "epilogue": node.attrs["epilogue"]}


class ProductOfBlocks(Rewrite):
    """matmul(x, blocked dequantize(w)) -> matmul_nbits(x, w)."""

    name = "product-of-few-bits"
    ops = (MATMUL,)
    blocked = True

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        x = node.args[0]
        if x.type.dtype != f32 or node.attrs["a_zero_point"] or node.attrs["b_zero_point"]:
            return None
        made = r.producer(node.args[1], DEQUANTIZE)
        if made is None or bool(made.attrs["block"]) is not self.blocked:
            return None
        columns = _Columns.of(made)
        if columns is None or (not self.blocked and columns.whole.size < _LEAST_SIZE):
            return None
        matrix = columns.matrix()
        tables = [r.builder.constant(a, t) for a, t in _tables(matrix, made.args[0].name)]
        inputs = [x, *tables, *node.args[2:]]
        return [r.emit(MATMUL_NBITS, inputs, _attrs_of(matrix, node), like=node)]

    def example(self) -> Graph:
        b = GraphBuilder("product of blocks")
        rng = np.random.default_rng(0)
        x = b.input("x", TensorType(f32, (3, 70)))
        shape = (3, 61) if self.blocked else (61,)
        w = b.constant(rng.integers(-8, 8, (70, 61)).astype(np.int8), "w")
        scale = b.constant(rng.uniform(0.01, 0.02, shape).astype(np.float32), "scale")
        zero = b.constant(np.zeros(shape, np.int8), "zero")
        attrs: dict[str, Attr] = {"axis": 0, "block": 32} if self.blocked else {"axis": 1}
        d = b.emit(DEQUANTIZE, [w, scale, zero], attrs, name="dq")
        return b.graph({"y": b.emit(MATMUL, [x, d], name="fc")})


class ProductOfColumns(ProductOfBlocks):
    """matmul(x, dequantize(w)) with a scale for each column, or one -> matmul_nbits(x, w)."""

    name = "product-of-bytes-and-floats"
    blocked = False


BLOCK_RULES: tuple[Rewrite, ...] = (ProductOfBlocks(),)
COLUMN_RULES: tuple[Rewrite, ...] = (ProductOfColumns(),)


def has_few_bits(graph: Graph) -> bool:
    """Whether the graph has products with weights of few bits."""
    return any(node.op is MATMUL_NBITS for node in graph.nodes)


def is_of_bytes(node: Node) -> bool:
    """Whether a node multiplies weights of few bits by activations of 8 bits."""
    return node.op is MATMUL_NBITS and bool(node.attrs["int8"])


def with_bytes(graph: Graph, keep: frozenset[str] = frozenset()) -> Graph:
    """The graph with the activations of all matmul_nbits quantized to 8 bits, but for those of the source
    layers `keep` and those that the model quantizes itself, which stay as they are; `graph` itself where none is
    changed."""

    def wanted(node: Node) -> bool | None:
        stays = not keep.isdisjoint(node.origin) or _is_dequantized(graph, node.args[0])
        return None if stays else True

    return _with_activations(graph, wanted)


def _is_dequantized(graph: Graph, t: Tensor) -> bool:
    """Whether a tensor's elements are integers of at most 16 bits, less a zero point, scaled."""
    made = graph.producers.get(t.name)
    while made is not None and made.op.moves and len(made.args) == 1:
        made = graph.producers.get(made.args[0].name)
    if made is None or made.op.expression is None:
        return False
    anchors = made.op.own_inputs(made.attrs) or 0
    inputs = made.args[max(anchors - 1, 0) :]
    e = expr_attr(made, made.op.expression)
    while e.op in ("add", "sub", "mul") and _is_known(e.args[1], inputs):
        e = e.args[0]
    if e.op != "cast" or e.dtype is not f32:
        return False
    levels = e.args[0]
    if levels.op == "input":
        return anchors <= 1 and inputs[int(levels.value or 0)].type.dtype in _LEVELS
    return levels.op == "cast" and levels.dtype in _LEVELS


def _is_known(e: Expr, inputs: Sequence[Tensor]) -> bool:
    return e.op == "const" or (e.op == "input" and inputs[int(e.value or 0)].is_const)


def with_floats(graph: Graph, layers: frozenset[str]) -> Graph:
    """The graph with the activations of the matmul_nbits of these source layers in floats, though the model
    permits 8 bits; `graph` itself where none is changed."""
    return _with_activations(graph, lambda node: None if layers.isdisjoint(node.origin) else False)


def _with_activations(graph: Graph, int8: Callable[[Node], bool | None]) -> Graph:
    """int8: a matmul_nbits -> whether its activations are of 8 bits, None where it stays."""

    def wanted(node: Node) -> bool | None:
        made = int8(node) if node.op is MATMUL_NBITS else None
        return None if made == node.attrs.get("int8") else made

    if all(wanted(node) is None for node in graph.nodes):
        return graph
    rebuild = Rebuild(graph)
    for node in graph.nodes:
        inputs = [None if t is None else rebuild.get(t) for t in node.inputs]
        changed = wanted(node)
        attrs = node.attrs if changed is None else {**node.attrs, "int8": changed}
        made = rebuild.builder.add(node.op, inputs, attrs, like=node, name=node.name)
        rebuild.replace(node, made)
    return rebuild.finish()


Choose = Callable[[Node, np.ndarray, bool], NbitsMatrix | None]
"""(A product, its weights [N, K], whether it makes an output of the graph) -> integers in their place, or
None where they stay."""


def with_few_bits(graph: Graph, choose: Choose) -> Graph:
    """An optimized graph whose products of rows with constant floats have weights as chosen."""
    outputs = {t.name for t in graph.outputs}
    for node in reversed(graph.nodes):
        if node.op in (RESHAPE, TRANSPOSE) and node.output.name in outputs:
            outputs.add(node.args[0].name)
    rebuild = Rebuild(graph)
    for node in graph.nodes:
        weights = _weights_of_rows(node)
        matrix = None
        if weights is not None:
            matrix = choose(node, weights, node.output.name in outputs)
        if matrix is None:
            rebuild.replace(node, rebuild.carry(rebuild.present(node)))
            continue
        b = rebuild.builder
        tables = [b.constant(a, t) for a, t in _tables(matrix, node.args[1].name)]
        inputs = [rebuild.get(node.args[0]), *tables, *map(rebuild.get, node.args[2:])]
        attrs = _attrs_of(matrix, node)
        made = b.add(MATMUL_NBITS, inputs, attrs, like=node, name=node.name)
        rebuild.replace(node, made)
    return rebuild.finish()


def _weights_of_rows(node: Node) -> np.ndarray | None:
    """Constant weights f32 [N, K] of a product of rows: of a matrix product, or of the convolution of 1x1
    that stands for one (of images of one row, or one pixel)."""
    if node.op not in (CONV, MATMUL):
        return None
    x, w = node.args[:2]
    if w.data is None or (x.type.dtype, w.type.dtype) != (f32, f32) or w.type.size == 0:
        return None
    if node.op is MATMUL:
        plain = not (node.attrs["a_zero_point"] or node.attrs["b_zero_point"])
        return w.data.T if w.type.rank == 2 and plain else None
    n, *window, k = w.shape
    a = node.attrs
    single = window == [1, 1] and a["layout"] == "NHWC" and a["groups"] == 1
    if not single or a["pads"] != (0, 0, 0, 0) or a["strides"] != (1, 1):
        return None
    if x.shape[:2] != (1, 1) and x.shape[1:3] != (1, 1):
        return None
    return w.data.reshape(fixed((n, k), "the shape of weights"))
