"""ONNX Runtime's QOperator format: each operator is the float one between its scales.

Judges are the definition, in NumPy's float64, and ONNX Runtime, which rounds some steps otherwise: it is
at most one quantum away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from camshaft.errors import ModelError
from foreign_models import Fixed, Operand, check_foreign, foreign
from onnx_models import imported

pytest.importorskip("onnxruntime", reason="operators are compared with ONNX Runtime")
pytestmark = pytest.mark.peers

RNG = np.random.default_rng(16)
BYTES = {np.uint8: TensorProto.UINT8, np.int8: TensorProto.INT8}
each_type = pytest.mark.parametrize("dtype", BYTES)


def q(dtype: Any, *shape: int) -> np.ndarray:
    info = np.iinfo(dtype)
    return RNG.integers(info.min, int(info.max) + 1, shape).astype(dtype)


class Quantized:
    """Bytes, their scale and zero point; `real` in f64."""

    def __init__(
        self, dtype: Any, *shape: int, scale: float = 0.03, zero: int | None = None
    ) -> None:
        self.bytes = q(dtype, *shape)
        self.scale = np.array(scale, np.float32)
        self.zero = q(dtype) if zero is None else np.array(zero, dtype)

    @property
    def three(self) -> list[Operand]:
        return [self.bytes, Fixed(self.scale), Fixed(self.zero)]

    @property
    def real(self) -> np.ndarray:
        return (self.bytes.astype(np.float64) - self.zero) * np.float64(self.scale)


def check_q(
    op_type: str,
    operands: list[Operand],
    real: np.ndarray,
    result: Quantized,
    *,
    peer: bool = True,
    **more: Any,
) -> None:
    """The result holds `real`, quantized as `result` is, within a rounding."""
    dtype = result.zero.dtype.type
    exact = real / np.float64(result.scale) + result.zero
    info = np.iinfo(dtype)
    want = np.clip(np.rint(exact), info.min, info.max).astype(dtype)
    more["types"] = [BYTES[dtype]]
    check_foreign(op_type, operands, want=[want], off=1, **more)
    if peer:
        check_foreign(op_type, operands, off=1, **more)


ELEMENTWISE: dict[str, tuple[Callable[..., np.ndarray], dict[str, Any], float]] = {
    "QLinearLeakyRelu": (lambda x: np.where(x < 0, 0.1 * x, x), {"alpha": 0.1}, 0.02),
    "QLinearSigmoid": (lambda x: 1 / (1 + np.exp(-x)), {}, 1 / 256),
}


@each_type
@pytest.mark.parametrize("op_type", ELEMENTWISE)
def test_functions_of_one_operand(op_type: str, dtype: Any) -> None:
    function, attrs, scale = ELEMENTWISE[op_type]
    x, y = Quantized(dtype, 2, 3, 50), Quantized(dtype, scale=scale)
    operands = [*x.three, Fixed(y.scale), Fixed(y.zero)]
    check_q(op_type, operands, function(x.real), y, dims={0: "n 3 t"}, **attrs)


@each_type
@pytest.mark.parametrize("op_type", ["QLinearAdd", "QLinearMul"])
@pytest.mark.parametrize("shape", [(2, 3, 5), (5,), (3, 1), ()])
def test_sums_and_products(shape: tuple[int, ...], op_type: str, dtype: Any) -> None:
    a, b = Quantized(dtype, 2, 3, 5), Quantized(dtype, *shape, scale=0.05)
    y = Quantized(dtype, scale=0.1)
    real = a.real + b.real if op_type == "QLinearAdd" else a.real * b.real
    check_q(op_type, [*a.three, *b.three, Fixed(y.scale), Fixed(y.zero)], real, y)


@each_type
def test_zero_points_that_are_left_out(dtype: Any) -> None:
    a, b = (Quantized(dtype, 2, 3, zero=0) for _ in range(2))
    y = Quantized(dtype, scale=0.06, zero=0)
    operands = [a.bytes, Fixed(a.scale), None, b.bytes, Fixed(b.scale), None, Fixed(y.scale)]
    check_q("QLinearAdd", operands, a.real + b.real, y, peer=False)


@each_type
@pytest.mark.parametrize(("axis", "opset"), [(-1, 13), (1, 13), (1, 11), (2, 11)])
def test_softmax(axis: int, opset: int, dtype: Any) -> None:
    """Before opset 13 all axes from `axis` on are one."""
    x = Quantized(dtype, 3, 4, 6)
    y = Quantized(dtype, scale=1 / 256, zero=0 if dtype is np.uint8 else -128)
    rows = x.real if opset == 13 else x.real.reshape(*x.bytes.shape[:axis], -1)
    at = axis if opset == 13 else -1
    e = np.exp(rows - rows.max(at, keepdims=True))
    want = (e / e.sum(at, keepdims=True)).reshape(x.bytes.shape)
    operands = [*x.three, Fixed(y.scale), Fixed(y.zero)]
    check_q("QLinearSoftmax", operands, want, y, axis=axis, opset=opset)


@pytest.mark.parametrize("keepdims", [0, 1])
def test_reduce_mean(keepdims: int) -> None:
    x, y = Quantized(np.uint8, 2, 3, 4), Quantized(np.uint8, scale=0.02)
    want = x.real.mean((1, 2), keepdims=bool(keepdims))
    operands = [*x.three, Fixed(y.scale), Fixed(y.zero)]
    attrs = {"axes": [1, -1], "keepdims": keepdims}
    check_q("QLinearReduceMean", operands, want, y, peer=False, **attrs)


def test_where() -> None:
    x, y, z = (Quantized(np.uint8, 2, 3, 4, scale=s) for s in (0.03, 0.05, 0.06))
    condition = RNG.integers(0, 2, (3, 1)).astype(bool)
    operands: list[Operand] = [condition, *x.three, *y.three, Fixed(z.scale), Fixed(z.zero)]
    check_q("QLinearWhere", operands, np.where(condition, x.real, y.real), z)


def test_concat() -> None:
    parts = [Quantized(np.uint8, 2, n, scale=s) for n, s in ((3, 0.03), (1, 0.05), (4, 0.02))]
    y = Quantized(np.uint8, scale=0.04)
    operands = [Fixed(y.scale), Fixed(y.zero), *(o for p in parts for o in p.three)]
    want = np.concatenate([p.real for p in parts], 1)
    check_q("QLinearConcat", operands, want, y, axis=1)


def last(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(array, 1, -1)


@each_type
@pytest.mark.parametrize("channels_last", [0, 1])
def test_average_pools(channels_last: int, dtype: Any) -> None:
    x, y = Quantized(dtype, 2, 3, 6, 5), Quantized(dtype, scale=0.03)
    real = x.real
    if channels_last:
        x.bytes = np.ascontiguousarray(last(x.bytes))
    order = last if channels_last else lambda a: a
    operands = [*x.three, Fixed(y.scale), Fixed(y.zero)]
    dims = {0: "n h w 3" if channels_last else "n 3 h w"}
    attrs: dict[str, Any] = {"channels_last": channels_last}
    whole = order(real.mean((2, 3), keepdims=True))
    check_q("QLinearGlobalAveragePool", operands, whole, y, dims=dims, **attrs)
    windows = np.lib.stride_tricks.sliding_window_view(real, (3, 2), axis=(2, 3))[:, :, ::2]
    want = order(windows.mean((4, 5)))
    attrs |= {"kernel_shape": [3, 2], "strides": [2, 1]}
    check_q("QLinearAveragePool", operands, want, y, dims=dims, **attrs)


@pytest.mark.parametrize("pads", [[1, 1, 0, 1], [0, 0, 1, 1]])
@pytest.mark.parametrize("count", [0, 1])
def test_average_pools_with_padding(count: int, pads: list[int]) -> None:
    x, y = Quantized(np.uint8, 1, 2, 6, 5), Quantized(np.uint8, scale=0.03)
    operands = [*x.three, Fixed(y.scale), Fixed(y.zero)]
    attrs = {"kernel_shape": [2, 2], "pads": pads, "count_include_pad": count, "strides": [2, 2]}
    more: dict[str, Any] = {**attrs, "types": [TensorProto.UINT8]}
    check_foreign("QLinearAveragePool", operands, off=1, **more)
    more["ceil_mode"] = 1
    if not count:
        check_foreign("QLinearAveragePool", operands, off=1, **more)
        return
    with pytest.raises(ModelError, match="ceil_mode=1 with count_include_pad=1"):
        imported(foreign("QLinearAveragePool", operands, **more)[0])


@pytest.mark.parametrize("by_channel", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("channels_last", [0, 1])
def test_convolution(channels_last: int, group: int, bias: bool, by_channel: bool) -> None:
    """Channels-last images; the weights are as ever."""
    x, y = Quantized(np.uint8, 2, 4, 6, 5), Quantized(np.uint8, scale=0.2)
    if channels_last:
        x.bytes = np.ascontiguousarray(last(x.bytes))
    w = RNG.integers(-60, 61, (6, 4 // group, 3, 3)).astype(np.int8)
    shape = (6,) if by_channel else ()
    scale = RNG.uniform(0.01, 0.02, shape).astype(np.float32)
    weights: list[Operand] = [Fixed(w), Fixed(np.asarray(scale)), Fixed(np.zeros(shape, np.int8))]
    operands: list[Operand] = [*x.three, *weights, Fixed(y.scale), Fixed(y.zero)]
    if bias:
        operands.append(Fixed(RNG.integers(-500, 500, 6).astype(np.int32)))
    attrs = {"group": group, "pads": [1, 0, 1, 1], "channels_last": channels_last}
    dims = {0: "n h w 4" if channels_last else "n 4 h w"}
    check_foreign("QLinearConv", operands, types=[TensorProto.UINT8], off=1, dims=dims, **attrs)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize("result", ["bytes", "floats"])
def test_gemm(result: str, turned: int, bias: bool) -> None:
    a, y = Quantized(np.uint8, 3, 6), Quantized(np.uint8, scale=0.3)
    b = RNG.integers(-60, 61, (5, 6) if turned else (6, 5)).astype(np.int8)
    scale = RNG.uniform(0.01, 0.02, 5).astype(np.float32)
    operands: list[Operand] = [*a.three, Fixed(b), Fixed(scale), Fixed(np.zeros(5, np.int8))]
    operands.append(Fixed(RNG.integers(-500, 500, 5).astype(np.int32)) if bias else None)
    if result == "bytes":
        operands += [Fixed(y.scale), Fixed(y.zero)]
    kind = TensorProto.UINT8 if result == "bytes" else TensorProto.FLOAT
    check_foreign("QGemm", operands, types=[kind], off=1, transB=turned, alpha=0.5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
@pytest.mark.parametrize("axis", [None, 1])
def test_quantization_in_this_domain(axis: int | None, dtype: Any) -> None:
    shape = () if axis is None else (4,)
    scale = RNG.uniform(0.01, 0.02, shape).astype(np.float32)
    zero = Fixed(q(dtype, *shape))
    attrs = {} if axis is None else {"axis": axis}
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    x = RNG.standard_normal((3, 4)).astype(np.float32)
    pair: list[Operand] = [Fixed(np.asarray(scale)), zero]
    check_foreign("QuantizeLinear", [x, *pair], types=[kind], **attrs)
    check_foreign("DequantizeLinear", [q(dtype, 3, 4), *pair], dims={0: "n 4"}, **attrs)
