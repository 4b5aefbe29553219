"""INT8 without calibration: rows of activations are quantized while they are computed.

A product of rows with constant weights becomes one of bytes.  Each row (a token) gets a scale of its own, the
smallest with which nothing is clipped, so that no data need to be seen beforehand; zero is 128, or where rows have hardly
a negative value (behind ReLU, GELU, SiLU) a smaller number (`quant.one_sided`); weights are symmetric, a scale per output channel.  Convolutions with larger filters stay float: their rows are no tokens.
Attention that must be INT8 multiplies integers, which its kernel makes of its operands as it goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from camshaft.errors import ConfigError
from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr
from camshaft.ir.constants import loose, loose_constant
from camshaft.ir.extents.sizes import typical
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.rebuild import Rebuild
from camshaft.ir.types import HALVES, f32, u8
from camshaft.ops import ATTENTION, CONV, MATMUL, POINTWISE, RECURRENT, REDUCE
from camshaft.quant.apart.choice import Apart, Quantizer, with_ranges_of_rows
from camshaft.quant.apart.products import (
    Split,
    choices,
    is_carried,
    is_product_of_rows,
    joined,
    sampled,
)
from camshaft.quant.apart.sample import RowSample
from camshaft.quant.one_sided import MIDDLE, zero_of
from camshaft.quant.placement import asked_of, check_layer_names
from camshaft.quant.recurrent import may_have_bytes, with_bytes
from camshaft.quant.scheme import FEWEST_TERMS
from camshaft.quant.weights import levels_of, rest_of, scale_of

SMALLEST = 1e-30
"""The least magnitude that a row is scaled by; the reciprocal of its scale is finite."""
_FEWEST_MEASURES = 128
"""Columns of a model's own input for which a product of its rows is quantized without calibration: fewer are features that somebody
measured (a spectrum's bands, say), whose sizes differ by orders of magnitude, so that a scale for the row would leave nothing of the small
ones; and they are little of the work."""
_FEWEST_QUERIES = 16
"""Queries of attention for which its keys and values are worth quantizing in each call."""


def _may_multiply_bytes(node: Node) -> bool:
    """Whether attention's products may be of bytes instead."""
    floats = all(t.type.dtype in (f32, *HALVES) for t in node.args[:3])
    return floats and node.attrs["products"] == "f32"


def _is_of_rows(node: Node) -> bool:
    """Whether a node's products may be of bytes without calibration."""
    if node.op is RECURRENT:
        return may_have_bytes(node)
    return is_product_of_rows(node) or (node.op is ATTENTION and _may_multiply_bytes(node))


def _without_gain(node: Node) -> str:
    """Why bytes make products of rows no faster, or ""."""
    if _terms(node) < FEWEST_TERMS:
        return f"sums of {_terms(node)} terms gain nothing"
    if node.op is ATTENTION and typical(node.args[0].shape[-2]) < _FEWEST_QUERIES:
        return "quantizing keys and values for few queries gains nothing"
    return ""


def _explain(reasons: dict[str, str], node: Node, reason: str) -> None:
    """Note why the layers of a node are what they are; a layer of several nodes is INT8 where one of them is."""
    for layer in node.origin if reason else ():
        if not reasons.get(layer, "").startswith("int8"):
            reasons[layer] = reason


def _terms(node: Node) -> int:
    """Terms of each sum; of attention, of each score."""
    last = node.args[1].shape[0 if node.op is MATMUL else -1]
    return typical(last)


def _macs(node: Node) -> int:
    """Multiplications at typical sizes."""
    return typical(node.op.macs([t.type for t in node.args], node.outputs[0].type, node.attrs))


@dataclass
class DynamicQuantization:
    """Graphs of one fused float graph in which products of rows are computed on bytes.

    layer_precision: as in BuildConfig.
    apart: tensor -> what is carried apart of its rows, where calibration data were seen (see `apart_of`).
    """

    graph: Graph
    layer_precision: Mapping[str, str] = field(default_factory=dict)
    apart: Mapping[str, Apart] = field(default_factory=dict)
    _weights: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False)

    @property
    def applies(self) -> bool:
        """Whether products of rows and attention are most of what INT8 could compute: a convolutional net with a
        product at its end needs calibration."""
        return self._is_most([n for n in self.graph.nodes if _is_of_rows(n)])

    @property
    def multiplies_rows(self) -> bool:
        """As `applies`, by products with constant weights alone."""
        return self._is_most([n for n in self.graph.nodes if is_product_of_rows(n)])

    @property
    def needs_no_data(self) -> bool:
        """Whether a net is built so where no ranges are given: this applies, or ranges would serve nothing, since
        all products are of rows, though none gains by INT8."""
        of_rows = any(_is_of_rows(n) for n in self.graph.nodes)
        return self.applies or (of_rows and not self._others)

    def can(self, layers: Iterable[str]) -> bool:
        """Whether each of these source layers becomes INT8 if it must."""
        able = {o for n in self.graph.nodes if _is_of_rows(n) for o in n.origin}
        return able.issuperset(layers)

    @property
    def _others(self) -> list[Node]:
        """Products that INT8 takes ranges for."""
        return [n for n in self.graph.nodes if n.op is CONV and not is_product_of_rows(n)]

    def _is_most(self, nodes: Sequence[Node]) -> bool:
        gain = [n for n in nodes if not _without_gain(n) or self._asked(n) == "int8"]
        return sum(map(_macs, gain)) > sum(map(_macs, self._others))

    def apart_of(self, samples: Mapping[str, RowSample]) -> dict[str, Apart]:
        """What to carry apart, by rows of calibration data."""
        reasons = ((n, self._reason(n, frozenset())) for n in self.graph.nodes)
        products = (CONV, MATMUL)
        nodes = [n for n, why in reasons if why.startswith("int8") and n.op in products]
        producers = self.graph.producers

        def quantizer(name: str) -> tuple[Quantizer, tuple[float, float]]:
            return with_ranges_of_rows(zero_of(name, producers)), (-np.inf, np.inf)

        return choices(sampled(nodes), samples, quantizer)

    def quantized(self, keep_float: frozenset[str] = frozenset()) -> tuple[Graph, dict[str, str]]:
        """The graph with all products of rows but those of `keep_float` layers on bytes, and the reason for each
        layer's precision.  ConfigError for a layer that must be INT8 and cannot be."""
        check_layer_names(self.graph, self.layer_precision)
        reasons: dict[str, str] = {}
        chosen: set[str] = set()
        for node in self.graph.nodes:
            reason = self._reason(node, keep_float)
            if reason.startswith("int8"):
                chosen.add(node.outputs[0].name)
                if is_carried(node, self.apart):
                    reason = f"{reason}; {self.apart[node.args[0].name].words}"
            _explain(reasons, node, reason)
        for layer, why in self._unable(reasons).items():
            raise ConfigError(
                f"layer_precision asks for int8 in {layer!r}, but {why}; give calibration data"
            )
        return _Insertion(self.graph, chosen, self._weights, self.apart).run(), reasons

    def _asked(self, node: Node) -> str:
        return asked_of(node, self.layer_precision)

    def _reason(self, node: Node, keep_float: frozenset[str]) -> str:
        """Why a node with weights has its precision; "" for other nodes."""
        if node.op not in (CONV, MATMUL, ATTENTION, RECURRENT):
            return ""
        asked = self._asked(node)
        if node.op is RECURRENT and not may_have_bytes(node):
            return "fp32: only states between -1 and 1, of tanh and sigmoid from an initial one that is 0, need no calibration"
        if node.op in (CONV, MATMUL) and not is_product_of_rows(node):
            return "fp32: only products of rows with constant weights are quantized without calibration"
        if node.op is ATTENTION and not _may_multiply_bytes(node):
            return f"fp32: its operands are {', '.join(str(t.type) for t in node.args[:3])}"
        if asked == "fp32":
            return "fp32: layer_precision"
        if asked == "int8":
            return "int8: layer_precision, rows quantized as they are computed"
        if _without_gain(node):
            return f"fp32: {_without_gain(node)}"
        if self._measures(node):
            return f"fp32: it reads {typical(node.args[0].shape[-1])} columns of the model's input, which may differ by orders of magnitude"
        if keep_float.intersection(node.origin):
            return "fp32: the whole graph is faster so"
        return "int8: permitted, rows quantized as they are computed"

    def _measures(self, node: Node) -> bool:
        """Whether a product's rows are those of a float input of the model, of few columns."""
        if node.op not in (CONV, MATMUL) or typical(node.args[0].shape[-1]) >= _FEWEST_MEASURES:
            return False
        x, producers = node.args[0], self.graph.producers
        while (made := producers.get(x.name)) is not None and made.op.moves and len(made.args) == 1:
            x = made.args[0]
        return any(x is t for t in self.graph.inputs)

    def unable(self) -> dict[str, str]:
        """Layers that must be INT8 and cannot be without ranges, and why."""
        reasons: dict[str, str] = {}
        for node in self.graph.nodes:
            _explain(reasons, node, self._reason(node, frozenset()))
        return self._unable(reasons)

    def _unable(self, reasons: Mapping[str, str]) -> dict[str, str]:
        asked = [n for n, p in self.layer_precision.items() if p == "int8"]
        said = {n: reasons.get(n, "fp32: it has no weights") for n in asked}
        return {
            n: why.removeprefix("fp32: ") for n, why in said.items() if not why.startswith("int8")
        }


