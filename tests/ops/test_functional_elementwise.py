"""`ops.functional`: arithmetic, comparison and activations against NumPy."""

from __future__ import annotations

from collections.abc import Callable
from math import erf

import numpy as np
import pytest

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.graph import GraphBuilder
from camshaft.ir.types import TensorType, boolean, f32, i8, i32, i64, string, u8
from camshaft.ops import functional as F
from functional_graphs import floats, graph_of, integers, run, same

Array = np.ndarray
X = np.concatenate([floats(3, 40), np.array([[0.0, -0.0, 5.0, -5.0] * 10], np.float32)])


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softplus(x: Array) -> Array:
    return np.log1p(np.exp(x))


def elu(x: Array, alpha: float = 1.0) -> Array:
    return np.where(x < 0, alpha * np.expm1(x), x)


UNARY: dict[Callable[..., object], Callable[[Array], Array]] = {
    F.abs: np.abs,
    F.neg: np.negative,
    F.sign: np.sign,
    F.ceil: np.ceil,
    F.floor: np.floor,
    F.round: np.rint,
    F.exp: np.exp,
    F.erf: np.vectorize(erf),
    F.sin: np.sin,
    F.cos: np.cos,
    F.tan: np.tan,
    F.tanh: np.tanh,
    F.atan: np.arctan,
    F.sinh: np.sinh,
    F.cosh: np.cosh,
    F.asinh: np.arcsinh,
    F.relu: lambda x: np.maximum(x, 0),
    F.leaky_relu: lambda x: np.where(x < 0, 0.01 * x, x),
    F.elu: elu,
    F.selu: lambda x: 1.05070102214813232421875 * elu(x, 1.67326319217681884765625),
    F.celu: elu,
    F.sigmoid: sigmoid,
    F.silu: lambda x: x * sigmoid(x),
    F.hard_sigmoid: lambda x: np.clip(x / 6 + 0.5, 0, 1),
    F.hard_swish: lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    F.gelu: lambda x: x * (1 + np.vectorize(erf)(x / np.sqrt(2))) / 2,
    F.softplus: softplus,
    F.softsign: lambda x: x / (1 + np.abs(x)),
    F.mish: lambda x: x * np.tanh(softplus(x)),
    F.shrink: lambda x: np.where(np.abs(x) > 0.5, x, 0),
}


@pytest.mark.parametrize("function", UNARY, ids=lambda f: f.__name__)
def test_functions_of_one_tensor(function: Callable[..., F.TensorLike]) -> None:
    with np.errstate(all="ignore"):
        want = UNARY[function](X.astype(np.float64)).astype(np.float32)
    same(run(function, X), want)


def test_functions_of_positive_numbers() -> None:
    x = np.abs(X) + 1
    for function, want in ((F.log, np.log), (F.sqrt, np.sqrt), (F.reciprocal, np.reciprocal)):
        same(run(function, x), want(x))


INVERSE = {
    F.asin: (np.arcsin, -1, 1),
    F.acos: (np.arccos, -1, 1),
    F.atan: (np.arctan, -50, 50),
    F.sinh: (np.sinh, -89.4, 89.4),
    F.cosh: (np.cosh, -89.4, 89.4),
    F.asinh: (np.arcsinh, -3000, 3000),
    F.acosh: (np.arccosh, 1, 3000),
    F.atanh: (np.arctanh, -1, 1),
}
"""Function -> the same in NumPy, and where it is defined and finite in f32."""


@pytest.mark.parametrize("function", INVERSE, ids=lambda f: f.__name__)
def test_trigonometry_within_six_units_in_the_last_place(
    function: Callable[..., F.TensorLike],
) -> None:
    numpy, low, high = INVERSE[function]
    rng = np.random.default_rng(0)
    special = [0, -0.0, 1, -1, 0.5, -0.5, np.nan, np.inf, -np.inf, 90, -90, 3e38, 1500, 1e-40]
    parts = [rng.uniform(low, high, 20000), rng.uniform(max(low, -2), min(high, 2), 20000)]
    x = np.concatenate([*parts, special]).astype(np.float32)
    with np.errstate(all="ignore"):
        want = numpy(x.astype(np.float64))
        nearest = want.astype(np.float32)
    got = run(function, x)
    finite = np.isfinite(nearest)
    np.testing.assert_array_equal(got[~finite], nearest[~finite])
    unit = np.spacing(np.abs(nearest[finite]))
    apart = np.abs(got[finite].astype(np.float64) - want[finite]) / unit
    assert apart.max() < 6  # half of it is NumPy's exp, which is squared


