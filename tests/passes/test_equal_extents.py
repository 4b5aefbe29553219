"""Extents that constraints say are equal are written alike between the inputs and outputs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import camshaft
from camshaft.errors import ShapeError
from camshaft.frontends.onnx import import_model
from camshaft.passes.canonical.equal_extents import settle_extents
from camshaft.passes.pipeline import optimize

DECODER = """
<ir_version: 10, opset_import: ["" : 18]>
g (float[b, 4, s, 8] q, float[b, 2, s, 8] k, float[b, 2, s, 8] v, float[b, 2, p, 8] pk, float[b, 2, p, 8] pv,
   float[b, 1, s, t] mask) => (float[b, 4, s, 8] y, float[b, 2, t, 8] keys)
<int64[1] two = {2}, int64[5] wide = {1, 1, 2, 1, 1}, int64[4] flat = {0, 4, -1, 8}>
{ keys = Concat <axis = 2> (pk, k)
  values = Concat <axis = 2> (pv, v)
  k1 = Unsqueeze (keys, two)
  v1 = Unsqueeze (values, two)
  k2 = Expand (k1, wide)
  v2 = Expand (v1, wide)
  k4 = Reshape (k2, flat)
  v4 = Reshape (v2, flat)
  kt = Transpose <perm = [0, 1, 3, 2]> (k4)
  scores = MatMul (q, kt)
  masked = Add (scores, MASK)
  shares = Softmax <axis = -1> (masked)
  y = MatMul (shares, v4) }
"""
SLICED = DECODER.replace("masked =", "start = Constant <value_ints = [0]> ()\n  all = Shape <start = 2, end = 3> (keys)\n"
    "  axis = Constant <value_ints = [3]> ()\n  part = Slice (mask, start, all, axis)\n  masked =")  # fmt: skip


def model(sliced: bool) -> onnx.ModelProto:
    text = SLICED.replace("MASK", "part") if sliced else DECODER.replace("MASK", "mask")
    return onnx.parser.parse_model(text)


@pytest.mark.parametrize("sliced", [False, True], ids=["whole mask", "slice of a mask"])
def test_attention_over_a_past(sliced: bool) -> None:
    """total == past + seq, or min(total, past + seq) == past + seq: one op, whose heads share keys."""
    graph = optimize(import_model(model(sliced)).graphs[0])
    (attention,) = (n for n in graph.nodes if n.op.name == "attention")
    assert not any(n.op.name in ("softmax", "broadcast") for n in graph.nodes)
    assert attention.args[1].shape[-3] == 1 or 2 in attention.args[1].shape
    engine = camshaft.build(model(sliced), optimization_level=1, threads=1)
    static = {n: t.shape for n, t in engine.inputs.items()}
    rng = np.random.default_rng(0)
    for b, s, p in ((1, 3, 4), (2, 1, 7)):
        sizes = {"b": b, "s": s, "p": p, "t": s + p}
        feeds = {
            n: rng.standard_normal([d if isinstance(d, int) else sizes[str(d)] for d in shape]).astype(np.float32)
            for n, shape in static.items()
        }  # fmt: skip
        got = engine(feeds)
        k, v = (np.concatenate([feeds["p" + n], feeds[n]], 2) for n in "kv")
        np.testing.assert_array_equal(got["keys"], k)
        k, v = (np.repeat(a, 2, axis=1) for a in (k, v))
        scores = feeds["q"] @ k.swapaxes(-1, -2) + feeds["mask"]
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        want = shares / shares.sum(-1, keepdims=True) @ v
        np.testing.assert_allclose(got["y"], want, rtol=1e-4, atol=1e-5)
    feeds["mask"] = feeds["mask"][..., :-1]
    with pytest.raises(ShapeError, match=r"mask|t"):
        engine(feeds)


def test_nothing_to_settle_is_the_graph_itself() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> g (float[n, 4] x) => (float[n, 4] y) { y = Relu (x) }'
    )
    graph = import_model(model).graphs[0]
    assert settle_extents(graph) is graph
