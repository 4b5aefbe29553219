"""Engines of one operator, beside ONNX Runtime: every operator in every opset, all operands as inputs.

So shapes, axes, indices and counts are known when the engine runs, and not before.
"""

from __future__ import annotations

from typing import Any

import pytest

import camshaft
from camshaft.errors import CamshaftError
from operator_case import Case, by_onnxruntime, difference, model_of_case
from operator_table import GENERATORS, NEWEST_OF_PEER, case_of, versions

pytestmark = pytest.mark.peers
QUICK: dict[str, Any] = {"optimization_level": 1, "threads": 1}
BY_DATA = (
    "Compress",
    "HannWindow",
    "NonMaxSuppression",
    "NonZero",
    "Pad",
    "Slice",
    "TopK",
    "Unique",
)
NO_TENSORS = (
    "RegexFullMatch",
    "SequenceInsert",
    "SplitToSequence",
    "StringSplit",
    "TfIdfVectorizer",
)
ASKED = [(op, v) for op in sorted(GENERATORS) for v in versions(op) if v <= NEWEST_OF_PEER]


def by_an_engine(case: Case) -> list[Any]:
    feeds = {n: v for n, v in zip(case.node.input, case.inputs, strict=True) if n}
    engine = camshaft.build(model_of_case(case, list(feeds)), **QUICK)
    results = engine.create_context(1, check_finite=False).run(feeds)
    return [results[n] for n in case.node.output if n]


def disagreements(op_type: str, opset: int, count: int) -> list[str]:
    found = []
    for number in range(count):
        case = case_of(op_type, opset, number)
        try:
            fault = difference(by_an_engine(case), by_onnxruntime(case), case)
        except CamshaftError as error:
            fault = str(error)
        if fault:
            found.append(f"{number}: {case.described()}: {fault}")
    return found


@pytest.mark.parametrize("op_type", (*BY_DATA, *NO_TENSORS))
def test_results_that_hang_on_data_and_values_that_are_no_tensors(op_type: str) -> None:
    newest = max(v for op, v in ASKED if op == op_type)
    assert not disagreements(op_type, newest, 2)


@pytest.mark.slow
@pytest.mark.parametrize(("op_type", "opset"), ASKED)
def test_every_operator(op_type: str, opset: int) -> None:
    assert not disagreements(op_type, opset, 5)
