"""TensorFlow's quantizers in a graph, as ONNX' QuantizeLinear and DequantizeLinear, or as arithmetic.

tf2onnx has rewriters of its own, which round other ranges than TensorFlow does and refuse narrow ranges, bits and axes.  So quantizers
become calls with tokens of ours, which tf2onnx neither folds nor knows, and `HANDLERS` says what ONNX has for these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf2onnx.utils

from camshaft.tensorflow.grids import FAKE, QUANTIZERS, Grid, bits_of, grid_of
from camshaft.tensorflow.messages import (
    constant,
    constants,
    full,
    in_order,
    node_of,
    of_shape,
    python_call,
    spliced,
    values,
    with_nodes,
)

_QUANTIZE, _DEQUANTIZE = "camshaft_quantize", "camshaft_dequantize"


def rewritten(
    definition: Any, graph: tf.Graph, stateful: Callable[[Any], bool]
) -> tuple[Any, Mapping[str, str]]:
    """A graph without TensorFlow's quantizers, and instead those that have no form, with reasons.

    graph: the same one, imported.  Quantized constants are exactly TensorFlow's; of other tensors, numbers that lie between two levels may
    go to the other one (see docs/tensorflow.md).
    """
    nodes = in_order(definition)
    found = [n for n in nodes if n.op in QUANTIZERS]
    if not found:
        return definition, {}
    known = constants(nodes, stateful)
    wanted = {full(i) for n in found for i in n.input[1:] if node_of(i) in known}
    fixed = [n for n in found if n.name in known]
    wanted |= {full(name) for n in fixed for name in (n.name, n.input[0])}
    numbers = values(graph, sorted(wanted))
    made: list[Any] = []
    refused = {}
    for node in nodes:
        try:
            made += _replaced(node, graph, numbers) if node.op in QUANTIZERS else [node]
        except ValueError as error:
            refused[node.name] = str(error)
    return with_nodes(definition, made), refused


def _replaced(node: Any, graph: tf.Graph, numbers: Mapping[str, np.ndarray]) -> list[Any]:
    """The nodes in a quantizer's place; ValueError, in words, where there are none."""
    tensor = graph.get_tensor_by_name(full(node.input[0]))
    operation = graph.get_operation_by_name(node.name)
    attributes = {name: operation.get_attr(name) for name in node.attr if name[0] != "_"}
    if tensor.shape.rank is None:
        raise ValueError(f"the rank of {tensor.name} is not known: give it with set_shape")
    if tensor.dtype != tf.float32:
        raise ValueError(f"it quantizes {tensor.dtype.name}")
    parameters = [numbers.get(full(i)) for i in node.input[1:]]
    dynamic = node.op not in FAKE and not attributes.get("range_given", True)
    if any(p is None for p in (parameters[2:] if dynamic else parameters)):
        raise ValueError("its range is computed while the model runs")
    whole = numbers.get(full(node.name))
    spec = tf.TensorSpec(tensor.shape, tensor.dtype)
    source = numbers.get(full(node.input[0]))
    if dynamic and (whole is None or source is None):
        bits = bits_of(attributes, parameters)  # type: ignore[arg-type]
        function = _following(attributes, bits, tensor.shape.rank)
        return list(spliced(node.name, function, node.input[0], spec))
    if dynamic:
        assert source is not None
        axis = int(attributes.get("axis", -1))
        others = None if axis == -1 else tuple(a for a in range(source.ndim) if a != axis)
        parameters[:2] = [source.min(others), source.max(others)]
    given: Any = parameters
    grid = grid_of(node.op, attributes, given, tensor.shape.rank)
    if not grid.has_bytes:
        if whole is not None:
            return [constant(node.name, whole)]
        return list(spliced(node.name, _computing(grid, tensor.shape.rank), node.input[0], spec))
    return _marked(node, grid, tensor, whole)