def test_trigonometry_is_of_f32() -> None:
    for function in INVERSE:
        with pytest.raises(F.NoCanonicalForm, match="works on f32, not on f64"):
            run(function, X.astype(np.float64))


BINARY: dict[Callable[..., object], Callable[[Array, Array], Array]] = {
    F.add: np.add,
    F.sub: np.subtract,
    F.mul: np.multiply,
    F.maximum: np.maximum,
    F.minimum: np.minimum,
    F.eq: np.equal,
    F.ne: np.not_equal,
    F.lt: np.less,
    F.le: np.less_equal,
    F.gt: np.greater,
    F.ge: np.greater_equal,
}


@pytest.mark.parametrize("function", BINARY, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8])
def test_functions_of_two_tensors_and_of_a_number(
    function: Callable[..., F.TensorLike], dtype: type
) -> None:
    a, b = (integers(*s, low=1, high=9, dtype=dtype) for s in ((4, 1, 5), (3, 5)))
    same(run(function, a, b), BINARY[function](a, b))
    three = np.asarray(3, dtype)
    same(run(lambda g, x: function(g, x, 3), a), BINARY[function](a, three))
    same(run(lambda g, x: function(g, 3, x), a), BINARY[function](three, a))
    same(run(lambda g, x: function(g, x, b), a), BINARY[function](a, b))


def test_division_and_remainders_of_integers() -> None:
    a, b = np.array([7, -7, 7, -7, 5]), np.array([2, 2, -2, -2, 0])
    same(run(F.div, a, b), np.array([3, -3, -3, 3, 0]))
    same(run(F.remainder, a, b), np.array([1, 1, -1, -1, 0]))
    same(run(F.fmod, a, b)[:4], np.fmod(a[:4], b[:4]))
    x, y = floats(50), floats(50, seed=1)
    same(run(F.fmod, x, y), np.fmod(x, y))
    same(run(F.div, x, y), x / y)


def test_power_keeps_the_type_of_the_base() -> None:
    x, n = integers(6), np.array([0, 1, 2, 3, 2, 1])
    same(run(F.pow, x, n), x**n)
    same(run(lambda b, t: F.pow(b, t, 2), x), x**2)
    same(run(lambda b, t: F.pow(b, t, 0.5), np.abs(X)), np.sqrt(np.abs(X)))
    same(run(F.pow, X, np.asarray(2)), X**2)


def test_many_operands_are_several_nodes() -> None:
    xs = [floats(3, seed=i) for i in range(100)]
    graph = graph_of(F.add, *xs)
    assert 8 <= len(graph.nodes) <= 10
    same(run(F.add, *xs), np.sum(xs, axis=0, dtype=np.float32))
    same(run(F.mean_of, *xs), np.mean(xs, axis=0, dtype=np.float32))
    same(run(F.maximum, *xs), np.max(xs, axis=0))


def test_logic_and_choice() -> None:
    a, b = floats(9) > 0, floats(9, seed=1) > 0
    for function, want in (
        (F.logical_and, a & b),
        (F.logical_or, a | b),
        (F.logical_xor, a ^ b),
    ):
        same(run(function, a, b), want)
    same(run(F.logical_not, a), ~a)
    same(run(F.where, a, floats(9), floats(9, seed=2)), np.where(a, floats(9), floats(9, seed=2)))
    same(run(lambda g, c, x: F.where(g, c, x, -1), a, floats(9)), np.where(a, floats(9), -1))
    words = np.array(["a", "b"], object)
    yes = np.array([True, False])
    assert run(F.where, yes, words, words[::-1].copy()).tolist() == ["a", "a"]


def test_what_is_no_number() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1], np.float32)
    same(run(F.isnan, x), np.isnan(x))
    same(run(F.isinf, x), np.isinf(x))
    same(run(F.isinf, x, negative=False), np.isposinf(x))
    same(run(F.isinf, x, positive=False), np.isneginf(x))
    same(run(F.isinf, x, positive=False, negative=False), np.zeros(4, bool))


