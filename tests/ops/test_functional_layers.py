"""`ops.functional`: convolutions, pools, products, normalizations, resize and quantization.

Values are held to ONNX Runtime where it has the layer, else to NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from camshaft.errors import ModelError
from camshaft.ir.graph import GraphBuilder
from camshaft.ir.types import TensorType, f32, f64, i4, i8, i64
from camshaft.ops import functional as F
from functional_graphs import floats, integers, run, run_all, same
from onnx_models import one_node

ort = pytest.importorskip("onnxruntime", reason="layers are compared with ONNX Runtime")

Array = np.ndarray


def reference(op_type: str, inputs: Sequence[Array | None], **attrs: Any) -> list[Array]:
    """What ONNX Runtime makes of one node."""
    opset, outputs = attrs.pop("opset", 21), attrs.pop("outputs", 1)
    proto, feeds = one_node(op_type, inputs, opset=opset, outputs=outputs, **attrs)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [np.asarray(y) for y in session.run(None, feeds)]


IMAGE, LINE = floats(2, 4, 7, 8), floats(2, 4, 9)
CONVS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"stride": 2, "padding": 1}, {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    (
        {"stride": (1, 2), "padding": ((0, 1), (2, 0)), "dilation": (2, 1)},
        {"strides": [1, 2], "pads": [0, 2, 1, 0], "dilations": [2, 1]},
    ),
    ({"padding": "same", "stride": 2}, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ({"padding": "same_lower", "stride": 2}, {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    ({"padding": "valid"}, {"auto_pad": "VALID"}),
    ({"padding": (1, 0)}, {"pads": [1, 0, 1, 0]}),
]


@pytest.mark.parametrize(("ours", "onnx"), CONVS, ids=str)
def test_conv(ours: dict[str, Any], onnx: dict[str, Any]) -> None:
    w, bias = floats(6, 4, 3, 2, seed=1), floats(6, seed=2)
    same(run(F.conv, IMAGE, w, bias, **ours), reference("Conv", [IMAGE, w, bias], **onnx)[0])
    grouped = floats(6, 2, 3, 2, seed=1)
    want = reference("Conv", [IMAGE, grouped], group=2, **onnx)[0]
    same(run(F.conv, IMAGE, grouped, groups=2, **ours), want)


def test_conv_of_lines() -> None:
    w, bias = floats(6, 4, 3, seed=1), floats(6, seed=2)
    same(
        run(F.conv, LINE, w, bias, stride=2, padding=1),
        reference("Conv", [LINE, w, bias], strides=[2], pads=[1, 1])[0],
    )


TRANSPOSED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    (
        {"stride": 2, "padding": 1, "output_padding": 1},
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    ),
    ({"stride": 3, "padding": "same"}, {"strides": [3, 3], "auto_pad": "SAME_UPPER"}),
    ({"stride": 2, "output_size": (14, 17)}, {"strides": [2, 2], "output_shape": [14, 17]}),
    ({"dilation": 2}, {"dilations": [2, 2]}),
]


@pytest.mark.parametrize(("ours", "onnx"), TRANSPOSED, ids=str)
def test_conv_transpose(ours: dict[str, Any], onnx: dict[str, Any]) -> None:
    w, bias = floats(4, 3, 3, 3, seed=1), floats(6, seed=2)
    want = reference("ConvTranspose", [IMAGE, w, bias], group=2, **onnx)[0]
    same(run(F.conv_transpose, IMAGE, w, bias, groups=2, **ours), want)


POOLS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"kernel_size": 2}, {"kernel_shape": [2, 2], "strides": [2, 2]}),
    (
        {"kernel_size": (3, 2), "stride": 2, "padding": 1, "ceil_mode": True},
        {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    ),
    ({"kernel_size": 3, "stride": 1, "padding": "same"},
     {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER"}),
]  # fmt: skip


@pytest.mark.parametrize(("ours", "onnx"), POOLS, ids=str)
def test_pools(ours: dict[str, Any], onnx: dict[str, Any]) -> None:
    same(run(F.max_pool, IMAGE, **ours), reference("MaxPool", [IMAGE], **onnx)[0])
    want = reference("MaxPool", [IMAGE], outputs=2, **onnx)
    for got, y in zip(run_all(F.max_pool_with_indices, IMAGE, **ours), want, strict=True):
        same(got, y)
    for counts in (False, True):
        want = reference("AveragePool", [IMAGE], count_include_pad=int(counts), **onnx)
        same(run(F.avg_pool, IMAGE, count_include_pad=counts, **ours), want[0])
    if "ceil_mode" not in ours:
        for p in (1, 2, 3):
            want = reference("LpPool", [IMAGE], p=p, **onnx)
            same(run(F.lp_pool, IMAGE, norm_type=p, **ours), want[0])


@pytest.mark.parametrize("x", [IMAGE, LINE, floats(2, 3, 4, 5, 6)], ids=lambda x: str(x.ndim))
def test_pools_over_everything(x: Array) -> None:
    axes = tuple(range(2, x.ndim))
    same(run(F.global_avg_pool, x), x.mean(axes, keepdims=True))
    same(run(F.global_max_pool, x), x.max(axes, keepdims=True))
    norm = np.sqrt((x * x).sum(axes, keepdims=True))
    same(run(F.global_lp_pool, x, norm_type=2), norm)
    if x.ndim == 3:
        same(run(F.max_pool, x, kernel_size=3, stride=3), x.reshape(2, 4, 3, 3).max(3))


def test_products() -> None:
    a, b = floats(2, 1, 3, 4), floats(5, 4, 6, seed=1)
    same(run(F.matmul, a, b), a @ b)
    same(run(F.matmul, a[0, 0, 0], b), a[0, 0, 0] @ b)
    same(run(F.matmul, a, b[0, :, 0].copy()), a @ b[0, :, 0])
    same(run(F.matmul, b[0, :, 0].copy(), b[0, :, 1].copy()), b[0, :, 0] @ b[0, :, 1])
    w, bias = floats(7, 4, seed=2), floats(7, seed=3)
    same(run(F.linear, a, w, bias), a @ w.T + bias)
    same(run(F.linear, a[0, 0, 0], w), w @ a[0, 0, 0])
    m, n = a[0, 0], floats(6, 4, seed=4)
    same(run(F.gemm, m, n, floats(6), alpha=0.5, beta=2.0, trans_b=True),
         0.5 * m @ n.T + 2 * floats(6))  # fmt: skip
    same(run(F.gemm, m, floats(3, 6), trans_a=True), m.T @ floats(3, 6))


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("bhid,bhjd->bhij", [(2, 3, 4, 5), (2, 3, 6, 5)]),
        ("...ij,...jk", [(2, 3, 4), (2, 4, 5)]),
        ("ij->j", [(3, 4)]),
        ("ij->ji", [(3, 4)]),
        ("i,j,ij->", [(3,), (4,), (3, 4)]),
        ("abc,cd,db->ad", [(2, 3, 4), (4, 5), (5, 3)]),
    ],
)
def test_einsum(equation: str, shapes: Sequence[tuple[int, ...]]) -> None:
    arrays = [floats(*s, seed=i) for i, s in enumerate(shapes)]
    got = run(lambda b, *ts: F.einsum(b, equation, *ts), *arrays)
    same(got, np.einsum(equation, *arrays))


def standardized(x: Array, axes: tuple[int, ...], eps: float = 1e-5) -> Array:
    wide = x.astype(np.float64)
    centred = wide - wide.mean(axes, keepdims=True)
    return centred / np.sqrt(wide.var(axes, keepdims=True) + eps)


def test_normalizations() -> None:
    w, b = floats(4, seed=1), floats(4, seed=2)
    wc, bc = w.reshape(4, 1, 1), b.reshape(4, 1, 1)
    x = IMAGE
    same(run(F.instance_norm, x, w, b), (standardized(x, (2, 3)) * wc + bc).astype(np.float32))
    same(run(F.instance_norm, x), standardized(x, (2, 3)).astype(np.float32))
    groups = standardized(x.reshape(2, 2, -1), (2,)).reshape(x.shape)
    got = run(lambda g, t, u, s: F.group_norm(g, t, 2, u, s), x, w, b)
    same(got, (groups * wc + bc).astype(np.float32))
    same(run(F.group_norm, x, num_groups=2), groups.astype(np.float32))
    v, c = floats(8, seed=3), floats(8, seed=4)
    layer = standardized(x, (3,))
    got = run(lambda g, t, u, s: F.layer_norm(g, t, -1, u, s), x, v, c)
    same(got, (layer * v + c).astype(np.float32))
    y, mean, inverse = run_all(F.layer_norm_with_statistics, x, axis=2)
    same(y, standardized(x, (2, 3)).astype(np.float32))
    same(mean, x.mean((2, 3), keepdims=True))
    same(inverse, 1 / np.sqrt(x.var((2, 3), keepdims=True) + np.float32(1e-5)))
    rms = x / np.sqrt((x * x).mean(3, keepdims=True) + np.float32(1e-5))
    same(run(lambda g, t, u: F.rms_norm(g, t, -1, u), x, v), rms * v)
    same(run(F.rms_norm, x), rms)


def test_batch_norm_of_constants_and_of_inputs() -> None:
    mean, w, b = floats(4), floats(4, seed=1), floats(4, seed=2)
    variance = np.abs(floats(4, seed=3)) + 1
    column = [t.reshape(4, 1, 1) for t in (mean, variance, w, b)]
    want = (IMAGE - column[0]) / np.sqrt(column[1] + np.float32(1e-3)) * column[2] + column[3]
    same(run(F.batch_norm, IMAGE, mean, variance, w, b, eps=1e-3), want)

    def fixed(g: GraphBuilder, x: Any) -> Any:
        return F.batch_norm(g, x, *(g.constant(t) for t in (mean, variance, w, b)), eps=1e-3)

    same(run(fixed, IMAGE), want)


def test_norms_and_local_response() -> None:
    x = IMAGE.copy()
    x[0, :, 0, 0] = 0
    for p in (1, 2):
        norm = np.linalg.norm(x, p, 1, keepdims=True)
        want = np.where(norm == 0, 0, x / np.where(norm == 0, 1, norm))
        same(run(F.lp_normalize, x, p=p, axis=1), want.astype(np.float32))
    want = reference("LRN", [IMAGE], size=3, alpha=0.2, beta=0.6, bias=1.5)[0]
    same(run(F.local_response_norm, IMAGE, size=3, alpha=0.2, beta=0.6, k=1.5), want)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners", "asymmetric"])
def test_resize(mode: str, coordinates: str) -> None:
    x = floats(1, 2, 5, 6)
    sizes = np.array([1, 2, 9, 4])
    attrs = {"mode": mode, "coordinate_transformation_mode": coordinates}
    want = reference("Resize", [x, None, None, sizes], **attrs, opset=18)
    sampling = F.Sampling(mode, coordinates)
    same(run(F.resize, x, sizes=(1, 2, 9, 4), sampling=sampling), want[0])
    same(run(F.resize, x, sizes=(9, 4), axes=(2, -1), sampling=sampling), want[0])


def test_resize_by_scales_and_of_other_ranks() -> None:
    x = floats(2, 3, 4)
    same(run(F.resize, x, scales=(1, 1, 2)), x.repeat(2, axis=2))
    same(run(F.resize, x, scales=(2, 1, 2)), x.repeat(2, axis=0).repeat(2, axis=2))
    channels_last = floats(1, 3, 4, 2)
    got = run(F.resize, channels_last, scales=(1, 2, 2, 1))
    same(got, channels_last.repeat(2, axis=1).repeat(2, axis=2))
    kept = run(F.resize, x, sizes=(8, 6), axes=(1, 2), keep_aspect_ratio="not_larger")
    assert kept.shape == (2, 5, 6)


def test_quantization() -> None:
    x = floats(2, 4, 3) * 3
    scale, zero = np.asarray(0.02, np.float32), np.asarray(7, np.uint8)
    want = reference("QuantizeLinear", [x, scale, zero])[0]
    same(run(F.quantize, x, scale, zero), want)
    same(run(F.dequantize, want, scale, zero), (want.astype(np.float32) - 7) * scale)
    scales = np.abs(floats(4)) / 50 + np.float32(0.01)
    q = run(F.quantize, x, scales, dtype=i8, axis=1)
    same(q, np.rint(x / scales[:, None]).clip(-128, 127).astype(np.int8))
    same(run(F.dequantize, q, scales, axis=-2), q * scales[:, None])
    blocks = np.abs(floats(2, 2, 3)) / 50 + np.float32(0.01)
    spread = blocks.repeat(2, axis=1)
    q = run(F.quantize, x, blocks, dtype=i8, axis=1, block_size=2)
    same(q, np.rint(x / spread).clip(-128, 127).astype(np.int8))
    same(run(F.dequantize, q, blocks, axis=1), q * spread)
    same(run(F.quantize, x, scale, dtype=i4),
         np.rint(x / scale).clip(-8, 7).astype(np.int8))  # fmt: skip


@pytest.mark.parametrize("weights", [np.int8, np.uint8])
@pytest.mark.parametrize("per_column", [False, True])
def test_integer_products(weights: type, per_column: bool) -> None:
    low = -128 if weights is np.int8 else 0
    a = integers(3, 6, low=0, high=256, dtype=np.uint8)
    b = integers(6, 5, low=low, high=low + 256, dtype=weights)
    za = np.asarray(100, np.uint8)
    zb = integers(5, low=low, high=low + 256, dtype=weights) if per_column else weights(low + 7)
    want = (a.astype(int) - 100) @ (b.astype(int) - zb)

    def fixed(g: GraphBuilder, left: Any, point: Any) -> Any:
        return F.matmul_integer(g, left, g.constant(b), point, g.constant(zb))

    same(run(fixed, a, za), want.astype(np.int32))
    x = a.reshape(1, 2, 9)
    w = b[:6, :3].reshape(3, 2, 3)

    few = zb[:3] if per_column else zb

    def conv(g: GraphBuilder, left: Any) -> Any:
        return F.conv_integer(g, left, *(g.constant(t) for t in (w, za, few)))

    point = few[:, None, None] if per_column else int(few)
    wide = np.lib.stride_tricks.sliding_window_view(x.astype(int) - 100, 3, axis=2)
    want = np.einsum("nclr,kcr->nkl", wide, w.astype(int) - point)
    same(run(conv, x), want.astype(np.int32))


Call = Callable[[], object]


def test_arguments_are_checked() -> None:
    b = GraphBuilder("g")

    def given(*shape: int, dtype: Any = f32) -> Any:
        return b.input(b.fresh("in"), TensorType(dtype, shape))

    x, w, v = given(1, 4, 8, 8), given(6, 4, 3, 3), given(4)
    a = given(3, 4)
    calls: list[tuple[str, Call]] = [
        ("do not have the rank", lambda: F.conv(b, x, given(6, 4, 3))),
        ("one value for each of 6", lambda: F.conv(b, x, w, v)),
        ("groups=0", lambda: F.conv(b, x, w, groups=0)),
        ("input has 4 channels", lambda: F.conv(b, x, w, groups=2)),
        ("stride=.* is below 1", lambda: F.conv(b, x, w, stride=0)),
        ("does not fit 2 spatial axes", lambda: F.conv(b, x, w, stride=(1, 1, 1))),
        ("does not fit 2 spatial axes", lambda: F.conv(b, x, w, padding=(1,))),
        ("negative padding", lambda: F.conv(b, x, w, padding=-1)),
        ("none of 'valid'", lambda: F.conv(b, x, w, padding="full")),
        ("does not fit 2", lambda: F.conv_transpose(b, x, given(4, 6, 3, 3), output_size=(9,))),
        ("window of 9 is larger", lambda: F.max_pool(b, x, 9)),
        ("must not be scalars", lambda: F.matmul(b, a, given())),
        ("do not multiply", lambda: F.matmul(b, a, a)),
        ("no matrix", lambda: F.linear(b, a, v)),
        ("must be matrices", lambda: F.gemm(b, a, x)),
        ("for 2 operands, not 1", lambda: F.einsum(b, "ij,jk", a)),
        ("names", lambda: F.einsum(b, "ij->ik", a)),
        ("ranks", lambda: F.einsum(b, "ijk", a)),
        ("no channel axis", lambda: F.batch_norm(b, v, v, v, v, v)),
        ("each of 4 channels", lambda: F.instance_norm(b, x, given(3))),
        ("into 3 groups", lambda: F.group_norm(b, x, 3)),
        ("neither 1 nor 2", lambda: F.lp_normalize(b, x, 3)),
        ("at least 1", lambda: F.local_response_norm(b, x, 0)),
        ("either sizes or scales", lambda: F.resize(b, x)),
        ("do not fit axes", lambda: F.resize(b, x, scales=(2.0, 2.0))),
        ("do not fit axes", lambda: F.resize(b, x, sizes=(1, 4, 0, 8))),
        ("unknown resize mode", lambda: F.resize(b, v, scales=(2,), sampling=F.Sampling("area"))),
        ("not quantized", lambda: F.dequantize(b, F.cast(b, x, f64), given())),
        ("to i64 is not", lambda: F.quantize(b, x, given(), dtype=i64)),
        ("does not fit axis", lambda: F.quantize(b, x, given(3))),
    ]
    for says, call in calls:
        with pytest.raises(ModelError, match=says):
            call()
    cube = given(1, 4, 8, 8, 8)
    unable: list[Call] = [
        lambda: F.conv_transpose(b, cube, given(4, 4, 3, 3, 3)),
        lambda: F.max_pool(b, cube, 2, ceil_mode=True),
        lambda: F.einsum(b, "ii->i", given(3, 3)),
        lambda: F.einsum(b, "ij,ij->ij", a, given(3, 1)),
        lambda: F.matmul_integer(b, given(3, dtype=i8), given(3, 3, dtype=i8)),
    ]
    for call in unable:
        with pytest.raises(F.NoCanonicalForm):
            call()
