"""Models with weights of few bits, from file to results: packed all the way, right in every form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import camshaft
from camshaft.frontends.onnx import import_onnx
from camshaft.passes.pipeline import optimize

RNG = np.random.default_rng(11)
WIDTH = 96


def nbits_model(
    bits: int, level: int, rows: int | str = "m", *, block: int = 32, zeros: bool = False
) -> ModelProto:
    """Two MatMulNBits with bias, activation and residual between them."""
    per_byte, blocks = 8 // bits, WIDTH // block
    nodes, constants, x = [], [], "x"
    for i in range(2):
        w = RNG.integers(0, 256, (WIDTH, blocks, block // per_byte)).astype(np.uint8)
        arrays: dict[str, np.ndarray] = {
            f"w{i}": w,
            f"s{i}": (RNG.random(WIDTH * blocks) * 0.02).astype(np.float32),
        }
        arrays[f"bias{i}"] = RNG.standard_normal(WIDTH).astype(np.float32)
        names = [x, f"w{i}", f"s{i}"]
        if zeros:
            packed = -(-blocks // per_byte)
            arrays[f"z{i}"] = RNG.integers(0, 256, WIDTH * packed).astype(np.uint8)
            names.append(f"z{i}")
        constants += [numpy_helper.from_array(a, n) for n, a in arrays.items()]
        attrs: dict[str, Any] = {
            "K": WIDTH,
            "N": WIDTH,
            "bits": bits,
            "block_size": block,
            "accuracy_level": level,
        }
        nodes += [
            helper.make_node("MatMulNBits", names, [f"m{i}"], domain="com.microsoft", **attrs),
            helper.make_node("Add", [f"m{i}", f"bias{i}"], [f"a{i}"]),
            helper.make_node("Relu", [f"a{i}"], [f"r{i}"]),
            helper.make_node("Add", [f"r{i}", x], [f"h{i}"]),
        ]
        x = f"h{i}"
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [rows, WIDTH]) for n in ("x", x)]
    graph = helper.make_graph(nodes, "nbits", value[:1], value[1:], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def packed_steps(model: ModelProto) -> list[str]:
    """The ops of the optimized graph."""
    return [node.op.name for node in optimize(import_onnx(model.SerializeToString())).nodes]


def runtime_result(model: ModelProto, x: np.ndarray) -> np.ndarray:
    ort = pytest.importorskip("onnxruntime", reason="results are compared with ONNX Runtime's")
    options = ort.SessionOptions()
    # it would make products of bytes of products of floats
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {"x": x})[0])


@pytest.mark.peers
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("level", [0, 4])
@pytest.mark.parametrize("zeros", [False, True], ids=["symmetric", "zero points"])
def test_matmul_nbits_as_onnx_runtime(bits: int, level: int, zeros: bool) -> None:
    model = nbits_model(bits, level, zeros=zeros)
    assert packed_steps(model) == ["matmul_nbits"] * 2
    engine = camshaft.build(model, optimization_level=1, threads=2)
    for rows in (1, 3, 33):
        x = RNG.standard_normal((rows, WIDTH)).astype(np.float32)
        want = runtime_result(model, x)
        (got,) = engine({"x": x}).values()
        # ONNX Runtime keeps floats where it has no kernel for bytes
        tolerance = 1e-5 if level == 0 else 2e-2
        np.testing.assert_allclose(got, want, atol=tolerance * np.abs(want).max())


def dequantized_model(
    kind: str, product: str, dtype: int, axis: int, block: int, rows: int | str = "m"
) -> ModelProto:
    """DequantizeLinear of a constant [K, N], or [N, K] where the product turns it, before a product.

    kind: "blocks", "columns" or "tensor".
    """
    k, n = WIDTH, 72
    turned = product.endswith("turned")
    shape = [n, k] if turned else [k, n]
    low, high = {TensorProto.INT4: (-8, 7), TensorProto.UINT4: (0, 15), TensorProto.INT8: (-128, 127),
                 TensorProto.UINT8: (0, 255)}[dtype]  # fmt: skip
    scales = list(shape)
    if kind == "blocks":
        scales[axis] = -(-shape[axis] // block)
    elif kind == "columns":
        scales = [shape[axis]]
    else:
        scales = []
    values = RNG.integers(low, high + 1, shape)
    zeros = RNG.integers(low // 2, high // 2 + 1, scales)
    tensors = [
        helper.make_tensor("w", dtype, shape, values.ravel().tolist()),
        helper.make_tensor("z", dtype, scales, np.ravel(zeros).tolist()),
        numpy_helper.from_array((RNG.random(scales) * 0.02 + 0.01).astype(np.float32), "s"),
    ]
    attrs: dict[str, Any] = {"block_size": block} if kind == "blocks" else {}
    nodes = [helper.make_node("DequantizeLinear", ["w", "s", "z"], ["d"], axis=axis, **attrs)]
    if product == "gemm turned":
        nodes.append(helper.make_node("Gemm", ["x", "d"], ["y"], transB=1, alpha=0.5))
    elif turned:
        nodes.append(helper.make_node("Transpose", ["d"], ["t"], perm=[1, 0]))
        nodes.append(helper.make_node("MatMul", ["x", "t"], ["y"]))
    else:
        nodes.append(helper.make_node("MatMul", ["x", "d"], ["y"]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, k])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, n])
    graph = helper.make_graph(nodes, "dequantized", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.peers
@pytest.mark.parametrize("dtype", ["INT4", "UINT4", "INT8", "UINT8"])
@pytest.mark.parametrize("kind", ["blocks", "columns", "tensor"])
@pytest.mark.parametrize("product", ["matmul", "matmul turned", "gemm turned"])
def test_dequantized_constants_stay_packed(dtype: str, kind: str, product: str) -> None:
    turned = product.endswith("turned")
    along_k, along_n = (1, 0) if turned else (0, 1)
    axis = along_k if kind == "blocks" else along_n
    model = dequantized_model(kind, product, getattr(TensorProto, dtype), axis, 32)
    engine = camshaft.build(model, optimization_level=1)
    assert {n.op for n in engine.notes} == {"matmul_nbits"}
    x = RNG.standard_normal((3, WIDTH)).astype(np.float32)
    want = runtime_result(model, x)
    (got,) = engine({"x": x}).values()
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


@pytest.mark.peers
@pytest.mark.parametrize("kind", ["blocks", "columns"])
def test_scales_that_vary_along_a_sum_become_floats(kind: str) -> None:
    axis = 1 if kind == "blocks" else 0
    model = dequantized_model(kind, "matmul", TensorProto.INT8, axis, 8)
    engine = camshaft.build(model, optimization_level=1)
    assert "matmul_nbits" not in {n.op for n in engine.notes}
    x = RNG.standard_normal((3, WIDTH)).astype(np.float32)
    want = runtime_result(model, x)
    (got,) = engine({"x": x}).values()
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


def test_results_do_not_depend_on_threads() -> None:
    x = RNG.standard_normal((5, WIDTH)).astype(np.float32)
    for level in (0, 4):
        model = nbits_model(4, level, 5, zeros=True)
        results = [
            next(iter(camshaft.build(model, optimization_level=1, threads=t)({"x": x}).values()))
            for t in (1, 2, 3)
        ]
        assert all(np.array_equal(results[0], r) for r in results[1:])


def test_the_engine_holds_the_weights_packed() -> None:
    engine = camshaft.build(nbits_model(4, 0, 1), optimization_level=1)
    held = [b for b in engine.program.buffers if b.space == "constant"]
    nbytes = sum(b.elements * b.dtype.bytes for b in held)
    scales, biases = WIDTH * WIDTH // 32 * 4, WIDTH * 4
    assert nbytes <= 2 * (WIDTH * WIDTH // 2 + scales + biases)
