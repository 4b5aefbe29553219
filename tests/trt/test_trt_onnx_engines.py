"""From ONNX files to results, as scripts do it: parsers, profiles, both ways to bind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import camshaft.tensorrt as trt
from camshaft.tensorrt import memory
from camshaft.tensorrt.eras import PROFILES, VARIABLE
from trt_engines import Workshop, device, host, run_v3

F32 = np.float32
WEIGHTS = np.random.default_rng(0).standard_normal((6, 5)).astype(F32)


def perceptron() -> bytes:
    """x f32[batch,6] -> product with WEIGHTS -> relu -> y, and the index of the largest in `best`."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"], "product"),
        helper.make_node("Relu", ["p"], ["y"], "relu"),
        helper.make_node("ArgMax", ["y"], ["best"], "largest", axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "perceptron",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 6])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5]),
            helper.make_tensor_value_info("best", TensorProto.INT64, ["batch"]),
        ],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    return bytes(model.SerializeToString())


def parsed(shop: Workshop) -> Workshop:
    parser = trt.OnnxParser(shop.network, shop.log)
    assert parser.parse(perceptron()), [parser.get_error(i) for i in range(parser.num_errors)]
    return shop


@pytest.fixture(scope="module")
def engine() -> Any:
    shop = parsed(Workshop()).profile((1, 6), (2, 6), (8, 6)).profile((16, 6), (16, 6), (32, 6))
    return shop.engine()


@pytest.mark.parametrize(("profile", "batch"), [(0, 1), (0, 8), (1, 16), (1, 31)])
def test_a_parsed_model_runs_within_each_profile(engine: Any, profile: int, batch: int) -> None:
    context = engine.create_execution_context()
    context.set_optimization_profile_async(profile, 0)
    x = np.random.default_rng(batch).standard_normal((batch, 6)).astype(F32)
    found = run_v3(context, {"x": x})
    expected = np.maximum(x @ WEIGHTS, 0)
    np.testing.assert_allclose(found["y"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found["best"], expected.argmax(1))


def test_a_parsed_model_runs_as_in_tensorrt_7(engine: Any) -> None:
    context, batch = engine.create_execution_context(), 4
    x = np.random.default_rng(0).standard_normal((batch, 6)).astype(F32)
    bindings, outputs = [0] * engine.num_bindings, {}
    for binding in range(engine.num_bindings // engine.num_optimization_profiles):
        if engine.binding_is_input(binding):
            context.set_binding_shape(binding, x.shape)
            bindings[binding] = device(x)
    assert context.all_binding_shapes_specified
    for binding in range(engine.num_bindings // engine.num_optimization_profiles):
        if not engine.binding_is_input(binding):
            shape = tuple(context.get_binding_shape(binding))
            dtype = np.dtype(trt.nptype(engine.get_binding_dtype(binding)))
            bindings[binding] = memory.allocate(trt.volume(shape) * dtype.itemsize)
            outputs[engine.get_binding_name(binding)] = bindings[binding], shape, dtype
    assert context.execute_async_v2(bindings, 0)
    np.testing.assert_allclose(host(*outputs["y"]), np.maximum(x @ WEIGHTS, 0), rtol=1e-4)


def test_precision_of_parsed_layers_by_name() -> None:
    shop = parsed(Workshop()).profile((1, 6), (2, 6), (8, 6))
    shop.config.set_flag(trt.BuilderFlag.FP16)
    shop.config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    for layer in shop.network:
        layer.precision = trt.float16
    shop.config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    engine = shop.engine()
    inspector = engine.create_engine_inspector()
    assert "weights f16" in inspector.get_engine_information(trt.LayerInformationFormat.JSON)


@pytest.mark.parametrize("profile", PROFILES)
def test_builds_and_runs_need_no_name_that_a_release_lacks(profile: str) -> None:
    paths = [*sys.path, str(Path(__file__).parent), str(Path(__file__).parent.parent / "helpers")]
    script = "from test_trt_onnx_engines import by_names; by_names()"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {VARIABLE: profile, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def by_names() -> None:
    """A build and a run with the names that all releases from 8.6 on have."""
    shop = parsed(Workshop()).profile((1, 6), (2, 6), (8, 6))
    timings = shop.config.create_timing_cache(b"")
    shop.config.set_timing_cache(timings, False)
    engine = shop.engine()
    context = engine.create_execution_context()
    x = np.random.default_rng(0).standard_normal((2, 6)).astype(F32)
    y = run_v3(context, {"x": x})["y"]
    np.testing.assert_allclose(y, np.maximum(x @ WEIGHTS, 0), rtol=1e-4, atol=1e-5)
    assert context.execute_v2([context.get_tensor_address(name) for name in ("x", "y", "best")])
    assert engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    assert not shop.log.errors