class _Insertion:
    """One rebuild of a graph; used once."""

    def __init__(
        self,
        graph: Graph,
        chosen: set[str],
        weights: dict[str, tuple[Tensor, Tensor]],
        apart: Mapping[str, Apart],
    ) -> None:
        self.graph, self.chosen, self.weights = graph, chosen, weights
        self.rebuild = Rebuild(graph)
        self.b = self.rebuild.builder
        self.split = Split(self.b, apart)
        self.rows: dict[tuple[str, bool], tuple[Tensor, Tensor]] = {}
        self.zeros = {
            n.args[0].name: zero_of(n.args[0].name, graph.producers)
            for n in graph.nodes
            if n.outputs[0].name in chosen
        }

    def run(self) -> Graph:
        for old in self.graph.nodes:
            node = self.rebuild.present(old)
            if old.outputs[0].name in self.chosen and node.op is ATTENTION:
                bytes_: dict[str, Attr] = {**node.attrs, "products": "i8"}
                made = self.b.add(node.op, node.inputs, bytes_, like=node, name=node.name)
                self.rebuild.replace(old, made)
            elif old.outputs[0].name in self.chosen and node.op is RECURRENT:
                self.rebuild.replace(old, with_bytes(self.b, node))
            elif old.outputs[0].name in self.chosen:
                self.rebuild.replace(old, [self._product(old, node)])
            else:
                self.rebuild.replace(old, self.rebuild.carry(node))
        return self.rebuild.finish()

    def _product(self, old: Node, node: Node) -> Tensor:
        """A product of bytes, whose sums are scaled in its epilogue."""
        x, w = node.args[:2]
        apart = self.split.of(old)
        point = self.zeros[old.args[0].name]
        rows, scales = self._quantized(x, node, point, apart)
        made = self._quantized_weights(w, 0 if node.op is CONV else 1, apart)
        columns, whole = (self.b.constant(t.content, t.name, t.recipe) for t in made)
        epilogue, before = expr_attr(node, "epilogue"), list(node.args[2:])
        if apart is not None:
            epilogue, before = joined(epilogue, before, self.split.thin(old, x))
        operands = [*before, scales, columns]
        rest = [E.inp(n + 1) for n in range(len(before))]
        by_row, by_column = E.inp(len(operands) - 1), E.inp(len(operands))
        total = E.mul(E.mul(E.cast(E.inp(0), f32), by_row), by_column)
        zero = "x_zero_point" if node.op is CONV else "a_zero_point"
        attrs: dict[str, Attr] = {
            **node.attrs,
            zero: point,
            "epilogue": E.substitute(epilogue, [total, *rest]),
        }
        return self.b.emit(
            node.op, [rows, whole, *operands], attrs, like=node, name=node.name,
            output=node.output.name,
        )  # fmt: skip

    def _quantized(
        self, x: Tensor, like: Node, zero: int, apart: Apart | None
    ) -> tuple[Tensor, Tensor]:
        """Rows as u8 around `zero`, and their scales [..., 1]; once however often they are read.

        Channels that are carried apart are 0 there.
        """
        key = x.name, apart is not None
        if key not in self.rows:
            seen = x
            if apart is not None:
                kept = self.b.constant(apart.kept, f"{x.name}:kept")
                seen = self.b.emit(
                    POINTWISE, [x, kept], {"expr": E.mul(E.inp(0), E.inp(1))}, like=like,
                    name=f"rest {x.name}", output=f"{x.name}:rest",
                )  # fmt: skip
            self.rows[key] = self._levels(seen, like, zero)
        return self.rows[key]

    def _levels(self, x: Tensor, like: Node, zero: int) -> tuple[Tensor, Tensor]:
        """`_quantized` of rows of which all channels count."""
        largest = E.maximum(E.inp(0), E.const(SMALLEST))
        levels, size = 127, E.unary("abs", E.inp(0))
        if zero != MIDDLE:
            levels = 255 - zero
            below = E.mul(E.inp(0), E.const(-levels / zero)) if zero else E.const(0.0)
            size = E.maximum(E.inp(0), below)
        attrs: dict[str, Attr] = {
            "kind": "max",
            "axes": (x.type.rank - 1,),
            "keepdims": True,
            "prologue": size,
            "epilogue": E.mul(largest, E.const(1 / levels)),
        }
        scales = self.b.emit(
            REDUCE, [x], attrs, like=like, name=f"scale {x.name}", output=f"{x.name}:scales"
        )
        share = E.mul(E.inp(0), E.unary("reciprocal", E.inp(1)))
        level = E.cast(E.add(E.unary("round", share), E.const(float(zero))), u8)
        rows = self.b.emit(
            POINTWISE, [x, scales], {"expr": level}, like=like,
            name=f"quantize {x.name}", output=f"{x.name}:rows",
        )  # fmt: skip
        return rows, scales

    def _quantized_weights(
        self, w: Tensor, axis: int, apart: Apart | None
    ) -> tuple[Tensor, Tensor]:
        """Scales f32 and i8 values of weights, a scale for each index of an axis."""
        key = w.name if apart is None else f"{w.name}:rest"
        if key not in self.weights:
            floats = w
            if apart is not None:
                floats = loose(rest_of, [w, loose_constant(apart.kept, "kept")], w.name)
            scale = loose(scale_of, [floats], f"{w.name}:scale", axis=axis, of=w.name)
            levels = loose(levels_of, [floats, scale], f"{w.name}:int8", axis=axis)
            self.weights[key] = scale, levels
        return self.weights[key]
