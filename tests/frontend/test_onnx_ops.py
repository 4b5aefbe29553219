"""Every importer handler against ONNX Runtime on odd shapes and attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from camshaft.passes.pipeline import optimize
from onnx_models import check, imported, one_node

pytest.importorskip("onnxruntime", reason="operators are compared with ONNX Runtime")
pytestmark = pytest.mark.peers

RNG = np.random.default_rng(11)


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def whole(low: int, high: int, *shape: int, dtype: Any = np.int64) -> np.ndarray:
    return RNG.integers(low, high, shape).astype(dtype)


UNARY = "Abs Ceil Celu Cos Elu Erf Exp Floor HardSigmoid HardSwish LeakyRelu Mish Neg Reciprocal"
UNARY += " Relu Round Selu Shrink Sigmoid Sign Sin Softplus Softsign Tan Tanh ThresholdedRelu"


@pytest.mark.parametrize("op_type", UNARY.split())
def test_unary(op_type: str) -> None:
    opset = 18 if op_type == "Mish" else 17
    check(*one_node(op_type, [f(3, 5, 1, 7)], opset=opset))


@pytest.mark.parametrize("op_type", ["Sum", "Max", "Min", "Mean"])
@pytest.mark.parametrize("count", [1, 12, 13, 400])
def test_any_number_of_inputs(op_type: str, count: int) -> None:
    shapes = [(2, 3), (3,), (2, 1)]
    model, feeds = one_node(op_type, [f(*shapes[i % 3]) for i in range(count)])
    check(model, feeds)
    optimize(imported(model))  # no expression grows with the number of inputs


@pytest.mark.parametrize("op_type", ["Log", "Sqrt"])
def test_unary_of_positive(op_type: str) -> None:
    check(*one_node(op_type, [np.abs(f(3, 7)) + 0.1]))


@pytest.mark.parametrize(
    ("op_type", "attrs"),
    [
        ("Celu", {"alpha": 0.3}),
        ("Elu", {"alpha": 0.3}),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
        ("LeakyRelu", {"alpha": 0.3}),
        ("Selu", {"alpha": 1.2, "gamma": 0.8}),
        ("Shrink", {"bias": 0.2, "lambd": 0.3}),
        ("ThresholdedRelu", {"alpha": 0.3}),
    ],
)
def test_unary_attributes(op_type: str, attrs: dict[str, float]) -> None:
    check(*one_node(op_type, [f(3, 7)], **attrs))


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(approximate: str) -> None:
    check(*one_node("Gelu", [f(3, 7)], opset=20, approximate=approximate))


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Sum"])
@pytest.mark.parametrize("shapes", [((3, 1, 5), (4, 1)), ((1,), (2, 3)), ((), (3,))])
def test_binary_broadcasts(op_type: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    check(*one_node(op_type, [f(*s) for s in shapes]))


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div", "Max", "Min"])
@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float64])
def test_binary_types(op_type: str, dtype: Any) -> None:
    left, right = whole(-9, 9, 4, 5, dtype=dtype), whole(1, 9, 5, dtype=dtype)
    check(*one_node(op_type, [left, right]))


def test_variadic() -> None:
    for op_type in ("Max", "Mean", "Sum"):
        check(*one_node(op_type, [f(2, 3), f(3), f(2, 1), f(1)]))
    check(*one_node("Sum", [f(2, 3)]))


@pytest.mark.parametrize("op_type", ["Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"])
def test_comparisons(op_type: str) -> None:
    check(*one_node(op_type, [whole(0, 4, 3, 5), whole(0, 4, 5)]))


def test_logic() -> None:
    a, b = (RNG.integers(0, 2, (3, 4)).astype(np.bool_) for _ in range(2))
    for op_type in ("And", "Or", "Xor"):
        check(*one_node(op_type, [a, b]))
    check(*one_node("Not", [a]))
    check(*one_node("Where", [a, f(3, 4), f(4)]))
    check(*one_node("Where", [a, whole(0, 9, 1, 4), whole(0, 9, 3, 1)]))


def test_power() -> None:
    check(*one_node("Pow", [np.abs(f(3, 4)) + 0.1, f(4)]))
    check(*one_node("Pow", [f(3, 4), np.array(2, np.int64)]))
    check(*one_node("Pow", [whole(-5, 5, 3, 4), np.array(3, np.int64)]))
    check(*one_node("Pow", [whole(1, 5, 3, 4, dtype=np.int32), np.array([2.0], np.float32)]))


def test_modulo() -> None:
    a, b = whole(-20, 20, 4, 5), np.array([-7, -3, 2, 5, 9], np.int64)
    check(*one_node("Mod", [a, b]))
    check(*one_node("Mod", [a, b], fmod=1))
    check(*one_node("Mod", [f(3, 5) * 10, f(5)], fmod=1))


def test_integer_division_truncates() -> None:
    check(*one_node("Div", [ints(-7, 7, -7, 7), ints(2, -2, -2, 2)]))


@pytest.mark.parametrize("to", [1, 6, 7, 9, 11])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.bool_])
def test_cast(to: int, dtype: Any) -> None:
    values = np.array([[-2.7, -0.5, 0.0, 0.5], [1.0, 1.5, 2.5, 99.9]])
    check(*one_node("Cast", [values.astype(dtype)], to=to))


def test_cast_between_integers_wraps() -> None:
    check(*one_node("Cast", [ints(-1, 127, 128, 255, 256, 300)], to=2))
    check(*one_node("Cast", [ints(-1, 127, 128, 255, 256, 300)], to=3))


def test_is_inf_and_nan() -> None:
    x = np.array([np.inf, -np.inf, np.nan, 0.0, 3.0], np.float32)
    check(*one_node("IsNaN", [x]))
    for positive in (0, 1):
        for negative in (0, 1):
            attrs = {"detect_positive": positive, "detect_negative": negative}
            check(*one_node("IsInf", [x], **attrs))


@pytest.mark.parametrize("bounds", [(-0.5, 0.5), (None, 0.5), (-0.5, None), (None, None), (1, -1)])
def test_clip(bounds: tuple[float | None, float | None]) -> None:
    given = {i: np.float32(b) for i, b in enumerate(bounds, 1) if b is not None}
    check(*one_node("Clip", [f(3, 7)], {i: np.array(b) for i, b in given.items()}))
    operands = [None if i not in given else np.array(given[i]) for i in (1, 2)]
    check(*one_node("Clip", [f(3, 7), *operands]))


def test_clip_of_integers() -> None:
    check(*one_node("Clip", [whole(-9, 9, 5)], {1: np.array(-3), 2: np.array(4)}))


def test_prelu() -> None:
    check(*one_node("PRelu", [f(2, 5, 3, 3), f(5, 1, 1)]))
    check(*one_node("PRelu", [f(2, 5, 3, 3), f(1)]))


CONVS = [
    ((1, 3, 9, 7), (4, 3, 3, 3), {}),
    ((2, 3, 9, 7), (4, 3, 3, 2), {"strides": [2, 1], "pads": [0, 1, 2, 3]}),
    ((1, 4, 9, 9), (6, 2, 3, 3), {"group": 2, "dilations": [2, 1], "pads": [1, 1, 1, 1]}),
    ((1, 4, 8, 7), (4, 1, 5, 3), {"group": 4, "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ((1, 4, 8, 7), (4, 1, 4, 2), {"group": 4, "auto_pad": "SAME_LOWER", "strides": [1, 2]}),
    ((1, 3, 9, 7), (4, 3, 2, 2), {"auto_pad": "VALID", "kernel_shape": [2, 2]}),
    ((2, 3, 11), (4, 3, 3), {"pads": [1, 2], "strides": [2]}),
    ((1, 5, 1, 1), (3, 5, 1, 1), {}),
]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("x", "w", "attrs"), CONVS)
def test_conv(x: tuple[int, ...], w: tuple[int, ...], attrs: dict[str, Any], bias: bool) -> None:
    constants = {1: f(*w)} | ({2: f(w[0])} if bias else {})
    check(*one_node("Conv", [f(*x)], constants, **attrs))


def test_conv_with_computed_weights_and_bias() -> None:
    check(*one_node("Conv", [f(1, 3, 5, 5), f(4, 3, 3, 3), f(4)]))


def test_conv_in_three_dimensions_runs_on_the_host() -> None:
    check(*one_node("Conv", [f(1, 2, 4, 5, 6)], {1: f(3, 2, 2, 2, 2)}), host=True)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("x", "w", "attrs"),
    [
        ((1, 3, 4, 5), (3, 2, 3, 3), {}),
        ((2, 4, 4, 5), (4, 2, 3, 2), {"strides": [2, 3], "pads": [0, 1, 1, 0], "group": 2}),
        ((1, 3, 4, 5), (3, 2, 2, 2), {"strides": [2, 2], "output_padding": [1, 1]}),
        ((1, 3, 4, 5), (3, 2, 3, 3), {"dilations": [2, 2], "pads": [2, 2, 2, 2]}),
        ((1, 3, 4, 5), (3, 2, 3, 3), {"strides": [2, 2], "output_shape": [8, 10]}),
        ((1, 3, 4, 5), (3, 2, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        ((1, 3, 4, 5), (3, 2, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
        ((1, 3, 7), (3, 2, 3), {"strides": [2]}),
    ],
)
def test_conv_transpose(
    x: tuple[int, ...], w: tuple[int, ...], attrs: dict[str, Any], bias: bool
) -> None:
    groups = attrs.get("group", 1)
    constants = {1: f(*w)} | ({2: f(w[1] * groups)} if bias else {})
    check(*one_node("ConvTranspose", [f(*x)], constants, **attrs))


@pytest.mark.parametrize(("ta", "tb"), [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("c", [None, (), (1,), (7,), (5, 1), (5, 7)])
def test_gemm(ta: int, tb: int, c: tuple[int, ...] | None) -> None:
    a, b = f(*((3, 5) if ta else (5, 3))), f(*((7, 3) if tb else (3, 7)))
    operands = {1: b} | ({} if c is None else {2: f(*c)})
    check(*one_node("Gemm", [a], operands, transA=ta, transB=tb, alpha=0.5, beta=2.0))
    check(*one_node("Gemm", [a, b, None if c is None else f(*c)], transA=ta, transB=tb))


@pytest.mark.parametrize(
    ("a", "b"),
    [((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((2, 1, 3, 4), (5, 4, 2))],
)
def test_matmul(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    check(*one_node("MatMul", [f(*a), f(*b)]))
    check(*one_node("MatMul", [f(*a)], {1: f(*b)}))


POOLS = [
    {"kernel_shape": [3, 2]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [0, 1, 2, 0]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
]


@pytest.mark.parametrize("attrs", POOLS)
def test_pools(attrs: dict[str, Any]) -> None:
    x = f(2, 3, 9, 7)
    check(*one_node("MaxPool", [x], **attrs))
    for count in (0, 1):
        check(*one_node("AveragePool", [x], opset=19, count_include_pad=count, **attrs))


def test_max_pool_variants() -> None:
    check(*one_node("MaxPool", [f(2, 3, 9, 9)], kernel_shape=[3, 3], dilations=[2, 2]))
    check(*one_node("MaxPool", [f(2, 3, 9)], kernel_shape=[3], strides=[2]))
    check(*one_node("MaxPool", [whole(0, 99, 1, 2, 5, 5, dtype=np.uint8)], kernel_shape=[2, 2]))
    check(*one_node("MaxPool", [f(1, 2, 4, 4, 4)], kernel_shape=[2, 2, 2]), host=True)


@pytest.mark.parametrize("attrs", [*POOLS, {"kernel_shape": [2, 3], "dilations": [2, 1]}])
def test_max_pool_with_indices(attrs: dict[str, Any]) -> None:
    x = whole(0, 6, 2, 3, 9, 7, dtype=np.float32)  # with ties: the first one counts
    check(*one_node("MaxPool", [x], outputs=2, **attrs))
    check(*one_node("MaxPool", [x], outputs=2, storage_order=1, **attrs))
    check(*one_node("MaxPool", [f(2, 3, 9)], outputs=2, kernel_shape=[3], strides=[2]))


def test_global_pools() -> None:
    for shape in ((2, 3, 5, 7), (2, 3, 5), (2, 3, 4, 5, 6)):
        check(*one_node("GlobalAveragePool", [f(*shape)]))
        check(*one_node("GlobalMaxPool", [f(*shape)]))
        check(*one_node("GlobalLpPool", [f(*shape)], p=3))


@pytest.mark.parametrize("p", [1, 2, 3])
def test_lp_pool(p: int) -> None:
    attrs: dict[str, Any] = {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "strides": [2, 1]}
    check(*one_node("LpPool", [f(2, 3, 9, 7)], p=p, **attrs))


REDUCTIONS = "ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd"
REDUCTIONS += " ReduceSum ReduceSumSquare"


@pytest.mark.parametrize("op_type", REDUCTIONS.split())
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [(0,), (1, -1), (2, 0, 1), None])
def test_reductions(op_type: str, keepdims: int, axes: tuple[int, ...] | None) -> None:
    constants = {} if axes is None else {1: ints(*axes)}
    check(*one_node(op_type, [f(3, 4, 5)], constants, opset=18, keepdims=keepdims))
    old: dict[str, Any] = {} if axes is None else {"axes": list(axes)}
    if op_type != "ReduceSum":
        check(*one_node(op_type, [f(3, 4, 5)], opset=12, keepdims=keepdims, **old))


def test_reduction_corner_cases() -> None:
    check(*one_node("ReduceLogSum", [np.abs(f(3, 4)) + 1], {1: ints(1)}, opset=18))
    check(*one_node("ReduceSum", [f(3, 4)], noop_with_empty_axes=1))
    check(*one_node("ReduceSum", [whole(-9, 9, 3, 4, dtype=np.int32)], {1: ints(1)}))
    check(*one_node("ReduceMax", [whole(-9, 9, 3, 4, dtype=np.int8)], {1: ints(0)}, opset=18))
    big = np.array([[1e30, 2e30], [-1e30, 5.0]], np.float32)
    check(*one_node("ReduceLogSumExp", [big], {1: ints(1)}, opset=18))
    check(*one_node("ReduceMean", [f(3, 4).astype(np.float64)], {1: ints(1)}, opset=18))


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("opset", [9, 11, 13])
def test_softmax(op_type: str, axis: int, opset: int) -> None:
    if opset > 10 or axis >= 0:
        check(*one_node(op_type, [f(2, 3, 4)], opset=opset, axis=axis))
    check(*one_node(op_type, [f(2, 5, 1, 1)], opset=opset))


def test_shapes() -> None:
    x = f(2, 3, 4)
    check(*one_node("Reshape", [x], {1: ints(0, -1)}))
    check(*one_node("Reshape", [x], {1: ints(4, 2, 3)}))
    check(*one_node("Flatten", [x], axis=2))
    check(*one_node("Flatten", [x], axis=0))
    check(*one_node("Flatten", [x], axis=-1))
    check(*one_node("Squeeze", [f(1, 3, 1, 4)], {1: ints(0, -2)}))
    check(*one_node("Squeeze", [f(1, 3, 1, 4)]))
    check(*one_node("Unsqueeze", [x], {1: ints(0, -1, 2)}))
    check(*one_node("Transpose", [x], perm=[1, 2, 0]))
    check(*one_node("Transpose", [x]))
    check(*one_node("Expand", [f(3, 1)], {1: ints(2, 1, 6)}))
    check(*one_node("Expand", [f(3, 4)], {1: ints(1)}))
    check(*one_node("Tile", [x], {1: ints(2, 1, 3)}))
    check(*one_node("Tile", [x], {1: ints(1, 1, 1)}))
    check(*one_node("Identity", [x]))
    check(*one_node("Shape", [x], start=1))
    check(*one_node("Size", [x]))
    check(*one_node("EyeLike", [f(3, 5)], k=1))


@pytest.mark.parametrize("seed", range(12))
def test_slice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(d) for d in rng.integers(1, 7, 4))
    axes = rng.permutation(4)[: int(rng.integers(1, 4))]
    steps = rng.choice([-3, -2, -1, 1, 2, 3], len(axes))
    starts, ends = (rng.integers(-8, 9, len(axes)) for _ in range(2))
    constants = {1: starts, 2: ends, 3: axes - 4 * (seed % 2), 4: steps}
    check(*one_node("Slice", [f(*shape)], constants))


def test_slice_to_the_ends() -> None:
    low, high = -(2**63), 2**63 - 1
    check(*one_node("Slice", [f(5, 6)], {1: ints(-1), 2: ints(low), 3: ints(1), 4: ints(-1)}))
    check(*one_node("Slice", [f(5, 6)], {1: ints(1, 2), 2: ints(high, high)}))


def test_split_and_concat() -> None:
    check(*one_node("Split", [f(2, 7, 3)], {1: ints(2, 1, 4)}, outputs=3, axis=1))
    check(*one_node("Split", [f(2, 6, 3)], outputs=3, axis=-2))
    check(*one_node("Split", [f(2, 7, 3)], outputs=3, axis=1, opset=18, num_outputs=3))
    check(*one_node("Concat", [f(2, 3), f(2, 1), f(2, 4)], axis=-1))
    check(*one_node("Concat", [f(2, 3)], axis=0))


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize(
    "index", [[2], 1, -1, [0, 2], [2, 1, 0], [0, 0, 1], [[0, 1], [2, 2]], [2, -3]]
)
def test_gather(axis: int, index: Any) -> None:
    at = np.array(index, np.int64)
    check(*one_node("Gather", [f(3, 4, 3)], {1: at}, axis=axis))
    check(*one_node("Gather", [f(3, 4, 3), at], axis=axis))


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_pad(mode: str) -> None:
    x = f(2, 4, 5)
    check(*one_node("Pad", [x], {1: ints(0, 1, 2, 0, 3, 1)}, mode=mode))
    check(*one_node("Pad", [x], {1: ints(1, 2), 3: ints(-1)}, opset=18, mode=mode))
    if mode == "constant":
        check(*one_node("Pad", [x], {1: ints(0, 1, -1, 0, -2, 3), 2: np.float32(7.5)}))
        check(*one_node("Pad", [x], {1: ints(0, 0, -1, 0, -2, 0)}))


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_and_space(mode: str) -> None:
    check(*one_node("DepthToSpace", [f(2, 12, 3, 5)], blocksize=2, mode=mode))
    check(*one_node("SpaceToDepth", [f(2, 3, 6, 4)], blocksize=2))


def test_trilu() -> None:
    for upper in (0, 1):
        check(*one_node("Trilu", [f(2, 4, 5)], upper=upper))
        check(*one_node("Trilu", [f(4, 5)], {1: np.array(-1)}, upper=upper))


def test_batch_normalization() -> None:
    stats = [f(5), f(5), f(5), np.abs(f(5)) + 0.1]
    for shape in ((2, 5, 3, 4), (2, 5, 3), (2, 5)):
        constants = dict(enumerate(stats, 1))
        check(*one_node("BatchNormalization", [f(*shape)], constants, epsilon=1e-3))
    check(*one_node("BatchNormalization", [f(2, 5, 3, 4), *stats]))


def test_other_normalizations() -> None:
    x = f(2, 6, 5, 4)
    check(*one_node("InstanceNormalization", [x], {1: f(6), 2: f(6)}))
    check(*one_node("LayerNormalization", [x], {1: f(5, 4), 2: f(5, 4)}, axis=2))
    check(*one_node("LayerNormalization", [x], {1: f(4)}, outputs=3))
    check(*one_node("GroupNormalization", [x], {1: f(6), 2: f(6)}, opset=21, num_groups=3))
    check(*one_node("LpNormalization", [x], axis=1, p=2))
    check(*one_node("LpNormalization", [x], axis=-1, p=1))
    check(*one_node("MeanVarianceNormalization", [x]))
    for size in (1, 3, 5):
        check(*one_node("LRN", [x], size=size, alpha=0.3, beta=0.6, bias=1.5))


@pytest.mark.parametrize("op_type", ["Acos", "Asin", "Atan", "Cosh", "Sinh", "Asinh", "Atanh"])
def test_inverse_and_hyperbolic_functions(op_type: str) -> None:
    x = RNG.uniform(-1, 1, (3, 7)).astype(np.float32)
    check(*one_node(op_type, [x]))


@pytest.mark.parametrize("opset", [11, 13])
def test_hardmax_takes_the_first_of_equal_elements(opset: int) -> None:
    x = RNG.integers(0, 3, (4, 5, 6)).astype(np.float32)
    for axis in (0, 1, 2, -1):
        check(*one_node("Hardmax", [x], opset=opset, axis=axis))
    check(*one_node("Hardmax", [x[:0]], opset=opset, axis=1), host=True)


@pytest.mark.parametrize("op_type", ["CumSum", "ArgMax", "TopK"])
def test_host_operators(op_type: str) -> None:
    x = RNG.uniform(-1, 1, (3, 7)).astype(np.float32)
    constants = {"CumSum": {1: np.array(1)}, "TopK": {1: ints(2)}}.get(op_type, {})
    outputs = 2 if op_type == "TopK" else 1
    check(*one_node(op_type, [x], constants, outputs=outputs), host=True)
