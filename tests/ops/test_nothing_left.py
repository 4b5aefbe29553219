"""Resizes and windows of which nothing is left: empty where ONNX says so, refused where it has no say."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, parser
from onnx.reference import ReferenceEvaluator

from camshaft.errors import ModelError
from camshaft.frontends.onnx import import_onnx
from camshaft.ir.interpret import interpret


def model(shape: str, node: str) -> ModelProto:
    text = f"g (float[{shape}] x) => (float y) {{ {node} }}"
    proto = parser.parse_model(f'<ir_version: 9, opset_import: ["" : 18]> {text}')
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return proto


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(
    ("shape", "to"),
    [
        ("1,2,2,2", "float[4]{1,1,0.3,3}"),
        ("0,2,2,2", "float[4]{1,1,2,3}"),
        ("1,2,2,2", "int64[4]{1,2,0,3}"),
        ("0,2,2,2", "int64[4]{0,2,3,3}"),
        ("b,2,2,2", "float[4]{1,1,0.3,3}"),
    ],
)
def test_resizes_to_nothing(mode: str, shape: str, to: str) -> None:
    place = "x, , r" if to.startswith("float") else "x, , , r"
    proto = model(shape, f'r = Constant<value={to}>() y = Resize<mode="{mode}">({place})')
    x = np.ones([3 if d == "b" else int(d) for d in shape.split(",")], np.float32)
    (want,) = ReferenceEvaluator(proto).run(None, {"x": x})
    got = interpret(import_onnx(proto), {"x": x})["y"]
    assert got.shape == want.shape and got.size == 0


def test_nothing_is_not_resized_to_something() -> None:
    node = 'r = Constant<value=int64[4]{1,2,3,3}>() y = Resize<mode="linear">(x, , , r)'
    with pytest.raises(ModelError, match="do not fit axes"):
        import_onnx(model("1,2,0,2", node))


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (4, 2), (5, 3)])
def test_windows_one_step_too_large_are_empty(op: str, kernel: int, stride: int) -> None:
    node = f"y = {op}<kernel_shape=[{kernel},{kernel}], strides=[{stride},{stride}]>(x)"
    graph = import_onnx(model("1,2,2,2", node))
    assert interpret(graph, {"x": np.ones((1, 2, 2, 2), np.float32)})["y"].shape == (1, 2, 0, 0)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize(("kernel", "stride"), [(4, 1), (3, 3), (5, 1)])
def test_windows_further_off_are_refused(op: str, kernel: int, stride: int) -> None:
    node = f"y = {op}<kernel_shape=[{kernel},{kernel}], strides=[{stride},{stride}]>(x)"
    with pytest.raises(ModelError, match="is larger than the padded extent 2"):
        import_onnx(model("1,2,2,2", node))
