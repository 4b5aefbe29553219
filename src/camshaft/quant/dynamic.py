"""INT8 without calibration: rows of activations are quantized while they are computed.

A product of rows with constant weights becomes one of bytes.  Each row (a token) gets a scale of its own,
its largest magnitude / 127, so that nothing is clipped and no data need to be seen beforehand; weights are symmetric,
a scale per output channel.  Convolutions with larger filters stay float: their rows are no tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from camshaft.errors import ConfigError
from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr, int_attr, ints_attr
from camshaft.ir.extents.sizes import typical
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.rebuild import Rebuild
from camshaft.ir.types import f32, u8
from camshaft.ops import CONV, MATMUL, POINTWISE, REDUCE
from camshaft.quant.placement import check_layer_names
from camshaft.quant.scheme import QuantParams, quantize, weight_params

ZERO = 128
"""What stands for 0 in a row of u8."""
SMALLEST = 1e-30
"""The least magnitude that a row is scaled by; the reciprocal of its scale is finite."""
_FEWEST_TERMS = 32
"""Terms of a sum below which rounding shows and nothing is gained."""


def _is_product_of_rows(node: Node) -> bool:
    """Whether the node multiplies rows by constant weights."""
    if node.op is MATMUL:
        x, w = node.args[:2]
        return w.is_const and not x.is_const and (x.type.dtype, w.type.dtype) == (f32, f32) and w.type.rank == 2  # fmt: skip
    if node.op is not CONV or node.attrs["layout"] != "NHWC":
        return False
    x, w = node.args[:2]
    single = w.is_const and w.shape[1:3] == (1, 1) and int_attr(node, "groups") == 1
    plain = ints_attr(node, "strides") == (1, 1) and not any(ints_attr(node, "pads"))
    floats = (x.type.dtype, w.type.dtype) == (f32, f32) and not x.is_const
    return single and plain and floats and x.shape[:2] == (1, 1)


def _terms(node: Node) -> int:
    """Terms of each sum."""
    last = node.args[1].shape[-1 if node.op is CONV else 0]
    assert isinstance(last, int)
    return last


def _macs(node: Node) -> int:
    """Multiplications at typical sizes."""
    return typical(node.op.macs([t.type for t in node.args], node.output.type, node.attrs))


@dataclass
class DynamicQuantization:
    """Graphs of one fused float graph in which products of rows are computed on bytes.

    layer_precision: as in BuildConfig.
    """

    graph: Graph
    layer_precision: Mapping[str, str] = field(default_factory=dict)
    _weights: dict[str, tuple[QuantParams, np.ndarray]] = field(default_factory=dict, init=False)

    @property
    def applies(self) -> bool:
        """Whether such products are most of what the net computes with weights: a convolutional net with a
        product at its end needs calibration."""
        rows = [n for n in self.graph.nodes if _is_product_of_rows(n)]
        convs = [n for n in self.graph.nodes if n.op is CONV and not _is_product_of_rows(n)]
        return sum(_macs(n) for n in rows if _terms(n) >= _FEWEST_TERMS) > sum(map(_macs, convs))

    def quantized(self, keep_float: frozenset[str] = frozenset()) -> tuple[Graph, dict[str, str]]:
        """The graph with all products of rows but those of `keep_float` layers on bytes, and the reason for each
        layer's precision.  ConfigError for a layer that must be INT8 and cannot be."""
        check_layer_names(self.graph, self.layer_precision)
        reasons: dict[str, str] = {}
        chosen: set[str] = set()
        for node in self.graph.nodes:
            reason = self._reason(node, keep_float)
            if reason:
                reasons.update((layer, reason) for layer in node.origin)
            if reason.startswith("int8"):
                chosen.add(node.output.name)
        self._check(reasons)
        return _Insertion(self.graph, chosen, self._weights).run(), reasons

    def _reason(self, node: Node, keep_float: frozenset[str]) -> str:
        """Why a node with weights has its precision; "" for other nodes."""
        asked = {self.layer_precision[o] for o in node.origin if o in self.layer_precision}
        if node.op not in (CONV, MATMUL):
            return ""
        if not _is_product_of_rows(node):
            return "fp32: only products of rows with constant weights are quantized without calibration"
        if "fp32" in asked:
            return "fp32: layer_precision"
        if "int8" in asked:
            return "int8: layer_precision, rows quantized as they are computed"
        if _terms(node) < _FEWEST_TERMS:
            return f"fp32: sums of {_terms(node)} terms gain nothing"
        if keep_float.intersection(node.origin):
            return "fp32: the whole graph is faster so"
        return "int8: permitted, rows quantized as they are computed"

    def _check(self, reasons: Mapping[str, str]) -> None:
        for layer, precision in self.layer_precision.items():
            if precision == "int8" and not reasons.get(layer, "").startswith("int8"):
                why = reasons.get(layer, "fp32: it has no weights").removeprefix("fp32: ")
                raise ConfigError(
                    f"layer_precision asks for int8 in {layer!r}, but {why}; give calibration data"
                )


