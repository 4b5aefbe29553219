"""Parsed models whose inputs say shapes, and inputs and outputs of types that DataType lacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

import camshaft.tensorrt as trt
from trt_networks import Log, network

F32 = TensorProto.FLOAT


def one(
    node: Any, inputs: dict[str, tuple[int, list[int]]], kind: int, opset: int = 18
) -> ModelProto:
    """A model of one node, whose output is `y`."""
    ends = [helper.make_tensor_value_info(n, k, s) for n, (k, s) in inputs.items()]
    graph = helper.make_graph([node], "g", ends, [helper.make_tensor_value_info("y", kind, None)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def parsed(proto: ModelProto, log: Log) -> Any:
    net = network(log=log)
    assert trt.OnnxParser(net, log).parse(proto.SerializeToString()), log.lines
    return net


def run(net: Any, log: Log, inputs: dict[str, np.ndarray[Any, Any]]) -> Any:
    """`y` of an engine for these shapes and, of inputs that say shapes, these elements; with the engine's shape of it."""
    builder = trt.Builder(log)
    config = builder.create_builder_config()
    config.builder_optimization_level = 0
    profile = builder.create_optimization_profile()
    for i in range(net.num_inputs):
        if net.get_input(i).is_shape_tensor:
            name = net.get_input(i).name
            profile.set_shape_input(name, *[inputs[name].reshape(-1).tolist()] * 3)
    config.add_optimization_profile(profile)
    engine = trt.Runtime(log).deserialize_cuda_engine(builder.build_serialized_network(net, config))
    context, shape = engine.create_execution_context(), tuple(engine.get_tensor_shape("y"))
    y = np.empty(shape, trt.nptype(engine.get_tensor_dtype("y")))
    for name, array in (inputs | {"y": y}).items():
        assert context.set_tensor_address(name, array.ctypes.data)
    assert context.execute_async_v3(0), log.lines
    return y


X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
CASES = {
    "ReduceSum": ([1], X.sum(1, keepdims=True)),
    "Unsqueeze": ([0, 2], X[None, :, None]),
    "Reshape": ([4, 6], X.reshape(4, 6)),
    "Tile": ([1, 2, 1], np.tile(X, (1, 2, 1))),
}


@pytest.mark.parametrize("op", CASES)
def test_a_profile_that_fixes_elements_fixes_shapes(op: str) -> None:
    said, expected = CASES[op]
    node = helper.make_node(op, ["x", "says"], ["y"])
    log = Log()
    net = parsed(
        one(node, {"x": (F32, [2, 3, 4]), "says": (TensorProto.INT64, [len(said)])}, F32), log
    )
    assert [net.get_input(i).is_shape_tensor for i in range(2)] == [False, True]
    np.testing.assert_array_equal(run(net, log, {"x": X, "says": np.array(said)}), expected)


def test_what_only_shapes_of_a_tensor_say_is_no_shape_input() -> None:
    nodes = [
        helper.make_node("Size", ["x"], ["n"]),
        helper.make_node("Reshape", ["n", "one"], ["shape"]),
        helper.make_node("Reshape", ["z", "shape"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(n, F32, [24]) for n in ("x", "z")]
    one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
    graph = helper.make_graph(
        nodes, "g", ends, [helper.make_tensor_value_info("y", F32, None)], [one]
    )
    net = parsed(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), Log())
    assert not net.get_input(0).is_shape_tensor


def test_inputs_of_floats_are_no_shape_inputs() -> None:
    node = helper.make_node("Range", ["start", "limit", "step"], ["y"])
    net = parsed(one(node, {n: (F32, []) for n in ("start", "limit", "step")}, F32), Log())
    assert not any(net.get_input(i).is_shape_tensor for i in range(3))


@pytest.mark.parametrize(
    ("kind", "shown"),
    [("uint16", trt.int32), ("uint32", trt.int64), ("uint64", trt.int64), ("float64", trt.float32)],
)
def test_inputs_and_outputs_show_the_nearest_type(kind: str, shown: trt.DataType) -> None:
    number = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    ends = {"a": (number, [2]), "b": (number, [2])}
    log = Log()
    net = parsed(one(helper.make_node("Add", ["a", "b"], ["y"]), ends, number), log)
    assert [net.get_input(0).dtype, net.get_output(0).dtype] == [shown, shown]
    assert sum("which TensorRT lacks" in text for _, text in log.lines) == 3
    a, b = (np.array(v, trt.nptype(shown)) for v in ([65535, 7], [2, 8]))
    y = run(net, log, {"a": a, "b": b})
    assert y.dtype == trt.nptype(shown)
    assert y.tolist() == [1 if kind == "uint16" else 65537, 15]  # computed in the file's type


def test_strings_are_refused_by_name() -> None:
    node = helper.make_node("Equal", ["a", "b"], ["y"])
    ends = {n: (TensorProto.STRING, [2]) for n in "ab"}
    log, net = Log(), network()
    parser = trt.OnnxParser(net, log)
    assert not parser.parse(one(node, ends, TensorProto.BOOL, 19).SerializeToString())
    assert "input 'a' is of STRING" in parser.get_error(0).desc()


def test_optionals_and_sequences_are_refused_by_name() -> None:
    tensor = helper.make_tensor_type_proto(F32, [2])
    for kind, made in (
        ("optional", helper.make_optional_type_proto(tensor)),
        ("sequence", helper.make_sequence_type_proto(tensor)),
    ):
        ends = [helper.make_value_info(n, made) for n in "xy"]
        graph = helper.make_graph(
            [helper.make_node("Identity", ["x"], ["y"])], "g", *[[e] for e in ends]
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
        parser = trt.OnnxParser(network(), Log())
        assert not parser.parse(proto.SerializeToString())
        assert f"input 'x' is of the kind {kind}" in parser.get_error(0).desc()
