"""Every op's reference against its inference and against an independent meaning.

The references judge kernels and passes, so they are held here against plain loops, PyTorch-free.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from onnx import helper

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.op import OpDef
from camshaft.ir.plugins.plugin import Plugin
from camshaft.ir.plugins.registry import register
from camshaft.ir.types import DType, TensorType, bf16, f16, f32, f64, i8, i64, type_of, u8
from camshaft.ops import (
    ALL_OPS,
    ATTENTION,
    BROADCAST,
    CONCAT,
    CONV,
    CONV_TRANSPOSE,
    DEQUANTIZE,
    EXTENTS,
    GATHER,
    HOST,
    INTERLEAVE,
    IOTA,
    KEPT_ROWS,
    MATMUL,
    MATMUL_NBITS,
    PAD,
    PLUGIN,
    POINTWISE,
    POOL,
    QUANTIZE,
    RAGGED_ATTENTION,
    RECURRENT,
    REDUCE,
    RESAMPLE,
    RESHAPE,
    SLICE,
    SOFTMAX,
    TALLY,
    TRANSPOSE,
)
from camshaft.ops.common import window_extent
from camshaft.ops.execute import executor, payload
from camshaft.ops.host import output_attrs
from camshaft.ops.plugin import plugin_attrs

RNG = np.random.default_rng(6)


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def q(dtype: Any, *shape: int) -> np.ndarray:
    info = np.iinfo(dtype)
    return RNG.integers(info.min, int(info.max) + 1, shape).astype(dtype)


@dataclass(frozen=True)
class Use:
    """An op with operands and attributes that fit."""

    op: OpDef
    arrays: Sequence[np.ndarray]
    attrs: Mapping[str, Any] = field(default_factory=dict)

    def run(self) -> list[np.ndarray]:
        return [np.asarray(a) for a in self.op.reference(self.arrays, self.op.complete(self.attrs))]

    def types(self) -> list[TensorType]:
        return list(self.op.infer([type_of(a) for a in self.arrays], self.op.complete(self.attrs)))


BIAS_RELU = E.maximum(E.add(E.inp(0), E.inp(1)), E.const(0.0))
REQUANTIZE = E.cast(E.mul(E.cast(E.inp(0), f32), E.const(0.01)), u8)
TABLE = np.array([[0, 1], [1, 1], [1, 2]], np.int32)
WEIGHT = np.array([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]], np.float32)
TOP_K = helper.make_node("TopK", ["x", "k"], ["v", "i"])
HOST_TOP_K = {
    "op_type": "TopK",
    "proto": TOP_K.SerializeToString(),
    "opset": 17,
    **output_attrs([TensorType(f32, (3, 2)), TensorType(i64, (3, 2))]),
}

HALVED = Plugin("test::HalvedOp", lambda x, *, by: x / np.float32(by), attributes={"by": 2.0})
register(HALVED)

USES = [
    Use(PLUGIN, [f(2, 3)], plugin_attrs(HALVED, {"by": 4.0}, [1])),
    Use(CONV, [f(2, 3, 6, 5), f(4, 3, 3, 2)], {"layout": "NCHW"}),
    Use(CONV, [f(2, 6, 5, 3), f(4, 3, 2, 3)], {"layout": "NHWC", "pads": (1, 0, 2, 1)}),
    Use(
        CONV,
        [f(1, 4, 6, 6), f(6, 2, 3, 3), f(6, 1, 1)],
        {"layout": "NCHW", "groups": 2, "epilogue": BIAS_RELU, "strides": (2, 1)},
    ),
    Use(
        CONV,
        [q(np.uint8, 1, 6, 6, 4), q(np.int8, 4, 3, 3, 1)],
        {"layout": "NHWC", "groups": 4, "x_zero_point": 9, "epilogue": REQUANTIZE},
    ),
    Use(CONV_TRANSPOSE, [f(1, 4, 3, 5), f(4, 3, 3, 2)], {"strides": (2, 3), "groups": 2}),
    Use(MATMUL, [f(2, 1, 3, 4), f(5, 4, 2)]),
    Use(MATMUL, [q(np.uint8, 3, 4), q(np.int8, 4, 2)], {"a_zero_point": 7}),
    Use(
        MATMUL_NBITS,
        [f(2, 3, 21), q(np.uint8, 4, 11), f(4, 3), q(np.uint8, 4, 3), f(4)],
        {"bits": 4, "block": 8, "epilogue": BIAS_RELU},
    ),
    Use(
        MATMUL_NBITS,
        [f(3, 21), q(np.uint8, 4, 21), f(4, 2), np.zeros((0, 0), np.float32)],
        {"bits": 8, "block": 16, "int8": True},
    ),
    Use(ATTENTION, [f(2, 3, 4), f(2, 5, 4), f(1, 5, 6)]),
    Use(
        ATTENTION,
        [f(2, 3, 4), f(2, 5, 4), f(2, 5, 6), f(5), f(6)],
        {
            "score": E.add(E.inp(0), E.inp(1)),
            "operands": 1,
            "causal": True,
            "first": 1,
            "window": 2,
            "epilogue": BIAS_RELU,
        },
    ),
    Use(POOL, [f(1, 2, 7, 6)], {"kind": "max", "kernel": (3, 2), "layout": "NCHW"}),
    Use(
        POOL,
        [q(np.uint8, 1, 7, 6, 2)],
        {"kind": "avg", "kernel": (2, 2), "layout": "NHWC", "x_zero_point": 3},
    ),
    Use(
        RESAMPLE,
        [f(1, 2, 3, 3), TABLE, WEIGHT, TABLE, WEIGHT],
        {"layout": "NCHW"},
    ),
    Use(
        RESAMPLE,
        [f(1, 2, 3, 3), TABLE, WEIGHT[:1], TABLE[:, :1], WEIGHT[1:2, :1]],
        {"layout": "NCHW"},
    ),
    Use(
        RESAMPLE, [q(np.int64, 1, 3, 3, 2), *[TABLE[:, :1], WEIGHT[:, :1]] * 2], {"layout": "NHWC"}
    ),
    Use(IOTA, [], {"count": 7}),
    Use(TALLY, [f(2, 5, 3, 4)], {"rows": 4, "every": 7}),
    Use(KEPT_ROWS, [np.array([[1, 0, 1], [0, 0, 1]])], {"count": 3}),
    Use(
        RAGGED_ATTENTION,
        [f(2, 5, 4), f(2, 5, 4), f(1, 5, 6), np.array([0, 3, 3, 5])],
        {"longest": 4},
    ),
    Use(EXTENTS, [], {"values": (5, 7), "shape": (2, 1)}),
    Use(REDUCE, [f(3, 4, 5)], {"kind": "sum", "axes": (0, -1), "keepdims": False}),
    Use(REDUCE, [q(np.int8, 3, 4)], {"kind": "max", "axes": (1,)}),
    Use(REDUCE, [q(np.int8, 3, 4)], {"kind": "sum", "axes": (1,)}),
    Use(REDUCE, [f()], {"kind": "prod", "axes": ()}),
    Use(SOFTMAX, [f(3, 4)], {"axis": 0, "log": True}),
    Use(POINTWISE, [f(3, 1), f(4)], {"expr": BIAS_RELU}),
    Use(POINTWISE, [f()], {"expr": E.unary("exp", E.inp(0))}),
    Use(POINTWISE, [f(3), f(3)], {"expr": E.binary("lt", E.inp(0), E.inp(1))}),
    Use(RESHAPE, [f(3, 4)], {"shape": (2, 6)}),
    Use(RESHAPE, [f(1)], {"shape": ()}),
    Use(TRANSPOSE, [f(2, 3, 4)], {"perm": (2, 0, 1)}),
    Use(TRANSPOSE, [f()], {"perm": ()}),
    Use(CONCAT, [f(2, 3), f(2, 1)], {"axis": -1}),
    Use(SLICE, [f(5, 6)], {"starts": (1, 1), "sizes": (2, 2), "steps": (2, 3)}),
    Use(PAD, [f(2, 3)], {"before": (1, 0), "after": (0, 2), "value": 7.0}),
    Use(PAD, [f(3, 3)], {"before": (1, 0), "after": (0, 2), "mode": "reflect"}),
    Use(BROADCAST, [f(3, 1)], {"shape": (2, 3, 4)}),
    Use(BROADCAST, [f()], {"shape": ()}),
    Use(GATHER, [f(3, 4), np.array([[0, -1]])], {"axis": 1}),
    Use(INTERLEAVE, [f(1, 2, 3, 4)] * 6, {"blocks": (2, 3)}),
    Use(QUANTIZE, [f(3, 4), f(4) ** 2 + 0.1, q(np.int8, 4)], {"axis": 1}),
    Use(DEQUANTIZE, [q(np.uint8, 3, 4), np.float32(0.1), np.uint8(3)]),
    Use(HOST, [f(3, 5), np.array([2])], HOST_TOP_K),
    Use(RECURRENT, [f(4, 3, 2 * 20), f(2, 20, 5)], {"cell": "lstm", "backward": (0, 1)}),
    Use(
        RECURRENT,
        [f(4, 3, 15), f(1, 15, 5), f(1, 5), np.array([4, 0, 2]), f(1, 3, 5)],
        {"cell": "gru", "after": True, "given": ("behind", "lengths", "h"), "clip": 1.5},
    ),
    Use(
        RECURRENT, [f(4, 3, 5), q(np.int8, 1, 5, 5), f(1, 5)], {"cell": "rnn", "given": ("scale",)}
    ),
]


def _name(use: Use) -> str:
    return use.op.name


def test_every_op_is_used_here() -> None:
    assert {u.op.name for u in USES} == {op.name for op in ALL_OPS}
    assert len({op.name for op in ALL_OPS}) == len(ALL_OPS)


@pytest.mark.parametrize("use", USES, ids=_name)
def test_reference_gives_what_inference_says(use: Use) -> None:
    assert [type_of(a) for a in use.run()] == use.types()
    assert all(a.flags.c_contiguous for a in use.run())


@pytest.mark.parametrize("use", USES, ids=_name)
def test_payload_carries_an_op_through_an_engine_file(use: Use) -> None:
    attrs = use.op.complete(use.attrs)
    data = payload(use.op, attrs)
    assert data == payload(use.op, dict(reversed(attrs.items())))
    for got, want in zip(executor(data)(use.arrays, ()), use.run(), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"op": "none", "attrs": {}}', b"\xff"])
def test_damaged_payloads_are_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match="damaged"):
        executor(data)


def test_attributes_are_checked() -> None:
    with pytest.raises(ModelError, match="no attribute"):
        SOFTMAX.complete({"axes": 1})
    with pytest.raises(ModelError, match="needs attribute"):
        POOL.complete({"kind": "max"})


def loop_conv(x: np.ndarray, w: np.ndarray, attrs: Mapping[str, Any]) -> np.ndarray:
    """NCHW convolution, one multiplication at a time."""
    (sh, sw), (dh, dw), groups = attrs["strides"], attrs["dilations"], attrs["groups"]
    top, left, bottom, right = attrs["pads"]
    wide = x.astype(np.float64) - attrs["x_zero_point"]
    padded = np.pad(wide, ((0, 0), (0, 0), (top, bottom), (left, right)))
    n, (k, cg, r, s) = x.shape[0], w.shape
    oh = (padded.shape[2] - dh * (r - 1) - 1) // sh + 1
    ow = (padded.shape[3] - dw * (s - 1) - 1) // sw + 1
    y = np.zeros((n, k, oh, ow))
    for b, o, i, j in itertools.product(range(n), range(k), range(oh), range(ow)):
        group = o // (k // groups)
        for c, u, v in itertools.product(range(cg), range(r), range(s)):
            pixel = padded[b, group * cg + c, i * sh + u * dh, j * sw + v * dw]
            y[b, o, i, j] += pixel * float(w[o, c, u, v])
    return y


CONVS: list[dict[str, Any]] = [
    {},
    {"strides": (2, 1), "pads": (1, 0, 2, 1)},
    {"dilations": (2, 1), "groups": 2},
    {"groups": 4, "pads": (1, 1, 1, 1)},
]


@pytest.mark.parametrize("attrs", CONVS)
@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_conv(attrs: dict[str, Any], integer: bool, layout: str) -> None:
    cg = 4 // attrs.get("groups", 1)
    x = q(np.uint8, 2, 4, 6, 5) if integer else f(2, 4, 6, 5)
    w = q(np.int8, 4, cg, 3, 2) if integer else f(4, cg, 3, 2)
    filled = CONV.complete({**attrs, "layout": layout, "x_zero_point": 5 if integer else 0})
    want = loop_conv(x, w, filled)
    if layout == "NHWC":
        x, w = (np.ascontiguousarray(a.transpose(0, 2, 3, 1)) for a in (x, w))
        want = want.transpose(0, 2, 3, 1)
    (got,) = CONV.reference([x, w], filled)
    if integer:
        np.testing.assert_array_equal(got, want)
    else:
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("half", [bf16, f16], ids=str)
@pytest.mark.parametrize("x_half", [True, False], ids=["both", "weights"])
def test_halves_are_summed_in_f32(half: DType, x_half: bool) -> None:
    """Images and matrices of halves, or f32 ones with half weights; the epilogue sees f32."""
    wide = E.cast(E.add(E.inp(0), E.inp(1)), half)
    x, w = f(2, 4, 6, 5), f(4, 4, 3, 2).astype(half.numpy)
    x = x.astype(half.numpy) if x_half else x
    bias = f(4, 1, 1)
    filled = CONV.complete({"pads": (1, 0, 2, 1), "layout": "NCHW"})
    want = loop_conv(x.astype(np.float64), w, filled)
    (got,) = CONV.reference([x, w], filled)
    assert got.dtype == np.float32 == infer(CONV, [x, w], filled).dtype.numpy
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    filled = {**filled, "epilogue": wide}
    (rounded,) = CONV.reference([x, w, bias], filled)
    assert rounded.dtype == half.numpy == infer(CONV, [x, w, bias], filled).dtype.numpy
    np.testing.assert_array_equal(rounded, (got + bias).astype(half.numpy))
    a, b = x.reshape(2, 8, 15), f(2, 15, 7).astype(half.numpy)
    (product,) = MATMUL.reference([a, b], MATMUL.complete({}))
    assert product.dtype == np.float32 == infer(MATMUL, [a, b], MATMUL.complete({})).dtype.numpy
    exact = a.astype(np.float64) @ b.astype(np.float64)
    np.testing.assert_allclose(product, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("types", [(bf16, f16), (bf16, f32), (f32, f64), (f16, i8)], ids=str)
def test_other_types_do_not_meet(types: tuple[DType, DType]) -> None:
    a, b = (np.ones(s, t.numpy) for s, t in zip(((3, 4), (4, 5)), types, strict=True))
    with pytest.raises(ModelError, match="different element types"):
        infer(MATMUL, [a, b], MATMUL.complete({}))


def infer(op: OpDef, arrays: list[np.ndarray], attrs: Mapping[str, Any]) -> TensorType:
    return op.infer([type_of(a) for a in arrays], attrs)[0]


def test_conv_transpose_is_the_adjoint_of_conv() -> None:
    """<conv(x), y> == <x, conv_transpose(y)> for the same weights, strides and pads."""
    attrs = {"strides": (2, 3), "pads": (1, 0, 0, 2), "dilations": (1, 2)}
    x, w = f(1, 3, 8, 11), f(4, 3, 3, 2)
    (y_like,) = CONV.reference([x, w], CONV.complete({**attrs, "layout": "NCHW"}))
    y = f(*y_like.shape)
    (back,) = CONV_TRANSPOSE.reference([y, w], CONV_TRANSPOSE.complete(attrs))
    rows, cols = back.shape[2:]  # the last rows or columns may be read by no window
    assert np.vdot(y_like, y) == pytest.approx(np.vdot(x[:, :, :rows, :cols], back), rel=1e-4)


def test_pools_by_hand() -> None:
    x = np.arange(1, 10, dtype=np.float32).reshape(1, 1, 3, 3)

    def pool(**attrs: Any) -> list[float]:
        filled = POOL.complete({"layout": "NCHW", "kernel": (2, 2), **attrs})
        return [float(v) for v in POOL.reference([x], filled)[0].reshape(-1)]

    assert pool(kind="max") == [5, 6, 8, 9]
    assert pool(kind="avg") == [3, 4, 6, 7]
    assert pool(kind="max", strides=(2, 2)) == [5]
    assert pool(kind="max", strides=(2, 2), ceil_mode=True) == [5, 6, 8, 9]
    assert pool(kind="avg", strides=(2, 2), ceil_mode=True) == [3, 4.5, 7.5, 9]
    assert pool(kind="max", strides=(2, 2), kernel=(4, 4), ceil_mode=True) == [9]
    assert pool(kind="avg", strides=(2, 2), kernel=(4, 4), ceil_mode=True) == [5]
    corners = {"strides": (2, 2), "pads": (1, 1, 0, 0)}
    assert pool(kind="avg", **corners) == [1, 2.5, 5.5, 7]
    assert pool(kind="avg", count_include_pad=True, **corners) == [0.25, 1.25, 2.75, 7]
    assert pool(kind="max", dilations=(2, 2)) == [9]


def test_window_extents_of_ceil_mode() -> None:
    """A last window that would start in the end padding is dropped (PyTorch's rule)."""
    assert window_extent(5, 2, 2, (0, 0), 1) == 2
    assert window_extent(5, 2, 2, (0, 0), 1, ceil=True) == 3
    assert window_extent(4, 1, 2, (0, 1), 1, ceil=True) == 2
    assert window_extent(3, 2, 2, (0, 1), 1, ceil=True) == 2
    with pytest.raises(ModelError, match="window of 5"):
        window_extent(4, 3, 1, (0, 0), 2)
    # The first window may reach beyond the image, if less than a stride (ONNX Runtime and PyTorch agree).
    assert window_extent(1, 2, 2, (0, 0), 1, ceil=True) == 1
    assert window_extent(4, 5, 3, (0, 0), 1, ceil=True) == 1
    with pytest.raises(ModelError, match="window of 5"):
        window_extent(3, 5, 2, (0, 0), 1, ceil=True)


def test_average_of_quantized_values_is_that_of_the_real_ones() -> None:
    x = q(np.uint8, 1, 4, 4, 3)
    attrs = POOL.complete({"kind": "avg", "kernel": (4, 4), "layout": "NHWC", "x_zero_point": 100})
    (got,) = POOL.reference([x], attrs)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got[0, 0, 0], (x.astype(int) - 100).mean(axis=(0, 1, 2)), rtol=1e-6)


