"""Host steps beside ONNX Runtime, unoptimized: random cases of every operator in every opset.

Where ONNX Runtime departs from the specification, the generators leave the case out (each says why)
and test_hosted_specification.py has it.
"""

from __future__ import annotations

import pytest

from camshaft.errors import ModelError
from operator_case import by_onnxruntime, by_ours, difference
from operator_table import GENERATORS, NEWEST_OF_PEER, case_of, versions
from plain_cases import PLAIN

pytestmark = pytest.mark.peers
ASKED = [(op, v) for op in sorted(GENERATORS) for v in versions(op) if v <= NEWEST_OF_PEER]


def disagreements(op_type: str, opset: int, count: int) -> list[str]:
    found = []
    for number in range(count):
        case = case_of(op_type, opset, number)
        try:
            fault = difference(by_ours(case), by_onnxruntime(case), case)
        except ModelError as error:
            fault = f"ours: {error}"
        if fault:
            found.append(f"{number}: {case.described()}: {fault}")
    return found


@pytest.mark.parametrize(("op_type", "opset"), ASKED)
def test_some_cases(op_type: str, opset: int) -> None:
    assert not disagreements(op_type, opset, 1 if op_type in PLAIN else 5)


@pytest.mark.slow
@pytest.mark.parametrize(("op_type", "opset"), ASKED)
def test_many_cases(op_type: str, opset: int) -> None:
    assert not disagreements(op_type, opset, 200)
