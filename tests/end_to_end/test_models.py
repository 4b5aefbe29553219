"""Small ONNX graphs, of the kinds that exporters and quantizers write, as engines beside ONNX Runtime.

The importer's own tests stop at the interpreter; what is tested here went wrong, or would have run on
the host, between there and the engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

from camshaft.config import BuildConfig
from camshaft.runtime.engine import Engine
from camshaft.session import BuildSession
from onnx_models import SMALL_WEIGHTS, model_of, one_node

ort = pytest.importorskip("onnxruntime", reason="engines are compared with ONNX Runtime")
pytestmark = pytest.mark.peers

Arrays = Mapping[str, np.ndarray]


def f(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def plain_onnxruntime(model: ModelProto, feeds: Arrays) -> list[np.ndarray]:
    """ONNX Runtime without graph optimizations: Q/DQ graphs are then computed in float, literally."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, dict(feeds)))


def built(model: ModelProto, *, level: int = 1, host: bool = False, **options: Any) -> Engine:
    """An engine; host: whether steps may run on the host."""
    session = BuildSession(model, BuildConfig.of(None, {"optimization_level": level, **options}))
    engine = session.run()
    assert host or not session.host_steps
    return engine


def check(model: ModelProto, feeds: Arrays, *, host: bool = False) -> None:
    """The engine equals ONNX Runtime: integers exactly, floats within 1e-5 of the largest."""
    for level in (0, 1):
        got = built(model, level=level, host=host)(feeds)
        for name, want in zip(got, plain_onnxruntime(model, feeds), strict=True):
            assert (got[name].shape, got[name].dtype) == (want.shape, want.dtype)
            if want.dtype.kind == "f":
                scale = float(np.abs(want).max())
                np.testing.assert_allclose(got[name], want, rtol=0, atol=1e-5 * scale)
            else:
                np.testing.assert_array_equal(got[name], want)


# --- elements in reverse ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axis", "around"),
    [(0, "alone"), (2, "alone"), (1, "between convolutions"), (3, "between convolutions")],
)
def test_a_backward_slice_is_reversed(axis: int, around: str) -> None:
    x = f(2, 4, 5, 6)
    reverse = {1: ints(-1), 2: ints(-1000), 3: ints(axis), 4: ints(-1)}
    if around == "alone":
        check(*one_node("Slice", [x], reverse))
        return
    names = ["c0", *(f"r{i}" for i in reverse)]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c0"]),
        helper.make_node("Slice", names, ["s"]),
        helper.make_node("Conv", ["s", "w1"], ["y"]),
    ]
    constants = {"w0": f(8, 4, 1, 1), "w1": f(3, 8, 1, 1)}
    constants |= {f"r{i}": v for i, v in reverse.items()}
    check(model_of(nodes, {"x": x}, ["y"], constants), {"x": x})


def test_backward_slices_with_steps_and_bounds_along_several_axes() -> None:
    starts, ends, axes, steps = ints(-2, 1, 7), ints(0, 4, -100), ints(1, 0, 3), ints(-2, 1, -3)
    check(*one_node("Slice", [f(5, 6, 2, 9)], {1: starts, 2: ends, 3: axes, 4: steps}))


@pytest.mark.parametrize("order", [(2, 1, 0), (0, 2, 1), (2, 2, 0)])
def test_gathered_channels(order: tuple[int, ...]) -> None:
    check(*one_node("Gather", [f(1, 3, 4, 5)], {1: ints(*order)}, axis=1))


# --- operators that segmentation heads and attention use ----------------------------------------


@pytest.mark.parametrize(
    ("op_type", "axis", "last"), [("ArgMax", 0, 0), ("ArgMax", 1, 1), ("ArgMin", -1, 0)]
)
def test_place_of_the_extreme_with_ties(op_type: str, axis: int, last: int) -> None:
    x = np.random.default_rng(axis % 3).integers(0, 4, (2, 5, 19)).astype(np.float32)
    attrs = {"axis": axis, "select_last_index": last, "keepdims": last}
    check(*one_node(op_type, [x], **attrs))
    check(*one_node(op_type, [x.astype(np.int32)], **attrs))


