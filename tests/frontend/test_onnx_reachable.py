"""Only what outputs depend on is imported: nothing else can refuse a model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from camshaft.frontends.onnx.reachable import reachable_in
from onnx_models import imported, model_of, run

X = np.array([[1, -2, 3], [0, 5, -6]], np.float32)


def node(op: str, inputs: list[str], outputs: list[str], **attrs: object) -> NodeProto:
    return helper.make_node(op, inputs, outputs, **attrs)


UNREAD: dict[str, list[NodeProto]] = {
    "shape that depends on data": [node("NonZero", ["x"], ["n"])],
    "what follows it": [node("NonZero", ["x"], ["n"]), node("Cast", ["n"], ["m"], to=1)],
    "unknown domain": [node("Anything", ["x"], ["n"], domain="org.example")],
    "unknown operator": [node("NoSuchOperator", ["x"], ["n"])],
    "operands that do not fit": [node("MatMul", ["x", "x"], ["n"])],
    "missing input": [node("Relu", ["nowhere"], ["n"])],
    "training": [node("Dropout", ["x", "half", "yes"], ["n"])],
}


@pytest.mark.parametrize("kind", UNREAD)
def test_nodes_that_nobody_reads_are_not_imported(kind: str) -> None:
    constants = {"half": np.float32(0.5), "yes": np.bool_(True)}
    proto = model_of([node("Relu", ["x"], ["y"])], {"x": X}, ["y"], constants)
    nodes = [*UNREAD[kind], *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    assert [n.op.name for n in imported(proto).nodes] == ["pointwise"]
    np.testing.assert_array_equal(run(proto, {"x": X})["y"], np.maximum(X, 0))


def test_tensors_that_nobody_reads_are_not_imported() -> None:
    proto = model_of([node("Relu", ["x"], ["y"])], {"x": X}, ["y"])
    lies = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1000], raw_data=b"1234")
    proto.graph.initializer.append(lies)
    imported(proto)


def test_outputs_of_a_needed_node_that_nobody_reads() -> None:
    nodes = [node("TopK", ["x", "k"], ["best", "at"]), node("Cast", ["at"], ["odd"], to=1)]
    proto = model_of(nodes, {"x": X}, ["best"], {"k": np.array([1], np.int64)})
    np.testing.assert_array_equal(run(proto, {"x": X})["best"], [[3], [5]])


def branches(read_in: Callable[[], NodeProto]) -> ModelProto:
    """A constant If whose taken branch reads, through `read_in`, a tensor of the graph around it."""
    value = helper.make_tensor_value_info("b", TensorProto.FLOAT, None)
    taken = helper.make_graph([node("NonZero", ["x"], ["n"]), read_in()], "taken", [], [value])
    other = helper.make_graph([node("Identity", ["x"], ["b"])], "other", [], [value])
    nodes = [
        node("Neg", ["x"], ["captured"]),
        node("If", ["yes"], ["y"], then_branch=taken, else_branch=other),
    ]
    proto = model_of(nodes, {"x": X}, ["y"])
    proto.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    return proto


def test_what_a_branch_captures_is_needed_and_what_it_does_not_read_is_not() -> None:
    proto = branches(lambda: node("Relu", ["captured"], ["b"]))
    np.testing.assert_array_equal(run(proto, {"x": X})["y"], np.maximum(-X, 0))


def test_what_a_branch_in_a_branch_captures_is_needed() -> None:
    def inner() -> NodeProto:
        value = helper.make_tensor_value_info("c", TensorProto.FLOAT, None)
        deep = helper.make_graph([node("Relu", ["captured"], ["c"])], "deep", [], [value])
        return node("If", ["yes"], ["b"], then_branch=deep, else_branch=deep)

    proto = branches(inner)
    np.testing.assert_array_equal(run(proto, {"x": X})["y"], np.maximum(-X, 0))


def test_a_branch_may_hand_on_what_it_captured() -> None:
    value = helper.make_tensor_value_info("captured", TensorProto.FLOAT, None)
    branch = helper.make_graph([], "nothing", [], [value])
    nodes = [
        node("Neg", ["x"], ["captured"]),
        node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch),
    ]
    graph = model_of(nodes, {"x": X}, ["y"]).graph
    assert [n.op_type for n in reachable_in(graph).nodes] == ["Neg", "If"]
