"""ONNX's own suite through the backend protocol; what does not pass is listed, with reasons."""

from __future__ import annotations

import unittest
from unittest.mock import patch

import numpy as np
import onnx
import pytest
from onnx.backend.test import BackendTest
from onnx.backend.test.loader import load_model_tests

import camshaft.backend
from benchmarks import conformance
from camshaft.errors import BindingError, ConfigError

LEAST = 0.98
"""Of the cases of inference, the part that must pass."""
SAMPLE = (
    "cast",
    "concat",
    "constantofshape",
    "conv",
    "gather",
    "gru",
    "layernormalization",
    "matmul",
    "mod",
    "pow",
    "qlinearconv",
    "reshape",
    "softmax",
    "transpose",
    "where",
)
"""Beginnings of the names of the node cases that every run of the tests looks at."""


BY_ORDER_OF_SUMS = {"test_squeezenet"}
"""Excused cases that pass where a processor's kernels happen to add in the reference's order."""


@pytest.fixture(scope="module")
def excused() -> dict[str, str]:
    return conformance.excused()


@pytest.mark.slow
def test_the_whole_suite(excused: dict[str, str]) -> None:
    outcomes = conformance.run(conformance.all_cases())
    inference = [o for o in outcomes if not o.trains]
    failing = {o.case: o.fault for o in outcomes if not o.passes}
    assert {case: fault for case, fault in failing.items() if case not in excused} == {}
    passing = set(excused) - set(failing) - BY_ORDER_OF_SUMS
    assert sorted(passing) == [], "listed, and they pass"
    assert sum(o.passes for o in inference) >= LEAST * len(inference)


def test_a_sample_of_the_suite(excused: dict[str, str]) -> None:
    cases = conformance.node_cases(SAMPLE)
    cases += [c for kind in ("simple", "pytorch-operator") for c in load_model_tests(kind=kind)]
    outcomes = conformance.run(cases)
    assert {o.case: o.fault for o in outcomes if not o.passes and o.case not in excused} == {}
    assert len(outcomes) > 200


def test_reasons_are_given(excused: dict[str, str]) -> None:
    assert all(reason.strip() for reason in excused.values())


# -- the protocol ----------------------------------------------------------------------------------


def small_model() -> onnx.ModelProto:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    agraph (float[2, n] x, float[2, n] y) => (float[2, n] sum, float[2, n] difference) {
        sum = Add (x, y)
        difference = Sub (x, y)
    }"""
    return onnx.parser.parse_model(text)


X, Y = np.float32([[1, 2, 3], [4, 5, 6]]), np.float32([[1, 1, 1], [2, 2, 2]])


def test_prepared_models_take_lists_dictionaries_and_any_memory_order() -> None:
    rep = camshaft.backend.prepare(small_model())
    for inputs in ([X, Y], {"y": Y, "x": X}, (np.asfortranarray(X), Y[:, ::-1])):
        results = rep.run(inputs)
        assert results._fields == ("sum", "difference")
        np.testing.assert_array_equal(results[0], X + Y)
        np.testing.assert_array_equal(results["difference"], X - Y)
    assert rep.host_steps == ()


def test_prepare_takes_build_options() -> None:
    rep = camshaft.backend.prepare(small_model(), "CPU", shapes={"x": [2, 3]}, threads=1, rtol=0.1)
    assert not rep.engine.symbols
    with pytest.raises(ConfigError, match="no build option"):
        camshaft.backend.prepare(small_model(), speed="high")
    with pytest.raises(ConfigError, match="run takes no options"):
        rep.run([X, Y], threads=2)


def test_another_device_is_refused() -> None:
    assert camshaft.backend.supports_device("CPU:0")
    assert not camshaft.backend.supports_device("CUDA:0")
    assert not camshaft.backend.supports_device("TPU")
    assert not camshaft.backend.is_compatible(small_model(), "CUDA")
    with pytest.raises(ConfigError, match="CUDA"):
        camshaft.backend.prepare(small_model(), "CUDA")


def test_a_future_opset_is_incompatible() -> None:
    model = small_model()
    assert camshaft.backend.is_compatible(model)
    model.opset_import[0].version = onnx.defs.onnx_opset_version() + 1
    assert not camshaft.backend.is_compatible(model)


def test_wrong_number_of_inputs() -> None:
    with pytest.raises(BindingError, match=r"1 inputs given, and the model takes 2: x, y"):
        camshaft.backend.run_model(small_model(), [X])


def test_a_single_node() -> None:
    node = onnx.helper.make_node("Gemm", ["a", "b", ""], ["c"], transB=1)
    (result,) = camshaft.backend.run_node(node, [X, Y])
    np.testing.assert_array_equal(result, X @ Y.T)
    old = onnx.helper.make_node("Clip", ["x"], ["y"], min=2.0, max=5.0)
    results = camshaft.backend.run_node(old, X, outputs_info=[(X.dtype, X.shape)], opset_version=6)
    np.testing.assert_array_equal(results.y, np.clip(X, 2, 5))


def test_onnx_finds_its_tests() -> None:
    """`BackendTest` is what the documentation of onnx has backends run."""
    with patch("onnx.backend.test.runner.load_model_tests", lambda kind: []):
        tests = BackendTest(camshaft.backend, __name__)
    for case in conformance.node_cases(["relu"]):
        tests._add_model_test(case, "Node")
    result = unittest.TestResult()
    tests.test_suite.run(result)
    assert result.wasSuccessful()
    assert result.testsRun == 2 * len(result.skipped) > 0, "there is no CUDA"
