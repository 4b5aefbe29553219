"""What scalar expressions mean at the edges of their types: exact arithmetic, NumPy and CPU code.

Three statements of one meaning are held against each other: ONNX's definition in Python's integers
and exact fractions, `ir.expr.evaluate`, and generated code on every target.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.expr.epilogue import emit_expr
from camshaft.backends.cpu.lang import Arg, Module
from camshaft.backends.cpu.link import Library, call, link, pointer_table
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.types import DType, boolean, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64
from onnx_models import one_node, run
from targets import PLAIN, RUNNABLE

pytestmark = pytest.mark.codegen
INTEGERS = (i8, u8, i16, u16, i32, u32, i64, u64)
COUNT = 64


@cache
def compiled(target: CpuTarget, expr: Expr, dtypes: tuple[DType, ...], out: DType) -> Library:
    """The expression over COUNT elements."""
    lanes = target.vector_bits // max(d.bits for d in (*dtypes, out, f32))
    module = Module(target)
    args = [*(Arg(f"x{n}", d) for n, d in enumerate(dtypes)), Arg("y", out)]
    with module.phase("f", COUNT // lanes, args) as k, k.loop(k.begin, k.end) as item:
        values = [k.load(k.args[f"x{n}"].at(item * lanes), lanes) for n in range(len(dtypes))]
        k.store(emit_expr(k, expr, values), k.args["y"].at(item * lanes))
    return link(CpuCompiler(target).compile(module.source()).code, ["f"])


def on_cpu(
    target: CpuTarget, expr: Expr, arrays: Sequence[np.ndarray], dtypes: tuple[DType, ...]
) -> np.ndarray:
    """The expression on up to COUNT elements through generated code."""
    out = E.result_dtype(expr, dtypes)
    library = compiled(target, expr, dtypes, out)
    given_ = [np.resize(a, COUNT) for a in arrays]
    result = np.empty(COUNT, out.numpy)
    lanes = target.vector_bits // max(d.bits for d in (*dtypes, out, f32))
    table = pointer_table([a.ctypes.data for a in (*given_, result)])
    call(library["f"], table, 0, COUNT // lanes)
    return result[: arrays[0].size]


def check_code(
    expr: Expr, arrays: Sequence[np.ndarray], dtypes: tuple[DType, ...], want: object
) -> None:
    """Every target's code compiles; where this machine can run it, it computes `want`."""
    for target in PLAIN:
        compiled(target, expr, dtypes, E.result_dtype(expr, dtypes))
    for target in RUNNABLE:
        np.testing.assert_array_equal(on_cpu(target, expr, arrays, dtypes), want)


def wrapped(value: int, dtype: DType) -> int:
    """`value` modulo the type's size, in its range."""
    low = dtype.range[0]
    return (value - low) % (1 << dtype.bits) + low


def truncated(a: int, b: int) -> int:
    """a / b towards zero; by zero 0."""
    if b == 0:
        return 0
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


EXACT: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": truncated,
    "mod": lambda a, b: a % b if b else 0,
    "min": min,
    "max": max,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "eq": lambda a, b: a == b,
}


