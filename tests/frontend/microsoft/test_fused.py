"""Products, activations and normalizations that ONNX Runtime's optimizer fuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from camshaft.errors import ModelError
from foreign_models import Fixed, check_foreign, foreign
from onnx_models import imported

pytest.importorskip("onnxruntime", reason="operators are compared with ONNX Runtime")
pytestmark = pytest.mark.peers

RNG = np.random.default_rng(11)


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


ACTIVATIONS: dict[str, list[float]] = {
    "Relu": [],
    "Tanh": [],
    "Sigmoid": [],
    "LeakyRelu": [0.2],
    "Clip": [-0.5, 0.75],
    "HardSigmoid": [0.3, 0.4],
    "HardSwish": [],
}


@pytest.mark.parametrize("activation", ["", *ACTIVATIONS])
@pytest.mark.parametrize("operands", ["x w", "x w b", "x w b z", "x w - z"])
def test_fused_conv(activation: str, operands: str) -> None:
    attrs: dict[str, Any] = {"pads": [1, 0, 1, 2], "strides": [2, 1], "group": 2}
    if activation:
        attrs["activation"] = activation
        attrs["activation_params"] = ACTIVATIONS[activation] or None
    arrays = {"x": f(2, 4, 7, 6), "w": Fixed(f(6, 2, 3, 3)), "b": f(6), "z": f(2, 6, 4, 6)}
    given = [arrays.get(o) for o in operands.split()]
    dims = {0: "n 4 h w"} if len(given) < 4 else None
    check_foreign(
        "FusedConv", given, dims=dims, **{k: v for k, v in attrs.items() if v is not None}
    )


@pytest.mark.parametrize("rank", [1, 3])
def test_fused_conv_of_other_ranks(rank: int) -> None:
    x, w = f(2, 3, *[6] * rank), f(4, 3, *[3] * rank)
    attrs = {"activation": "LeakyRelu", "activation_params": [0.1]}
    if rank == 1:
        check_foreign("FusedConv", [x, Fixed(w), f(4)], **attrs)


GEMM = {
    "Celu": {"alpha": 0.7},
    "Elu": {"alpha": 0.7},
    "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
    "LeakyRelu": {"alpha": 0.3},
    "Relu": {},
    "Selu": {"alpha": 1.5, "gamma": 1.1},
    "Sigmoid": {},
    "Softplus": {},
    "Softsign": {},
    "Tanh": {},
    "ThresholdedRelu": {"alpha": 0.4},
    "ParametricSoftplus": {"alpha": 0.7, "beta": 1.2},
    "ScaledTanh": {"alpha": 0.7, "beta": 1.2},
}


@pytest.mark.parametrize("activation", GEMM)
def test_fused_gemm(activation: str) -> None:
    attrs: dict[str, Any] = {f"activation_{k}": v for k, v in GEMM[activation].items()}
    attrs |= {"activation": activation, "alpha": 0.5, "beta": 2.0, "transB": 1}
    check_foreign("FusedGemm", [f(3, 5), f(4, 5), f(4)], dims={0: "n 5"}, **attrs)
    check_foreign("FusedGemm", [f(5, 3), f(5, 4)], transA=1, activation="Relu")


@pytest.mark.parametrize("alpha", [1.0, 0.25])
@pytest.mark.parametrize("turns", range(16))
def test_fused_matmul(turns: int, alpha: float) -> None:
    """A and B of four axes, in every order that the attributes say."""
    names = ("transA", "transB", "transBatchA", "transBatchB")
    attrs: dict[str, Any] = {n: turns >> i & 1 for i, n in enumerate(names)}

    def operand(rows: int, columns: int, side: str) -> np.ndarray:
        if attrs[f"trans{side}"]:
            rows, columns = columns, rows
        return f(rows, 2, 3, columns) if attrs[f"transBatch{side}"] else f(2, 3, rows, columns)

    check_foreign("FusedMatMul", [operand(4, 5, "A"), operand(5, 6, "B")], alpha=alpha, **attrs)


def test_fused_matmul_of_vectors_and_doubles() -> None:
    check_foreign("FusedMatMul", [f(5), f(5, 3)], transA=1)
    check_foreign("FusedMatMul", [f(2, 4, 5), f(3, 5)], transB=1, alpha=0.5, dims={0: "b s 5"})
    check_foreign(
        "FusedMatMul", [f(3, 4).astype(float), f(3, 2).astype(float)], transA=1, types=[11]
    )
    check_foreign("TransposeMatMul", [f(2, 5, 4), f(2, 3, 5)], transA=1, transB=1, alpha=3.0)


def gelu(x: np.ndarray) -> np.ndarray:
    from math import erf

    return (0.5 * x * (1 + np.vectorize(erf)(x / np.sqrt(2)))).astype(np.float32)


def test_gelu_in_its_spellings() -> None:
    x, bias, dims = 3 * f(2, 5, 8), f(8), {0: "b s 8"}
    check_foreign("Gelu", [x], dims=dims)
    check_foreign("BiasGelu", [x, bias], dims=dims)
    check_foreign("FastGelu", [x], dims=dims)
    check_foreign("FastGelu", [x, bias], dims=dims)
    check_foreign("QuickGelu", [x], dims=dims)
    check_foreign("QuickGelu", [x], alpha=0.5)
    total = x + bias
    want = [total[..., :4] * gelu(total[..., 4:])]
    check_foreign("BiasSplitGelu", [x, bias], dims=dims, want=want)
    matrix = f(8, 3)
    inner = (x @ matrix + bias[:3]).astype(np.float64)
    cubic = 0.7978845608 * (inner + 0.044715 * inner**3)
    fast = (0.5 * inner * (1 + np.tanh(cubic))).astype(np.float32)
    check_foreign("GemmFastGelu", [x, matrix, bias[:3]], want=[fast])


def test_sums_with_a_bias() -> None:
    x, bias, skip, dims = f(2, 5, 8), f(8), f(2, 5, 8), {0: "b s 8"}
    check_foreign("BiasAdd", [x, bias, skip], want=[x + bias + skip])
    names = ("y0", "y1")
    mask = np.ones(x.shape, bool)
    want = [x + bias + skip, mask]
    check_foreign("BiasDropout", [x, bias, skip], want=want, outputs=names, types=[1, 9])
    check_foreign("BiasDropout", [x, bias], want=want[:1] - skip, dims=dims)
    on = Fixed(np.array(True))
    with pytest.raises(ModelError, match="training mode"):
        imported(foreign("BiasDropout", [x, bias, None, None, on])[0])


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_bias_softmax(axis: int) -> None:
    """Axes from `axis` on are one; the bias broadcasts as in an addition."""
    x = f(2, 3, 4, 5)
    for bias, inner in ((f(4, 5), 0), (f(2, 1, 1, 5), 1)):
        rows = (x + bias).reshape(int(np.prod(x.shape[:axis])), -1).astype(np.float64)
        e = np.exp(rows - rows.max(1, keepdims=True))
        want = (e / e.sum(1, keepdims=True)).reshape(x.shape).astype(np.float32)
        attrs = {"axis": axis, "is_inner_broadcast": inner}
        check_foreign("BiasSoftmax", [x, bias], want=[want], dims={0: "b 3 4 5"}, **attrs)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_max_pool_of_channels_last(dtype: Any) -> None:
    x = RNG.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (2, 7, 6, 5)).astype(dtype)
    kind = 2 if dtype is np.uint8 else 3
    attrs = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1], "ceil_mode": 1}
    check_foreign("NhwcMaxPool", [x], types=[kind], dims={0: "n h w 5"}, **attrs)
    check_foreign("NhwcMaxPool", [x[:, :, 0]], types=[kind], kernel_shape=[3])


def test_convolutions_of_channels_last() -> None:
    from onnx_models import one_node, run

    x, w, bias, z = f(2, 7, 6, 4), f(6, 2, 3, 3), f(6), f(2, 4, 6, 6)
    attrs = {"pads": [1, 1, 1, 1], "strides": [2, 1], "group": 2}
    first = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    y = run(*one_node("Conv", [first, w, bias], **attrs))["y0"].transpose(0, 2, 3, 1)
    dims = {0: "n h w 4"}
    check_foreign("NhwcConv", [x, Fixed(w), bias], want=[y], dims=dims, **attrs)
    more = {**attrs, "activation": "Relu"}
    check_foreign("NhwcFusedConv", [x, Fixed(w), bias, z], want=[np.maximum(y + z, 0)], **more)


def test_conv_transpose_with_pads_as_an_input() -> None:
    pads = Fixed(np.array([1, 0, 0, 1]))
    attrs = {"strides": [2, 1], "output_padding": [1, 0]}
    check_foreign("ConvTransposeWithDynamicPads", [f(2, 3, 5, 4), f(3, 4, 3, 3), pads], **attrs)
    check_foreign("ConvTransposeWithDynamicPads", [f(2, 3, 5, 4), f(3, 4, 3, 3), pads, f(4)])


# --- normalizations -------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("beta", [False, True])
@pytest.mark.parametrize("skip", [(2, 5, 8), (1, 5, 8), (5, 8)])
def test_skip_layer_normalization(skip: tuple[int, ...], beta: bool, bias: bool) -> None:
    operands = [f(2, 5, 8), f(*skip), f(8), f(8) if beta else None, f(8) if bias else None]
    while operands[-1] is None:
        operands.pop()
    names, dims = ("y0", "", "", "y3"), {0: "b s 8", 1: "b s 8" if skip == (2, 5, 8) else ""}
    dims = {i: d for i, d in dims.items() if d}
    check_foreign("SkipLayerNormalization", operands, outputs=names, epsilon=1e-5, dims=dims)
    check_foreign("SkipLayerNormalization", operands)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(2, 5, 8), (5, 8)])
def test_skip_simplified_layer_normalization(shape: tuple[int, ...], bias: bool) -> None:
    operands = [f(*shape), f(*shape), f(8), *([f(8)] if bias else [])]
    names = ("y0", "", "", "y3")
    dims = {i: "b s 8" if len(shape) == 3 else "t 8" for i in (0, 1)}
    check_foreign("SkipSimplifiedLayerNormalization", operands, outputs=names, dims=dims)
    check_foreign("SkipSimplifiedLayerNormalization", operands, epsilon=1e-3)


def test_statistics_for_training_are_refused() -> None:
    model, _ = foreign("SkipLayerNormalization", [f(1, 2, 8), f(1, 2, 8), f(8)], outputs=("y", "m"))
    with pytest.raises(ModelError, match=r"node 'node' .*output number 1 is for training"):
        imported(model)


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("opset", [13, 17])
def test_layer_normalizations_in_the_domain_of_onnx(axis: int, opset: int) -> None:
    """ONNX Runtime's optimizer writes them there for any opset."""
    x, extents = f(2, 5, 8), (8,) if axis == -1 else (5, 8)
    more = {"axis": axis, "epsilon": 1e-3, "domain": "", "model_opset": opset}
    dims = {0: "b s 8"} if axis == -1 else {0: "b 5 8"}
    check_foreign("LayerNormalization", [x, f(*extents), f(*extents)], dims=dims, **more)
    check_foreign("SimplifiedLayerNormalization", [x, f(*extents)], dims=dims, **more)


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("activation", [0, 1])
@pytest.mark.parametrize("skip", [None, (2, 8), (2, 1, 1, 8), (2, 5, 4, 8)])
def test_group_norm(skip: tuple[int, ...] | None, activation: int, last: int) -> None:
    x, gamma, beta, bias = f(2, 5, 4, 8), f(8), f(8), f(8)
    given = None if skip is None else f(*skip)
    total = (
        x
        if given is None
        else x + bias + given.reshape(2, *([1, 1] if len(skip or ()) == 2 else skip[1:3]), 8)
    )
    groups = total.astype(np.float64).reshape(2, 20, 4, 2)
    mean, deviation = groups.mean((1, 3), keepdims=True), groups.var((1, 3), keepdims=True) + 1e-5
    want = ((groups - mean) / np.sqrt(deviation)).reshape(x.shape) * gamma + beta
    want = want / (1 + np.exp(-want)) if activation else want
    wants = [want.astype(np.float32), total]
    operands = [x, gamma, beta, *([] if given is None else [given, bias])]
    if not last:
        operands = [
            np.ascontiguousarray(o.transpose(0, 3, 1, 2)) if o.ndim == 4 else o for o in operands
        ]
        wants = [np.ascontiguousarray(w.transpose(0, 3, 1, 2)) for w in wants]
    attrs = {"groups": 4, "activation": activation, "channels_last": last}
    op_type, names = ("GroupNorm", ["y0"]) if given is None else ("SkipGroupNorm", ["y0", "y1"])
    dims = {0: "n h w 8" if last else "n 8 h w"} if skip is None else None
    check_foreign(op_type, operands, want=wants[: len(names)], outputs=names, dims=dims, **attrs)


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("positions", [None, (2, 6), (1, 6)])
def test_embed_layer_normalization(positions: Any, mask: bool, segments: bool) -> None:
    def ids(most: int, *shape: int) -> np.ndarray:
        return RNG.integers(0, most, shape).astype(np.int32)

    operands = [
        ids(20, 2, 6),
        ids(2, 2, 6) if segments else None,
        f(20, 8),
        f(10, 8),
        f(2, 8) if segments else None,
        f(8),
        f(8),
        ids(2, 2, 6) if mask else None,
        ids(10, *positions) if positions else None,
    ]
    dims = {0: "b s", 1: "b s", 7: "b s"} if positions is None else None
    names, types = ("y0", "y1", "y2"), [1, 6, 1]
    check_foreign("EmbedLayerNormalization", operands, outputs=names, types=types, dims=dims)
    check_foreign(
        "EmbedLayerNormalization", operands, outputs=("y0", "y1"), types=types, epsilon=1e-3
    )
    if positions is None:
        quantized: list[Any] = [operands[0], operands[1], *[None] * 5, operands[7]]
        scales: list[Any] = []
        zeros: list[Any] = []
        for i, shape in enumerate([(20, 8), (10, 8), (2, 8), (8,), (8,)]):
            given = segments or i != 2
            quantized[2 + i] = RNG.integers(0, 256, shape).astype(np.uint8) if given else None
            scales.append(np.float32(RNG.uniform(0.01, 0.05)).reshape(()) if given else None)
            zeros.append(RNG.integers(0, 256, ()).astype(np.uint8) if given else None)
        quantized += [*map(as_array, scales), *map(as_array, zeros)]
        check_foreign("QEmbedLayerNormalization", quantized, outputs=names[:2], types=types)


def as_array(value: Any) -> np.ndarray | None:
    return None if value is None else np.asarray(value)
