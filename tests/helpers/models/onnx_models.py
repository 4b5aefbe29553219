"""Small ONNX models for the frontend's tests, and how they are compared with other runtimes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from camshaft.frontends.onnx import import_onnx
from camshaft.ir.graph import Graph
from camshaft.ir.interpret import interpret
from camshaft.ir.verify import verify

Arrays = Mapping[str, np.ndarray]
SMALL_WEIGHTS = (-64, 64)
"""Least and largest i8 weight whose products with u8 ONNX Runtime sums exactly on every processor.

On x86 without VNNI it uses `vpmaddubsw`, which adds pairs of products into 16 bits and saturates
there: 255 * 127 + 255 * 127 becomes 32767.  No pair of products with these weights saturates.
"""


def model_of(
    nodes: Sequence[NodeProto],
    inputs: Arrays,
    outputs: Sequence[str],
    constants: Arrays | None = None,
    opset: int = 17,
    domains: Sequence[str] = (),
    **more: Any,
) -> ModelProto:
    """A model whose inputs have the types of `inputs`; output types are left to inference."""
    graph = helper.make_graph(
        nodes,
        "test",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in inputs.items()
        ],
        [onnx.ValueInfoProto(name=n) for n in outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=9, **more)
    inferred = onnx.shape_inference.infer_shapes(proto)
    del proto.graph.output[:]
    for value in inferred.graph.output:
        if not value.type.WhichOneof("value"):  # ONNX infers no types for some functions
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        proto.graph.output.append(value)
    return proto


def one_node(
    op_type: str,
    inputs: Sequence[np.ndarray | None],
    constants: Mapping[int, np.ndarray] | None = None,
    *,
    opset: int = 17,
    outputs: int = 1,
    **attrs: Any,
) -> tuple[ModelProto, dict[str, np.ndarray]]:
    """(model, feeds) of a single operator.

    inputs: operands in order, None where one is left out; constants: those that are initializers
    instead, by position.
    """
    count = max([len(inputs), *(i + 1 for i in constants or {})])
    names, feeds, fixed = [], {}, {}
    for i in range(count):
        if constants and i in constants:
            fixed[f"c{i}"] = constants[i]
            names.append(f"c{i}")
        elif i < len(inputs) and (operand := inputs[i]) is not None:
            feeds[f"x{i}"] = operand
            names.append(f"x{i}")
        else:
            names.append("")
    made = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, names, made, name="node", **attrs)
    return model_of([node], feeds, made, fixed, opset), feeds


def imported(proto: ModelProto) -> Graph:
    """The imported graph, verified."""
    graph = import_onnx(proto)
    verify(graph)
    return graph


def run(proto: ModelProto, feeds: Arrays) -> dict[str, np.ndarray]:
    """The model through importer and interpreter."""
    return interpret(imported(proto), feeds)


def host_ops(graph: Graph) -> list[str]:
    """ONNX operators that became host steps."""
    return [str(n.attrs["op_type"]) for n in graph.nodes if n.op.name == "host"]


def check(
    proto: ModelProto, feeds: Arrays, *, tolerance: float = 2e-5, host: bool = False
) -> dict[str, np.ndarray]:
    """Assert that importer and interpreter give what ONNX Runtime gives, and return it.

    host: whether host steps may occur.
    """
    import onnxruntime as ort

    graph = imported(proto)
    assert host or not host_ops(graph)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    expected = session.run(list(graph.output_names), dict(feeds))
    got = interpret(graph, feeds)
    for name, want in zip(graph.output_names, expected, strict=True):
        compare(got[name], want, tolerance)
    return got


def compare(got: np.ndarray, want: np.ndarray, tolerance: float) -> None:
    """Equal type and shape; equal integers, floats within `tolerance` of the largest magnitude."""
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    if want.dtype.kind not in "fV":
        np.testing.assert_array_equal(got, want)
    elif want.size:
        left, right = got.astype(np.float64), want.astype(np.float64)
        finite = np.abs(right[np.isfinite(right)])
        scale = max(1e-6, float(finite.max(initial=0.0)))
        np.testing.assert_allclose(left, right, rtol=tolerance, atol=tolerance * scale)


def two_convs() -> bytes:
    """Two 3x3 convolutions, "a" and "b", of x f32[1, 4, 9, 9]."""
    rng = np.random.default_rng(4)
    weights, nodes, x = [], [], "x"
    for name, shape in (("a", (8, 4, 3, 3)), ("b", (4, 8, 3, 3))):
        w = rng.standard_normal(shape).astype(np.float32)
        weights.append(numpy_helper.from_array(w, f"{name}.w"))
        nodes.append(helper.make_node("Conv", [x, f"{name}.w"], [name], name=name))
        x = name
    info = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, shape)
        for n, shape in (("x", [1, 4, 9, 9]), ("b", [1, 4, 5, 5]))
    ]
    graph = helper.make_graph(nodes, "net", info[:1], info[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model.SerializeToString()


def encoder_layer(tokens: int = 24, width: int = 64, heads: int = 4) -> bytes:
    """Self-attention of x f32[2, tokens, width] between products named "query", "key", "value" and "out"; scores,
    softmax and the sums of values are "scores", "softmax" and "mix"."""
    rng, rows, size = np.random.default_rng(5), [0, tokens, heads, width // heads], width // heads
    constants = {f"{n}.w": rng.standard_normal((width, width)).astype(np.float32) / np.sqrt(width).astype(np.float32) for n in ("query", "key", "value", "out")}  # fmt: skip
    constants |= {"rows": np.array(rows), "flat": np.array([0, tokens, width]), "scale": np.float32(size**-0.5)}  # fmt: skip
    nodes = []
    for name, perm in (("query", (0, 2, 1, 3)), ("key", (0, 2, 3, 1)), ("value", (0, 2, 1, 3))):
        nodes += [
            helper.make_node("MatMul", ["x", f"{name}.w"], [name], name=name),
            helper.make_node("Reshape", [name, "rows"], [f"{name}.heads"]),
            helper.make_node("Transpose", [f"{name}.heads"], [f"{name}.turned"], perm=perm),
        ]
    nodes += [
        helper.make_node("MatMul", ["query.turned", "key.turned"], ["scores"], name="scores"),
        helper.make_node("Mul", ["scores", "scale"], ["scaled"]),
        helper.make_node("Softmax", ["scaled"], ["softmax"], name="softmax", axis=-1),
        helper.make_node("MatMul", ["softmax", "value.turned"], ["mix"], name="mix"),
        helper.make_node("Transpose", ["mix"], ["mix.turned"], perm=(0, 2, 1, 3)),
        helper.make_node("Reshape", ["mix.turned", "flat"], ["mix.flat"]),
        helper.make_node("MatMul", ["mix.flat", "out.w"], ["y"], name="out"),
    ]
    x = np.zeros((2, tokens, width), np.float32)
    return model_of(nodes, {"x": x}, ["y"], constants).SerializeToString()