def edges(dtype: DType) -> list[int]:
    low, high = dtype.range
    near = {low, low + 1, low // 2, -3, -2, -1, 0, 1, 2, 3, 7, high // 2, high - 1, high}
    return sorted(v for v in near if low <= v <= high)


def integers(dtype: DType) -> st.SearchStrategy[int]:
    """Any value of the type, its edges often."""
    return st.sampled_from(edges(dtype)) | st.integers(*dtype.range)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("op", EXACT)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_integer_arithmetic(op: str, dtype: DType, data: st.DataObject) -> None:
    pairs = [(a, b) for a in edges(dtype) for b in edges(dtype) if abs(b) in (0, 1, 3)][:COUNT]
    drawn = data.draw(st.lists(st.tuples(integers(dtype), integers(dtype)), max_size=COUNT))
    pairs = (drawn + pairs)[:COUNT]
    a, b = (np.array([p[n] for p in pairs], dtype.numpy) for n in range(2))
    expr = E.binary(op, E.inp(0), E.inp(1))
    out = E.result_dtype(expr, (dtype, dtype))
    values = [EXACT[op](*p) for p in pairs]
    want = np.array([v if out == boolean else wrapped(v, out) for v in values], out.numpy)
    np.testing.assert_array_equal(E.evaluate(expr, [a, b]), want, strict=True)
    check_code(expr, [a, b], (dtype, dtype), want)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("op", ["neg", "abs", "sign", "floor", "round"])
def test_integer_functions(op: str, dtype: DType) -> None:
    exact = {"neg": lambda v: -v, "abs": abs, "sign": lambda v: (v > 0) - (v < 0)}
    x = np.array(edges(dtype), dtype.numpy)
    expr = E.unary(op, E.inp(0))
    want = np.array([wrapped(exact.get(op, int)(v), dtype) for v in edges(dtype)], dtype.numpy)
    np.testing.assert_array_equal(E.evaluate(expr, [x]), want)
    check_code(expr, [x], (dtype,), want)


@pytest.mark.parametrize("source", INTEGERS, ids=str)
@pytest.mark.parametrize("to", INTEGERS, ids=str)
def test_casts_between_integers_wrap(source: DType, to: DType) -> None:
    x = np.array(edges(source), source.numpy)
    expr = E.cast(E.inp(0), to)
    want = np.array([wrapped(v, to) for v in edges(source)], to.numpy)
    np.testing.assert_array_equal(E.evaluate(expr, [x]), want)
    check_code(expr, [x], (source,), want)


def saturated(x: float, dtype: DType) -> int:
    """Half to even, then the nearest value of the type; NaN gives the smallest."""
    low, high = dtype.range
    if math.isnan(x):
        return low
    if math.isinf(x):
        return high if x > 0 else low
    return min(max(round(Fraction(x)), low), high)


def floats(width: int) -> st.SearchStrategy[float]:
    """Any float, often one near a power of two, a tie or a bound."""
    near = st.builds(
        lambda power, step, sign: sign * (2.0**power + step),
        st.integers(0, 65),
        st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0, 1.5]),
        st.sampled_from([-1.0, 1.0]),
    )
    as_type = np.float32 if width == 32 else np.float64
    return near.map(lambda v: float(as_type(v))) | st.floats(width=width)


@pytest.mark.parametrize("source", [f32, f64], ids=str)
@pytest.mark.parametrize("to", INTEGERS, ids=str)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_casts_of_floats_round_and_saturate(source: DType, to: DType, data: st.DataObject) -> None:
    fixed = [math.nan, math.inf, -math.inf, -0.0, 0.5, -0.5, 2.5, 2147483520.0, 2147483648.0]
    drawn = data.draw(st.lists(floats(source.bits), max_size=COUNT - len(fixed)))
    x = np.array(drawn + fixed, source.numpy)
    want = np.array([saturated(float(v), to) for v in x], to.numpy)
    expr = E.cast(E.inp(0), to)
    np.testing.assert_array_equal(E.evaluate(expr, [x]), want)
    check_code(expr, [x], (source,), want)


@pytest.mark.parametrize("dtype", [u8, i8], ids=str)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_quantization_saturates_at_the_extremes(dtype: DType, data: st.DataObject) -> None:
    """Every x with any sane scale and zero point; the tie is of the float32 quotient."""
    scale = data.draw(st.floats(2.0**-40, 2.0**40, width=32))
    zero = data.draw(st.sampled_from([dtype.range[0], 0, 1, 3, dtype.range[1]]))
    x = np.array(data.draw(st.lists(floats(32), min_size=1, max_size=COUNT)), np.float32)
    with np.errstate(all="ignore"):
        quotient = x / np.float32(scale)
    # The zero point is added in float32: next to 2**24 and beyond it makes no difference.
    want = [saturated(float(np.rint(q)) + zero, dtype) for q in quotient]
    expr = E.quantize(E.inp(0), E.inp(1), zero, dtype)
    arrays = [x, np.full(x.shape, scale, np.float32)]
    np.testing.assert_array_equal(E.evaluate(expr, arrays), np.array(want, dtype.numpy))
    check_code(expr, arrays, (f32, f32), want)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint32])
@pytest.mark.parametrize(("op", "attrs"), [("Div", {}), ("Mod", {}), ("Mod", {"fmod": 1})])
def test_division_as_onnx_defines_it(op: str, attrs: dict[str, int], dtype: type) -> None:
    """Against ONNX's own reference, without divisors that it leaves undefined."""
    low, high = (int(v) for v in (np.iinfo(dtype).min, np.iinfo(dtype).max))
    values = [v for v in (low, low + 1, -7, -3, -1, 0, 1, 3, 7, high) if v >= low]
    pairs = [(a, b) for a in values for b in values if b and (a, b) != (low, -1)]
    a, b = (np.array([p[n] for p in pairs], dtype) for n in range(2))
    model, feeds = one_node(op, [a, b], **attrs)
    (want,) = ReferenceEvaluator(model).run(None, feeds)
    np.testing.assert_array_equal(run(model, feeds)["y0"], want)