def _marked(node: Any, grid: Grid, tensor: tf.Tensor, whole: np.ndarray | None) -> list[Any]:
    """A call that `HANDLERS` knows, with its numbers."""
    name, axis = node.name, -1 if grid.axis is None else grid.axis
    if whole is None:
        low, high = grid.ends(tensor.shape.rank)
        zero = grid.zero.astype(grid.stored)
        numbers = {"low": low, "high": high, "scale": grid.scale, "zero": zero}
        token = f"{_QUANTIZE}:{axis}:{int(grid.is_clipped)}"
        inputs = [(node.input[0], tf.float32)]
    else:
        scale, zero = grid.signed
        numbers = {"levels": grid.levels(whole), "scale": scale, "zero": zero}
        token, inputs = f"{_DEQUANTIZE}:{axis}:0", []
    made = [constant(f"{name}/{key}", np.asarray(value)) for key, value in numbers.items()]
    inputs += [(m.name, tf.as_dtype(m.attr["dtype"].type)) for m in made]
    call = python_call(f"{name}/call", token, inputs, [tf.float32])
    return [*made, call, of_shape(name, call.name, tf.float32, tensor.shape)]


def _computing(grid: Grid, rank: int) -> Callable[[Any], Any]:
    """The quantizer as arithmetic."""
    low, high = grid.ends(rank)
    scale, zero = grid.aligned(grid.scale, rank), grid.aligned(grid.zero, rank)

    def quantized(x: Any) -> Any:
        levels = (tf.minimum(tf.maximum(x, low), high)) / scale
        shifted = levels + zero.astype(np.float32)
        rounded = tf.floor(shifted + 0.5) if grid.half_up else tf.round(shifted)
        return (rounded - zero.astype(np.float32)) * scale

    return quantized


def _following(attributes: Mapping[str, Any], bits: int, rank: int) -> Callable[[Any], Any]:
    """A symmetric quantizer whose range is that of the tensor, as arithmetic."""
    axis = int(attributes.get("axis", -1))
    axes = list(range(rank)) if axis == -1 else [a for a in range(rank) if a != axis]
    signed, narrow = bool(attributes["signed_input"]), bool(attributes["narrow_range"])
    first = (-(2 ** (bits - 1)) + narrow) if signed else 0
    last = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    half_up = attributes.get("round_mode", b"HALF_TO_EVEN") in (b"HALF_UP", "HALF_UP")

    def quantized(x: Any) -> Any:
        scale = tf.reduce_max(x, axes, keepdims=True) / last
        if signed:
            scale = tf.maximum(scale, tf.reduce_min(x, axes, keepdims=True) / first)
        scale = tf.maximum(scale, np.finfo(np.float32).tiny)
        levels = x / scale
        return (tf.floor(levels + 0.5) if half_up else tf.round(levels)) * scale

    return quantized


def _emitted(context: Any, node: Any, name: str, _: Any) -> None:
    """tf2onnx' handler of our calls."""
    kind, axis, clipped = node.get_attr_value("token").decode().split(":")
    attributes = {} if axis == "-1" else {"axis": int(axis)}
    shape, (result,) = context.get_shape(node.output[0]), node.output
    inputs = list(node.input)
    context.remove_node(node.name)
    if kind == _QUANTIZE:
        x, low, high, scale, zero = inputs
        if clipped == "1":
            for op, end in (("Max", low), ("Min", high)):
                x = context.make_node(op, [x, end], name=f"{name}/{op}").output[0]
        inputs = [
            context.make_node(
                "QuantizeLinear",
                [x, scale, zero],
                attr=attributes,
                shapes=[shape],
                dtypes=[context.get_dtype(zero)],
                name=f"{name}/quantize",
            ).output[0],
            scale,
            zero,
        ]
    context.make_node(
        "DequantizeLinear",
        inputs,
        attr=attributes,
        outputs=[result],
        shapes=[shape],
        dtypes=[1],
        name=f"{name}/dequantize",
    )


def _complement(context: Any, node: Any, name: str, _: Any) -> None:
    """tf2onnx' handler of Erfc, of which Keras' GELU is made: 1 - Erf."""
    shape, dtype = context.get_shape(node.output[0]), context.get_dtype(node.output[0])
    (source,), (result,) = node.input, node.output
    one = np.ones((), tf2onnx.utils.map_onnx_to_numpy_type(dtype))
    context.remove_node(node.name)
    erf = context.make_node("Erf", [source], name=f"{name}/erf", shapes=[shape], dtypes=[dtype])
    inputs = [context.make_const(f"{name}/one", one).output[0], erf.output[0]]
    context.make_node(
        "Sub", inputs, outputs=[result], name=f"{name}/sub", shapes=[shape], dtypes=[dtype]
    )


HANDLERS: Mapping[str, Any] = {"PyFuncStateless": (_emitted, []), "Erfc": (_complement, [])}
"""For tf2onnx."""
