"""Graphs as ONNX files and DOT text: valid, complete, and telling."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from camshaft.frontends.onnx import export_onnx
from camshaft.frontends.onnx.export import DOMAIN
from camshaft.ir import expr as E
from camshaft.ir.dumps.dot import graph_dot, readable
from camshaft.ir.graph import Graph
from camshaft.ir.types import f32, u8
from onnx_models import imported, model_of

RNG = np.random.default_rng(4)


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


W = f(8, 3, 3, 3)


def graph() -> Graph:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name='conv "1"', strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("CumSum", ["r", "axis"], ["s"], name="sum"),
        helper.make_node("Identity", ["r"], ["same"]),
        helper.make_node("Squeeze", ["scalar"], ["constant"]),
    ]
    constants = {"w": W, "b": f(8), "axis": np.array(1), "scalar": f(1)}
    return imported(
        model_of(nodes, {"x": f(1, 3, 9, 9)}, ["s", "r", "same", "constant", "x"], constants)
    )


@pytest.mark.parametrize("limit", [None, 64])
def test_exported_models_are_valid_onnx(limit: int | None) -> None:
    model = export_onnx(graph(), constant_bytes=limit)
    onnx.checker.check_model(model)
    assert [n.op_type for n in model.graph.node if n.domain == DOMAIN] == ["conv", "pointwise"]
    assert [v.name for v in model.graph.output] == ["s", "r", "same", "constant", "x"]
    by_name = {n.name: n for n in model.graph.node}
    assert by_name["sum"].op_type == "CumSum"
    conv = {a.name: helper.get_attribute_value(a) for a in by_name['conv "1"'].attribute}
    assert conv["strides"] == [2, 2]
    assert conv["epilogue"] == b"(i0 + i1)"
    assert "dilations" not in conv  # it has its default
    assert by_name['conv "1"'].metadata_props[0].value == 'conv "1"'


def test_large_constants_are_left_out_unless_wanted() -> None:
    whole, lean = export_onnx(graph(), constant_bytes=None), export_onnx(graph(), constant_bytes=64)
    (kept,) = (t for t in whole.graph.initializer if t.name == "w")
    np.testing.assert_array_equal(numpy_helper.to_array(kept), W)
    assert "w" not in {t.name for t in lean.graph.initializer}
    (left_out,) = lean.graph.sparse_initializer
    assert (left_out.values.name, list(left_out.dims)) == ("w", [8, 3, 3, 3])
    assert lean.ByteSize() < whole.ByteSize() - W.nbytes // 2


def test_an_output_keeps_its_name_where_an_inner_tensor_has_it_too() -> None:
    """A float16 output is a cast of the f32 tensor that the model's node made under that name."""
    x = f(2, 3).astype(np.float16)
    model = export_onnx(
        imported(model_of([helper.make_node("Exp", ["x"], ["y"])], {"x": x}, ["y"]))
    )
    onnx.checker.check_model(model)
    assert [v.name for v in model.graph.output] == ["y"]
    assert model.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16


def test_dot_shows_names_ops_constants_and_types() -> None:
    text = graph_dot(graph())
    assert text.startswith("digraph")
    assert text.count("{") == text.count("}")
    assert '"conv \\"1\\"\\nconv\\n' in text
    assert "epilogue=(i0 + i1)" in text
    assert "w: f32[8,3,3,3]" in text
    assert "CumSum (host)" in text
    assert '"input x" -> n0 [label="f32[1,3,9,9]"]' in text
    assert "n0 -> n1" in text
    assert "constant" in text
    assert graph_dot(graph()) == text


def test_expressions_for_people() -> None:
    x = E.mul(E.add(E.inp(0), E.const(0.1)), E.inp(1))
    assert readable(E.maximum(x, E.const(0.0))) == "max(((i0 + 0.1) * i1), 0)"
    assert readable(E.cast(E.sub(E.inp(0), E.const(3, u8)), f32)) == "f32((i0 - u8(3)))"
    assert readable(E.unary("isnan", E.inp(2))) == "isnan(i2)"
