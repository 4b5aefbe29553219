"""Steps of engines as layers, in the words of TensorRT's inspector."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from camshaft.tensorrt.inspection.parameters import Parameters, merged, names
from camshaft.tensorrt.inspection.tensors import Key, Step, channels_last, tensor

_KINDS = {
    "conv": "Convolution",
    "conv_transpose": "Deconvolution",
    "matmul": "MatrixMultiply",
    "pool": "Pooling",
    "pointwise": "PointWise",
    "softmax": "SoftMax",
    "reduce": "Reduce",
    "gather": "Gather",
    "resample": "Resize",
    "copy": "Reformat",
    "quantize": "Reformat",
    "dequantize": "Reformat",
}
"""Operator -> type.  Others are called what camshaft calls them."""
_LAYER_TYPES = {"PointWise": "PointWiseV2"}
"""Where a layer of a type is of a narrower one."""
_ORIGINS = {"copy": "REFORMAT", "quantize": "QDQ", "dequantize": "QDQ"}
_WEIGHTED = frozenset(["conv", "conv_transpose", "matmul"])
_WINDOWS = ("Convolution", "Deconvolution")
_POOL = frozenset(
    ["PoolingType", "WindowSize", "PaddingMode", "PrePadding", "PostPadding", "Stride", "Dilation"]
)
_TYPES = {"f32": "Float", "f16": "Half", "bf16": "BFloat16", "i8": "Int8", "u8": "Int8"}
"""Of weights, by the type of the arithmetic: bytes without a sign are multiplied by weights with one."""


def layers(
    steps: Sequence[Mapping[str, Any]],
    ends: Sequence[tuple[Any, Any]],
    parameters: Mapping[str, Parameters],
    origins: Mapping[str, str],
) -> list[dict[str, Any]]:
    """An object for each step.

    steps: of `Engine.inspect`.  ends: what each reads and writes.  parameters: of the network's nodes.  origins: name of a node -> name
    of its layer, where they differ.
    """
    found = [Step(s["op"], *both) for s, both in zip(steps, ends, strict=True)]
    last = channels_last(found)
    shared = Counter(n for s in steps if s["op"] in _WEIGHTED for n in s["origin"])
    return [
        _layer(
            said,
            step,
            last,
            merged(parameters, said["origin"], shared),
            names(said["origin"], origins),
        )
        for said, step in zip(steps, found, strict=True)
    ]


def _layer(
    said: Mapping[str, Any],
    step: Step,
    last: set[Key],
    parameters: Parameters,
    origin: Sequence[str],
) -> dict[str, Any]:
    """origin: names of layers."""
    inputs = [tensor(view, last) for view in step.inputs]
    outputs = [tensor(view, last) for view in step.outputs]
    kind = _kind(said["op"], parameters)
    found: dict[str, Any] = {"LayerType": _LAYER_TYPES.get(kind, kind), "ParameterType": kind}
    if kind == "Reformat":
        found["Origin"] = _ORIGINS[said["op"]]
    elif kind == "PointWise":
        found["Operations"], found["NbOperations"] = list(origin), len(origin)
    elif kind == "Pooling":
        found |= _pool(parameters, inputs)
    elif kind in _WINDOWS:
        found |= _weighted(said, _plane(parameters, inputs))
        found["OutMaps"] = outputs[0]["Dimensions"][1]
    elif "Weights" in parameters:
        found |= _weighted(said, parameters)
    return {
        "Name": said["name"],
        **found,
        "Inputs": inputs,
        "Outputs": outputs,
        **_told(said, origin),
    }


def _kind(op: str, parameters: Parameters) -> str:
    """The type.  A product that is computed as a convolution is one, as are the parts of a transposed convolution, and a window that nothing
    is known of makes no type that tells of one."""
    kind = _KINDS.get(op, op)
    if kind not in _WINDOWS:
        return kind
    if "Kernel" in parameters:
        return "Deconvolution" if parameters["IsTransposed"] else "Convolution"
    return "MatrixMultiply" if "Weights" in parameters else op


def _pool(parameters: Parameters, inputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Without what layers fused to it say.  A window over everything has the extents of the input."""
    found = {k: v for k, v in parameters.items() if k in _POOL}
    window = inputs[0]["Dimensions"][2:] if inputs else []
    if found and not found["WindowSize"]:
        rank = len(window)
        found |= {"WindowSize": window, "Stride": [1] * rank}
        found |= {"PrePadding": [0] * rank, "PostPadding": [0] * rank, "Dilation": [1] * rank}
    return found


def _plane(parameters: Parameters, inputs: Sequence[Mapping[str, Any]]) -> Parameters:
    """Windows of as many axes as the tensors have: one-dimensional layers are computed along the rows of a plane."""
    missing = len(inputs[0]["Dimensions"]) - 2 - len(parameters["Kernel"]) if inputs else 0
    if missing <= 0:
        return parameters
    ones, zeros = ("Kernel", "Stride", "Dilation"), ("PrePadding", "PostPadding")
    padded = {k: parameters[k] + [1] * missing for k in ones}
    return {**parameters, **padded, **{k: parameters[k] + [0] * missing for k in zeros}}


def _weighted(said: Mapping[str, Any], parameters: Parameters) -> dict[str, Any]:
    """Parameters with weights as objects."""
    precision = said["precision"]
    stored = precision.partition("weights ")[2] or precision.partition(",")[0]
    biases = parameters.get("Bias", 0)
    activation = parameters["Activation"]
    return {
        **{key: value for key, value in parameters.items() if key != "IsTransposed"},
        "Weights": {"Type": _TYPES.get(stored, stored), "Count": parameters["Weights"]},
        "Bias": {"Type": "Float", "Count": biases},
        "HasSparseWeights": 0,
        "HasBias": int(biases > 0),
        "HasReLU": int(activation == "RELU"),
    }


def _told(said: Mapping[str, Any], origin: Sequence[str]) -> dict[str, Any]:
    return {
        "Operator": said["op"],
        "Parameters": said["params"],
        "Precision": said["precision"],
        "TacticName": said["tactic"],
        "TacticValue": hex(said["index"]),
        "StreamId": 0,
        "Metadata": "\x1e".join(f"[ONNX Layer: {name}]" for name in origin),
        "Reason": said["reason"],
        "Microseconds": said["time_us"],
    }
