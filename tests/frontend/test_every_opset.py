"""Operators as models of every opset have them, through the importer, beside ONNX Runtime.

tests/ops/hosted compares the host steps with it; this compares what the importer makes of the same
nodes: kernels' references, expressions of other operators, host steps.  The first operand is an input,
the others are constants.
"""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from camshaft.errors import CamshaftError
from camshaft.frontends.onnx import import_onnx
from camshaft.ir.interpret import interpret
from operator_case import Case, by_onnxruntime, difference, model_of_case
from operator_table import GENERATORS, NEWEST_OF_PEER, case_of, versions
from plain_cases import PLAIN

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
    graph = import_onnx(model_of_case(case, [node.input[first]]))
    results = interpret(graph, {node.input[first]: np.asarray(case.inputs[first])})
    return [results[n] for n in node.output if n]


def _has_strings(case: Case) -> bool:
    """Whether strings go in or come out, which no single graph holds (tests/ops/hosted has them)."""
    reads = any(isinstance(v, np.ndarray) and v.dtype.kind == "O" for v in case.inputs)
    return reads or (case.op_type == "Cast" and case.attrs["to"] == TensorProto.STRING)


def disagreements(op_type: str, opset: int, count: int) -> list[str]:
    found = []
    for number in range(count):
        case = case_of(op_type, opset, number)
        if _has_strings(case):
            continue
        try:
            fault = difference(through_the_importer(case), by_onnxruntime(case), case)
        except CamshaftError as error:
            fault = str(error)
        if fault:
            found.append(f"{number}: {case.described()}: {fault}")
    return found


@pytest.mark.parametrize(("op_type", "opset"), [(op, v) for op, v in ASKED if op not in PLAIN])
def test_some_cases(op_type: str, opset: int) -> None:
    assert not disagreements(op_type, opset, 3)


@pytest.mark.slow
@pytest.mark.parametrize(("op_type", "opset"), ASKED)
def test_many_cases(op_type: str, opset: int) -> None:
    assert not disagreements(op_type, opset, 100)
