"""If with conditions that only a call knows: what each branch gives, sees and demands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import camshaft
from camshaft import ModelError, ShapeError
from camshaft.frontends.onnx import import_model
from camshaft.runtime.script.engine import ScriptEngine
from script_models import QUICK, check, text_model

RNG = np.random.default_rng(1)


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_branch_runs(shape: tuple[int, ...], tmp_path: Path) -> None:
    dims = f"bool[{','.join(map(str, shape))}]" if shape else "bool"
    model = text_model(
        f"""(float[n,3] x, {dims} flag) => (float[n,3] y, float[n,3] z) {{
            twice = Add (x, x)
            y, z = If (flag) <
                then_branch = a () => (float[n,3] p, float[n,3] q) {{ p = Exp (x) q = Neg (twice) }},
                else_branch = b () => (float[n,3] r, float[n,3] s) {{ r = Relu (twice) s = Mul (x, r) }}
            > }}"""
    )
    calls = [{"x": f(n, 3), "flag": np.full(shape, on)} for n in (2, 5) for on in (True, False)]
    assert isinstance(check(model, calls, tmp_path), ScriptEngine)


def test_shapes_and_ranks_of_branches_may_differ(tmp_path: Path) -> None:
    model = text_model(
        """(float[n,4] x, float limit) => (float y, float[k] flat) {
            zero = Constant <value = int64[1] {-1}> ()
            sum = ReduceSum <keepdims = 0> (x)
            flag = Greater (sum, limit)
            z = If (flag) <
                then_branch = a () => (float[a,b] p) { p = Concat <axis = 0> (x, x) },
                else_branch = b () => (float[c] q) { q = Reshape (x, zero) }
            >
            e = Exp (z)
            flat = Reshape (e, zero)
            y = ReduceMax <keepdims = 0> (e)
        }"""
    )
    calls = [{"x": f(n, 4), "limit": np.float32(limit)} for n in (1, 6) for limit in (-99, 99, -99)]
    check(model, [{**c, "limit": np.array(c["limit"])} for c in calls], tmp_path)


def test_nested_branches_see_values_two_levels_up() -> None:
    model = text_model(
        """(float[n] x, bool a, bool b) => (float[n] y) {
            base = Exp (x)
            y = If (a) <
                then_branch = outer () => (float[n] p) {
                    mid = Add (base, x)
                    p = If (b) <
                        then_branch = inner () => (float[n] q) { t = Mul (mid, base) q = Sub (t, x) },
                        else_branch = other () => (float[n] r) { r = Neg (base) }
                    >
                },
                else_branch = rest () => (float[n] s) { s = Identity (x) }
            > }"""
    )
    check(
        model,
        [
            {"x": f(3), "a": np.array(a), "b": np.array(b)}
            for a in (0 > 1, 1 > 0)
            for b in (0 > 1, 1 > 0)
        ],
    )


def test_conditions_that_are_constant_leave_one_graph() -> None:
    model = text_model(
        """(float[n] x) => (float[n] y) {
            shape = Shape (x)
            rank = Size (shape)
            one = Constant <value = int64 {1}> ()
            flag = Equal (rank, one)
            y = If (flag) <
                then_branch = a () => (float[n] p) { p = Exp (x) },
                else_branch = b () => (int64[n,k] q) { q = NonZero (x) }
            > }"""
    )
    assert import_model(model).script is None


def test_a_branch_that_passes_a_value_on(tmp_path: Path) -> None:
    model = text_model(
        """(float[n] x, float[n] w, bool flag) => (float[n] y, float[n] x2) {
            y = If (flag) <
                then_branch = a () => (float[n] p) { p = Identity (x) },
                else_branch = b () => (float[n] q) { q = Identity (w) }
            >
            x2 = Identity (x)
        }"""
    )
    engine = check(
        model, [{"x": f(2), "w": f(2), "flag": np.array(on)} for on in (True, False)], tmp_path
    )
    x = f(2)
    given = {"x": x, "w": f(2), "flag": np.array(True)}
    first = engine(given)["y"]
    first[:] = 7
    assert not np.shares_memory(first, x) and (engine(given)["y"] == x).all()


def test_a_branch_of_convolutions_and_one_without(tmp_path: Path) -> None:
    model = text_model(
        """(float[n,3,h,w] x, bool flag) => (float[n,c,s,t] y)
{
            y = If (flag) <
                then_branch = a () => (float[n,4,h,w] p) {
                    c = Conv <pads = [1,1,1,1]> (x, filter) p = Relu (c) },
                else_branch = b () => (float[n,4,h,w] q) { q = Conv (x, point) }
            > }""",
        filter=f(4, 3, 3, 3),
        point=f(4, 3, 1, 1),
    )
    shapes = [(1, 3, 8, 8), (2, 3, 5, 9)]
    calls = [{"x": f(*s), "flag": np.array(on)} for s in shapes for on in (True, False)]
    check(model, calls, tmp_path)


def test_faults_name_the_node() -> None:
    model = text_model(
        """(float[n] x, bool[k] flag, int64[1] to) => (float[a] y) {
            y = If (flag) <
                then_branch = a () => (float[a] p) { p = Reshape (x, to) },
                else_branch = b () => (float[n] q) { q = Exp (x) }
            > }"""
    )
    engine = camshaft.build(model, **QUICK)
    given = {"x": f(4), "flag": np.array([True]), "to": np.array([5])}
    with pytest.raises(ModelError, match=r"node 'p' \(Reshape\)"):
        engine(given)
    with pytest.raises(ShapeError, match=r"input 'flag' has shape \(2,\), expected bool\[1\]"):
        engine({**given, "flag": np.array([True, False])})
    assert engine({**given, "to": np.array([4])})["y"].shape == (4,)