class _Insertion:
    """One rebuild of a graph; used once."""

    def __init__(
        self,
        graph: Graph,
        chosen: set[str],
        weights: dict[str, tuple[QuantParams, np.ndarray]],
    ) -> None:
        self.graph, self.chosen, self.weights = graph, chosen, weights
        self.rebuild = Rebuild(graph)
        self.b = self.rebuild.builder
        self.rows: dict[str, tuple[Tensor, Tensor]] = {}

    def run(self) -> Graph:
        for old in self.graph.nodes:
            node = self.rebuild.present(old)
            if old.output.name in self.chosen:
                self.rebuild.replace(old, [self._product(node)])
            else:
                self.rebuild.replace(old, self.rebuild.carry(node))
        return self.rebuild.finish()

    def _product(self, node: Node) -> Tensor:
        """A product of bytes, whose sums are scaled in its epilogue."""
        w = node.args[1]
        rows, scales = self._quantized(node.args[0], node)
        params, integers = self._quantized_weights(w, 0 if node.op is CONV else 1)
        whole = self.b.constant(integers, f"{w.name}:int8")
        columns = self.b.constant(np.asarray(params.scale, np.float32), f"{w.name}:scale")
        operands = [*node.args[2:], scales, columns]
        rest = [E.inp(n + 1) for n in range(len(node.args) - 2)]
        by_row, by_column = E.inp(len(operands) - 1), E.inp(len(operands))
        total = E.mul(E.mul(E.cast(E.inp(0), f32), by_row), by_column)
        zero = "x_zero_point" if node.op is CONV else "a_zero_point"
        attrs: dict[str, Attr] = {
            **node.attrs,
            zero: ZERO,
            "epilogue": E.substitute(expr_attr(node, "epilogue"), [total, *rest]),
        }
        return self.b.emit(
            node.op, [rows, whole, *operands], attrs, like=node, name=node.name,
            output=node.output.name,
        )  # fmt: skip

    def _quantized(self, x: Tensor, like: Node) -> tuple[Tensor, Tensor]:
        """Rows as u8 around ZERO, and their scales [..., 1]; once however often they are read."""
        if x.name not in self.rows:
            largest = E.maximum(E.inp(0), E.const(SMALLEST))
            attrs: dict[str, Attr] = {
                "kind": "max",
                "axes": (x.type.rank - 1,),
                "keepdims": True,
                "prologue": E.unary("abs", E.inp(0)),
                "epilogue": E.mul(largest, E.const(1 / 127)),
            }
            scales = self.b.emit(
                REDUCE, [x], attrs, like=like, name=f"scale {x.name}", output=f"{x.name}:scales"
            )
            share = E.mul(E.inp(0), E.unary("reciprocal", E.inp(1)))
            level = E.cast(E.add(E.unary("round", share), E.const(float(ZERO))), u8)
            rows = self.b.emit(
                POINTWISE, [x, scales], {"expr": level}, like=like,
                name=f"quantize {x.name}", output=f"{x.name}:rows",
            )  # fmt: skip
            self.rows[x.name] = rows, scales
        return self.rows[x.name]

    def _quantized_weights(self, w: Tensor, axis: int) -> tuple[QuantParams, np.ndarray]:
        if w.name not in self.weights:
            params = weight_params(w.array, axis, w.name)
            integers = quantize(w.array, params)
            integers.flags.writeable = False
            self.weights[w.name] = params, integers
        return self.weights[w.name]