def test_class_map_behind_a_convolution_and_an_expression() -> None:
    """The scores are computed once: equality with their maximum must find it."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["c"], ["s"]),
        helper.make_node("Mul", ["c", "s"], ["m"]),
        helper.make_node("ArgMax", ["m"], ["y"], axis=1, keepdims=0),
    ]
    x = f(2, 3, 9, 11)
    check(model_of(nodes, {"x": x}, ["y"], {"w": f(21, 3, 3, 3)}), {"x": x})


def test_class_map_of_an_int8_engine_is_that_of_its_scores() -> None:
    """Quantizing what is compared with the maximum, but not the maximum, would find it nowhere."""
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c", "w1"], ["y"]),
        helper.make_node("ArgMax", ["y"], ["at"], axis=1, keepdims=0),
    ]
    x = f(1, 3, 12, 12)
    constants = {"w0": f(16, 3, 3, 3), "w1": f(7, 16, 1, 1)}
    model = model_of(nodes, {"x": x}, ["y", "at"], constants)
    config = BuildConfig(optimization_level=1, precision={"int8"}, noise_reduction=False)
    got = BuildSession(model, config, [{"x": f(1, 3, 12, 12, seed=i)} for i in range(4)]).run()(
        {"x": x}
    )
    np.testing.assert_array_equal(got["at"], got["y"].argmax(1))


EINSUMS: Sequence[tuple[str, tuple[tuple[int, ...], ...]]] = (
    ("bchw,bdhw->bcd", ((2, 3, 4, 5), (2, 6, 4, 5))),
    ("ij,jk", ((3, 4), (4, 5))),
    ("...ij,...jk->...ik", ((2, 3, 4, 5), (2, 3, 5, 6))),
    ("b...j,jk->b...k", ((2, 3, 4, 5), (5, 6))),
    ("bhid,bhjd->bhij", ((2, 3, 4, 5), (2, 3, 6, 5))),
    ("i,j->ji", ((3,), (4,))),
    ("ijk->kj", ((2, 3, 4),)),
    ("ij,ij->", ((3, 4), (3, 4))),
    ("bij,bj,b->bi", ((2, 3, 4), (2, 4), (2,))),
    ("ijk,l->ij", ((2, 3, 4), (5,))),
    ("nkctv,kvw->nctw", ((2, 3, 4, 5, 6), (3, 6, 7))),
)


@pytest.mark.parametrize(("equation", "shapes"), EINSUMS)
def test_einsum(equation: str, shapes: Sequence[tuple[int, ...]]) -> None:
    operands = [f(*shape, seed=i) for i, shape in enumerate(shapes)]
    check(*one_node("Einsum", operands, equation=equation))


def test_einsum_of_a_diagonal_runs_on_the_host() -> None:
    check(*one_node("Einsum", [f(4, 4)], equation="ii->i"), host=True)


# --- weights and operators as quantizers write them -----------------------------------------------

SCALE, QUANTUM = np.float32(0.03), np.float32(0.05)


class Quantized:
    """Q/DQ nodes and constants of a model in the making; its input is a float tensor "x"."""

    def __init__(self, activations: Any = np.uint8) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self.zero = np.array(117 if activations is np.uint8 else -9, activations)

    def add(self, op_type: str, inputs: Sequence[str], **attrs: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], **attrs))
        return name

    def constant(self, array: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = array
        return name

    def pair(self, x: str, scale: np.float32 = SCALE, **attrs: Any) -> str:
        """x quantized and dequantized."""
        params = [self.constant(np.asarray(scale)), self.constant(self.zero)]
        q = self.add("QuantizeLinear", [x, *params])
        return self.add("DequantizeLinear", [q, *params], **attrs)

    def weights(self, shape: tuple[int, ...], kind: str, axis: int = 0) -> str:
        """A dequantized constant.  kind: "s8", "s8 by channel", "u8", "u8 by channel", "u8 at 128"."""
        rng = np.random.default_rng(shape)
        dtype = np.dtype(kind[0].replace("s", "i") + "1")
        low, high = (0, 256) if dtype == np.uint8 else (-127, 128)
        by_channel = "channel" in kind
        count = (shape[axis],) if by_channel else ()
        scale = rng.uniform(0.004, 0.01, count).astype(np.float32)
        zero = np.zeros(count, dtype)
        if dtype == np.uint8:
            zero += np.uint8(128) if "128" in kind else rng.integers(60, 190, count).astype(dtype)
        values = rng.integers(low, high, shape).astype(dtype)
        operands = [self.constant(a) for a in (values, scale, zero)]
        return self.add("DequantizeLinear", operands, axis=axis)

    def model(self, x: np.ndarray, output: str) -> ModelProto:
        return model_of(self.nodes, {"x": x}, [output], self.constants)


def check_int8(
    model: ModelProto, x: np.ndarray, convs: int, within: float = float(QUANTUM)
) -> None:
    """`convs` convolutions of bytes, no float ones, and the Q/DQ graph's values to one quantum."""
    engine = built(model, precision={"int8"})
    kinds = [s.precision for s in engine.notes if s.op in ("conv", "matmul")]
    assert kinds.count("u8") >= convs
    (got,), (want,) = engine({"x": x}).values(), plain_onnxruntime(model, {"x": x})
    assert got.dtype == want.dtype
    error = np.abs(got.astype(np.float64) - want)
    assert error.max() <= within * 1.001
    assert error.mean() <= 0.02 * within