def test_quantization_by_hand() -> None:
    """Round half to even, then the zero point, then saturation; NaN gives the smallest value."""
    x = np.array([0.5, 1.5, 2.5, -0.5, 1000, -1000, np.inf, -np.inf, np.nan], np.float32)
    one, zero = np.float32(1.0), np.int8(1)
    (got,) = QUANTIZE.reference([x, np.asarray(one), np.asarray(zero)], QUANTIZE.complete({}))
    assert got.tolist() == [1, 3, 3, 1, 127, -128, 127, -128, -128]


def test_softmax_of_large_values() -> None:
    x = np.array([[1000.0, 1000.0], [-1000.0, 0.0]], np.float32)
    (got,) = SOFTMAX.reference([x], SOFTMAX.complete({}))
    np.testing.assert_allclose(got, [[0.5, 0.5], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("op", "types", "attrs"),
    [
        (CONV, [(1, 3, 5, 5), (4, 2, 3, 3)], {"layout": "NCHW"}),
        (CONV, [(1, 3, 5), (4, 3, 3)], {"layout": "NCHW"}),
        (CONV, [(1, 3, 5, 5), (4, 3, 9, 9)], {"layout": "NCHW"}),
        (CONV, [(1, 3, 5, 5), (4, 3, 1, 1)], {"layout": "NCHW", "epilogue": BIAS_RELU}),
        (CONV, [(1, 3, 5, 5), (4, 3, 1, 1), (5, 1, 1)], {"layout": "NCHW", "epilogue": BIAS_RELU}),
        (MATMUL, [(3, 4), (5, 2)], {}),
        (MATMUL, [(4,), (4, 2)], {}),
        (POOL, [(1, 2, 3, 3)], {"kind": "min", "kernel": (2, 2), "layout": "NCHW"}),
        (REDUCE, [(2, 3)], {"kind": "sum", "axes": (2,)}),
        (RESHAPE, [(2, 3)], {"shape": (4, 2)}),
        (RESHAPE, [(2, 3)], {"shape": (-2, -3)}),
        (TRANSPOSE, [(2, 3)], {"perm": (0, 0)}),
        (CONCAT, [(2, 3), (3, 3)], {"axis": 1}),
        (SLICE, [(4,)], {"starts": (2,), "sizes": (3,), "steps": (1,)}),
        (PAD, [(4,)], {"before": (-1,), "after": (0,)}),
        (BROADCAST, [(2, 3)], {"shape": (3,)}),
        (GATHER, [(2, 3), (1,)], {"axis": 0}),  # float indices
        (INTERLEAVE, [(1, 2, 2, 1)] * 3, {"blocks": (2, 2)}),
        (POINTWISE, [(2,), (3,)], {"expr": BIAS_RELU}),
    ],
)
def test_misuse_is_refused(op: OpDef, types: list[tuple[int, ...]], attrs: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        op.infer([TensorType(f32, t) for t in types], op.complete(attrs))


def test_types_of_host_nodes() -> None:
    types = [TensorType(f32, ()), TensorType(u8, (1, 2)), TensorType(f32, (0,))]
    attrs = {"op_type": "X", "proto": b"", "opset": 1, **output_attrs(types)}
    assert HOST.infer([], HOST.complete(attrs)) == types


# -- what definitions say ------------------------------------------------------------------------


@pytest.mark.parametrize("op", ALL_OPS, ids=lambda op: op.name)
def test_every_op_and_attribute_is_described(op: OpDef) -> None:
    assert op.doc.endswith(".") and op.family != "other"
    assert all(a.doc for a in op.attributes.values())


def test_integers_outside_the_domain_are_refused_by_the_reference() -> None:
    for op, types, attrs in (
        (GATHER, [TensorType(f32, (3, 5)), TensorType(i64, (4,))], {"axis": 1}),
        (GATHER, [TensorType(f32, (3, 5)), TensorType(i64, (4,))], {"axis": -2}),
    ):
        for operand, (least, most) in op.integers(types, op.complete(attrs)).items():
            arrays = [np.zeros(t.shape, t.dtype.numpy) for t in types]
            for edge, outside in ((least, least - 1), (most, most + 1)):
                arrays[operand][:] = edge
                op.reference(arrays, attrs)
                arrays[operand][:] = outside
                with pytest.raises(ModelError, match="outside"):
                    op.reference(arrays, attrs)
