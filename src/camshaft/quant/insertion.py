"""Writing a quantization plan into a float graph as Q/DQ pairs and INT8 weights.

The last stage of the implicit path: what `placement` decided and `calibrate` measured becomes a
graph like any quantized model's, which `passes.qdq` lowers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from camshaft.ir.expr import Expr
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.rebuild import Rebuild
from camshaft.ops import DEQUANTIZE, QUANTIZE
from camshaft.quant.apart.choice import Apart
from camshaft.quant.apart.products import Split, rest_of
from camshaft.quant.bias import less_shift
from camshaft.quant.placement import QuantizationPlan, Use, activation_of
from camshaft.quant.rounding import quantize_kernels
from camshaft.quant.scheme import (
    QuantParams,
    dequantize,
    params_from_range,
    quantize,
    weight_params,
)


class WeightQuantizer:
    """INT8 weights of constants, computed once for all graphs that hold them.

    kernel_rounding: round weights so that kernels keep their sums (see `quant.rounding`), else
        half to even.
    """

    def __init__(self, kernel_rounding: bool = False) -> None:
        self._quantize = quantize_kernels if kernel_rounding else quantize
        self._made: dict[tuple[Tensor, Apart | None], tuple[QuantParams, np.ndarray]] = {}

    def quantized(self, w: Tensor, apart: Apart | None = None) -> tuple[QuantParams, np.ndarray]:
        """Parameters and i8 values of weights [K, ...]: symmetric, a scale per output channel.

        apart: input channels whose weights are zero here.
        """
        key = w, apart
        if key not in self._made:
            floats = w.array if apart is None else rest_of(w, apart)
            params = weight_params(floats, 0, w.name)
            values = self._quantize(floats, params)
            values.flags.writeable = False
            self._made[key] = (params, values)
        return self._made[key]


def insert_qdq(
    graph: Graph,
    plan: QuantizationPlan,
    params: Mapping[str, QuantParams],
    means: Mapping[str, np.ndarray] | None = None,
    weights: WeightQuantizer | None = None,
) -> Graph:
    """The graph with a Q/DQ pair in front of every planned use and INT8 weights.

    params: group -> per-tensor parameters of its tensors.
    means: tensor -> mean of each of its channels, float64 [C]; the bias of a quantized convolution
        whose input is among them is corrected (see `quant.bias`).
    weights: makes INT8 weights; where several graphs share one, none is made twice.
    """
    return _Insertion(graph, plan, params, means or {}, weights or WeightQuantizer()).run()


class _Insertion:
    """One rebuild of a graph; used once."""

    def __init__(
        self,
        graph: Graph,
        plan: QuantizationPlan,
        params: Mapping[str, QuantParams],
        means: Mapping[str, np.ndarray],
        weights: WeightQuantizer,
    ) -> None:
        self.graph, self.plan, self.params, self.means = graph, plan, params, means
        self.weights = weights
        self.rebuild = Rebuild(graph)
        self.b = self.rebuild.builder
        self.split = Split(self.b, plan.apart)
        self.pairs: dict[str, Tensor] = {}

    def run(self) -> Graph:
        for node in self.graph.nodes:
            name = node.outputs[0].name
            inputs = [self._read(t, (name, i)) for i, t in enumerate(node.inputs)]
            attrs: Mapping[str, Attr] = node.attrs
            if name in self.plan.convs:
                inputs, attrs = self._int8_conv(node, [t for t in inputs if t is not None])
            outs = self.b.add(node.op, inputs, attrs, like=node, name=node.name)
            self.rebuild.replace(node, outs)
        return self.rebuild.finish()

    def _read(self, t: Tensor | None, use: Use) -> Tensor | None:
        if t is None:
            return None
        return self._quantized(t) if use in self.plan.uses else self.rebuild.get(t)

    def _quantized(self, t: Tensor) -> Tensor:
        """`t` through its Q/DQ pair, of which there is one however often it is read."""
        return self._pair(t, t.name, self.params[self.plan.group[t.name]])

    def _pair(self, t: Tensor, name: str, p: QuantParams) -> Tensor:
        """`t` through the Q/DQ pair of a name."""
        if name not in self.pairs:
            b = self.b
            constants = [
                b.constant(np.asarray(p.scale, np.float32), f"{name}:scale"),
                b.constant(np.asarray(p.zero_point, p.dtype.numpy), f"{name}:zero"),
            ]
            attrs = {"axis": 0}
            q = b.emit(QUANTIZE, [self.rebuild.get(t), *constants], attrs, name=f"quantize {name}")
            self.pairs[name] = b.emit(DEQUANTIZE, [q, *constants], attrs, name=f"dequantize {name}")
        return self.pairs[name]

    def _int8_conv(
        self, node: Node, inputs: list[Tensor]
    ) -> tuple[list[Tensor | None], Mapping[str, Attr]]:
        """Inputs and attributes of a convolution with INT8 weights [K,R,S,C/g], symmetric with a
        scale per output channel, and its corrected bias."""
        form, b = node.op.int8, self.b
        assert form is not None and form.weights is not None
        w, x = node.args[form.weights], node.args[activation_of(node)]
        apart = self.split.of(node)
        floats = w.array if apart is None else rest_of(w, apart)
        p, integers = self.weights.quantized(w, apart)
        q = b.constant(integers, f"{w.name}:int8")
        scale = b.constant(np.asarray(p.scale, np.float32), f"{w.name}:scale")
        zero = b.constant(np.zeros(p.scale.shape, np.int8), f"{w.name}:zero")
        weights = b.emit(DEQUANTIZE, [q, scale, zero], {"axis": 0}, name=f"dequantize {w.name}")
        own = node.op.own_inputs(node.attrs)
        anchors, operands = inputs[:own], inputs[own:]
        anchors[form.weights] = weights
        attrs = dict(node.attrs)
        means = self.means.get(x.name)
        if means is not None and form.mean_shift is not None:
            error = dequantize(integers, p).astype(np.float64) - floats
            types = [t.type for t in node.args]
            shift = form.mean_shift(types, node.output.type, node.attrs, error, means)
            attrs["epilogue"], operands = less_shift(b, node, operands, shift)
        if apart is not None:
            rows = params_from_range(apart.low, apart.high)
            anchors[activation_of(node)] = self._pair(x, f"{x.name}:rest", rows)
            epilogue = attrs["epilogue"]
            assert isinstance(epilogue, Expr)
            given = self.rebuild.get(x)
            attrs["epilogue"], operands = self.split.joined(node, given, epilogue, operands)
        return [*anchors, *operands], attrs
