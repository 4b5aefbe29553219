"""What a network says of its layers, in the words of TensorRT's inspector: windows, weights, activations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from onnx import ModelProto, NodeProto, helper

Parameters = Mapping[str, Any]

_POOLS = {
    "MaxPool": "MAX",
    "AveragePool": "AVERAGE",
    "GlobalMaxPool": "MAX",
    "GlobalAveragePool": "AVERAGE",
}
_ACTIVATIONS = {
    "Relu": "RELU",
    "Clip": "CLIP",
    "Sigmoid": "SIGMOID",
    "Tanh": "TANH",
    "LeakyRelu": "LEAKY_RELU",
    "Elu": "ELU",
    "HardSigmoid": "HARD_SIGMOID",
    "Softplus": "SOFTPLUS",
}
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")


def parameters_of(model: ModelProto) -> dict[str, Parameters]:
    """Name of a node -> its parameters, of convolutions, products, pools and activations."""
    graph = model.graph
    shapes = {t.name: tuple(t.dims) for t in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    found = {node.name: _parameters(node, shapes, makers) for node in graph.node}
    return {name: parameters for name, parameters in found.items() if name and parameters}


def _parameters(
    node: NodeProto,
    shapes: Mapping[str, tuple[int, ...]],
    makers: Mapping[str, NodeProto],
) -> Parameters:
    said = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    kind = node.op_type
    if kind in _ACTIVATIONS:
        return {"Activation": _ACTIVATIONS[kind]}
    if kind in _POOLS:
        window = said.get("kernel_shape", ())
        return {"PoolingType": _POOLS[kind], "WindowSize": [*window], **_axes(said, len(window))}
    if kind in ("Conv", "ConvTranspose"):
        return _convolution(node, said, shapes, makers)
    if kind in ("MatMul", "Gemm"):
        counts = [math.prod(s) for i in node.input[:2] if (s := _constant(i, shapes, makers))]
        return {"Weights": counts[0]} if counts else {}
    return {}


def _convolution(
    node: NodeProto,
    said: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    makers: Mapping[str, NodeProto],
) -> Parameters:
    """Empty where neither an attribute nor the weights say the window."""
    weights = _constant(node.input[1], shapes, makers)
    window = said.get("kernel_shape") or (weights and weights[2:])
    if not window:
        return {}
    groups = said.get("group", 1)
    channels = 0 if weights is None else weights[0]
    if node.op_type == "ConvTranspose" and weights is not None:
        channels = weights[1] * groups
    biased = len(node.input) > 2 and bool(node.input[2])
    return {
        "Kernel": [*window],
        **_axes(said, len(window)),
        "OutMaps": channels,
        "Groups": groups,
        "IsTransposed": node.op_type == "ConvTranspose",
        "Weights": 0 if weights is None else math.prod(weights),
        "Bias": channels if biased else 0,
    }


def _axes(said: Mapping[str, Any], rank: int) -> Parameters:
    pads = said.get("pads") or [0] * 2 * rank
    automatic = said.get("auto_pad", b"NOTSET").decode()
    return {
        "PaddingMode": {"SAME_UPPER": "kSAME_UPPER", "SAME_LOWER": "kSAME_LOWER"}.get(
            automatic, "kEXPLICIT_ROUND_UP" if said.get("ceil_mode") else "kEXPLICIT_ROUND_DOWN"
        ),
        "PrePadding": [*pads[:rank]],
        "PostPadding": [*pads[rank:]],
        "Stride": [*said.get("strides", [1] * rank)],
        "Dilation": [*said.get("dilations", [1] * rank)],
    }


def _constant(
    name: str, shapes: Mapping[str, tuple[int, ...]], makers: Mapping[str, NodeProto]
) -> tuple[int, ...] | None:
    """Shape of a constant, perhaps behind quantizers; None: it is none."""
    while name not in shapes:
        maker = makers.get(name)
        if maker is None:
            return None
        if maker.op_type == "Constant":
            return next((tuple(a.t.dims) for a in maker.attribute if a.name == "value"), None)
        if maker.op_type not in _QUANTIZERS:
            return None
        name = maker.input[0]
    return shapes[name]


def merged(
    all_parameters: Mapping[str, Parameters], origin: Sequence[str], shared: Mapping[str, int]
) -> dict[str, Any]:
    """Parameters of the step that these nodes were fused to: of the first that has each, numbers of weights together, and activations in
    their order.  shared: how many steps a node's weights were divided among."""
    parts = [all_parameters.get(name, {}) for name in origin]
    found: dict[str, Any] = {}
    for part in reversed(parts):
        found |= part
    for counted in ("Weights", "Bias"):
        if counted in found:
            counts = (all_parameters.get(n, {}).get(counted, 0) // shared.get(n, 1) for n in origin)
            found[counted] = sum(counts)
    activations = [part["Activation"] for part in parts if "Activation" in part]
    return {**found, "Activation": "+".join(activations) or "NONE"}


def names(origin: Sequence[str], origins: Mapping[str, str]) -> list[str]:
    """Layers that nodes came from.  origins: name of a node -> name of its layer, where they differ."""
    return [*dict.fromkeys(origins.get(name, name) for name in origin)]
