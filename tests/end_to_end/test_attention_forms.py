"""Attention as exporters write it: each form becomes one op, and means what ONNX Runtime makes of it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest

import camshaft
from camshaft.frontends.onnx import import_model
from camshaft.passes.pipeline import optimize

HEADS = '<ir_version: 10, opset_import: ["" : 18]> g (float[2,4,9,8] q, float[2,4,9,8] k, float[2,4,9,8] v{more}) => (float[2,4,9,8] y)'

BERT = """
{ kt = Transpose <perm = [0, 1, 3, 2]> (k)
  s = MatMul (q, kt)
  eight = Constant <value = float {2.8284271}> ()
  scaled = Div (s, eight)
  masked = Add (scaled, mask)
  p = Softmax <axis = -1> (masked)
  y = MatMul (p, v) }
"""
TORCH = """
{ c = Constant <value = float {0.5946036}> ()
  qs = Mul (q, c)
  kt = Transpose <perm = [0, 1, 3, 2]> (k)
  ks = Mul (kt, c)
  s = MatMul (qs, ks)
  zero = Constant <value = float {0.0}> ()
  low = Constant <value = float {-3.4028234e38}> ()
  bias = Where (mask, zero, low)
  masked = Add (s, bias)
  p = Softmax <axis = -1> (masked)
  nan = IsNaN (p)
  safe = Where (nan, zero, p)
  y = MatMul (safe, v) }
"""
FILLED = """
{ kt = Transpose <perm = [0, 1, 3, 2]> (k)
  s = MatMul (q, kt)
  cap = Constant <value = float {5.0}> ()
  small = Div (s, cap)
  bent = Tanh (small)
  big = Mul (bent, cap)
  low = Constant <value = float {-1e9}> ()
  filled = Where (mask, big, low)
  p = Softmax <axis = 3> (filled)
  y = MatMul (p, v) }
"""
WINDOWS = """
{ kt = Transpose <perm = [0, 1, 3, 2]> (k)
  s = MatMul (q, kt)
  biased = Add (s, bias)
  five = Constant <value_ints = [1, 2, 4, 9, 9]> ()
  apart = Reshape (biased, five)
  masked = Add (apart, mask)
  four = Constant <value_ints = [2, 4, 9, 9]> ()
  together = Reshape (masked, four)
  p = Softmax <axis = -1> (together)
  y = MatMul (p, v) }
"""
SHARED = """
{ wide = Constant <value_ints = [2, 2, 2, 9, 8]> ()
  flat = Constant <value_ints = [2, 4, 9, 8]> ()
  two = Constant <value_ints = [2]> ()
  kone = Unsqueeze (k2, two)
  kwide = Expand (kone, wide)
  kall = Reshape (kwide, flat)
  vone = Unsqueeze (v2, two)
  vwide = Expand (vone, wide)
  vall = Reshape (vwide, flat)
  kt = Transpose <perm = [0, 1, 3, 2]> (kall)
  s = MatMul (q, kt)
  p = Softmax <axis = -1> (s)
  y = MatMul (p, vall) }
"""

COLUMNS = """
{ qrows = Reshape (q, turned)
  vrows = Reshape (v, turned)
  krows = Reshape (k, turned)
  qt = Transpose <perm = [0, 1, 3, 2]> (qrows)
  s = MatMul (qt, krows)
  c = Constant <value = float {0.3535534}> ()
  scaled = Mul (s, c)
  masked = Add (scaled, mask)
  p = Softmax <axis = -1> (masked)
  pt = Transpose <perm = [0, 1, 3, 2]> (p)
  columns = MatMul (vrows, pt)
  biased = Add (columns, bias)
  y = Reshape (biased, rows) }
"""
OTHER_AXIS = """
{ qt = Transpose <perm = [0, 1, 3, 2]> (q)
  s = MatMul (k, qt)
  masked = Add (s, mask)
  p = Softmax <axis = 2> (masked)
  vt = Transpose <perm = [0, 1, 3, 2]> (v)
  columns = MatMul (vt, p)
  y = Transpose <perm = [0, 1, 3, 2]> (columns) }
"""
DEBERTA = """
{ kt = Transpose <perm = [0, 1, 3, 2]> (k)
  s = MatMul (q, kt)
  hides = Not (mask)
  low = Constant <value = float {-3.4028234e38}> ()
  zero = Constant <value = float {0.0}> ()
  filled = Where (hides, low, s)
  p = Softmax <axis = -1> (filled)
  safe = Where (hides, zero, p)
  y = MatMul (safe, v) }
"""
CONSTANTS = "<int64[4] turned = {2, 4, 8, 9}, int64[4] rows = {2, 4, 9, 8}>"


def form(body: str, more: str = "") -> onnx.ModelProto:
    constants = CONSTANTS if "turned" in body else ""
    text = HEADS.replace("{more}", more) + constants + body
    return onnx.parser.parse_model(text)


FORMS = {
    "an added mask": form(BERT, ", float[2,1,1,9] mask"),
    "bools, both scaled, guarded": form(TORCH, ", bool[2,1,9,9] mask"),
    "a soft cap, filled": form(FILLED, ", bool[9,9] mask"),
    "hidden twice": form(DEBERTA, ", bool[2,1,9,9] mask"),
    "windows": form(WINDOWS, ", float[4,9,9] bias, float[1,2,1,9,9] mask"),
    "channels first": form(COLUMNS, ", float[2,1,1,9] mask, float[9] bias"),
    "softmax over rows": form(OTHER_AXIS, ", float[9] mask"),
    "shared heads": form(SHARED, ", float[2,2,9,8] k2, float[2,2,9,8] v2"),
}


def feeds_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    feeds = {}
    for value in model.graph.input:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        if value.type.tensor_type.elem_type == onnx.TensorProto.BOOL:
            feeds[value.name] = rng.random(shape) < 0.7
            feeds[value.name][..., 3, :] = False
        else:
            feeds[value.name] = rng.standard_normal(shape).astype(np.float32)
    return feeds


@pytest.mark.parametrize("name", FORMS)
def test_forms(name: str) -> None:
    model = FORMS[name]
    ops = Counter(n.op.name for n in optimize(import_model(model).graphs[0]).nodes)
    assert ops["attention"] == 1
    assert not ops["softmax"] and not ops["matmul"] and not ops["broadcast"]
    feeds = feeds_of(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (want,) = session.run(None, feeds)
    for level in (0, 1):
        got = camshaft.build(model, optimization_level=level)(feeds)["y"]
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("change", ["shown shares", "shown scores", "another axis", "logarithm"])
def test_what_is_no_attention(change: str) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(FORMS["an added mask"])
    (softmax,) = (n for n in model.graph.node if n.op_type == "Softmax")
    if change.startswith("shown"):
        shown = softmax.output[0] if change == "shown shares" else softmax.input[0]
        model.graph.output.append(
            onnx.helper.make_tensor_value_info(shown, onnx.TensorProto.FLOAT, [2, 4, 9, 9])
        )
    elif change == "another axis":
        softmax.attribute[0].i = 2
    else:
        softmax.op_type = "LogSoftmax"
    ops = Counter(n.op.name for n in optimize(import_model(model).graphs[0]).nodes)
    assert ops["attention"] == 0
    feeds = feeds_of(model)
    want = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)
    got = camshaft.build(model, optimization_level=1)(feeds)
    for g, w in zip(got.values(), want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5)
