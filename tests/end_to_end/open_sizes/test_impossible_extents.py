"""Extents that the model computes and that some sizes make negative: refused before anything runs,
whichever op makes the tensor, and typical sizes keep clear of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, parser

import camshaft
from camshaft import ModelError, ShapeError
from camshaft.frontends.onnx import import_onnx

onnxruntime = pytest.importorskip("onnxruntime", reason="results are compared with it")
state = onnxruntime.capi.onnxruntime_pybind11_state
FAULTS = (state.Fail, state.InvalidArgument, state.RuntimeException)
QUICK: dict[str, Any] = {"optimization_level": 1, "threads": 1}
MAKERS = {
    "Expand": "u = ReduceSum<keepdims=1>(x) e = Expand(u, d)",
    "Tile": "u = ReduceSum<keepdims=1>(x) e = Tile(u, d)",
    "ConstantOfShape": "e = ConstantOfShape<value=float[1]{2}>(d)",
    "Range": "zero = Constant<value=int64{0}>() one = Constant<value=int64{1}>() "
    "i = Constant<value=int64[1]{0}>() ds = Squeeze(d, i) r = Range(zero, ds, one) "
    "e = Cast<to=1>(r)",
    "Pad": "z = Constant<value=int64[1]{0}>() p = Concat<axis=0>(z, dn) e = Pad(x, p)",
    "Crop": "p = Concat<axis=0>(dn, dn) e = Pad(x, p)",
    "Reshape": "u = ReduceSum<keepdims=1>(x) v = Expand(u, d) e = Reshape(v, d)",
    "Slice": "z = Constant<value=int64[1]{0}>() e = Slice(x, z, d)",
    "Split": "u = Concat<axis=0>(d, rest) e, other = Split(x, u)",
    "TopK": "e, i = TopK(x, d)",
    "CenterCropPad": "e = CenterCropPad(x, d)",
    "Resize": "e = Resize<mode=\"nearest\">(x, , , d)",
}  # fmt: skip
"""Each makes e, one-dimensional, of d = 8 - n; dn = 4 - n, rest = n - d."""
NOT_EMPTY = ("Slice", "CenterCropPad")
"""Slices of an open extent that are empty at some sizes are refused there."""


def model(maker: str) -> ModelProto:
    return parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 18]> g (float[n] x) => (float[a] y) {'
        "s = Shape(x) k = Constant<value=int64[1]{8}>() h = Constant<value=int64[1]{4}>()"
        f"d = Sub(k, s) dn = Sub(h, s) rest = Sub(s, d) {maker}"
        " f = Concat<axis=0>(e, x, x) y = Relu(f) }"
    )


def theirs(session: Any, x: np.ndarray) -> np.ndarray | None:
    try:
        return np.asarray(session.run(None, {"x": x})[0])
    except FAULTS:
        return None


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("said", [None, "n=1..4..", "n=0..4.."])
def test_sizes_that_make_an_extent_negative_are_refused(maker: str, said: str | None) -> None:
    proto = model(MAKERS[maker])
    engine = camshaft.build(proto, shapes={"x": (said,)} if said else {}, **QUICK)
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), quiet, providers=["CPUExecutionProvider"]
    )
    taken = 0
    for n in (4, 1, 2, 3, 0, 5, 6, 7, 8, 9, 12, 17, 30, 1000):
        x = np.ones(n, np.float32)
        want = theirs(session, x)
        try:
            got = engine(x)["y"]
        except ShapeError:
            low, high = engine.symbols["n"].low, engine.symbols["n"].high
            outside = not low <= n <= (high or n)
            emptied = maker in NOT_EMPTY and n == 8
            assert want is None or outside or emptied, f"{n} is refused"
            continue
        taken += 1
        assert want is not None, f"{n} is taken"
        np.testing.assert_array_equal(got, want)
    assert taken


def test_bounds_that_decide_it_name_the_node() -> None:
    with pytest.raises(
        ModelError, match=r"node 'e' .*axis 0 of the result, f32\[-n \+ 8\], is neg"
    ):
        import_onnx(model(MAKERS["Expand"]), shapes={"x": ("n=9..",)})


def test_two_sizes_at_once_are_refused_by_the_node_that_needs_them() -> None:
    text = (
        '<ir_version: 9, opset_import: ["" : 18]> g (float[n] x, float[m] w) => (float[a] y) {'
        "s = Shape(x) t = Shape(w) d = Sub(s, t) u = ReduceSum<keepdims=1>(x) e = Expand(u, d)"
        " f = Concat<axis=0>(e, w) y = Relu(f) }"
    )
    engine = camshaft.build(parser.parse_model(text), **QUICK)
    x, w = np.ones(5, np.float32), np.ones(3, np.float32)
    np.testing.assert_array_equal(engine({"x": x, "w": w})["y"], [5, 5, 1, 1, 1])
    with pytest.raises(ShapeError, match=r"node 'e' needs .* >= 0, which"):
        engine({"x": w, "w": x})


@pytest.mark.parametrize("made", ["Sigmoid(t)", "BitwiseNot(t)"], ids=["kernel", "host"])
@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_nothing_joined_to_nothing_is_nothing(made: str, axis: int) -> None:
    integer = "BitwiseNot" in made
    back = "i = Cast<to=7>(t) j = BitwiseNot(i) v = Cast<to=1>(j)" if integer else f"v = {made}"
    text = (
        '<ir_version: 9, opset_import: ["" : 18]> g (float[b,2,1,3] x) => (float[p,q,r,s] y) {'
        "one = Constant<value=int64[1]{1}>() u = ReduceSum<keepdims=1>(x, one)"
        f" e = Constant<value=int64[4]{{1,0,1,1}}>() t = Expand(u, e) {back}"
        f" y = Concat<axis={axis}>(v, t) }}"
    )
    engine = camshaft.build(parser.parse_model(text), shapes={"x": ("b=0..2..", 2, 1, 3)}, **QUICK)
    for batch in (0, 1, 3):
        x = np.ones((batch, 2, 1, 3), np.float32)
        shape = [batch, 0, 1, 3]
        shape[axis] *= 2
        assert engine(x)["y"].shape == tuple(shape)
