"""What inspectors say of layers, in the words that NVIDIA's engine explorer reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

import camshaft.tensorrt as trt
from trt_networks import Log

pytestmark = pytest.mark.codegen
FORMATS = {
    "Row major linear FP32",
    "Channel major FP32 format",
    "Row major Int8 format",
    "Channel major Int8 format",
    "Row major linear UInt8 format",
    "Channel major UInt8 format",
}
"""Of the explorer's table."""


def weights(name: str, *shape: int) -> Any:
    rng = np.random.default_rng(len(name) + sum(shape))
    return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32) / 4, name)


def quantizers(x: str) -> list[Any]:
    ends = [f"{x}_s", f"{x}_z"]
    return [
        helper.make_node("QuantizeLinear", [x, *ends], [f"{x}_q"], f"q_{x}"),
        helper.make_node("DequantizeLinear", [f"{x}_q", *ends], [f"{x}_d"], f"dq_{x}"),
    ]


def model(path: Path) -> str:
    """Quantized and float convolutions, a transposed one, a one-dimensional one, a product, a global pool."""
    node = helper.make_node
    nodes = [
        *quantizers("x"),
        *quantizers("w1"),
        node("Conv", ["x_d", "w1_d", "b1"], ["a"], "conv1", pads=[1] * 4, strides=[2, 2]),
        node("Relu", ["a"], ["r"], "relu1"),
        node("Conv", ["r", "w2"], ["b"], "depthwise", group=16, pads=[1] * 4),
        node("Sigmoid", ["b"], ["c"], "sigmoid"),
        node("ConvTranspose", ["c", "w3"], ["d"], "up", strides=[2, 2]),
        node("GlobalAveragePool", ["d"], ["e"], "pool"),
        node("Flatten", ["e"], ["f"], "flat"),
        node("Gemm", ["f", "w4", "b4"], ["g"], "product"),
        node("Reshape", ["g", "shape"], ["h"], "rows"),
        node("Conv", ["h", "w5"], ["y"], "line"),
    ]
    scales = [numpy_helper.from_array(np.float32(0.05), f"{x}_s") for x in ("x", "w1")]
    zeros = [numpy_helper.from_array(np.int8(0), f"{x}_z") for x in ("x", "w1")]
    shapes = {"w1": (16, 3, 3, 3), "b1": (16,), "w2": (16, 1, 3, 3), "w3": (16, 4, 2, 2)}
    shapes |= {"w4": (4, 10), "b4": (10,), "w5": (3, 1, 3)}
    constants = [weights(name, *shape) for name, shape in shapes.items()]
    constants.append(numpy_helper.from_array(np.array([0, 1, 10]), "shape"))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3, 8])],
        [*constants, *scales, *zeros],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return str(path)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The inspector's JSON of an engine that was saved and loaded."""
    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network()
    path = model(tmp_path_factory.mktemp("inspection") / "net.onnx")
    assert trt.OnnxParser(network, log).parse_from_file(path)
    config = builder.create_builder_config()
    config.builder_optimization_level = 1
    config.set_flag(trt.BuilderFlag.INT8)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    plan = builder.build_serialized_network(network, config)
    assert plan, log.errors
    engine = trt.Runtime(log).deserialize_cuda_engine(plan)
    assert engine is not None
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    found: dict[str, Any] = json.loads(text)
    return found


def layers(said: dict[str, Any], part: str) -> list[dict[str, Any]]:
    """Layers that came from a layer of the network, and are no copies or pointwise steps."""
    named = [la for la in said["Layers"] if f"[ONNX Layer: {part}]" in la["Metadata"]]
    return [la for la in named if la["ParameterType"] not in ("Reformat", "PointWise")]


def test_every_layer_has_what_the_explorer_asks_for(said: dict[str, Any]) -> None:
    assert said["Bindings"] == ["x", "y"]
    for layer in said["Layers"]:
        assert layer["Name"] and layer["LayerType"] and layer["ParameterType"]
        assert int(layer["TacticValue"], 16) >= 0
        assert layer["Outputs"]
        for tensor in (*layer["Inputs"], *layer["Outputs"]):
            assert tensor["Format/Datatype"] in FORMATS
            assert len(tensor["Dimensions"]) == len(tensor["Strides"])
            assert all(type(d) is int for d in tensor["Dimensions"])


def test_convolutions_tell_of_their_window_and_weights(said: dict[str, Any]) -> None:
    (conv,) = layers(said, "conv1")
    assert (conv["ParameterType"], conv["Kernel"], conv["Stride"]) == (
        "Convolution",
        [3, 3],
        [2, 2],
    )
    assert (conv["PrePadding"], conv["PostPadding"], conv["Dilation"]) == ([1, 1], [1, 1], [1, 1])
    assert (conv["OutMaps"], conv["Groups"], conv["HasBias"]) == (16, 1, 1)
    assert conv["Weights"] == {"Type": "Int8", "Count": 16 * 27}
    assert conv["Bias"] == {"Type": "Float", "Count": 16}
    assert (conv["Activation"], conv["HasReLU"]) == ("RELU", 1)
    assert conv["Inputs"][0]["Dimensions"] == [2, 3, 32, 32]
    (depthwise,) = layers(said, "depthwise")
    assert (depthwise["Groups"], depthwise["OutMaps"], depthwise["HasBias"]) == (16, 16, 0)
    assert depthwise["Weights"] == {"Type": "Float", "Count": 16 * 9}
    assert depthwise["Activation"] == "SIGMOID"


def test_tensors_have_channels_second_and_formats_by_their_strides(said: dict[str, Any]) -> None:
    (depthwise,) = layers(said, "depthwise")
    out = depthwise["Outputs"][0]
    assert out["Dimensions"] == [2, 16, 16, 16]
    assert out["Strides"] == [4096, 1, 256, 16]
    assert out["Format/Datatype"] == "Channel major FP32 format"
    first = next(la for la in said["Layers"] for t in la["Inputs"] if t["Name"] == "x")
    assert first["Inputs"][0]["Format/Datatype"] == "Row major linear FP32"
    assert first["Inputs"][0]["Dimensions"] == [2, 3, 32, 32]


def test_steps_of_a_transposed_convolution_share_its_weights(said: dict[str, Any]) -> None:
    parts = layers(said, "up")
    assert {part["ParameterType"] for part in parts} == {"Deconvolution"}
    assert sum(part["Weights"]["Count"] for part in parts) == 16 * 4 * 4
    assert {part["OutMaps"] for part in parts} == {4}


def test_global_pools_products_and_lines(said: dict[str, Any]) -> None:
    (pool,) = layers(said, "pool")
    assert (pool["ParameterType"], pool["PoolingType"], pool["WindowSize"]) == (
        "Pooling",
        "AVERAGE",
        [32, 32],
    )
    (product,) = layers(said, "product")
    assert product["ParameterType"] == "MatrixMultiply"
    assert product["Weights"]["Count"] == 40
    (line,) = layers(said, "line")
    assert line["ParameterType"] == "Convolution"
    assert sorted(line["Kernel"]) == [1, 3]
    assert len(line["Inputs"][0]["Dimensions"]) == 2 + len(line["Kernel"])


def test_pointwise_steps_and_copies_say_what_they_came_of(said: dict[str, Any]) -> None:
    pointwise = [la for la in said["Layers"] if la["ParameterType"] == "PointWise"]
    assert pointwise
    for layer in pointwise:
        assert layer["LayerType"] == "PointWiseV2"
        assert layer["NbOperations"] == len(layer["Operations"]) > 0
    for layer in said["Layers"]:
        assert (layer["ParameterType"] == "Reformat") == ("Origin" in layer)
