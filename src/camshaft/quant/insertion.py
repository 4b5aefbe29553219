"""Writing a quantization plan into a float graph as Q/DQ pairs and INT8 weights.

The last stage of the implicit path: what `placement` decided and `calibrate` measured becomes a
graph like any quantized model's, which `passes.qdq` lowers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.constants import loose, loose_constant
from camshaft.ir.expr import Expr
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.rebuild import Rebuild
from camshaft.ops import DEQUANTIZE, POINTWISE, QUANTIZE
from camshaft.quant.apart.choice import Apart
from camshaft.quant.apart.products import Split, joined
from camshaft.quant.channels.bias import less_shift
from camshaft.quant.channels.equalize import Equalized
from camshaft.quant.fine import difference, of_rest, product_of_rest
from camshaft.quant.placement import QuantizationPlan, Use, activation_of
from camshaft.quant.scheme import QuantParams, params_from_range
from camshaft.quant.weights import divided, levels_of, mean_shift, rest_of, scale_of


@dataclass(frozen=True)
class Rest:
    """Channels apart, and the factors of the others."""

    apart: Apart
    scaled: Equalized


_Change = Apart | Equalized | Rest | None
"""Input channels whose weights are zero since they are carried apart, are divided by their factors, or both."""


def _change_of(apart: Apart | None, scaled: Equalized | None) -> _Change:
    return Rest(apart, scaled) if apart and scaled else apart or scaled


def _changed(w: Tensor, change: _Change) -> Tensor:
    """Weights as they are to be quantized, f32 [K, R, S, C/g]."""
    if isinstance(change, Rest):
        return _changed(_changed(w, change.apart), change.scaled)
    if isinstance(change, Apart):
        return loose(rest_of, [w, loose_constant(change.kept, "kept")], w.name)
    if change is None:
        return w
    return loose(divided, [w, loose_constant(change.factors, "factors")], w.name)


class WeightQuantizer:
    """INT8 weights of constants, computed once for all graphs that hold them.

    kernel_rounding: round weights so that kernels keep their sums (see `quant.rounding`), else
        half to even.
    """

    def __init__(self, kernel_rounding: bool = False) -> None:
        self._kernels = kernel_rounding
        self._made: dict[tuple[Tensor, _Change], tuple[Tensor, Tensor]] = {}

    def quantized(self, w: Tensor, change: _Change = None) -> tuple[Tensor, Tensor]:
        """Scales f32 [K] and values i8 of weights [K, ...]: symmetric, a scale per output channel.

        change: what is made of them first.
        """
        key = w, change
        if key not in self._made:
            floats = _changed(w, change)
            scale = loose(scale_of, [floats], f"{w.name}:scale", axis=0, of=w.name)
            rounding: dict[str, Attr] = {"axis": 0, "kernels": self._kernels}
            self._made[key] = scale, loose(levels_of, [floats, scale], f"{w.name}:int8", **rounding)
        return self._made[key]

    def replace(self, w: Tensor, change: _Change, values: Tensor) -> Tensor:
        """Take other i8 values of weights from now on; what they were."""
        scale, before = self.quantized(w, change)
        self._made[w, change] = scale, values
        return before

    def floats(self, w: Tensor, change: _Change) -> Tensor:
        """What is quantized of weights, f32."""
        return _changed(w, change)


def insert_qdq(
    graph: Graph,
    plan: QuantizationPlan,
    params: Mapping[str, QuantParams],
    means: Mapping[str, np.ndarray] | None = None,
    weights: WeightQuantizer | None = None,
    shifts: Mapping[str, np.ndarray] | None = None,
) -> Graph:
    """The graph with a Q/DQ pair in front of every planned use and INT8 weights.

    params: group -> per-tensor parameters of its tensors.
    means: tensor -> mean of each of its channels, float64 [C]; the bias of a quantized convolution
        whose input is among them is corrected (see `quant.channels.bias`).
    weights: makes INT8 weights; where several graphs share one, none is made twice.
    shifts: tensor -> mean error of its channels as they are rounded, float64 [C], likewise corrected
        (see `quant.channels.shift`).
    """
    weights = weights or WeightQuantizer()
    return _Insertion(graph, plan, params, means or {}, weights, shifts or {}).run()


class _Insertion:
    """One rebuild of a graph; used once."""

    def __init__(
        self,
        graph: Graph,
        plan: QuantizationPlan,
        params: Mapping[str, QuantParams],
        means: Mapping[str, np.ndarray],
        weights: WeightQuantizer,
        shifts: Mapping[str, np.ndarray],
    ) -> None:
        self.graph, self.plan, self.params, self.means = graph, plan, params, means
        self.shifts = shifts
        self.weights = weights
        self.rebuild = Rebuild(graph)
        self.b = self.rebuild.builder
        self.split = Split(self.b, plan.apart)
        self.pairs: dict[str, Tensor] = {}
        self.scaled: dict[str, Tensor] = {}

    def run(self) -> Graph:
        for node in self.graph.nodes:
            name = node.outputs[0].name
            inputs = [self._read(node, i, t) for i, t in enumerate(node.inputs)]
            attrs: Mapping[str, Attr] = node.attrs
            if name in self.plan.convs:
                inputs, attrs = self._int8_conv(node, [t for t in inputs if t is not None])
            outs = self.b.add(node.op, inputs, attrs, like=node, name=node.name)
            self.rebuild.replace(node, outs)
        return self.rebuild.finish()

    def _read(self, node: Node, i: int, t: Tensor | None) -> Tensor | None:
        if t is None:
            return None
        name, plan = node.outputs[0].name, self.plan
        use: Use = (name, i)
        if use not in plan.uses and t.name not in plan.carriers:
            return self.rebuild.get(t)
        made = self._quantized(t) if use in plan.uses else self.rebuild.get(t)
        undone = name in plan.carriers or (name in plan.convs and i == activation_of(node))
        return made if undone else self._unscaled(t, made)

    def _quantized(self, t: Tensor) -> Tensor:
        """`t` through its Q/DQ pair, of which there is one however often it is read; scaled where channels are."""
        made, scaled = self.rebuild.get(t), self.plan.equalized.get(t.name)
        if scaled is None:
            return self._pair(made, t.name, self.params[self.plan.group[t.name]])
        return self._scaled_pair(made, t.name, scaled)

    def _scaled_pair(self, t: Tensor, of: str, scaled: Equalized) -> Tensor:
        """`t`, of the new graph, times the factors of channels, through a Q/DQ pair."""
        return self._pair(self._scaled(t, of, scaled), f"{of}:scaled", scaled.params)

    def _scaled(self, t: Tensor, of: str, scaled: Equalized) -> Tensor:
        """`t`, of the new graph, times the factors of channels."""
        if of not in self.scaled:
            self.scaled[of] = self._times(t, scaled.factors, f"{of}:factors", f"scale {of}")
        return self.scaled[of]

    def _unscaled(self, t: Tensor, made: Tensor) -> Tensor:
        """What `made` of `t` stands for, to readers that have no weights to undo factors by."""
        scaled, name = self.plan.equalized.get(t.name), f"{t.name}:unscaled"
        if scaled is None:
            return made
        if name not in self.pairs:
            self.pairs[name] = self._times(made, 1 / scaled.factors, name, f"unscale {t.name}")
        return self.pairs[name]

    def _times(self, t: Tensor, factors: np.ndarray, constant: str, name: str) -> Tensor:
        given = self.b.constant(np.asarray(factors, np.float32), constant)
        return self.b.emit(POINTWISE, [t, given], {"expr": E.mul(E.inp(0), E.inp(1))}, name=name)

    def _pair(self, t: Tensor, name: str, p: QuantParams) -> Tensor:
        """`t`, of the new graph, through the Q/DQ pair of a name."""
        if name not in self.pairs:
            b = self.b
            constants = [
                b.constant(np.asarray(p.scale, np.float32), f"{name}:scale"),
                b.constant(np.asarray(p.zero_point, p.dtype.numpy), f"{name}:zero"),
            ]
            attrs = {"axis": 0}
            q = b.emit(QUANTIZE, [t, *constants], attrs, name=f"quantize {name}")
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
        apart, scaled = self.split.of(node), self.plan.equalized.get(x.name)
        change = _change_of(apart, scaled)
        scales, levels = self.weights.quantized(w, change)
        q = b.constant(levels.content, levels.name, levels.recipe)
        scale = b.constant(scales.content, scales.name, scales.recipe)
        zero = b.constant(np.zeros(len(scales.content), np.int8), f"{w.name}:zero")
        weights = b.emit(DEQUANTIZE, [q, scale, zero], {"axis": 0}, name=f"dequantize {w.name}")
        own = node.op.own_inputs(node.attrs)
        anchors, operands = inputs[:own], inputs[own:]
        anchors[form.weights] = weights
        attrs = dict(node.attrs)
        shift = self._mean_shift(node, _changed(w, change), levels, scales)
        if shift is not None:
            attrs["epilogue"], operands = less_shift(b, node, operands, shift)
        if apart is not None or node.output.name in self.plan.fine:
            epilogue = attrs["epilogue"]
            assert isinstance(epilogue, Expr)
            anchors[activation_of(node)], attrs["epilogue"], operands = self._read_alone(
                node, weights, epilogue, operands
            )
        return [*anchors, *operands], attrs

    def _read_alone(
        self, node: Node, weights: Tensor, epilogue: Expr, operands: list[Tensor]
    ) -> tuple[Tensor, Expr, list[Tensor]]:
        """What a convolution reads that quantizes its float input for itself: of rows with channels apart, or in two
        parts.  Its first operand, and epilogue and operands with what is added to its sums."""
        x = node.args[activation_of(node)]
        apart, scaled = self.split.of(node), self.plan.equalized.get(x.name)
        fine = self.plan.fine.get(node.output.name)
        given, name = self.rebuild.get(x), f"{x.name}:{'rest' if apart else 'alone'}"
        source, params = given, fine
        if scaled is not None:
            source, params = self._scaled(given, name, scaled), scaled.params
            name = f"{name}:scaled"
        elif apart is not None:
            params = params_from_range(apart.low, apart.high)
        assert params is not None
        read = self._pair(source, name, params)
        if fine is not None:
            low = f"{name}:low"
            if low not in self.pairs:
                self._pair(difference(self.b, source, read), low, of_rest(params))
            product = product_of_rest(self.b, node, self.pairs[low], weights)
            epilogue, operands = joined(epilogue, operands, product)
        if apart is not None:
            epilogue, operands = joined(epilogue, operands, self.split.thin(node, given))
        return read, epilogue, operands

    def _mean_shift(
        self, node: Node, floats: Tensor, levels: Tensor, scale: Tensor
    ) -> Tensor | None:
        """How far the mean of each output is off, f64 [K]; None where no data say it."""
        form, x = node.op.int8, node.args[activation_of(node)]
        assert form is not None
        scaled = self.plan.equalized.get(x.name)
        terms = {"error": self.means.get(x.name)}
        if x.name not in self.plan.apart and node.output.name not in self.plan.fine:
            terms["levels"] = self.shifts.get(x.name)
        known = {
            term: loose_constant(means if scaled is None else means * scaled.factors, term)
            for term, means in terms.items()
            if means is not None and form.mean_shift is not None
        }
        if not known:
            return None
        attrs = {k: v for k, v in node.attrs.items() if k != node.op.expression}
        return loose(
            mean_shift, [floats, levels, scale, *known.values()], f"{node.output.name}:shift",
            terms=tuple(known), op=node.op.name, x=x.shape, y=node.output.shape, **attrs,
        )  # fmt: skip
