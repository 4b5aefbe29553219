"""Operators whose results have a shape that only the data say, and what follows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import camshaft
from camshaft import ModelError, ShapeError
from script_models import QUICK, Feeds, check, text_model

RNG = np.random.default_rng(4)


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def whole(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def boxes(n: int) -> np.ndarray:
    corner = RNG.random((1, n, 2)).astype(np.float32)
    return np.concatenate([corner, corner + RNG.random((1, n, 2)).astype(np.float32)], -1)


NMS = """(float[1,n,4] boxes, float[1,c,n] scores, int64[1] most, float[1] iou, float[1] least)
    => (int64[k,3] picked, float[k,4] corners) {
        picked = NonMaxSuppression (boxes, scores, most, iou, least)
        two = Constant <value = int64 {2}> ()
        at = Gather <axis = 1> (picked, two)
        zero = Constant <value = int64[1] {0}> ()
        flat = Squeeze (boxes, zero)
        corners = Gather <axis = 0> (flat, at)
    }"""


def nms(n: int, classes: int, iou: float, least: float = 0.1) -> dict[str, Any]:
    return {
        "boxes": boxes(n),
        "scores": RNG.random((1, classes, n)).astype(np.float32),
        "most": whole(5),
        "iou": np.float32([iou]),
        "least": np.float32([least]),
    }


CASES: dict[str, tuple[str, list[Feeds]]] = {
    "non-zero": (
        """(float[n,3] x) => (int64[2,k] at, float[m,3] rows) {
            r = Relu (x)
            at = NonZero (r)
            zero = Constant <value = int64 {0}> ()
            first = Gather <axis = 0> (at, zero)
            rows = Gather <axis = 0> (x, first)
        }""",
        [{"x": f(4, 3)}, {"x": -np.abs(f(2, 3))}, {"x": np.abs(f(1, 3))}],
    ),
    "non-max suppression": (
        NMS,
        [nms(9, 2, 0.5), nms(1, 1, 0.5), nms(30, 3, 0.1), nms(7, 2, 0.5, 2)],
    ),
    "unique": (
        """(int64[n] x) => (int64[k] y, int64[k] first, int64[n] back, int64[k] counts, float[k,4] hot) {
            y, first, back, counts = Unique (x)
            depth = Constant <value = int64 {4}> ()
            ends = Constant <value = float[2] {0, 1}> ()
            hot = OneHot (y, depth, ends)
        }""",
        [{"x": whole(3, 1, 1, 2, 3)}, {"x": whole(0)}, {"x": whole(1, 1)}],
    ),
    "unique rows": (
        "(float[n,2] x) => (float[k,2] y, float[k,2] z) { y = Unique <axis = 0, sorted = 0> (x) z = Exp (y) }",
        [{"x": np.float32([[1, 2], [0, 1], [1, 2]])}, {"x": f(1, 2)}],
    ),
    "compress": (
        "(float[n,3] x, bool[m] keep) => (float[k,3] y) { c = Compress <axis = 0> (x, keep) y = Relu (c) }",
        [
            {"x": f(4, 3), "keep": np.array(keep)}
            for keep in ([True, False, True, True], [False] * 4, [True, True])
        ],
    ),
    "top k": (
        """(float[n,9] x, int64[1] k) => (float[n,m] y, int64[n,m] at, float[n,m] z) {
            y, at = TopK (x, k) z = Exp (y) }""",
        [{"x": f(n, 9), "k": whole(k)} for n, k in ((2, 3), (1, 9), (3, 1))],
    ),
    "top k of the data": (
        """(float[9] x) => (float[m] y) {
            zero = Constant <value = float {0}> ()
            over = Greater (x, zero)
            one = Cast <to = 7> (over)
            axis = Constant <value = int64[1] {0}> ()
            k = ReduceSum <keepdims = 1> (one, axis)
            top, at = TopK (x, k)
            y = Neg (top)
        }""",
        [{"x": np.abs(f(9))}, {"x": f(9)}, {"x": -np.abs(f(9))}],
    ),
    "range": (
        "(int64 a, int64 b, int64 d) => (int64[k] y, float[k] z) { y = Range (a, b, d) c = Cast <to = 1> (y) z = Exp (c) }",
        [
            {"a": np.array(a), "b": np.array(b), "d": np.array(d)}
            for a, b, d in ((0, 5, 1), (5, -2, -2), (3, 3, 1))
        ],
    ),
    "one-hot": (
        "(int64[n] x, int64 depth, float[2] ends) => (float[n,k] y) { h = OneHot (x, depth, ends) y = Neg (h) }",
        [{"x": whole(0, 2, -1), "depth": np.array(d), "ends": np.float32([0, 3])} for d in (3, 7)],
    ),
    "expand": (
        "(float[n,1] x, int64[k] to) => (float[a,b] y) { e = Expand (x, to) y = Exp (e) }",
        [
            {"x": f(3, 1), "to": whole(3, 4)},
            {"x": f(2, 1), "to": whole(1, 1)},
            {"x": f(2, 1), "to": whole(5)},
        ],
    ),
    "pad": (
        "(float[n,4] x, int64[4] by) => (float[a,b] y) { p = Pad (x, by) y = Exp (p) }",
        [
            {"x": f(2, 4), "by": whole(*by)}
            for by in ((1, 0, 2, 3), (0, -1, 0, -2), (0, -6, 0, 2), (0, -6, 0, 5), (5, 3, -4, -7))
        ],
    ),
    "slice": (
        "(float[n,6] x, int64[1] s, int64[1] e, int64[1] a, int64[1] d) => (float[p,q] y) { t = Slice (x, s, e, a, d) y = Exp (t) }",
        [
            {"x": f(3, 6), "s": whole(s), "e": whole(e), "a": whole(a), "d": whole(d)}
            for s, e, a, d in ((1, 4, 1, 1), (-1, -9, -1, -2), (0, 0, 0, 1), (-2, 99, 0, 1))
        ],
    ),
    "split": (
        """(float[n,6] x, int64[2] parts) => (float[n,a] y, float[n,b] z) {
            p, q = Split <axis = 1> (x, parts) y = Exp (p) z = Relu (q) }""",
        [{"x": f(3, 6), "parts": whole(*p)} for p in ((2, 4), (6, 0), (1, 5))],
    ),
    "resize": (
        """(float[1,2,h,w] x, float[4] by) => (float[a,b,c,d] y) {
            r = Resize <mode = "linear"> (x, , by) y = Relu (r) }""",
        [
            {"x": f(1, 2, 4, 6), "by": np.float32([1, 1, *by])}
            for by in ((2, 2), (0.5, 1.5), (1, 1))
        ],
    ),
    "reshape": (
        "(float[n,6] x, int64[k] to) => (float y) { r = Reshape (x, to) e = Exp (r) y = ReduceSum <keepdims = 0> (e) }",
        [{"x": f(2, 6), "to": whole(*to)} for to in ((3, 4), (2, 2, 3), (-1,), (0, -1, 2))],
    ),
    "constant of shape": (
        "(int64[k] to) => (float y) { c = ConstantOfShape <value = float[1] {2}> (to) y = ReduceSum <keepdims = 0> (c) }",
        [{"to": whole(*to)} for to in ((3, 4), (0, 2), (5,))],
    ),
    "filters of which some are kept": (
        """(float[1,3,h,w] x, float[4,3,2,2] all, bool[4] keep, bool[3] channels) => (float[1,k,a,b] y) {
            some = Compress <axis = 0> (all, keep)
            filters = Compress <axis = 1> (some, channels)
            image = Compress <axis = 1> (x, channels)
            c = Conv (image, filters)
            y = Relu (c)
        }""",
        [
            {
                "x": f(1, 3, 5, 4),
                "all": f(4, 3, 2, 2),
                "keep": np.arange(4) < n,
                "channels": np.arange(3) < m,
            }
            for n, m in ((1, 3), (4, 2), (3, 1))
        ],
    ),
    "einsum that broadcasts what is found": (
        """(float[5,4] x, bool[5] a, bool[5] b) => (float[k] y) {
            p = Compress <axis = 0> (x, a)
            q = Compress <axis = 0> (x, b)
            y = Einsum <equation = "...i,...i->..."> (p, q)
        }""",
        [{"x": f(5, 4), "a": np.arange(5) < 1, "b": np.arange(5) < n} for n in (0, 1, 4)],
    ),
    "tile": (
        "(float[n,2] x, int64[2] by) => (float[a,b] y) { t = Tile (x, by) y = Neg (t) }",
        [{"x": f(3, 2), "by": whole(*by)} for by in ((1, 2), (2, 3))],
    ),
}


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin", "Hardmax", "ReduceMax", "ReduceMean"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("square", [False, True])
def test_extremes_of_nothing(op: str, axis: int, square: bool) -> None:
    """Where rows are found and none are: defined, and as in ONNX Runtime, if the result has no element."""
    attrs = f"axes = [{axis}]" if op.startswith("Reduce") else f"axis = {axis}"
    rows = "MatMul (r, c)" if square else "Identity (r)"
    model = text_model(f"""(bool[n] keep, float[n,3] x) => (float y) {{
        r = Compress <axis = 0> (x, keep) c = Transpose (r) d = {rows}
        e = {op} <{attrs}> (d) y = Cast <to = 1> (e) }}""")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    calls = [{"keep": np.array(keep), "x": f(3, 3)} for keep in ([True, False, True], [False] * 3)]
    empty = square or axis == 1 or op == "Hardmax"
    engine = check(model, calls if empty else calls[:1])
    if op.startswith("Arg") and not empty:
        with pytest.raises(ShapeError, match=r"node 'r' \(Compress\), axis 0 is 0.*node 'e' needs"):
            engine(calls[1])


@pytest.mark.parametrize("by", [(-4, 1), (-4, 4), (5, -4), (1, -4), (-3, 1)])
def test_pads_that_cut_all_there_is(by: tuple[int, int]) -> None:
    text = f"""(float[2,3] x) => (float[a,b] y) {{
        by = Constant <value_ints = [0, {by[0]}, 0, {by[1]}]> () p = Pad (x, by) y = Exp (p) }}"""
    check(text_model(text), [{"x": f(2, 3)}])


@pytest.mark.parametrize("case", CASES)
def test_equals_onnxruntime(case: str, tmp_path: Path) -> None:
    text, calls = CASES[case]
    check(text_model(text), calls, tmp_path)


@pytest.mark.parametrize(
    ("op", "filters", "calls"),
    [
        ("Conv", "k,c,r,s", [((1, 3, 8, 9), (4, 3, 2, 3)), ((2, 2, 5, 5), (2, 2, 1, 5))]),
        ("Conv <pads = [1,1,1,1]>", "k,3,3,3", [((1, 3, 8, 9), (4, 3, 3, 3)), ((2, 3, 5, 5), (1, 3, 3, 3))]),
        ("ConvTranspose <strides = [2,2]>", "c,k,r,s", [((1, 3, 4, 5), (3, 4, 2, 3)), ((2, 2, 5, 5), (2, 1, 1, 5))]),
    ],
)  # fmt: skip
def test_filters_of_open_shapes(op: str, filters: str, calls: Any) -> None:
    model = text_model(
        f"(float[n,c,h,w] x, float[{filters}] f) => (float[n,m,a,b] y) {{ y = {op} (x, f) }}"
    )
    check(model, [{"x": f(*x), "f": f(*w)} for x, w in calls])


def test_axes_that_a_crop_leaves_alone_keep_their_extents(tmp_path: Path) -> None:
    """So what is computed of batch and channels behind it stays in generated code."""
    model = text_model(
        """(float[n,3,h,w] x, int64[2] first, int64[2] end, int64[2] by) => (float[n,3,a,b] y) {
            axes = Constant <value = int64[2] {2, -1}> ()
            crop = Slice (x, first, end, axes)
            centred = Sub (crop, mean)
            edges = Pad (centred, by, , last)
            y = Mul (edges, mean)
        }""",
        opset=18,
        mean=f(1, 3, 1, 1),
        last=whole(3),
    )
    calls = [
        {"x": f(n, 3, 8, 9), "first": whole(1, 2), "end": whole(6, 8), "by": whole(1, 2)}
        for n in (1, 2)
    ]
    engine = check(model, calls, tmp_path)
    assert [line.split(" = ")[1].split("(")[0][:4] for line in engine.inspect()["script"]] == [
        "Slic", "part", "Pad", "part",
    ]  # fmt: skip


def test_convolutions_and_products_behind_a_crop(tmp_path: Path) -> None:
    """Rows and columns with something in them are cut out of an image, which goes through a net."""
    model = text_model(
        """(float[1,3,h,w] x) => (float[1,5] y, float[1,8,a,b] map) {
            gray = ReduceMax <axes = [0, 1], keepdims = 0> (x)
            zero = Constant <value = float {0}> ()
            on = Greater (gray, zero)
            at = NonZero (on)
            axis = Constant <value = int64[1] {1}> ()
            least = ReduceMin <axes = [1], keepdims = 0> (at)
            last = ReduceMax <axes = [1], keepdims = 0> (at)
            one = Constant <value = int64 {1}> ()
            end = Add (last, one)
            axes = Constant <value = int64[2] {2, 3}> ()
            crop = Slice (x, least, end, axes)
            c = Conv <pads = [1,1,1,1], strides = [2,2]> (crop, w1, b1)
            r = Relu (c)
            map = Conv <pads = [1,1,1,1]> (r, w2)
            pool = GlobalAveragePool (map)
            flat = Flatten (pool)
            y = Gemm (flat, w3)
        }""",
        w1=f(8, 3, 3, 3),
        b1=f(8),
        w2=f(8, 8, 3, 3),
        w3=f(8, 5),
    )
    calls = []
    for h, w, top, left in ((12, 10, 2, 3), (9, 9, 0, 0), (20, 7, 8, 1)):
        x = -np.ones((1, 3, h, w), np.float32)
        x[:, :, top : top + 5, left : left + 4] = np.abs(f(1, 3, 5, 4)) + 0.1
        x[:, :, top + 4, left + 3] = 3
        calls.append({"x": x})
    check(model, calls, tmp_path)


def test_faults_name_the_node_and_the_engine_goes_on() -> None:
    model = text_model(
        "(float[n,6] x, int64[2] to) => (float[a,b] y) { r = Reshape (x, to) y = Exp (r) }"
    )
    engine = camshaft.build(model, **QUICK)
    context = engine.create_context()
    for _ in range(2):
        with pytest.raises(ModelError, match=r"node 'r' \(Reshape\)"):
            context.run({"x": f(2, 6), "to": whole(5, 5)})
        assert context.run({"x": f(2, 6), "to": whole(4, 3)})["y"].shape == (4, 3)
    with pytest.raises(ShapeError, match="'y'"):
        engine.output_shapes({"x": (2, 6), "to": whole(4, 3)})
