"""What users found: each a kind of its own, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

import camshaft
from camshaft import ModelError
from script_models import QUICK, check, text_model

RNG = np.random.default_rng(8)


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "axes", "sizes"),
    [
        ((1, 3, 4), [2], [7]),
        ((2, 4, 3), None, [2, 6, 2]),
        ((2, 5, 4, 3), [3], [7]),
        ((2, 3, 4, 5), [1, 2], [6, 7]),
    ],
)
def test_sizes_of_axes_that_a_model_names_are_open(
    shape: tuple[int, ...], axes: list[int] | None, sizes: list[int]
) -> None:
    dims, named = ",".join(map(str, shape)), "" if axes is None else f", axes = {axes}"
    out = ",".join(f"d{i}" for i in range(len(shape)))
    model = text_model(
        f"""(float[{dims}] x, int64[{len(sizes)}] to) => (float[{out}] y) {{
            y = Resize <mode = "nearest"{named}> (x, , , to) }}""",
        opset=18,
    )
    check(model, [{"x": f(*shape), "to": np.array(sizes)}])


@pytest.mark.parametrize(
    ("op", "inputs", "feeds"),
    [
        ("Pad", "float[n,m] x, int64[4] p", {"x": f(2, 3), "p": np.array([1, 0, 0, 1])}),
        ("Range", "int64 a, int64 b, int64 c", {k: np.array(v) for k, v in zip("abc", (0, 5, 2), strict=True)}),
        ("Trilu", "float[n,m] x, int64 k", {"x": f(3, 3), "k": np.array(1)}),
        ("ExpandDims", "float[n,m] x, int32[1] k", {"x": f(3, 2), "k": np.array([1], np.int32)}),
    ],
)  # fmt: skip
def test_operands_of_foreign_operators_may_be_inputs(
    op: str, inputs: str, feeds: dict[str, Any]
) -> None:
    kind = "int64[k]" if op == "Range" else "float[a,b,c]" if op == "ExpandDims" else "float[a,b]"
    names = ", ".join(feeds)
    model = text_model(f"({inputs}) => ({kind} y) {{ y = {op} ({names}) }}")
    model.graph.node[0].domain = "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    check(model, [feeds])


def test_products_of_32_bits_wrap() -> None:
    model = text_model("(int32[n,m] a, int32[m,k] b) => (int32[n,k] y) { y = MatMul (a, b) }")
    big = np.array([[2**30, 2**30]], np.int32)
    calls = [{"a": big, "b": np.array(b, np.int32)} for b in ([[4], [4]], [[3], [4]], [[-7], [2]])]
    check(model, calls)
    check(model, [{"a": big, "b": np.full((2, 3), 2**31 - 1, np.int32)}])


def test_sines_of_large_products_are_built_at_every_level() -> None:
    """Fourier features: rounding alone moves an argument of thousands by a part of a period."""
    weights = f(64, 32) * 1000
    model = text_model(
        """(float[n,64] x) => (float[n,32] s, float[n,32] c) {
            m = MatMul (x, w)
            s = Sin (m)
            c = Cos (m)
        }""",
        w=weights,
    )
    x = f(5, 64)
    found = camshaft.build(model, optimization_level=3)({"x": x})
    exact = x.astype(np.float64) @ weights.astype(np.float64)
    np.testing.assert_allclose(found["s"], np.sin(exact), atol=0.05)
    np.testing.assert_allclose(found["c"], np.cos(exact), atol=0.05)


@pytest.mark.parametrize("mode", ["edge", "wrap"])
@pytest.mark.parametrize("dim", ["1", "n"])
def test_padding_by_elements_of_which_none_are_left(mode: str, dim: str) -> None:
    model = text_model(
        f'''(float[{dim}] x) => (float[k] y) {{
            by = Constant <value = int64[2] {{-1, 3}}> ()
            y = Pad <mode = "{mode}"> (x, by) }}''',
        opset=19,
    )
    with pytest.raises(ModelError, match=r"by its own elements|node 'y'"):
        camshaft.build(model, **QUICK)({"x": f(1)})


@pytest.mark.parametrize("dilation", [1, 2])
def test_typical_sizes_of_filters_that_are_inputs(dilation: int) -> None:
    model = text_model(
        f"""(float[n,1,h,w] x, float[2,1,r,s] f) => (float[n,2,a,b] y) {{
            y = Conv <dilations = [{dilation}, {dilation}]> (x, f) }}"""
    )
    check(
        model, [{"x": f(1, 1, 9, 9), "f": f(2, 1, 3, 3)}, {"x": f(2, 1, 7, 5), "f": f(2, 1, 2, 1)}]
    )


def test_typical_sizes_under_a_small_table_of_positions() -> None:
    """Past and new rows together find 32 places: neither of the typical 320 does alone."""
    model = text_model(
        """(float[b,new,4] x, float[b,past,4] old) => (float[b,all,4] y, float[new,4] places) {
            y = Concat <axis = 1> (old, x)
            one = Constant <value = int64 {1}> ()
            first = Constant <value = int64[1] {0}> ()
            shape = Shape (y)
            end = Gather (shape, one)
            ends = Unsqueeze (end, first)
            before = Shape (old)
            start = Gather (before, one)
            starts = Unsqueeze (start, first)
            rows = Slice (table, starts, ends, first)
            new = Shape (x)
            count = Gather (new, one)
            counts = Unsqueeze (count, first)
            four = Constant <value = int64[1] {4}> ()
            wanted = Concat <axis = 0> (counts, four)
            places = Reshape (rows, wanted)
        }""",
        table=f(32, 4),
    )
    check(model, [{"x": f(1, n, 4), "old": f(1, p, 4)} for n, p in ((3, 0), (1, 31), (2, 5))])
