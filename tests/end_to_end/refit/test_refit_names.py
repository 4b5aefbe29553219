"""Builds of which only some weights may be exchanged."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import camshaft
from camshaft.errors import ConfigError, RefitError

A, B = (np.random.default_rng(i).standard_normal((8, 8)).astype(np.float32) for i in range(2))
X = np.random.default_rng(3).standard_normal((2, 8)).astype(np.float32)


def model() -> bytes:
    """y = relu(x A) B."""
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["p"]),
        helper.make_node("Relu", ["p"], ["r"]),
        helper.make_node("MatMul", ["r", "b"], ["y"]),
    ]
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, (2, 8))] for name in ("x", "y")]
    weights = [numpy_helper.from_array(w, n) for w, n in ((A, "a"), (B, "b"))]
    graph = helper.make_graph(nodes, "g", *ends, weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    return bytes(made.SerializeToString())


def test_only_weights_that_are_named_can_be_exchanged_and_are_left_out_of_files() -> None:
    engine = camshaft.build(model(), refittable={"b"}, optimization_level=0)
    assert list(engine.refittable) == ["b"]
    with pytest.raises(RefitError, match="'a'"):
        engine.refit({"a": B})
    engine.refit({"b": A})
    np.testing.assert_allclose(engine(X)["y"], np.maximum(X @ A, 0) @ A, rtol=1e-4, atol=1e-5)
    short = camshaft.load(engine.to_bytes(strip_weights=True))
    assert short.lacks_weights
    short.refit({"b": B})
    np.testing.assert_allclose(short(X)["y"], np.maximum(X @ A, 0) @ B, rtol=1e-4, atol=1e-5)


def test_names_that_are_no_weights_are_refused() -> None:
    with pytest.raises(ConfigError, match="'c', which is no weight"):
        camshaft.build(model(), refittable={"b", "c"})
    with pytest.raises(ConfigError, match="True, False or a set of names"):
        camshaft.build(model(), refittable="b")
