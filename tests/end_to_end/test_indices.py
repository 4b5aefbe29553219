"""Indices outside their axis: an error names the node and the index that was given; constant ones are
judged by the import, and open axes learn from them how long they must be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, parser

import camshaft
from camshaft import BindingError, ModelError
from camshaft.frontends.onnx import import_onnx
from camshaft.ir.extents.extent import symbols_of

QUICK: dict[str, Any] = {"optimization_level": 1, "threads": 1}


def model(x: str, indices: str, node: str) -> ModelProto:
    text = f"g (float[{x}] x, int64[{indices}] i) => (float y) {{ {node} }}"
    proto = parser.parse_model(f'<ir_version: 9, opset_import: ["" : 18]> {text}')
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return proto


@pytest.mark.parametrize("index", [-13, -9, -8, -5, -4, -1, 0, 3, 4, 7, 8, 11, 12])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("x", ["4,4", "n,m"])
def test_elements_are_gathered_from_their_own_line(index: int, axis: int, x: str) -> None:
    engine = camshaft.build(model(x, "2,2", f"y = GatherElements<axis={axis}>(x, i)"), **QUICK)
    data = np.arange(16, dtype=np.float32).reshape(4, 4)
    indices = np.array([[0, index], [-1, 3]])
    if -4 <= index < 4:
        lines = data[:2] if axis else data[:, :2]
        wanted = np.take_along_axis(lines, indices, axis)
        np.testing.assert_array_equal(engine({"x": data, "i": indices})["y"], wanted)
        return
    with pytest.raises(BindingError, match=f"node 'y' is given the index {index}, .* -4 to 3"):
        engine({"x": data, "i": indices})


CONSTANT = {
    "Gather": "j = Constant<value=int64[2]{6,-5}>() y = Gather(x, j)",
    "GatherElements": "j = Constant<value=int64[1,3]{6,-5,0}>() y = GatherElements(x, j)",
    "GatherND": "j = Constant<value=int64[2,1]{6,0}>() y = GatherND(x, j)",
    "GatherND from the end": "j = Constant<value=int64[1,2]{-7,0}>() y = GatherND(x, j)",
    "ScatterElements": "j = Constant<value=int64[1,3]{6,-5,0}>()"
    " v = ReduceSum<keepdims=1>(x, i) y = ScatterElements(x, j, v)",
    "ScatterND": "j = Constant<value=int64[1,1]{6}>() v = ReduceSum<keepdims=1>(x, i)"
    " y = ScatterND(x, j, v)",
}  # fmt: skip


@pytest.mark.parametrize("node", CONSTANT)
def test_constant_indices_say_how_long_an_axis_is(node: str) -> None:
    proto = model("n,3", "1", CONSTANT[node])
    values = {"i": (0,)}
    graph = import_onnx(proto, values=values)
    (n,) = symbols_of(*graph.inputs[0].shape)
    assert n.low == 7
    with pytest.raises(ModelError, match=r"index -?\d leaves axis 0 of f32\[4,3\]"):
        import_onnx(proto, shapes={"x": (4, 3)}, values=values)


def test_an_error_in_a_host_step_names_the_node() -> None:
    rows = "s = Constant <value_ints = [2, 5]> () u = ConstantOfShape (s) "
    proto = model("4, 5", "2, 1", rows + "y = ScatterND (x, i, u)")
    proto.graph.node[-1].name = "picker"
    context = camshaft.build(proto, **QUICK).create_context()
    feeds = {"x": np.zeros((4, 5), np.float32), "i": np.array([[1], [9]])}
    with pytest.raises(
        ModelError, match=r"'picker' .*: index 9 is outside axis 0, which has 4 elements"
    ):
        context.run(feeds)
