"""Models with weights of few bits, from file to results: packed all the way, right in every form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import camshaft
from camshaft.frontends.onnx import import_onnx
from camshaft.ops.nbits import dequantized
from camshaft.passes.pipeline import optimize
from camshaft.quant.weight_only import rounded_blocks

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
    return runtime_results(model, {"x": x})[0]


def runtime_results(model: ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    ort = pytest.importorskip("onnxruntime", reason="results are compared with ONNX Runtime's")
    options = ort.SessionOptions()
    # it would make products of bytes of products of floats
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [np.asarray(a) for a in session.run(None, feeds)]


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


def cast_model(kind: str) -> ModelProto:
    """A product with weights that the model makes floats of bytes."""
    k, n, block = WIDTH, 72, 32
    value = RNG.integers(-128, 128, (n, k)).astype(np.int8)
    scale = (RNG.random((n, 1)) * 0.02).astype(np.float32)
    arrays: dict[str, np.ndarray] = {"w": value, "s": scale}
    nodes = [helper.make_node("Cast", ["w"], ["f"], to=TensorProto.FLOAT)]
    turned = helper.make_node("Transpose", ["scaled"], ["t"], perm=[1, 0])
    product = helper.make_node("MatMul", ["x", "t"], ["y"])
    if kind == "scaled":
        nodes += [helper.make_node("Mul", ["f", "s"], ["scaled"]), turned, product]
    elif kind == "zero points":
        arrays["z"] = RNG.integers(-9, 9, (n, 1)).astype(np.float32)
        nodes.append(helper.make_node("Sub", ["f", "z"], ["shifted"]))
        nodes += [helper.make_node("Mul", ["s", "shifted"], ["scaled"]), turned, product]
    elif kind == "scaled behind":
        arrays |= {"w": value.T, "s": scale[:, 0]}
        nodes.append(helper.make_node("MatMul", ["x", "f"], ["p"]))
        nodes.append(helper.make_node("Mul", ["p", "s"], ["y"]))
    else:
        blocks = (n, k // block, block)
        arrays |= {"w": value.reshape(blocks), "shape": np.array([n, k])}
        arrays["s"] = (RNG.random((n, k // block, 1)) * 0.02).astype(np.float32)
        nodes.append(helper.make_node("Mul", ["f", "s"], ["m"]))
        nodes += [helper.make_node("Reshape", ["m", "shape"], ["scaled"]), turned, product]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["m", k])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["m", n])
    constants = [numpy_helper.from_array(np.ascontiguousarray(a), i) for i, a in arrays.items()]
    graph = helper.make_graph(nodes, "casts", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.peers
@pytest.mark.parametrize("kind", ["scaled", "zero points", "scaled behind", "blocks"])
def test_weights_that_a_model_casts_stay_bytes(kind: str) -> None:
    model = cast_model(kind)
    engine = camshaft.build(model, optimization_level=1)
    assert [n.op for n in engine.notes] == ["matmul_nbits"]
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


@pytest.mark.peers
@pytest.mark.parametrize(("format_", "bits"), [("QOperator", 4), ("QDQ", 4), ("QOperator", 8)])
@pytest.mark.parametrize("symmetric", [False, True])
def test_models_of_onnx_runtimes_own_quantizer(format_: str, symmetric: bool, bits: int) -> None:
    quantizer = pytest.importorskip(
        "onnxruntime.quantization.matmul_nbits_quantizer",
        reason="ONNX Runtime's quantizer of weights needs onnx-ir",
    )
    from onnxruntime.quantization import QuantFormat

    config = quantizer.DefaultWeightOnlyQuantConfig(
        block_size=32, is_symmetric=symmetric, bits=bits, quant_format=QuantFormat[format_]
    )
    made = quantizer.MatMulNBitsQuantizer(float_model(), bits=bits, algo_config=config)
    made.process()
    model = made.model.model
    engine = camshaft.build(model, optimization_level=1)
    assert sum(n.op == "matmul_nbits" for n in engine.notes) >= 3
    (want, *_), got = runtime_results(model, IDS), engine(IDS)["y"]
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


@pytest.mark.peers
def test_columns_ordered_by_group_are_gathered_first() -> None:
    """GPTQ with act-order: group indices permute the columns of whole groups."""
    rng = np.random.default_rng(4)
    model = nbits_model(4, 0, 3)
    order = rng.permutation(WIDTH)
    groups = np.empty(WIDTH, np.int32)
    groups[order] = np.arange(WIDTH) // 32
    for node in model.graph.node:
        if node.op_type == "MatMulNBits":
            node.input.extend(["", "groups"])
    model.graph.initializer.append(numpy_helper.from_array(groups, "groups"))
    assert packed_steps(model) == ["gather", "matmul_nbits"] * 2
    engine = camshaft.build(model, optimization_level=1)
    x = rng.standard_normal((3, WIDTH)).astype(np.float32)
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


@pytest.mark.parametrize("int8", [False, True])
def test_permission_makes_activations_bytes(int8: bool) -> None:
    precision = {"int8"} if int8 else set()
    engine = camshaft.build(nbits_model(4, 0, 1), optimization_level=1, precision=precision)
    assert {n.tactic == "matmul_nbits_bytes" for n in engine.notes} == {int8}


def test_the_engine_holds_the_weights_packed() -> None:
    engine = camshaft.build(nbits_model(4, 0, 1), optimization_level=1)
    held = [b for b in engine.program.buffers if b.space == "constant"]
    nbytes = sum(b.elements * b.dtype.bytes for b in held)
    columns = -(-WIDTH // 64) * 64  # whole panels, which have 64 columns with AVX-512
    scales, biases = WIDTH // 32 * columns * 4, columns * 4
    assert nbytes <= 2 * (WIDTH * columns // 2 + scales + biases)


# -- weights rounded by the build ------------------------------------------------------------------


def float_model(width: int = 160, batch: int | str = "b") -> ModelProto:
    """Three products of rows, a tiny one, and an embedding."""
    rng = np.random.default_rng(5)
    arrays: dict[str, np.ndarray] = {
        "table": rng.standard_normal((300, width)).astype(np.float32),
        "bias": rng.standard_normal(width).astype(np.float32),
        "tiny": rng.standard_normal((width, 3)).astype(np.float32),
    }
    for i in range(3):
        arrays[f"w{i}"] = (rng.standard_normal((width, width)) / 13).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"], name="embedding"),
        helper.make_node("MatMul", ["x", "w0"], ["a"], name="first"),
        helper.make_node("Add", ["a", "bias"], ["ab"], name="add"),
        helper.make_node("Relu", ["ab"], ["r"], name="relu"),
        helper.make_node("MatMul", ["r", "w1"], ["c"], name="second"),
        helper.make_node("Tanh", ["c"], ["d"], name="tanh"),
        helper.make_node("MatMul", ["d", "w2"], ["y"], name="head"),
        helper.make_node("MatMul", ["d", "tiny"], ["z"], name="small"),
    ]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, [batch, 4])
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, [batch, 4, w])
        for n, w in (("y", width), ("z", 3))
    ]
    constants = [numpy_helper.from_array(a, n) for n, a in arrays.items()]
    graph = helper.make_graph(nodes, "floats", [ids], ends, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


FLOAT = float_model()
IDS = {"ids": np.random.default_rng(2).integers(0, 300, (3, 4))}


def built(**options: Any) -> camshaft.Engine:
    return camshaft.build(FLOAT, optimization_level=1, **options)


def off(engine: camshaft.Engine) -> float:
    """Noise over signal of the first output."""
    want, got = (np.asarray(e(IDS)["y"], np.float64) for e in (built(), engine))
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"weight_only": "int8"}, 0.02),
        ({"weight_only": "int8", "precision": {"int8"}}, 0.03),
        ({"weight_only": "int4"}, 0.15),
        ({"weight_only": "int4", "weight_zero_points": True, "weight_block": 16}, 0.13),
        ({"weight_only": "int4", "precision": {"int8"}}, 0.15),
    ],
    ids=str,
)
def test_weights_of_a_float_model(options: dict[str, Any], most: float) -> None:
    engine = built(**options)
    ops = {n.name.split(" + ")[0]: n.op for n in engine.notes}
    assert ops["first"] == ops["second"] == ops["head"] == "matmul_nbits"
    assert ops["embedding"] == "gather" and ops["small"] != "matmul_nbits"
    assert 1e-4 < off(engine) < most
    bits, kind = options["weight_only"][-1], "i8" if "precision" in options else "f32"
    precisions = {n.precision for n in engine.notes if n.op == "matmul_nbits"}
    assert precisions == {f"{kind}, weights u{bits}", f"{kind}, weights u8"}


def test_reasons_say_bits_and_error_and_heads_keep_8() -> None:
    reasons = {n.name.split(" + ")[0]: n.reason for n in built(weight_only="int4").notes}
    assert "weight_only: 4-bit weights, relative error 8." in reasons["first"]
    assert "weight_only: 8-bit weights, relative error 0." in reasons["head"]


def test_layers_kept_in_fp32_and_options_that_contradict() -> None:
    engine = built(weight_only="int4", layer_precision={"second": "fp32"})
    ops = {n.name.split(" + ")[0]: n.op for n in engine.notes}
    assert ops["first"] == "matmul_nbits" != ops["second"]
    with pytest.raises(camshaft.ConfigError, match="weight_only='int4' and calibration given"):
        built(weight_only="int4", precision={"int8"}, calibration=[IDS])
    with pytest.raises(camshaft.ConfigError, match="layer_precision"):
        built(weight_only="int4", layer_precision={"nothing": "fp32"})
    with pytest.raises(camshaft.ConfigError, match="weight_only='int8' given, but the model's Q"):
        camshaft.build(quantized_model(), weight_only="int8")


def quantized_model() -> ModelProto:
    """Quantized activations."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in "xy"]
    scale = numpy_helper.from_array(np.array(0.1, np.float32), "s")
    graph = helper.make_graph(nodes, "quantized", ends[:1], ends[1:], [scale])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zero_points", [False, True])
def test_rounding_is_no_worse_than_the_plain_one(bits: int, zero_points: bool) -> None:
    w = np.random.default_rng(3).standard_normal((40, 100)).astype(np.float32)
    w[3, :32], w[5] = 0.0, 1.5
    matrix, error = rounded_blocks(w, bits, 32, zero_points=zero_points)
    attrs = {"bits": bits, "block": 32}
    got = dequantized(matrix.w, matrix.scale, matrix.zero, 100, attrs)
    assert error == pytest.approx(np.linalg.norm(got - w) / np.linalg.norm(w), rel=1e-3)
    assert matrix.scale.dtype == np.float16
    plain = 0.0
    for start in range(0, 100, 32):
        part = w[:, start : start + 32]
        step = np.abs(part).max(axis=1, keepdims=True) / ((1 << bits - 1) - 1)
        rounded = np.rint(part / np.where(step > 0, step, 1)) * step
        plain += float(np.square(rounded - part).sum())
    assert np.square(got - w).sum() < plain