def test_clamp_by_numbers_and_tensors() -> None:
    low, high = np.asarray(-0.5, np.float32), np.array([[1.0]], np.float32)
    same(run(F.clamp, X, min=-0.5, max=1), X.clip(-0.5, 1))
    same(run(F.clamp, X, max=1), X.clip(None, 1))
    same(run(F.clamp, X, low, high), X.clip(-0.5, 1))
    same(run(F.clamp, X, min=2.0, max=1.0), np.full_like(X, 1))
    same(run(F.clamp, X, high, low), np.full_like(X, -0.5))
    same(run(F.clamp, integers(9), min=-2, max=3), integers(9).clip(-2, 3))


def test_conversion_truncates_and_saturates() -> None:
    x = np.array([1.7, -1.7, 300.0, -300.0, 0.0], np.float32)
    same(run(F.cast, x, dtype=i32), np.array([1, -1, 300, -300, 0], np.int32))
    same(run(F.cast, x, dtype=i8), np.array([1, -1, 127, -128, 0], np.int8))
    same(run(F.cast, x, dtype=u8), np.array([1, 0, 255, 0, 0], np.uint8))
    same(run(F.cast, x, dtype=boolean), x != 0)
    b = GraphBuilder("g")
    t = b.input("x", TensorType(f32, (2,)))
    assert F.cast(b, t, f32) is t
    with pytest.raises(F.NoCanonicalForm, match="str"):
        F.cast(b, t, string)


def test_parametric_activations() -> None:
    slope = floats(4, 1)
    same(run(F.prelu, X, slope), np.where(X < 0, X * slope, X))
    same(run(F.leaky_relu, X, negative_slope=0.3), np.where(X < 0, np.float32(0.3) * X, X))
    same(run(F.threshold, X, threshold=0.5, value=-1.0), np.where(X > 0.5, X, np.float32(-1)))
    tanh = 0.5 * X * (1 + np.tanh(np.sqrt(2 / np.pi) * (X + 0.044715 * X**3)))
    same(run(F.gelu, X, approximate="tanh"), tanh.astype(np.float32))
    soft = np.sign(X) * np.maximum(np.abs(X) - 0.25, 0)
    same(run(F.shrink, X, lambd=0.25, bias=0.25), soft.astype(np.float32))
    wide = X.astype(np.float64)
    same(run(F.hard_swish, wide), wide * np.clip(wide / 6 + 0.5, 0, 1))


def test_arguments_are_checked() -> None:
    b = GraphBuilder("g")
    x, n = b.input("x", TensorType(f32, (2,))), b.input("n", TensorType(i64, (2,)))
    words = b.input("words", TensorType(string, (2,)))
    byte = b.input("byte", TensorType(u8, (2,)))
    for says, call in (
        ("different element types", lambda: F.add(b, x, n)),
        ("needs a tensor", lambda: F.add(b, 1.0, 2.0)),
        ("at least one operand", lambda: F.add(b)),
        ("0.5 is no value of type i64", lambda: F.mul(b, n, 0.5)),
        ("300 is no value of type u8", lambda: F.add(b, byte, 300)),
        ("works on floats", lambda: F.gelu(b, n)),
        ("not bool", lambda: F.where(b, x, x, x)),
        ("not one f32", lambda: F.clamp(b, x, n)),
        ("neither 'none' nor 'tanh'", lambda: F.gelu(b, x, approximate="fast")),
        ("do not broadcast", lambda: F.add(b, x, np.zeros(3, np.float32))),
    ):
        with pytest.raises(ModelError, match=says):
            call()
    with pytest.raises(F.NoCanonicalForm, match="strings"):
        F.add(b, words, words)


def test_names_follow_the_scope() -> None:
    b = GraphBuilder("g", reserved=["stem:pointwise"])
    x = b.input("x", TensorType(f32, (1, 2, 4, 4)))
    with b.scope("stem"):
        y = F.relu(b, x)
        with b.scope("inner"):
            z = F.exp(b, y, output="z")
        last = F.pointwise(b, E.add(E.inp(0), E.inp(1)), y, z)
    loose = F.tanh(b, last)
    graph = b.graph({"y": loose})
    assert [t.name for t in (y, z, last, loose)] == [
        "stem:pointwise'", "z", "stem:pointwise'#1", "pointwise",
    ]  # fmt: skip
    assert [n.name for n in graph.nodes] == ["stem", "inner", "stem", "pointwise"]
    assert [n.origin for n in graph.nodes] == [("stem",), ("inner",), ("stem",), ("pointwise",)]
