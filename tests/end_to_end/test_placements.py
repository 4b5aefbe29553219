"""Where tools put QuantizeLinear and DequantizeLinear: each placement gives what ONNX says of it, in floats, and is
computed by integer products without steps that a careful hand would not write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

import camshaft
from foreign_models import runtime_results
from placed_models import Placed

pytest.importorskip("onnxruntime", reason="placements are compared with ONNX Runtime")
pytestmark = pytest.mark.peers

C = 16
IMAGE = (1, C, 8, 8)
PRODUCTS = ("conv", "matmul", "matmul_nbits", "attention")
QUANTIZES_INPUT = Counter({("pointwise", "f32"): 1})
Steps = Counter[tuple[str, str]]
Between = Callable[[Placed, str], str]


def conv(m: Placed, x: str, channels: int = C, **attrs: Any) -> str:
    weights = m.weight(C, channels, 3, 3, **attrs)
    return str(m.node("Conv", x, weights, pads=[1, 1, 1, 1]))


def matmul(m: Placed, x: str, w: str) -> str:
    return str(m.node("MatMul", x, w))


def checked(model: ModelProto, tolerance: float = 2e-6) -> tuple[list[str], Steps]:
    """(Precision of each product, the other steps) of an engine that gives what floats give, counted without the
    copies that turn an image's axes."""
    rng, feeds = np.random.default_rng(1), {}
    for value in model.graph.input:
        kind = value.type.tensor_type
        shape = [d.dim_value for d in kind.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        bytes_ = rng.integers(0, 120, shape)
        feeds[value.name] = (bytes_ if dtype.kind in "iu" else rng.standard_normal(shape)).astype(
            dtype
        )
    engine = camshaft.build(model, precision={"int8"}, optimization_level=1)
    got, wanted = list(engine(feeds).values()), runtime_results(model, feeds)
    for here, there in zip(got, wanted, strict=True):
        assert (here.dtype, here.shape) == (there.dtype, there.shape)
        distance = np.abs(here.astype(np.float64) - there.astype(np.float64))
        assert distance.max() <= tolerance * np.abs(there.astype(np.float64)).max()
    steps = [s for s in engine.inspect()["steps"] if s["typical"]]
    assert all(s["kind"] == "kernel" for s in steps), "nothing runs in Python"
    products = [s["precision"] for s in steps if s["op"] in PRODUCTS]
    others = Counter((s["op"], s["precision"]) for s in steps if s["op"] not in PRODUCTS)
    return products, Counter({k: n for k, n in others.items() if k[0] != "copy"})


def resized(m: Placed, x: str) -> str:
    scales = m.constant([1, 1, 2, 2], np.float32)
    return str(m.node("Resize", x, "", scales, mode="nearest"))


def shuffled(m: Placed, x: str) -> str:
    split = m.node("Reshape", x, m.constant([1, 2, C // 2, 8, 8]))
    turned = m.node("Transpose", split, perm=[0, 2, 1, 3, 4])
    return str(m.node("Reshape", turned, m.constant(IMAGE)))


def halves_swapped(m: Placed, x: str) -> str:
    a, b = m.node("Split", x, m.constant([6, 10]), axis=1, count=2)
    return str(m.node("Concat", b, a, axis=1))


MOVEMENTS: dict[str, Between] = {
    "Transpose": lambda m, x: str(m.node("Transpose", x, perm=[0, 1, 3, 2])),
    "shuffle": shuffled,
    "Split and Concat": halves_swapped,
    "Slice": lambda m, x: str(
        m.node("Slice", x, m.constant([2]), m.constant([8]), m.constant([2]))
    ),
    "Gather": lambda m, x: str(m.node("Gather", x, m.constant(np.arange(C)[::-1].copy()), axis=1)),
    "MaxPool": lambda m, x: str(m.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])),
    "Resize": resized,
    "Pad": lambda m, x: str(m.node("Pad", x, m.constant([0, 0, 1, 1, 0, 0, 1, 1]))),
    "Relu": lambda m, x: str(m.node("Relu", x)),
    "Clip": lambda m, x: str(
        m.node("Clip", x, m.constant(0, np.float32), m.constant(6, np.float32))
    ),
}
STEPS = {"Gather": ("gather", "u8"), "MaxPool": ("pool", "u8"), "Resize": ("resample", "u8")}


@pytest.mark.parametrize("name", MOVEMENTS)
@pytest.mark.parametrize(
    ("pairs", "activations"),
    [("both", np.uint8), ("both", np.int8), ("before", np.uint8), ("behind", np.int8)],
    ids=["both-u8", "both-s8", "before-u8", "behind-s8"],
)
def test_what_stands_between_two_products_runs_on_bytes(
    pairs: str, name: str, activations: type
) -> None:
    """A pair before it and one behind, or one of them alone."""
    m = Placed(activations=activations)
    y = conv(m, m.qdq(m.input(*IMAGE)))
    if pairs != "behind":
        y = m.qdq(y, 0.2, 120)
    y = MOVEMENTS[name](m, y)
    if pairs != "before":
        y = m.qdq(y, 0.2, 120)
    products, others = checked(m.model(conv(m, y)))
    assert products == ["u8", "u8"]
    assert others == QUANTIZES_INPUT + Counter([STEPS[name]] if name in STEPS else [])


def scale_of_one_element(m: Placed) -> str:
    params = m.params([1 / 37], [120])
    return conv(m, m.dq(m.q(m.input(*IMAGE), params), params))


def no_zero_point(m: Placed) -> str:
    scale = m.constant(1 / 30, np.float32)
    stored = m.node("QuantizeLinear", m.input(*IMAGE), scale)
    return conv(m, str(m.node("DequantizeLinear", stored, scale)))


def type_by_attribute(m: Placed) -> str:
    scale = m.constant(1 / 30, np.float32)
    stored = m.node("QuantizeLinear", m.input(*IMAGE), scale, output_dtype=TensorProto.INT8)
    return conv(m, str(m.node("DequantizeLinear", stored, scale)))


def pairs_twice(m: Placed) -> str:
    return conv(m, m.qdq(m.qdq(m.input(*IMAGE))))


def float_weights(m: Placed) -> str:
    """QuantizeLinear of weights is left to whoever reads the model."""
    w = m.constant(m.rng.standard_normal((C, C, 3, 3)), np.float32)
    params = m.constant(m.rng.uniform(0.03, 0.05, C), np.float32), m.constant(np.zeros(C), np.int8)
    pair = m.dq(m.q(w, params, axis=0), params, axis=0)
    return str(m.node("Conv", m.qdq(m.input(*IMAGE)), pair, pads=[1, 1, 1, 1]))


def shared_scale(m: Placed) -> str:
    """One initializer is the scale of the input and of the weights."""
    params = m.params()
    x = m.dq(m.q(m.input(*IMAGE), params), params)
    w = m.constant(m.rng.integers(-60, 60, (C, C, 3, 3)), np.int8)
    pair = m.dq(w, (params[0], m.constant(0, np.int8)))
    return str(m.node("Conv", x, pair, pads=[1, 1, 1, 1]))


def shared_weights(m: Placed) -> str:
    w = m.weight(C, C, 3, 3)
    y = m.node("Conv", m.qdq(m.input(*IMAGE)), w, pads=[1, 1, 1, 1])
    return str(m.node("Conv", m.qdq(y, 0.2, 120), w, pads=[1, 1, 1, 1]))


def stored_bias(m: Placed) -> str:
    bias = m.constant(m.rng.integers(-900, 900, C), np.int32)
    scale, zero = m.constant(np.full(C, 0.002), np.float32), m.constant(np.zeros(C), np.int32)
    b = m.dq(bias, (scale, zero), axis=0)
    return str(m.node("Conv", m.qdq(m.input(*IMAGE)), m.weight(C, C, 3, 3), b, pads=[1] * 4))


def reshaped_weights(m: Placed) -> str:
    w = m.node("Reshape", m.weight(C, C * 9), m.constant([C, C, 3, 3]))
    return str(m.node("Conv", m.qdq(m.input(*IMAGE)), w, pads=[1] * 4))


def batch_norm(m: Placed) -> str:
    rng = m.rng
    arrays = (rng.uniform(0.5, 1.5, C), *rng.standard_normal((2, C)), rng.uniform(0.5, 1.5, C))
    params = [m.constant(a, np.float32) for a in arrays]
    y = m.node("BatchNormalization", conv(m, m.qdq(m.input(*IMAGE))), *params)
    return conv(m, m.qdq(y, 0.2, 120))


def channel_scales(zeros: Any, activations: type = np.uint8) -> Callable[[Placed], str]:
    """Scales of the input for each channel, before filters of one channel each."""

    def made(m: Placed) -> str:
        scale = m.constant(m.rng.uniform(0.02, 0.04, C), np.float32)
        params = scale, m.constant(np.broadcast_to(zeros, C), activations)
        x = m.dq(m.q(m.input(*IMAGE), params, axis=1), params, axis=1)
        return str(m.node("Conv", x, m.weight(2 * C, 1, 3, 3), pads=[1] * 4, group=C))

    return made


IMAGES: dict[str, tuple[Placed, Callable[[Placed], str]]] = {
    "unsigned weights": (Placed(), lambda m: conv(m, m.qdq(m.input(*IMAGE)), dtype=np.uint8)),
    "one scale of weights": (
        Placed(),
        lambda m: conv(m, m.qdq(m.input(*IMAGE)), dtype=np.uint8, axis=None),
    ),
    "opset 10": (Placed(10), lambda m: conv(m, m.qdq(m.input(*IMAGE)), axis=None)),
    **{
        f"opset {n}": (Placed(n), lambda m: conv(m, m.qdq(m.input(*IMAGE))))
        for n in (13, 19, 21, 23)
    },
    "Microsoft's operators": (
        Placed(17, "com.microsoft"),
        lambda m: conv(m, m.qdq(m.input(*IMAGE))),
    ),
    "a scale of one element": (Placed(), scale_of_one_element),
    "no zero point": (Placed(), no_zero_point),
    "type by attribute": (Placed(21), type_by_attribute),
    "pairs twice": (Placed(), pairs_twice),
    "float weights": (Placed(), float_weights),
    "shared scale": (Placed(), shared_scale),
    "shared weights": (Placed(), shared_weights),
    "stored bias": (Placed(), stored_bias),
    "reshaped weights": (Placed(), reshaped_weights),
    "batch norm": (Placed(), batch_norm),
    "scales by channel": (Placed(), channel_scales(128)),
    "signed scales by channel": (Placed(), channel_scales(0, np.int8)),
    "zero points by channel": (Placed(), channel_scales(np.arange(90, 90 + 4 * C, 4))),
}


@pytest.mark.parametrize("name", IMAGES)
def test_convolutions(name: str) -> None:
    m, build = IMAGES[name]
    products, others = checked(m.model(build(m)))
    assert set(products) == {"u8"}
    assert others == QUANTIZES_INPUT


def transposed(m: Placed) -> str:
    return str(m.node("Transpose", m.weight(24, 32, axis=0), perm=[1, 0]))


def transposed_bytes(m: Placed) -> str:
    stored = m.constant(m.rng.integers(-60, 60, (24, 32)), np.int8)
    turned = m.node("Transpose", stored, perm=[1, 0])
    scale = m.constant(m.rng.uniform(0.01, 0.02, 24), np.float32)
    return m.dq(turned, (scale, m.constant(np.zeros(24), np.int8)), axis=1)


ROWS: dict[str, Callable[[Placed], str]] = {
    "scales of columns": lambda m: matmul(m, m.qdq(m.input(5, 32)), m.weight(32, 24, axis=1)),
    "last axis": lambda m: matmul(m, m.qdq(m.input(2, 5, 32)), m.weight(32, 24, axis=-1)),
    "Transpose of weights": lambda m: matmul(m, m.qdq(m.input(5, 32)), transposed(m)),
    "Transpose of bytes": lambda m: matmul(m, m.qdq(m.input(5, 32)), transposed_bytes(m)),
    "Gemm": lambda m: str(
        m.node("Gemm", m.qdq(m.input(5, 32)), m.weight(24, 32), transB=1, alpha=0.5)
    ),
    "weights on the left": lambda m: matmul(m, m.weight(24, 32), m.qdq(m.input(3, 32, 5))),
    "stacks": lambda m: matmul(m, m.qdq(m.input(3, 5, 32)), m.weight(3, 32, 24, axis=2)),
    "stacks of one scale": lambda m: matmul(
        m, m.qdq(m.input(3, 5, 32)), m.weight(3, 32, 24, axis=None)
    ),
    "a vector": lambda m: matmul(m, m.qdq(m.input(32)), m.weight(32, 24, axis=1)),
}


@pytest.mark.parametrize("name", ROWS)
def test_products_of_rows(name: str) -> None:
    m = Placed()
    products, others = checked(m.model(ROWS[name](m)))
    assert products in (["u8"], ["i8"])
    assert others == QUANTIZES_INPUT


def attention_of_bytes(length: int | str, activations: type) -> ModelProto:
    """Attention whose operands and weights are quantized."""
    m = Placed(activations=activations)
    q, k, v = (m.qdq(m.input(1, length, 4, 16)) for _ in range(3))
    q, v = (str(m.node("Transpose", t, perm=[0, 2, 1, 3])) for t in (q, v))
    scores = m.qdq(matmul(m, q, str(m.node("Transpose", k, perm=[0, 2, 3, 1]))), 1 / 6, 128)
    weights = m.qdq(str(m.node("Softmax", scores, axis=-1)), 1 / 127, 128)
    return m.model(matmul(m, weights, v))


@pytest.mark.parametrize("activations", [np.uint8, np.int8], ids=["u8", "s8"])
@pytest.mark.parametrize(
    ("most", "context"), [(50, "u8"), (33_025, "u8"), (33_026, "f32"), (None, "f32")]
)
def test_products_of_activations_at_an_open_length(
    activations: type, most: int | None, context: str
) -> None:
    """Integers where the sum is certain to fit 32 bits: 33025 products of two bytes do."""
    length = "length" if most is None else f"length=1..24..{most}"
    shapes = {f"x{n}": (1, length, 4, 16) for n in range(3)}
    model = attention_of_bytes("length", activations)
    engine = camshaft.build(model, precision={"int8"}, optimization_level=1, shapes=shapes)
    steps = [s for s in engine.inspect()["steps"] if s["typical"] and s["op"] in PRODUCTS]
    assert [s["precision"] for s in steps] == ["u8", context]
    for size in (1, 2, 7, 48):
        rng = np.random.default_rng(size)
        feeds = {name: rng.standard_normal((1, size, 4, 16)).astype(np.float32) for name in shapes}
        (got,), (want,) = engine(feeds).values(), runtime_results(model, feeds)
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * np.abs(want).max())


@pytest.mark.parametrize("activations", [np.uint8, np.int8], ids=["u8", "s8"])
def test_products_of_activations(activations: type) -> None:
    """Keys are read as they lie, transposed."""
    model = attention_of_bytes(24, activations)
    products, others = checked(model)
    assert products == ["u8", "u8"]
    assert others == Counter({("pointwise", "f32"): 4, ("softmax", "f32"): 1})
    engine = camshaft.build(model, precision={"int8"}, optimization_level=1)
    assert not [s for s in engine.inspect()["steps"] if s["op"] == "copy"]


def test_one_tensor_quantized_for_several_readers() -> None:
    """By one QuantizeLinear with a DequantizeLinear for each, or by equal pairs."""
    m = Placed()
    x, params = m.input(*IMAGE), m.params()
    stored = m.q(x, params)
    readers = [m.dq(stored, params), m.dq(stored, params), m.qdq(x)]
    products, others = checked(m.model(*(conv(m, r) for r in readers)))
    assert products == ["u8"] * 3
    assert others == QUANTIZES_INPUT


def test_both_signs_in_one_model() -> None:
    m = Placed()
    x = m.input(*IMAGE)
    unsigned = m.qdq(x)
    m.activations = np.int8
    y = m.node("Concat", conv(m, unsigned), conv(m, m.qdq(x, 1 / 30, 100)), axis=1)
    products, others = checked(m.model(conv(m, m.qdq(y, 0.2, 120), 2 * C)))
    assert products == ["u8"] * 3
    assert others == Counter({("pointwise", "f32"): 2})


@pytest.mark.parametrize("activations", [np.uint16, np.int16], ids=["u16", "s16"])
@pytest.mark.parametrize("opset", [17, 21])
def test_activations_of_16_bits_keep_them(opset: int, activations: type) -> None:
    """Products of them are of floats, whatever is permitted, and everything has a kernel."""
    m = Placed(opset, "com.microsoft" if opset < 21 else "", activations)
    y = m.qdq(conv(m, m.qdq(m.input(*IMAGE), 1 / 4000, 30000)), 1 / 700, 30000)
    y = str(m.node("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2]))
    y = str(m.node("Flatten", m.qdq(y, 1 / 700, 30000)))
    products, _ = checked(m.model(matmul(m, y, m.weight(C * 16, 24, axis=1))), tolerance=1e-4)
    assert all(p.startswith("f32") for p in products)


def test_quantized_activations_are_not_quantized_again_for_blocks_of_weights() -> None:
    m = Placed(21)
    x = m.qdq(m.input(5, 64))
    w = m.constant(m.rng.integers(-8, 8, (64, 24)), np.int8)
    scale = m.constant(m.rng.uniform(0.01, 0.02, (2, 24)), np.float32)
    blocks = str(m.node("DequantizeLinear", w, scale, axis=0, block_size=32))
    products, _ = checked(m.model(matmul(m, x, blocks)))
    assert products == ["f32, weights u4"]


@pytest.mark.parametrize(
    "why", ["scales of terms", "scales of input channels", "levels that no level becomes"]
)
def test_what_has_no_integer_product_is_computed_in_floats(why: str) -> None:
    m = Placed()
    if why == "scales of terms":
        y = matmul(m, m.qdq(m.input(5, 32)), m.weight(32, 24, axis=0))
    elif why == "scales of input channels":
        params = m.constant(m.rng.uniform(0.02, 0.04, C), np.float32), m.constant(np.full(C, 128), np.uint8)  # fmt: skip
        y = conv(m, m.dq(m.q(m.input(*IMAGE), params, axis=1), params, axis=1))
    else:
        y = conv(m, str(m.node("LeakyRelu", m.qdq(m.input(*IMAGE)), alpha=0.1)))
    products, _ = checked(m.model(y))
    assert products == ["f32"]


def test_outputs_and_inputs_of_bytes() -> None:
    m = Placed()
    x = m.input(*IMAGE, dtype=TensorProto.UINT8)
    y = m.q(conv(m, m.dq(x, m.params())), m.params(0.2, 120))
    products, others = checked(m.model(y, types=[TensorProto.UINT8]), tolerance=1 / 128)
    assert products == ["u8"] and not others


def test_scales_of_half_precision() -> None:
    m = Placed(19)
    x = m.input(*IMAGE, dtype=TensorProto.FLOAT16)
    scale, zero = m.constant(1 / 32, np.float16), m.constant(120, np.uint8)
    pair = m.dq(m.q(x, (scale, zero)), (scale, zero))
    w = m.constant(m.rng.integers(-60, 60, (C, C, 3, 3)), np.int8)
    weights = m.node("DequantizeLinear", w, m.constant(np.full(C, 1 / 512), np.float16), axis=0)
    y = str(m.node("Conv", pair, weights, pads=[1, 1, 1, 1]))
    products, _ = checked(m.model(y, types=[TensorProto.FLOAT16]), tolerance=2e-3)
    assert products == ["u8"]
