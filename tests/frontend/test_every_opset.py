"""Operators as models of every opset have them, through the importer, beside ONNX Runtime.

tests/ops/hosted compares the host steps with it; this compares what the importer makes of the same
nodes: kernels' references, expressions of other operators, host steps.  The first operand is an input,
the others are constants.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from camshaft.errors import CamshaftError
from camshaft.frontends.onnx import import_onnx
from camshaft.ir.interpret import interpret
from operator_case import Case, by_onnxruntime, difference, type_of
from operator_table import GENERATORS, NEWEST_OF_PEER, case_of, versions

pytestmark = pytest.mark.peers
BY_DATA = frozenset(
    {
        "BlackmanWindow", "Compress", "HammingWindow", "HannWindow", "MelWeightMatrix",
        "NonMaxSuppression", "NonZero", "Unique",
    }
)  # fmt: skip
"""Whose shapes hang on the first operand's elements."""
NO_TENSORS = frozenset(op for op in GENERATORS if "Sequence" in op or "String" in op)
NOT_BY_BODY = {"DynamicQuantizeLinear"}
"""Of zeros alone, ONNX's body gives the scale 0, ONNX Runtime 1: the product with it is 0 in both."""
LEFT_OUT = BY_DATA | NO_TENSORS | NOT_BY_BODY
ASKED = [
    (op, v)
    for op in sorted(GENERATORS.keys() - LEFT_OUT)
    for v in versions(op)
    if v <= NEWEST_OF_PEER
]


def through_the_importer(case: Case) -> list[np.ndarray]:
    node = case.node
    first = next(i for i, v in enumerate(case.inputs) if v is not None)
    named = [(n, v) for n, v in zip(node.input, case.inputs, strict=True) if n]
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_value_info(node.input[first], type_of(case.inputs[first]))],
        [onnx.ValueInfoProto(name=n) for n in node.output if n],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in named if n != node.input[first]],
    )
    opsets = [helper.make_opsetid("", case.opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    inferred = onnx.shape_inference.infer_shapes(model)
    del graph.output[:]
    for value in inferred.graph.output:
        if not value.type.WhichOneof("value"):
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    del model.graph.output[:]
    model.graph.output.extend(inferred.graph.output)
    results = interpret(import_onnx(model), {node.input[first]: np.asarray(case.inputs[first])})
    return [results[n] for n in node.output if n]


def disagreements(op_type: str, opset: int, count: int) -> list[str]:
    found = []
    for number in range(count):
        case = case_of(op_type, opset, number)
        if any(isinstance(v, np.ndarray) and v.dtype.kind == "O" for v in case.inputs):
            continue
        try:
            fault = difference(through_the_importer(case), by_onnxruntime(case), case)
        except CamshaftError as error:
            fault = str(error)
        if fault:
            found.append(f"{number}: {case.described()}: {fault}")
    return found


@pytest.mark.parametrize(("op_type", "opset"), ASKED)
def test_some_cases(op_type: str, opset: int) -> None:
    assert not disagreements(op_type, opset, 3)


@pytest.mark.slow
@pytest.mark.parametrize(("op_type", "opset"), ASKED)
def test_many_cases(op_type: str, opset: int) -> None:
    assert not disagreements(op_type, opset, 100)
