"""Refits of parsed files, and of plans without weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import camshaft.tensorrt as trt
from trt_engines import Workshop, run_v3

Array = np.ndarray[Any, Any]
F32 = np.float32
ROLE = trt.WeightsRole
X = np.random.default_rng(1).standard_normal((1, 8, 6, 6)).astype(F32)
SHAPES: dict[str, tuple[int, ...]] = {
    "kernel": (64, 8, 3, 3),
    "bias": (64,),
    "scale": (64,),
    "shift": (64,),
    "mean": (64,),
    "variance": (64,),
    "matrix": (64, 300),
}
"""Weights of `model`; the matrix is too large for a plan to keep."""


def model(seed: int) -> ModelProto:
    """x f32[1,8,6,6] -> convolution -> batch normalization -> mean over the image -> product -> y f32[1,300]."""
    rng = np.random.default_rng(seed)
    arrays = {n: rng.uniform(0.5, 1.5, s).astype(F32) for n, s in SHAPES.items()}
    normalized = ["c", "scale", "shift", "mean", "variance"]
    nodes = [
        helper.make_node("Conv", ["x", "kernel", "bias"], ["c"], "conv"),
        helper.make_node("BatchNormalization", normalized, ["n"], "norm"),
        helper.make_node("ReduceMean", ["n"], ["m"], "mean_of", axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["m", "matrix"], ["y"], "product"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 300))],
        [numpy_helper.from_array(a, n) for n, a in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def parsed(seed: int, *flags: Any, level: int = 1) -> Workshop:
    shop = Workshop()
    shop.config.builder_optimization_level = level
    for flag in flags:
        shop.config.set_flag(flag)
    assert trt.OnnxParser(shop.network, shop.log).parse(model(seed).SerializeToString())
    return shop


def result(engine: Any) -> Array:
    y: Array = run_v3(engine.create_execution_context(), {"x": X})["y"]
    return y


def waiting(engine: Any, log: Any) -> Any:
    """A context of an engine that lacks weights: it knows shapes, and does not run."""
    context, y = engine.create_execution_context(), np.zeros((1, 300), np.float32)
    assert context.set_input_shape("x", X.shape)
    for name, array in (("x", X), ("y", y)):
        assert context.set_tensor_address(name, array.ctypes.data)
    assert not context.execute_async_v3(0)
    assert "holds no weights" in log.errors[-1]
    return context


@pytest.fixture(scope="module")
def other() -> Array:
    """What the model of seed 2 gives."""
    return result(parsed(2).engine())


def test_a_parsed_engine_takes_the_weights_of_another_file(other: Array, tmp_path: Path) -> None:
    shop = parsed(1, trt.BuilderFlag.REFIT)
    engine = shop.engine()
    refitter = trt.Refitter(engine, shop.log)
    assert set(refitter.get_all_weights()) == set(SHAPES)
    places = set(zip(*refitter.get_all(), strict=True))
    assert places >= {("conv", ROLE.KERNEL), ("conv", ROLE.BIAS), ("matrix", ROLE.CONSTANT)}
    context = engine.create_execution_context()
    before = run_v3(context, {"x": X})["y"]
    path = tmp_path / "new.onnx"
    onnx.save(model(2), path)
    files = trt.OnnxParserRefitter(refitter, shop.log)
    assert files.refit_from_file(str(path))
    np.testing.assert_array_equal(run_v3(context, {"x": X})["y"], before)
    assert refitter.refit_cuda_engine()
    np.testing.assert_allclose(run_v3(context, {"x": X})["y"], other, rtol=1e-4)
    assert not np.allclose(before, other, rtol=1e-2)


def test_external_weights_and_a_model_loaded_in_parts_do_as_well(
    other: Array, tmp_path: Path
) -> None:
    path = tmp_path / "external.onnx"
    onnx.save_model(model(2), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    bare = path.read_bytes()
    for loads in (True, False):
        shop = parsed(1, trt.BuilderFlag.REFIT)
        engine = shop.engine()
        refitter = trt.Refitter(engine, shop.log)
        files = trt.OnnxParserRefitter(refitter, shop.log)
        if loads:
            assert files.refit_from_bytes(bare, str(path))
        else:
            assert files.load_model_proto(bare)
            for tensor in model(2).graph.initializer:
                array = numpy_helper.to_array(tensor).copy()
                assert files.load_initializer(tensor.name, array.ctypes.data, array.nbytes)
            assert files.refit_model_proto()
        assert refitter.refit_cuda_engine()
        np.testing.assert_allclose(result(engine), other, rtol=1e-4)


def test_a_stripped_plan_is_short_and_right_once_it_is_refitted(other: Array) -> None:
    whole, shop = parsed(2), parsed(1, trt.BuilderFlag.STRIP_PLAN)
    plan, stripped = whole.plan(), shop.plan()
    weights = sum(4 * int(np.prod(s)) for s in SHAPES.values())
    assert len(plan) - len(stripped) > 0.8 * weights
    engine: Any = trt.Runtime(shop.log).deserialize_cuda_engine(stripped)
    assert engine.refittable
    assert engine.get_engine_stat(trt.EngineStat.STRIPPED_WEIGHTS_SIZE) >= 4 * 64 * 300
    early = waiting(engine, shop.log)
    refitter = trt.Refitter(engine, shop.log)
    assert set(refitter.get_missing_weights()) == set(SHAPES)
    assert len(refitter.get_missing()[0]) == len(SHAPES)
    assert not refitter.refit_cuda_engine()
    assert "missing" in shop.log.errors[-1]
    files = trt.OnnxParserRefitter(refitter, shop.log)
    assert files.refit_from_bytes(model(2).SerializeToString())
    assert refitter.get_missing_weights() == []
    assert refitter.refit_cuda_engine()
    np.testing.assert_allclose(result(engine), other, rtol=1e-4)
    np.testing.assert_allclose(run_v3(early, {"x": X})["y"], other, rtol=1e-4)
    again: Any = trt.Runtime(shop.log).deserialize_cuda_engine(engine.serialize())
    np.testing.assert_allclose(result(again), other, rtol=1e-4)


def test_engines_of_builders_are_stripped_as_plans_are() -> None:
    shop = parsed(1, trt.BuilderFlag.STRIP_PLAN)
    engine = shop.builder.build_engine_with_config(shop.network, shop.config)
    waiting(engine, shop.log)
    refitter = trt.Refitter(engine, shop.log)
    assert set(refitter.get_missing_weights()) == set(SHAPES)


def test_weights_are_excluded_from_serialization_if_asked(other: Array) -> None:
    shop = parsed(2, trt.BuilderFlag.REFIT)
    engine = shop.engine()
    config = engine.create_serialization_config()
    assert len(engine.serialize_with_config(config)) == len(engine.serialize())
    assert config.set_flag(trt.SerializationFlag.EXCLUDE_WEIGHTS)
    short = engine.serialize_with_config(config)
    assert len(short) < len(engine.serialize()) - 4 * 64 * 300
    np.testing.assert_allclose(result(engine), other, rtol=1e-4)
    lacking: Any = trt.Runtime(shop.log).deserialize_cuda_engine(short)
    waiting(lacking, shop.log)
    assert len(lacking.serialize()) == len(short)
    plain = parsed(2, level=0).engine()
    assert plain.serialize_with_config(config) is None
    assert plain.get_engine_stat(trt.EngineStat.STRIPPED_WEIGHTS_SIZE) == -1


def test_files_that_do_not_fit_are_errors_of_the_parser(tmp_path: Path) -> None:
    shop = parsed(1, trt.BuilderFlag.REFIT, level=0)
    refitter = trt.Refitter(shop.engine(), shop.log)
    files: Any = trt.OnnxParserRefitter(refitter, shop.log)
    assert not files.refit_from_file(str(tmp_path / "nothing.onnx"))
    assert not files.refit_from_bytes(b"no model")
    assert not files.refit_model_proto()
    assert files.num_errors == 3
    files.clear_errors()
    proto = model(2)
    found = {t.name: t for t in proto.graph.initializer}
    found["bias"].CopyFrom(numpy_helper.from_array(np.zeros(64, np.float16), "bias"))
    found["matrix"].name = "another"
    assert not files.refit_from_bytes(proto.SerializeToString())
    assert files.num_errors == 2
    said = {files.get_error(i).desc(): files.get_error(i).code() for i in range(2)}
    assert set(said.values()) == {trt.ErrorCode.REFIT_FAILED}
    assert any("'bias'" in s and "HALF" in s for s in said)
    assert any("'matrix'" in s and "no initializer" in s for s in said)
    assert files.get_error(2) is None
    with pytest.raises(TypeError, match="no Refitter"):
        trt.OnnxParserRefitter(shop.network, shop.log)


def test_weights_that_decide_what_is_computed_are_not_offered() -> None:
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], F32), "scales")
    factor = numpy_helper.from_array(np.full((1, 8, 1, 1), 2, F32), "factor")
    nodes = [
        helper.make_node("Resize", ["x", "", "scales"], ["r"], "resize"),
        helper.make_node("Mul", ["r", "factor"], ["y"], "times"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [scales, factor],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    shop = Workshop()
    shop.config.set_flag(trt.BuilderFlag.STRIP_PLAN)
    assert trt.OnnxParser(shop.network, shop.log).parse(proto.SerializeToString())
    engine = shop.engine()
    refitter = trt.Refitter(engine, shop.log)
    assert refitter.get_all_weights() == ["factor"]
    assert refitter.set_named_weights("factor", np.full(8, 3, F32))
    assert refitter.refit_cuda_engine()
    np.testing.assert_allclose(result(engine), 3 * X.repeat(2, 2).repeat(2, 3), rtol=1e-5)


def test_initializers_that_cannot_be_exchanged_and_differ_are_told() -> None:
    def scaled(by: float) -> bytes:
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["a"]),
            helper.make_node("Mul", ["a", "by"], ["y"]),
        ]
        ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (2, 2)) for n in "xy"]
        arrays = {"w": np.eye(2, dtype=F32), "by": np.asarray(by, F32)}
        held = [numpy_helper.from_array(a, n) for n, a in arrays.items()]
        graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], held)
        opset = helper.make_opsetid("", 17)
        return helper.make_model(graph, opset_imports=[opset]).SerializeToString()

    shop = Workshop()
    shop.config.set_flag(trt.BuilderFlag.REFIT)
    assert trt.OnnxParser(shop.network, shop.log).parse(scaled(1.0))
    refitter = trt.Refitter(shop.engine(), shop.log)
    shop.log.lines.clear()
    assert trt.OnnxParserRefitter(refitter, shop.log).refit_from_bytes(scaled(1.0))
    assert not shop.log.lines
    assert trt.OnnxParserRefitter(refitter, shop.log).refit_from_bytes(scaled(5.0))
    assert any("'by' differs from the engine's" in str(line) for line in shop.log.lines)
