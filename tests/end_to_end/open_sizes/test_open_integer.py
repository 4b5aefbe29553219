"""Integer products of open extents with zero points known at run time: ONNX Runtime's bits at any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from onnx_models import SMALL_WEIGHTS
from open_engines import check_open, open_model

pytest.importorskip("onnxruntime", reason="results are compared with ONNX Runtime")
pytestmark = [pytest.mark.peers, pytest.mark.codegen]

RNG = np.random.default_rng(7)


def weights(dtype: Any, *shape: int) -> np.ndarray:
    """u8 weights are multiplied exactly everywhere, i8 ones where they are small."""
    low, high = (0, 256) if dtype is np.uint8 else SMALL_WEIGHTS
    return RNG.integers(low, high, shape).astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "shape", "attrs"),
    [
        (np.int8, (5, 4, 3, 3), {"pads": [1, 1, 1, 1]}),
        (np.uint8, (5, 4, 3, 3), {"pads": [1, 0, 2, 1], "strides": [2, 1], "dilations": [1, 2]}),
        (np.uint8, (8, 1, 3, 3), {"pads": [1, 1, 1, 1], "group": 4}),
        (np.int8, (6, 4, 3, 2), {}),
        (np.uint8, (3, 4, 1, 1), {}),
    ],
)
def test_conv_integer(dtype: Any, shape: Any, attrs: dict[str, Any], tmp_path: Path) -> None:
    constants = {"w": weights(dtype, *shape), "wz": np.array(90 if dtype is np.uint8 else 0, dtype)}
    node = helper.make_node("ConvInteger", ["x", "w", "xz", "wz"], ["y"], "conv", **attrs)
    types = {"x": np.uint8, "xz": np.uint8, "y": np.int32}
    inputs: Any = {"x": ["n", 4, "h", "w"], "xz": []}
    model = open_model([node], inputs, ["y"], constants, types=types)
    sizes = [(1, 16, 16), (2, 7, 9), (3, 3, 5), (1, 33, 5), (2, 64, 31), (1, 4, 100)]
    batches = [
        {
            "x": RNG.integers(0, 256, (n, 4, h, w)).astype(np.uint8),
            "xz": np.array(RNG.integers(0, 256), np.uint8),
        }
        for n, h, w in sizes
    ]
    check_open(model, batches, tmp_path)


def test_conv_integer_along_a_line(tmp_path: Path) -> None:
    constants = {"w": weights(np.uint8, 6, 4, 5), "wz": np.array(7, np.uint8)}
    node = helper.make_node("ConvInteger", ["x", "w", "xz", "wz"], ["y"], "conv", pads=[2, 2])
    types = {"x": np.uint8, "xz": np.uint8, "y": np.int32}
    model = open_model([node], {"x": ["n", 4, "t"], "xz": []}, ["y"], constants, types=types)
    batches = [
        {
            "x": RNG.integers(0, 256, (n, 4, t)).astype(np.uint8),
            "xz": np.array(RNG.integers(0, 256), np.uint8),
        }
        for n, t in ((1, 1), (2, 16), (1, 128), (3, 7))
    ]
    check_open(model, batches, tmp_path)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_dynamically_quantized_layers(dtype: Any, tmp_path: Path) -> None:
    """Convolution and matrix product as ONNX Runtime's dynamic quantization writes them."""
    point = np.array(100 if dtype is np.uint8 else 0, dtype)
    constants = {
        "w": weights(dtype, 8, 3, 3, 3),
        "wz": point,
        "ws": np.array(1 / 128, np.float32),
        "m": weights(dtype, 8, 6),
        "ms": np.array(1 / 64, np.float32),
    }
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("ConvInteger", ["q", "w", "z", "wz"], ["i"], pads=[1, 1, 1, 1]),
        helper.make_node("Cast", ["i"], ["f"], to=1),
        helper.make_node("Mul", ["s", "ws"], ["k"]),
        helper.make_node("Mul", ["f", "k"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Transpose", ["r"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("DynamicQuantizeLinear", ["t"], ["tq", "ts", "tz"]),
        helper.make_node("MatMulInteger", ["tq", "m", "tz", "wz"], ["p"]),
        helper.make_node("Cast", ["p"], ["pf"], to=1),
        helper.make_node("Mul", ["ts", "ms"], ["pk"]),
        helper.make_node("Mul", ["pf", "pk"], ["y"]),
    ]
    model = open_model(nodes, {"x": ["n", 3, "h", "w"]}, ["y"], constants)
    batches = [
        {"x": RNG.standard_normal((n, 3, h, w)).astype(np.float32)}
        for n, h, w in ((1, 12, 12), (2, 1, 1), (1, 31, 7), (3, 5, 40))
    ]
    check_open(model, batches, tmp_path, tolerance=1e-6)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("by_column", [False, True])
def test_dynamically_quantized_lstm(direction: str, by_column: bool, tmp_path: Path) -> None:
    """Beside the same layer of floats, from which 12 bits of a state are off by 2e-4: ONNX Runtime rounds states to 8
    bits in each step."""
    d, width, size = (2 if direction == "bidirectional" else 1), 6, 8
    columns = (d, 4 * size) if by_column else (d,)
    constants = {
        "w": weights(np.int8, d, width, 4 * size),
        "r": weights(np.int8, d, size, 4 * size),
        "b": (RNG.standard_normal((d, 8 * size)) / 8).astype(np.float32),
        "s": RNG.uniform(0.01, 0.02, columns).astype(np.float32),
        "z": np.zeros(columns, np.int8),
        "p": (RNG.standard_normal((d, 3 * size)) / 8).astype(np.float32),
    }
    names = ["x", "w", "r", "b", "", "h", "c", "p", "s", "z", "s", "z"]
    node = helper.make_node(
        "DynamicQuantizeLSTM",
        names,
        ["y", "", "last"],
        "lstm",
        domain="com.microsoft",
        direction=direction,
        hidden_size=size,
    )
    inputs: Any = {"x": ["t", "n", width], "h": [d, "hn", size], "c": [d, "cn", size]}
    model = open_model([node], inputs, ["y", "last"], constants, domains=["com.microsoft"])
    batches = [
        {n: RNG.standard_normal(shape).astype(np.float32) / 2 for n, shape in shapes.items()}
        for shapes in (
            {"x": (t, 1, width), "h": (d, 1, size), "c": (d, 1, size)} for t in (1, 5, 16, 3)
        )
    ]
    scale = constants["s"].reshape(d, 1, -1)
    floats = {n: (constants[n] * scale).swapaxes(1, 2).astype(np.float32) for n in "wr"}
    plain = helper.make_node(
        "LSTM", names[:8], ["y", "", "last"], direction=direction, hidden_size=size
    )
    like = open_model(
        [plain], inputs, ["y", "last"], {**floats, "b": constants["b"], "p": constants["p"]}
    )
    engine = check_open(model, batches, tmp_path, like=like, tolerance=1e-3)
    assert list(engine.symbols) == ["t", "n"]  # the states' batch is the input's