CONVS: Mapping[str, tuple[int, tuple[int, ...], dict[str, Any]]] = {
    "1x1": (8, (12, 8, 1, 1), {}),
    "3x3": (8, (12, 8, 3, 3), {"pads": [1, 0, 2, 1], "strides": [2, 1], "dilations": [1, 2]}),
    "depthwise": (24, (24, 1, 3, 3), {"pads": [1, 1, 1, 1], "group": 24}),
    "grouped": (12, (18, 4, 3, 3), {"pads": [1, 1, 1, 1], "group": 3}),
}
WEIGHTS = ("s8", "s8 by channel", "u8", "u8 by channel", "u8 at 128")


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize(
    ("form", "activations"), [*((form, np.uint8) for form in CONVS), ("3x3", np.int8)]
)
def test_convolution_of_quantized_weights(kind: str, form: str, activations: Any) -> None:
    channels, shape, attrs = CONVS[form]
    q = Quantized(activations)
    y = q.add("Conv", [q.pair("x"), q.weights(shape, kind), q.constant(f(shape[0]))], **attrs)
    x = f(2, channels, 7, 9)
    model = q.model(x, q.pair(q.add("Relu", [y]), QUANTUM))
    check_int8(model, x, 1)


@pytest.mark.parametrize("kind", WEIGHTS)
def test_product_with_quantized_weights(kind: str) -> None:
    q = Quantized()
    y = q.add("MatMul", [q.pair("x"), q.weights((20, 9), kind, axis=1)])
    x = f(3, 4, 20)
    check_int8(q.model(x, q.pair(q.add("Add", [y, q.constant(f(9))]), QUANTUM)), x, 1)


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("group", [1, 2])
def test_transposed_convolution_of_quantized_weights(kind: str, group: int) -> None:
    q = Quantized()
    attrs = {"strides": [2, 2], "pads": [1, 1, 0, 1], "group": group}
    w = q.weights((8, 6, 3, 3), kind, axis=1)
    y = q.pair(q.add("ConvTranspose", [q.pair("x"), w], **attrs), QUANTUM)
    x = f(1, 8, 5, 6)
    check_int8(q.model(x, y), x, 4)


