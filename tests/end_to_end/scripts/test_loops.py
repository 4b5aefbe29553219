"""Loop: how often it goes round, what it carries and collects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import camshaft
from camshaft import ShapeError
from script_models import QUICK, check, text_model

RNG = np.random.default_rng(2)


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def trips(*counts: int, **more: Any) -> list[dict[str, Any]]:
    return [{"trips": np.array(n), **more} for n in counts]


COUNTED = """(float[n] x, int64 trips) => (float[n] last, float[t,n] all, int64[t] numbers) {
    last, all, numbers = Loop (trips, , x) <
        body = step (int64 i, bool go, float[n] h) => (bool on, float[n] next, float[n] out, int64 j) {
            on = Identity (go)
            number = Cast <to = 1> (i)
            next = Add (h, number)
            out = Mul (h, x)
            j = Mul (i, i)
        }
    > }"""


def test_counted_from_zero_trips_on(tmp_path: Path) -> None:
    calls = [{"x": f(n), "trips": np.array(t)} for n, t in ((3, 4), (1, 1), (3, 0), (2, 17))]
    check(text_model(COUNTED), calls, tmp_path)


def test_what_no_trip_collects_has_the_sizes_that_are_known() -> None:
    model = text_model(
        """(float[n] x, int64 trips) => (float[k] y) {
            last, all = Loop (trips, , x) <
                body = step (int64 i, bool go, float[n] h) => (bool on, float[n] next, float[n] out) {
                    on = Identity (go) next = Tanh (h) out = Neg (h)
                }
            >
            flat = Reshape (all, rest)
            y = Concat <axis = 0> (flat, last)
        }""",
        rest=np.array([-1]),
    )
    check(model, trips(3, 0, 1, x=f(2)))
    engine = camshaft.build(text_model(COUNTED), **QUICK)
    assert engine({"x": f(3), "trips": 0})["all"].shape == (0, 3)


def test_counts_below_zero_are_none() -> None:
    check(text_model(COUNTED), [{"x": f(3), "trips": np.array(-2)}])


@pytest.mark.parametrize("start", [True, False])
def test_early_exit(start: bool, tmp_path: Path) -> None:
    model = text_model(
        """(float[1] x, float limit, bool start) => (float[1] last, float[t,1] all) {
            last, all = Loop ( , start, x) <
                body = step (int64 i, bool go, float[1] h) => (bool on, float[1] next, float[1] out) {
                    next = Add (h, h)
                    sum = ReduceSum <keepdims = 0> (next)
                    on = Less (sum, limit)
                    out = Identity (next)
                }
            > }"""
    )
    one = np.ones(1, np.float32)
    calls = [
        {"x": one, "limit": np.array(limit, np.float32), "start": np.array(start)}
        for limit in (100, 1, 3)
    ]
    check(model, calls, tmp_path)


@pytest.mark.parametrize("shape", ["bool", "bool[1]"])
def test_counts_and_conditions_of_shape_one(shape: str) -> None:
    model = text_model(
        f"""(float[n] x, int64[1] trips, {shape} start) => (float[n] last) {{
            last = Loop (trips, start, x) <
                body = step (int64 i, {shape} go, float[n] h) => ({shape} on, float[n] next) {{
                    on = Identity (go)
                    next = Add (h, x)
                }}
            > }}"""
    )
    start = np.array([True]) if "[" in shape else np.array(True)
    check(model, [{"x": f(2), "trips": np.array([t]), "start": start} for t in (0, 1, 5)])


def test_carried_values_may_grow(tmp_path: Path) -> None:
    model = text_model(
        """(float[n,2] x, int64 trips) => (float[m,2] last, float[k] sizes) {
            last, sizes = Loop (trips, , x) <
                body = step (int64 i, bool go, float[a,2] h) => (bool on, float[b,2] next, float s) {
                    on = Identity (go)
                    next = Concat <axis = 0> (h, x)
                    s = ReduceSum <keepdims = 0> (next)
                }
            > }"""
    )
    calls = [{"x": f(n, 2), "trips": np.array(t)} for n, t in ((2, 3), (1, 0), (3, 5))]
    check(model, calls, tmp_path)


def test_carried_values_may_change_their_rank() -> None:
    model = text_model(
        """(float[n] x, int64 trips) => (float y) {
            zero = Constant <value = int64[1] {0}> ()
            last = Loop (trips, , x) <
                body = step (int64 i, bool go, float h) => (bool on, float next) {
                    on = Identity (go)
                    next = Unsqueeze (h, zero)
                }
            >
            y = ReduceSum <keepdims = 0> (last)
        }"""
    )
    for at in (0, 1):
        kind = model.graph.node[1].attribute[0].g
        (kind.input[2] if at == 0 else kind.output[1]).type.tensor_type.ClearField("shape")
    check(model, trips(0, 1, 3, x=f(4)))


def test_nested_loops_with_captures_from_two_levels_up(tmp_path: Path) -> None:
    model = text_model(
        """(float[n] x, int64 outer, int64 inner) => (float[n] last, float[t,n] all) {
            base = Exp (x)
            last, all = Loop (outer, , x) <
                body = step (int64 i, bool go, float[n] h) => (bool on, float[n] next, float[n] out) {
                    on = Identity (go)
                    mid = Mul (h, base)
                    next = Loop (inner, , mid) <
                        body = deep (int64 j, bool go2, float[n] g) => (bool on2, float[n] g2) {
                            on2 = Identity (go2)
                            a = Mul (g, x)
                            b = Add (a, mid)
                            k = Cast <to = 1> (i)
                            c = Add (b, k)
                            g2 = Tanh (c)
                        }
                    >
                    out = Sub (next, base)
                }
            > }"""
    )
    calls = [
        {"x": f(3), "outer": np.array(a), "inner": np.array(b)}
        for a, b in ((2, 3), (3, 0), (0, 2), (1, 4))
    ]
    check(model, calls, tmp_path)


def test_a_branch_in_a_loop_in_a_branch() -> None:
    model = text_model(
        """(float[n] x, int64 trips, bool flag) => (float[n] y) {
            two = Constant <value = int64 {2}> ()
            zero = Constant <value = int64 {0}> ()
            y = If (flag) <
                then_branch = a () => (float[n] p) {
                    p = Loop (trips, , x) <
                        body = step (int64 i, bool go, float[n] h) => (bool on, float[n] next) {
                            on = Identity (go)
                            odd = Mod (i, two)
                            is_odd = Equal (odd, zero)
                            next = If (is_odd) <
                                then_branch = c () => (float[n] q) { q = Add (h, x) },
                                else_branch = d () => (float[n] r) { r = Neg (h) }
                            >
                        }
                    >
                },
                else_branch = b () => (float[n] s) { s = Exp (x) }
            > }"""
    )
    calls = [
        {"x": f(3), "trips": np.array(t), "flag": np.array(on)}
        for t in (0, 3, 4)
        for on in (True, False)
    ]
    check(model, calls)


def test_what_is_collected_must_have_one_shape() -> None:
    model = text_model(
        """(float[n] x, int64 trips) => (float[a,b] all) {
            last, all = Loop (trips, , x) <
                body = step (int64 i, bool go, float[k] h) => (bool on, float[m] next, float[m2] out) {
                    on = Identity (go)
                    next = Concat <axis = 0> (h, x)
                    out = Identity (next)
                }
            > }"""
    )
    engine = camshaft.build(model, **QUICK)
    assert engine({"x": f(2), "trips": np.array(1)})["all"].shape == (1, 4)
    with pytest.raises(ShapeError, match=r"node 'last'.*shapes"):
        engine({"x": f(2), "trips": np.array(2)})


def test_matrix_products_in_a_loop(tmp_path: Path) -> None:
    """A recurrent cell by hand, over rows of a sequence that only a call knows."""
    model = text_model(
        """(float[t,2,4] x, float[2,8] h) => (float[2,8] last, float[t,2,8] all) {
            zero = Constant <value = int64 {0}> ()
            shape = Shape (x)
            count = Gather <axis = 0> (shape, zero)
            last, all = Loop (count, , h) <
                body = step (int64 i, bool go, float[2,8] s) => (bool on, float[2,8] next, float[2,8] out) {
                    on = Identity (go)
                    row = Gather <axis = 0> (x, i)
                    a = MatMul (row, w)
                    b = MatMul (s, r)
                    c = Add (a, b)
                    next = Tanh (c)
                    out = Identity (next)
                }
            > }""",
        w=f(4, 8),
        r=f(8, 8) / 4,
    )
    engine = check(model, [{"x": f(t, 2, 4), "h": f(2, 8)} for t in (1, 7, 3)], tmp_path)
    assert repr(engine.outputs["all"]) == "f32[t,2,8]"


def test_each_iteration_without_a_loop_finds_sizes_of_its_own(tmp_path: Path) -> None:
    """Three trips are unrolled: the same Compress gives three lengths, which meet behind the loop."""
    model = text_model(
        """(float[n] x) => (float[k] y, float[m] all) {
            three = Constant <value = int64 {3}> ()
            y, all = Loop (three, , x, x) <
                body = g (int64 i, bool go, float[a] h, float[b] s) => (bool go2, float[c] h2, float[d] s2) {
                    go2 = Identity (go)
                    mean = ReduceMean <keepdims = 0> (h)
                    over = GreaterOrEqual (h, mean)
                    h2 = Compress (h, over)
                    twice = Add (h2, h2)
                    s2 = Concat <axis = 0> (s, twice)
                } >
        }"""
    )
    check(model, [{"x": f(n)} for n in (9, 1, 4)], tmp_path)
