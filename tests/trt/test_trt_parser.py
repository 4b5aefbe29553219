"""The ONNX parser: files as layers, edits of them, and errors that name nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import camshaft.tensorrt as trt
from trt_networks import Log, computed, network


def value(name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: list[Any], inputs: list[Any], outputs: list[Any], opset: int = 23, **constants: Any
) -> ModelProto:
    held = [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


KERNEL = np.random.default_rng(2).standard_normal((4, 1, 3, 3)).astype(np.float32)


def small(opset: int = 13) -> ModelProto:
    """x, [n, 1, 8, 8] -> conv, relu, mean over axes -> y, [n, 4, 1, 1]."""
    return model(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv1", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("ReduceMean", ["r"], ["y"], "mean", axes=[2, 3], keepdims=1),
        ],
        [value("x", ["n", 1, 8, 8])],
        [value("y", ["n", 4, 1, 1])],
        opset,
        w=KERNEL,
        b=np.arange(4, dtype=np.float32),
    )


def parsed(proto: ModelProto) -> Any:
    net = network()
    parser = trt.OnnxParser(net, Log())
    assert parser.parse(proto.SerializeToString()), parser.get_error(0)
    return net


IMAGE = np.random.default_rng(4).standard_normal((1, 1, 8, 8)).astype(np.float32)


def reference(proto: ModelProto, **inputs: Any) -> Any:
    return onnx.reference.ReferenceEvaluator(proto).run(None, inputs)[0]


def test_nodes_and_initializers_become_layers() -> None:
    net = parsed(small())
    layers = [(layer.name, layer.type.name) for layer in net]
    assert layers == [
        ("w", "CONSTANT"),
        ("b", "CONSTANT"),
        ("conv1", "CONVOLUTION"),
        ("r", "ACTIVATION"),
        ("mean", "REDUCE"),
    ]
    assert net.get_input(0).shape == (-1, 1, 8, 8)
    assert net.get_input(0).get_dimension_name(0) == "n"
    assert net.get_layer(2).get_output(0).shape == (-1, 4, 8, 8)
    assert net.get_layer(2).metadata == "[ONNX Layer: conv1]"
    got = computed(net, x=IMAGE)
    np.testing.assert_allclose(got["y"], reference(small(), x=IMAGE), rtol=1e-5)


def test_the_model_keeps_the_names_of_the_file() -> None:
    lowered = parsed(small())._lowered()
    names = [(n.name, list(n.input), list(n.output)) for n in lowered.model.graph.node]
    assert names == [("conv1", ["x", "w", "b"], ["c"]), ("r", ["c"], ["r"]), ("mean", ["r"], ["y"])]
    assert {i.name for i in lowered.model.graph.initializer} == {"w", "b"}
    assert lowered.origins == {}


def test_a_view_takes_the_class_of_its_layer_and_shows_properties() -> None:
    layer = parsed(small()).get_layer(2)
    layer.__class__ = trt.IConvolutionLayer
    assert layer.padding_nd == (1, 1)
    assert layer.num_output_maps == 4
    assert layer.kernel_size == (3, 3)
    assert np.array_equal(layer.kernel, KERNEL.reshape(-1))


def test_a_parsed_layer_can_be_edited_where_its_properties_say_all() -> None:
    net = parsed(small())
    layer = net[2]
    layer.__class__ = trt.IConvolutionLayer
    layer.stride_nd = (2, 2)
    assert layer.get_output(0).shape == (-1, 4, 4, 4)
    changed = small()
    changed.graph.node[0].attribute.append(helper.make_attribute("strides", [2, 2]))
    got = computed(net, x=IMAGE)
    np.testing.assert_allclose(got["y"], reference(changed, x=IMAGE), rtol=1e-5)


def test_properties_that_do_not_say_all_are_kept() -> None:
    log = Log()
    net = network(log=log)
    assert trt.OnnxParser(net, Log()).parse(small().SerializeToString())
    mean = net[4]
    mean.__class__ = trt.IReduceLayer
    mean.keep_dims = False
    assert "mean" in log.errors[0]
    assert "keep_dims" in log.errors[0]
    assert mean.get_output(0).shape == (-1, 4, 1, 1)


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_layers_by_hand_stand_beside_nodes_of_other_opsets(opset: int) -> None:
    proto = small(opset)
    if opset == 18:
        del proto.graph.node[2].attribute[:]
        proto.graph.node[2].input.append("axes")
        proto.graph.initializer.append(numpy_helper.from_array(np.array([2, 3]), "axes"))
    net = parsed(proto)
    y = net.get_output(0)
    net.unmark_output(y)
    more = net.add_activation(y, trt.ActivationType.SOFTPLUS)
    more.alpha = 2
    more.get_output(0).name = "z"
    net.mark_output(more.get_output(0))
    want = 2 * np.log1p(np.exp(reference(small(), x=IMAGE)))
    np.testing.assert_allclose(computed(net, x=IMAGE)["z"], want, rtol=1e-5)


def test_outputs_and_inputs_of_layers_can_be_changed() -> None:
    net = parsed(small())
    conv, mean = net.get_layer(2), net.get_layer(4)
    net.mark_output(conv.get_output(0))
    mean.set_input(0, conv.get_output(0))
    got = computed(net, x=IMAGE)
    assert list(got) == ["y", "c"]
    np.testing.assert_allclose(got["y"], got["c"].mean((2, 3), keepdims=True), atol=1e-5)


def test_inputs_and_outputs_become_float16_at_the_border() -> None:
    net = parsed(small())
    net.get_input(0).dtype = trt.float16
    net.get_output(0).dtype = trt.float16
    got = computed(net, x=IMAGE.astype(np.float16))["y"]
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, reference(small(), x=IMAGE), rtol=1e-2, atol=1e-2)


def test_bodies_of_control_flow_read_tensors_around_them() -> None:
    then = helper.make_graph([helper.make_node("Mul", ["x", "two"], ["t"])], "then", [], [value("t", [3])])  # fmt: skip
    other = helper.make_graph([helper.make_node("Neg", ["x"], ["e"])], "else", [], [value("e", [3])])  # fmt: skip
    nodes = [helper.make_node("If", ["c"], ["y"], "if", then_branch=then, else_branch=other)]
    inputs = [value("x", [3]), value("c", [], TensorProto.BOOL)]
    net = parsed(model(nodes, inputs, [value("y", [3])], two=np.float32(2)))
    net.get_input(0).name = "renamed"
    x = np.arange(3, dtype=np.float32)
    for condition, want in ((True, x * 2), (False, -x)):
        got = computed(net, renamed=x, c=np.array(condition))["y"]
        assert np.array_equal(got, want)


def test_errors_name_the_node() -> None:
    log = Log()
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "first"),
        helper.make_node("MatMul", ["r", "w"], ["y"], "product"),
    ]
    proto = model(nodes, [value("x", [2, 3])], [value("y", [2, 5])], w=np.ones((4, 5), np.float32))
    parser = trt.OnnxParser(network(), log)
    assert not parser.parse(proto.SerializeToString())
    assert parser.num_errors == 1
    error: Any = parser.get_error(0)
    assert (error.node(), error.node_name(), error.node_operator()) == (1, "product", "MatMul")
    assert error.code() == trt.ErrorCode.INVALID_NODE
    assert str(error).startswith("In node 1 with name: product and operator: MatMul (parseNode)")
    assert log.errors == [str(error)]
    parser.clear_errors()
    assert (parser.num_errors, parser.get_error(0)) == (0, None)


def test_groups_of_nodes_leave_out_those_at_fault_and_keep_the_network() -> None:
    """As tools ask: they cut the unknown groups out, and ask again."""
    nodes = [
        helper.make_node("Fake", ["x"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Fake", ["c"], ["d"], "second"),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    proto = model(nodes, [value("x", [2])], [value("y", [2])])
    net = network()
    parser = trt.OnnxParser(net, Log())
    supported, groups = parser.supports_model(proto.SerializeToString())
    assert (supported, groups) == (False, [([1, 2], False), ([4], False)])
    errors: list[Any] = [parser.get_error(i) for i in range(parser.num_errors)]
    assert [e.node_name() for e in errors] == ["first", "second"]
    assert parser.supports_model(small().SerializeToString())[0]
    assert net.num_layers == net.num_inputs == 0
    broken = helper.make_node("MatMul", ["x", "x"], ["y"], "product")
    proto = model([nodes[1], broken], [value("a", [2]), value("x", [2, 3])], [value("y", [2, 2])])
    assert parser.supports_model(proto.SerializeToString()) == (False, [([0], False)])


def test_unknown_operators_are_errors_of_their_nodes() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Fake", ["r"], ["y"], "fake")]
    proto = model(nodes, [value("x", [2])], [value("y", [2])]).SerializeToString()
    parser = trt.OnnxParser(network(), Log())
    assert not parser.parse(proto)
    error: Any = parser.get_error(0)
    assert (error.node(), error.node_name()) == (1, "fake")
    assert error.code() == trt.ErrorCode.UNSUPPORTED_NODE
    assert parser.supports_model(proto) == (False, [([0], False)])
    assert not parser.supports_model_v2(proto)
    assert (parser.num_subgraphs, parser.get_subgraph_nodes(0)) == (1, [0])
    assert not parser.is_subgraph_supported(0)
    assert parser.supports_operator("Relu")
    assert not parser.supports_operator("Fake")


@pytest.mark.parametrize("data", [b"", b"no model", bytearray(b"\x08")])
def test_bytes_that_are_no_model_are_refused(data: Any) -> None:
    parser = trt.OnnxParser(network(), Log())
    assert not parser.parse(data)
    error: Any = parser.get_error(0)
    assert error.code() == trt.ErrorCode.MODEL_DESERIALIZE_FAILED
    assert error.node() == -1


def test_files_with_weights_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(small(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    for parse in (
        lambda p: p.parse_from_file(str(path)),
        lambda p: p.parse(path.read_bytes(), str(path)),
    ):
        net = network()
        assert parse(trt.OnnxParser(net, Log()))
        got = computed(net, x=IMAGE)["y"]
        np.testing.assert_allclose(got, reference(small(), x=IMAGE), rtol=1e-5)
    assert not trt.OnnxParser(network(), Log()).parse_from_file(str(tmp_path / "none.onnx"))


def test_weights_can_follow_the_model() -> None:
    proto = small()
    (weights,) = (t for t in proto.graph.initializer if t.name == "w")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", "elsewhere"
    net = network()
    parser = trt.OnnxParser(net, Log())
    assert parser.load_model_proto(proto.SerializeToString())
    assert parser.load_initializer("w", KERNEL.ctypes.data, KERNEL.nbytes)
    assert not parser.load_initializer("none", KERNEL.ctypes.data, KERNEL.nbytes)
    assert parser.parse_model_proto()
    np.testing.assert_allclose(computed(net, x=IMAGE)["y"], reference(small(), x=IMAGE), rtol=1e-5)


def test_flags_are_kept() -> None:
    parser = trt.OnnxParser(network(), Log())
    flag = trt.OnnxParserFlag.NATIVE_INSTANCENORM
    assert parser.get_flag(flag)
    parser.clear_flag(flag)
    assert parser.flags == 0
    parser.set_flag(flag)
    assert parser.flags == 1 << int(flag)


def test_the_parser_takes_a_network_and_a_logger() -> None:
    with pytest.raises(TypeError):
        trt.OnnxParser(None, Log())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        trt.OnnxParser(network(), None)  # type: ignore[arg-type]
