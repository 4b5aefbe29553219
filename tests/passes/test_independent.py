"""The proof that rows of a batch do not depend on each other: what it lets pass, and what it must not."""

from __future__ import annotations

import numpy as np
import pytest

from camshaft.frontends.onnx import import_onnx
from camshaft.ir.extents.extent import extent_of, sole_symbol
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.graph import Graph, GraphBuilder
from camshaft.ir.interpret import interpret
from camshaft.ir.types import TensorType, f32
from camshaft.ops import functional as F
from camshaft.passes.independent import mixing
from camshaft.passes.pipeline import optimize
from cell_models import Cells
from recurrent_models import Layer
from script_models import text_model

N = Symbol("n")
HOLDS = {
    "layers": "y = MatMul (x, w) z = Tanh (y)",
    "normalized": "m = ReduceMean <axes = [1, 2]> (x) d = Sub (x, m) z = Mul (d, d)",
    "softmax": "z = Softmax <axis = -1> (x)",
    "heads": "s = Constant <value_ints = [0, 0, 2, 2]> () r = Reshape (x, s) t = Transpose <perm = [0, 2, 1, 3]> (r) "
    "q = Transpose <perm = [0, 2, 3, 1]> (r) p = MatMul (t, q) z = Softmax <axis = -1> (p)",
    "turned": "t = Transpose <perm = [1, 0, 2]> (x) u = Relu (t) z = Transpose <perm = [1, 0, 2]> (u)",
    "cut": "a, b = Split <axis = 2> (x) z = Concat <axis = 1> (b, a)",
    "shape": "s = Shape (x) v = Expand (one, s) z = Add (x, v)",
    "flattened and back": "s = Constant <value_ints = [0, -1]> () f = Reshape (x, s) t = Shape (x) z = Reshape (f, t)",
}
MIXES = {
    "mean over rows": "m = ReduceMean <axes = [0]> (x) z = Sub (x, m)",
    "softmax over rows": "z = Softmax <axis = 0> (x)",
    "one scale": "y, s, p = DynamicQuantizeLinear (x) z = DequantizeLinear (y, s, p)",
    "rows turned": "i = Constant <value_ints = [-1]> () e = Constant <value_ints = [-1000]> () o = Constant <value_ints = [0]> () "
    "z = Slice (x, i, e, o, i)",
    "rows and columns swapped": "s = Shape (x) f = Reshape (x, flat) t = Transpose <perm = [1, 0]> (f) z = Reshape (t, s)",
    "number of rows": "s = Shape <start = 0, end = 1> (x) c = Cast <to = 1> (s) z = Div (x, c)",
    "position of rows": "c = Size (x) k = Constant <value_int = 12> () r = Div (c, k) o = Constant <value_int = 0> () i = Constant <value_int = 1> () "
    "a = Range (o, r, i) f = Cast <to = 1> (a) s = Constant <value_ints = [-1, 1, 1]> () p = Reshape (f, s) z = Add (x, p)",
    "products of rows": "f = Reshape (x, flat) t = Transpose <perm = [1, 0]> (f) g = MatMul (t, f) s = ReduceMax <keepdims = 0> (g) z = Mul (x, s)",
    "running sum": "o = Constant <value_int = 0> () z = CumSum (x, o)",
}  # fmt: skip


def graph_of(body: str) -> Graph:
    weights = ", ".join(str(n % 5) for n in range(16))
    return import_onnx(
        text_model(
            f"""(float[n, 3, 4] x) => (float[n, a, b] z)
            <float[4, 4] w = {{{weights}}}, float one = {{1.0}}, int64[2] flat = {{-1, 12}}> {{ {body} }}"""
        )
    )


def symbol_of(graph: Graph) -> Symbol:
    symbol = sole_symbol(graph.inputs[0].shape[0])
    assert symbol is not None
    return symbol


def moves_alone(graph: Graph) -> bool:
    """Whether another last row leaves the first two as they were."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 3, 4)).astype(np.float32)
    other = x.copy()
    other[2] = 50 * rng.standard_normal((3, 4))
    (name,) = (t.name for t in graph.inputs)
    a, b = (next(iter(interpret(graph, {name: v}).values())) for v in (x, other))
    fewer = next(iter(interpret(graph, {name: x[:2]}).values()))
    first = next(iter(interpret(graph, {name: x[1:]}).values()))
    alone = np.allclose(a[:2], b[:2], atol=1e-6) and np.allclose(a[:2], fewer, atol=1e-6)
    return alone and np.allclose(a[1:], first, atol=1e-6)


@pytest.mark.parametrize("name", HOLDS)
def test_what_holds_is_proved(name: str) -> None:
    graph = graph_of(HOLDS[name])
    assert moves_alone(graph)
    assert mixing(graph, symbol_of(graph)) == ""


@pytest.mark.parametrize("name", MIXES)
def test_what_mixes_rows_is_not(name: str) -> None:
    graph = graph_of(MIXES[name])
    assert not moves_alone(graph)
    assert "may mix the rows" in mixing(graph, symbol_of(graph))
    assert mixing(optimize(graph), symbol_of(graph))


def test_recurrent_layers_have_their_batch_behind_the_steps() -> None:
    layer = Layer("lstm", steps=4, batch="n", attrs={"layout": 1})
    graph = import_onnx(layer.model())
    assert mixing(graph, symbol_of(graph)) == ""


def test_outputs_must_begin_with_the_rows() -> None:
    b = GraphBuilder("swapped")
    x = b.input("x", TensorType(f32, (extent_of(N), 3)))
    graph = b.graph({"y": F.transpose(b, x, (1, 0))})
    assert mixing(graph, N) == "an output does not begin with the rows of the batch"


@pytest.mark.parametrize("cells", [Cells("lstm", batch="n", zero=False), Cells("gru", batch="n", zero=False)])  # fmt: skip
def test_cells_step_by_step(cells: Cells) -> None:
    hidden, _ = cells.run("x", cells.first())
    graph = import_onnx(cells.model([cells.stacked(hidden)]))
    assert mixing(graph, symbol_of(graph)) == ""
