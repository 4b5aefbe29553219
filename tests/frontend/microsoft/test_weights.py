"""Products with quantized weights: packed ones of few bits, and bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from camshaft.errors import ModelError
from camshaft.ir.interpret import interpret
from foreign_models import Fixed, Operand, check_foreign, foreign, runtime_results
from onnx_models import SMALL_WEIGHTS, compare, imported

pytest.importorskip("onnxruntime", reason="operators are compared with ONNX Runtime")
pytestmark = pytest.mark.peers

RNG = np.random.default_rng(13)


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def q(dtype: Any, *shape: int) -> np.ndarray:
    info = np.iinfo(dtype)
    return RNG.integers(info.min, int(info.max) + 1, shape).astype(dtype)


def packed(integers: np.ndarray, bits: int) -> np.ndarray:
    """Integers along the last axis in bytes, lowest bits first; the last byte is filled up with 0."""
    per_byte = 8 // bits
    missing = -integers.shape[-1] % per_byte
    whole = np.pad(integers, [(0, 0)] * (integers.ndim - 1) + [(0, missing)]).astype(np.uint8)
    parts = whole.reshape(*whole.shape[:-1], -1, per_byte) << (np.arange(per_byte) * bits)
    return parts.sum(-1).astype(np.uint8)


@pytest.mark.parametrize("zero", ["none", "packed", "floats"])
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize(("width", "block"), [(32, 16), (50, 16), (96, 32), (130, 128)])
def test_matmul_of_few_bits(width: int, block: int, bits: int, zero: str) -> None:
    rows, blocks = 5, -(-width // block)
    integers = RNG.integers(0, 1 << bits, (rows, blocks, block))
    zeros = RNG.integers(0, 1 << bits, (rows, blocks))
    scales = f(rows, blocks) * 0.1
    point = {"none": None, "packed": packed(zeros, bits), "floats": f(rows, blocks) + 3}[zero]
    attrs = {"K": width, "N": rows, "bits": bits, "block_size": block}
    more: list[Operand] = [Fixed(scales), None if point is None else Fixed(point)]
    numbers = zeros if zero == "packed" else 1 << bits - 1 if point is None else point
    held = (integers - np.asarray(numbers)[..., None] * np.ones((1, 1, 1))) * scales[..., None]
    x, bias = f(2, 3, width), f(rows)
    want = [(x @ held.reshape(rows, -1)[:, :width].T.astype(np.float32)).astype(np.float32)]
    operands: list[Operand] = [x, Fixed(packed(integers, bits)), *more]
    dims = {0: f"b s {width}"}
    check_foreign("MatMulNBits", operands, want=want, dims=dims, **attrs)
    want = [want[0] + bias]
    check_foreign("MatMulNBits", [*operands, None, bias], want=want, **attrs)
    if bits == 4 or zero != "floats":  # what ONNX Runtime has kernels for
        there = runtime_results(*foreign("MatMulNBits", [*operands, None, bias], **attrs))
        np.testing.assert_allclose(there[0], want[0], rtol=1e-4, atol=1e-4)


def test_matmul_of_few_bits_by_group_indices() -> None:
    width, rows, block = 48, 4, 16
    weights, scales = q(np.uint8, rows, 3, 8), f(rows, 3)
    groups = RNG.integers(0, 3, width).astype(np.int32)
    operands: list[Operand] = [f(3, width), Fixed(weights), Fixed(scales), None, Fixed(groups)]
    check_foreign("MatMulNBits", operands, K=width, N=rows, bits=4, block_size=block)


def test_packed_weights_that_are_computed() -> None:
    operands = [f(3, 40), q(np.uint8, 4, 3, 8), f(4, 3), q(np.uint8, 4, 2)]
    check_foreign("MatMulNBits", operands, K=40, N=4, bits=4, block_size=16, dims={0: "n 40"})


def test_packed_weights_that_do_not_fit_are_refused() -> None:
    operands: list[Operand] = [f(3, 40), Fixed(q(np.uint8, 4, 2, 8)), Fixed(f(4, 2))]
    attrs = {"K": 40, "N": 4, "bits": 4, "block_size": 16}
    with pytest.raises(ModelError, match=r"node 'node' .*are not \[rows, 3, 8\]"):
        imported(foreign("MatMulNBits", operands, **attrs)[0])
    with pytest.raises(ModelError, match="weight_prepacked"):
        imported(foreign("MatMulNBits", operands, weight_prepacked=1, **attrs)[0])


@pytest.mark.parametrize("kind", [0, 1])
def test_matmul_of_4_bit_floats(kind: int) -> None:
    """With an identity on the left the weights themselves come out: all 16 codes."""
    rows, width, block = 5, 48, 16
    constants = [
        Fixed(q(np.uint8, rows * width // 2)),
        Fixed(np.abs(f(rows * width // block)) + 0.5),
    ]
    attrs = {"K": width, "N": rows, "block_size": block, "quant_type": kind}
    operands: list[Operand] = [np.eye(width, dtype=np.float32), *constants]
    check_foreign("MatMulBnb4", operands, dims={0: f"n {width}"}, **attrs)
    turned = runtime_results(*foreign("MatMulBnb4", operands, **attrs))[0].T
    left = f(3, rows)
    check_foreign("MatMulBnb4", [left, *constants], transB=0, want=[left @ turned], **attrs)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("zero", [False, True])
def test_gather_of_packed_rows(zero: bool, bits: int) -> None:
    integers, block = RNG.integers(0, 1 << bits, (7, 96)), 32
    zeros = RNG.integers(0, 1 << bits, (7, 3))
    scales = f(7, 3)
    indices = np.array([[0, 6, 3], [-1, 2, 2]])
    operands: list[Operand] = [Fixed(packed(integers, bits)), indices, Fixed(scales)]
    if zero:
        operands.append(Fixed(packed(zeros, bits)))
    attrs = {"bits": bits, "block_size": block}
    check_foreign("GatherBlockQuantized", operands, dims={1: "b s"}, **attrs)


@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4])
@pytest.mark.parametrize("axes", [(0, 1), (1, 0)])
def test_gather_of_narrow_integers(axes: tuple[int, int], kind: int) -> None:
    gather, along = axes
    low = -8 if kind == TensorProto.INT4 else 0
    shape = [32, 32]
    integers = RNG.integers(low, low + 16, shape)
    blocks = [32, 32]
    blocks[along] = 2
    scales, zeros = f(*blocks), RNG.integers(low, low + 16, blocks)
    indices = np.array([3, 0, 5], np.int32)
    attrs = {"gather_axis": gather, "quantize_axis": along, "block_size": 16}
    model, feeds = foreign("GatherBlockQuantized", [None, indices, Fixed(scales)], **attrs)
    model.graph.node[0].input[0] = "data"
    model.graph.node[0].input.append("zeros")
    for name, values in (("data", integers), ("zeros", zeros)):
        made = helper.make_tensor(name, kind, values.shape, values.ravel().tolist())
        model.graph.initializer.append(made)
    compare(interpret(imported(model), feeds)["y0"], runtime_results(model, feeds)[0], 1e-6)


# --- products of bytes ----------------------------------------------------------------------


def weights(dtype: Any, *shape: int) -> np.ndarray:
    """Bytes that ONNX Runtime multiplies exactly on every processor."""
    low, high = SMALL_WEIGHTS if dtype is np.int8 else (0, 127)
    return RNG.integers(low, high + 1, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_matmul_integer_to_float(bias: bool, by_column: bool, dtype: Any) -> None:
    count = (5,) if by_column else ()
    b_scale = np.asarray(np.abs(f(*count)) * 0.01 + 0.01, np.float32)
    operands: list[Operand] = [
        q(np.uint8, 2, 4, 6),
        Fixed(weights(dtype, 6, 5)),
        np.array(0.02, np.float32),
        Fixed(b_scale),
        np.array(7, np.uint8),
        Fixed(np.zeros(count, dtype)) if dtype is np.int8 else Fixed(weights(dtype, *count)),
        f(5) if bias else None,
    ]
    dims = {0: "b s 6"}
    check_foreign("MatMulIntegerToFloat", operands, dims=dims)
    check_foreign("MatMulIntegerToFloat", operands[:4], dims=dims)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_dynamic_quantize_matmul(bias: bool, by_column: bool, dtype: Any) -> None:
    count = (5,) if by_column else ()
    operands: list[Operand] = [
        f(2, 4, 6),
        Fixed(weights(dtype, 6, 5)),
        Fixed(np.asarray(np.abs(f(*count)) * 0.01 + 0.01, np.float32)),
        Fixed(weights(dtype, *count)) if dtype is np.uint8 else None,
        f(5) if bias else None,
    ]
    check_foreign("DynamicQuantizeMatMul", operands, dims={0: "b s 6"})


def test_integers_that_stay_integers() -> None:
    a, b = q(np.int16, 2, 3, 4), q(np.int16, 4, 5)
    wide = a.astype(np.int64) @ b.astype(np.int64)
    want = (wide & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
    check_foreign("MatMulInteger16", [a, b], types=[TensorProto.INT32], want=[want])
    small = [a // 64, b // 64]
    check_foreign("MatMulInteger16", small, types=[TensorProto.INT32], dims={0: "b s 4"})
    x, y = q(np.uint8, 3, 4), q(np.uint8, 4)
    points = [np.array(7, np.uint8), np.array(200, np.uint8)]
    product = (x.astype(np.int32) - 7) * (y.astype(np.int32) - 200)
    kinds = [TensorProto.INT32]
    check_foreign("MulInteger", [x, points[0], y, points[1]], types=kinds, want=[product])
    check_foreign("MulInteger", [x, None, y], types=kinds, want=[x.astype(np.int32) * y])
    for array, kind in ((x, TensorProto.UINT32), (x.view(np.int8), TensorProto.INT32)):
        sums = array.sum(1, dtype=np.uint32 if kind == TensorProto.UINT32 else np.int32)
        attrs = {"axes": [1], "keepdims": 0}
        check_foreign("ReduceSumInteger", [array], types=[kind], want=[sums], **attrs)
