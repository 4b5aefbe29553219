"""Axes without elements beside open ones: every op builds, computes nothing or the value of nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import parser
from onnx.reference import ReferenceEvaluator

import camshaft

LAYERS = {
    "Relu": "y = Relu(x)",
    "Softmax": "y = Softmax(x)",
    "Softmax of rows": "y = Softmax<axis=1>(x)",
    "ReduceSum": "y = ReduceSum<keepdims=0>(x, i2)",
    "ReduceSumSquare": "y = ReduceSumSquare(x, i2)",
    "ReduceSum of rows": "y = ReduceSum<keepdims=0>(x, i1)",
    "MatMul": "t = Transpose<perm=[0,2,1]>(x) y = MatMul(x, t)",
    "MatMul inside": "t = Transpose<perm=[0,2,1]>(x) y = MatMul(t, x)",
    "MatMul by weights": "w = ConstantOfShape(w05) y = MatMul(x, w)",
    "MatMul of weights": "w = ConstantOfShape(w53) y = MatMul(w, x)",
    "Gemm": "f = ReduceSum<keepdims=0>(x, i1) w = ConstantOfShape(w05) y = Gemm(f, w)",
    "Concat": "y = Concat<axis=2>(x, x, x)",
    "Concat with more": "y = Concat<axis=2>(x, z, x)",
    "Transpose": "y = Transpose<perm=[2,1,0]>(x)",
    "Pad": "p = Constant<value=int64[6]{0,0,1,0,0,2}>() y = Pad(x, p)",
    "Tile": "r = Constant<value=int64[3]{2,3,2}>() y = Tile(x, r)",
    "Tile by zero": "r = Constant<value=int64[3]{1,0,1}>() y = Tile(z, r)",
    "Gather": "j = Constant<value=int64[2]{2,0}>() y = Gather<axis=1>(x, j)",
    "Gather nothing": "j = ConstantOfShape<value=int64[1]{0}>(i0) y = Gather<axis=1>(z, j)",
    "Slice": "y = Slice(z, i1, i1, i2)",
    "Mean and product": "v = ReduceSum(x, i1) y = Mul(x, v)",
    "Norm": "s = ConstantOfShape(i0) y = LayerNormalization(x, s)",
    "Where": "c = Greater(x, x) y = Where(c, x, x)",
    "CumSum": "a = Constant<value=int64{1}>() y = CumSum(x, a)",
    "Conv": "u = Unsqueeze(x, i0) w = ConstantOfShape(w4) t = Transpose<perm=[1,3,2,0]>(u)"
    " y = Conv(t, w)",
    "Cast": "d = Cast<to=7>(x) e = Add(d, d) y = Cast<to=1>(e)",
    "TopK": "y, j = TopK<axis=1>(x, i1)",
    "Einsum": 'y = Einsum<equation="bij,bkj->bik">(x, x)',
    "Expand": "e = Constant<value=int64[4]{2,1,1,1}>() y = Expand(x, e)",
    "Range": "s = Constant<value=int64{3}>() l = Constant<value=int64{1}>() r = Range(s, l, l)"
    " d = Cast<to=1>(r) y = Add(z1, d)",
}  # fmt: skip
"""x is [b, 3, 0], z [b, 3, 2], z1 [b, 3, 1]."""


def text(layer: str) -> str:
    ints = {"i0": [0], "i1": [1], "i2": [2], "w05": [0, 5], "w53": [5, 3], "w4": [2, 0, 1, 1]}
    consts = " ".join(
        f"{n} = Constant<value=int64[{len(v)}]{{{','.join(map(str, v))}}}>()"
        for n, v in ints.items()
    )
    return (
        '<ir_version: 9, opset_import: ["" : 18]> g (float[b,3,2] z) => (float[p,q,r] out) {'
        f"{consts} x = Slice(z, i0, i0, i2) z1 = Slice(z, i0, i1, i2) {layer} out = Neg(y) }}"
    ).replace("float[p,q,r] out", "float out")


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("layer", LAYERS)
def test_layers_of_nothing(layer: str, level: int) -> None:
    proto = parser.parse_model(text(LAYERS[layer]))
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    options: dict[str, Any] = {"optimization_level": level, "threads": 1}
    engine = camshaft.build(proto, shapes={"z": ("b=0..2..", 3, 2)}, **options)
    reference = ReferenceEvaluator(proto)  # ONNX Runtime multiplies nothing by nothing to anything
    for batch in (2, 1, 5, 0):
        z = np.arange(6 * batch, dtype=np.float32).reshape(batch, 3, 2)
        want = reference.run(None, {"z": z})[0]
        got = engine(z)["out"]
        assert got.shape == want.shape
        np.testing.assert_array_equal(got, want)


WINDOWS = """<ir_version: 9, opset_import: ["" : 18]> g (float[n,4,16,8] x) => (float[p,q,r,t] y) {
    t = Transpose<perm=[0,1,3,2]>(x) scores = MatMul(x, t) y = MatMul(scores, x)
}"""


def test_windows_of_an_image_that_may_hold_none() -> None:
    """Of batches of matrices that may be empty the products are kernels all the same."""
    proto = parser.parse_model(WINDOWS)
    engine = camshaft.build(proto, shapes={"x": ("n=0..", 4, 16, 8)}, optimization_level=1)
    assert {s["kind"] for s in engine.inspect()["steps"]} == {"kernel"}
    for n in (3, 0, 1, 7):
        x = np.random.default_rng(n).standard_normal((n, 4, 16, 8)).astype(np.float32)
        want = x @ x.transpose(0, 1, 3, 2) @ x
        np.testing.assert_allclose(engine(x)["y"], want, rtol=1e-4, atol=1e-4)


COMPUTED = """<ir_version: 9, opset_import: ["" : 18]> g (float[a,3,c] x) => (float[p] y) {
    i0 = Constant<value=int64[1]{0}>() i1 = Constant<value=int64[1]{1}>() i2 = Constant<value=int64[1]{2}>()
    s = Shape(x) a = Gather(s, i0) b = Gather(s, i1) c = Gather(s, i2)
    ab = Mul(a, b) t = Concat<axis=0>(ab, c) z = Reshape(x, t) y = ReduceSum<keepdims=0>(z, i0)
}"""


def test_a_computed_extent_of_zero_that_would_copy_another_is_refused() -> None:
    """Element 1 of the new shape copies x's axis 1, which is 3, where c is 0; element 0 copies a."""
    proto = parser.parse_model(COMPUTED)
    with pytest.warns(UserWarning, match="least 0 becomes 1"):
        engine = camshaft.build(proto, shapes={"x": ("a=0..", 3, "c=0..")}, optimization_level=1)
    assert (engine.symbols["a"].low, engine.symbols["c"].low) == (0, 1)
    assert engine(np.ones((0, 3, 2), np.float32))["y"].tolist() == [0, 0]
    assert engine(np.ones((2, 3, 2), np.float32))["y"].tolist() == [6, 6]


def test_a_size_that_must_be_zero_is_typical() -> None:
    proto = parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 18]> g (float[a,b] x) => (float[p,q] y) {'
        "to = Constant<value=int64[2]{0,3}>() y = Reshape<allowzero=1>(x, to) }"
    )
    engine = camshaft.build(proto, shapes={"x": ("a=0..", "b=0..")}, optimization_level=1)
    for shape in ((0, 4), (4, 0)):
        assert engine(np.zeros(shape, np.float32))["y"].shape == (0, 3)
