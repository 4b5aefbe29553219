"""Plugins that say how they are computed on bytes are so where what they read and make is quantized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import REQUIRED
from camshaft.ir.plugins.plugin import Plugin, quantization_attributes
from camshaft.ir.plugins.registry import plugin_named, register
from camshaft.ir.types import TensorType, u8
from camshaft.ops import DEQUANTIZE, PLUGIN, QUANTIZE
from camshaft.ops.plugin import add_plugin, plugin_attrs, values_of
from camshaft.passes.qdq.rules import QuantNode, quant_node, scalar_params
from camshaft.passes.rewrite import Rewrite, Rewriter


def _is_of_bytes(q: QuantNode | None) -> bool:
    return q is not None and q.per_tensor and q.zero.dtype == np.uint8


class PluginOnBytes(Rewrite):
    """Q(plugin(DQ(x), ...)) -> the plugin's form on bytes."""

    name = "plugin-on-bytes"
    ops = (QUANTIZE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        q, made = quant_node(node), r.producer(node.args[0], PLUGIN)
        if q is None or made is None or not _is_of_bytes(q) or not r.single_use(node.args[0]):
            return None
        form = plugin_named(str(made.attrs["plugin"])).int8
        if form is None or len(made.outputs) > 1:
            return None
        read = [quant_node(r.producer(t, DEQUANTIZE)) for t in made.args]
        of_bytes = [x for x in read if x is not None and _is_of_bytes(x) and not x.source.is_const]
        if not of_bytes:
            return None
        inputs = [
            t if x is None or x not in of_bytes else x.source
            for t, x in zip(made.args, read, strict=True)
        ]
        values = {
            **values_of(made.attrs),
            **quantization_attributes([_scale(x) for x in of_bytes], _scale(q)),
        }
        try:
            attrs = plugin_attrs(form, values, made.attrs["given"])
            (type,) = PLUGIN.infer([t.type for t in inputs], PLUGIN.complete(attrs))
        except ModelError:  # it does not take these beside bytes
            return None
        if type != node.output.type:
            return None
        return [r.emit(PLUGIN, inputs, attrs, like=[made, node])]

    def example(self) -> Graph:
        plugin = _example()
        b = GraphBuilder("plugin on bytes")
        x = b.input("x", TensorType(u8, (2, 3)))
        params = scalar_params(b, 0.5, 7)
        dx = b.emit(DEQUANTIZE, [x, *params], {"axis": 0}, name="dq x")
        (y,) = add_plugin(b, plugin, [dx], {}, ["y"])
        return b.graph({"q": b.emit(QUANTIZE, [y, *params], {"axis": 0}, name="q")})


def _scale(q: QuantNode) -> tuple[float, int]:
    return float(q.scale), int(q.zero)


def _example() -> Plugin:
    """The absolute value."""

    def on_bytes(x: np.ndarray, **attrs: Any) -> np.ndarray:
        zero = attrs["input_zeros"][0]
        far = np.abs(x.astype(np.int32) - zero) + attrs["output_zero"]
        levels: np.ndarray = np.minimum(far, 255).astype(np.uint8)
        return levels

    required = dict.fromkeys(quantization_attributes([], (1.0, 0)), REQUIRED)
    bytes_ = Plugin("camshaft.example::AbsBytes", on_bytes, None, required, types=(("u8",),))
    floats = Plugin("camshaft.example::Abs", np.abs, types=(("f32",),), int8=bytes_)
    register(bytes_)
    register(floats)
    return floats


PLUGIN_RULES: tuple[Rewrite, ...] = (PluginOnBytes(),)