def test_line_convolutions_of_quantized_weights() -> None:
    q = Quantized()
    y = q.add("Conv", [q.pair("x"), q.weights((8, 6, 3), "s8 by channel")], pads=[1, 1])
    w = q.weights((8, 5, 4), "u8 by channel", axis=1)
    y = q.add("ConvTranspose", [q.pair(y, QUANTUM), w], strides=[2])
    x = f(2, 6, 20)
    check_int8(q.model(x, q.pair(y, np.float32(2 * QUANTUM))), x, 3, within=2.0 * float(QUANTUM))


def test_transposed_convolution_scaled_by_input_channel_stays_exact() -> None:
    """Its sums mix scales, so it is computed in float; it must not be a host step."""
    q = Quantized()
    w = q.weights((8, 6, 2, 2), "s8 by channel", axis=0)
    x = f(1, 8, 5, 6)
    y = q.pair(q.add("ConvTranspose", [q.pair("x"), w], strides=[2, 2]), QUANTUM)
    check_int8(q.model(x, y), x, 0)


def test_signed_bytes_are_resized() -> None:
    """A resize of the s8 tensor itself, as QOperator models have it: only x moves by 128."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("Resize", ["q", "", "twice"], ["r"], mode="nearest"),
        helper.make_node("DequantizeLinear", ["r", "s", "z"], ["y"]),
    ]
    constants = {"s": SCALE, "z": np.array(-9, np.int8), "twice": np.float32([1, 1, 2, 2])}
    x = f(1, 3, 4, 5)
    model = model_of(nodes, {"x": x}, ["y"], constants)
    check_int8(model, x, 0, within=1e-6)


# --- ONNX Runtime's own operators ------------------------------------------------------------------

BYTES = np.random.default_rng(8).integers(0, 256, (1, 4, 6, 6)).astype(np.uint8)
A, B, C = ((np.float32(s), np.uint8(z)) for s, z in ((0.03, 120), (0.02, 140), (0.05, 100)))
QLINEAR: Sequence[tuple[str, int, tuple[Any, ...], dict[str, Any]]] = (
    # operator, how many byte tensors it reads, its other operands ("x": the next byte tensor), ...
    ("QLinearAdd", 2, ("x", *A, "x", *B, *C), {}),
    ("QLinearMul", 2, ("x", *A, "x", *B, *C), {}),
    ("QLinearSigmoid", 1, ("x", *A, np.float32(1 / 256), np.uint8(0)), {}),
    ("QLinearLeakyRelu", 1, ("x", *A, *C), {"alpha": 0.1}),
    ("QLinearSoftmax", 1, ("x", *A, np.float32(1 / 256), np.uint8(0)), {"axis": 1, "opset": 13}),
    ("QLinearGlobalAveragePool", 1, ("x", *A, *B), {"channels_last": 0}),
    ("QLinearAveragePool", 1, ("x", *A, *B), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("QLinearConcat", 2, (*C, "x", *A, "x", *B), {"axis": 1}),
)


@pytest.mark.parametrize(("op_type", "count", "operands", "attrs"), QLINEAR)
def test_qlinear_operator(
    op_type: str, count: int, operands: Sequence[Any], attrs: dict[str, Any]
) -> None:
    feeds = {f"x{i}": np.roll(BYTES, i) for i in range(count)}
    fed, names, constants = iter(feeds), [], {}
    for i, operand in enumerate(operands):
        names.append(next(fed) if isinstance(operand, str) else f"c{i}")
        if not isinstance(operand, str):
            constants[f"c{i}"] = np.asarray(operand)
    node = helper.make_node(op_type, names, ["y"], domain="com.microsoft", **attrs)
    model = model_of([node], feeds, ["y"], constants, domains=["com.microsoft"])
    model.graph.output[0].type.tensor_type.elem_type = 2  # u8, which inference does not know
    (got,) = built(model, precision={"int8"})(feeds).values()
    (want,) = plain_onnxruntime(model, feeds)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    assert np.abs(got.astype(int) - want.astype(int)).max() <= 1
    assert np.mean(got == want) >= 0.95


@pytest.mark.parametrize("by_channel", [False, True])
@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("small", [False, True], ids=["any weights", "small weights"])
def test_qgemm(by_channel: bool, real: bool, small: bool) -> None:
    """Against the definition in int64, and against ONNX Runtime where it sums exactly."""
    rng = np.random.default_rng(2)
    low, high = SMALL_WEIGHTS if small else (-127, 127)
    scale = rng.uniform(0.01, 0.02, 7 if by_channel else ()).astype(np.float32)
    values = {
        "as": A[0], "az": A[1], "b": rng.integers(low, high + 1, (7, 12)).astype(np.int8),
        "bs": scale, "bz": np.zeros(scale.shape, np.int8),
        "c": rng.integers(-5000, 5000, 7).astype(np.int32), "ys": np.float32(0.1), "yz": C[1],
    }  # fmt: skip
    constants = {n: np.asarray(v) for n, v in values.items() if not (real and n in ("ys", "yz"))}
    node = helper.make_node("QGemm", ["a", *constants], ["y"], domain="com.microsoft", transB=1)
    a = rng.integers(0, 256, (3, 12)).astype(np.uint8)
    model = model_of([node], {"a": a}, ["y"], constants, domains=["com.microsoft"])
    model.graph.output[0].type.tensor_type.elem_type = 1 if real else 2
    engine = built(model, precision={"int8"})
    assert [s.precision for s in engine.notes if s.op == "conv"] == ["u8"]
    (got,) = engine({"a": a}).values()
    assert got.dtype == (np.float32 if real else np.uint8)
    sums = (a.astype(np.int64) - int(A[1])) @ values["b"].astype(np.int64).T + values["c"]
    exact = sums * (np.float64(A[0]) * scale.astype(np.float64))
    if real:
        np.testing.assert_allclose(got, exact, rtol=1e-6, atol=1e-6 * np.abs(exact).max())
    else:
        quanta = exact / np.float64(values["ys"]) + int(C[1])
        off = np.abs(got - np.clip(quanta, 0, 255))
        assert off.max() <= 0.5 + 1e-6 * np.abs(quanta).max()
    if small:
        (want,) = plain_onnxruntime(model, {"a": a})
        assert got.dtype == want.dtype
        assert np.abs(got.astype(np.float64) - want).max() <= (1e-3 if real else 1)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_dynamic_quantization_multiplies_bytes(dtype: Any) -> None:
    rng = np.random.default_rng(5)
    low = 0 if dtype is np.uint8 else -127
    weights = rng.integers(low, low + 255, (10, 6, 3, 3)).astype(dtype)
    constants = {"w": weights, "wz": np.array(low + 90 if low == 0 else 0, dtype)}
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("ConvInteger", ["q", "w", "z", "wz"], ["i"], pads=[1, 1, 1, 1]),
        helper.make_node("Cast", ["i"], ["c"], to=1),
        helper.make_node("Mul", ["c", "s"], ["y"]),
    ]
    x = f(1, 6, 7, 8)
    model = model_of(nodes, {"x": x}, ["y"], constants)
    engine = built(model)
    assert "u8" in [s.precision for s in engine.notes if s.op == "conv"]
    (got,), (want,) = engine({"x": x}).values(), plain_onnxruntime(model, {"x": x})
    one_level = (x.max() - x.min()) / 255  # a pixel near a tie may fall the other way
    assert np.abs(got - want).max() <= one_level * 255 * 1.001
    assert np.median(np.abs(got - want)) <= 1e-6 * np.abs(want).max()
