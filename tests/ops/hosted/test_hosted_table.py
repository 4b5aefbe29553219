"""The tables of host steps: every operator of ONNX stands in one, and what they say is tested."""

from __future__ import annotations

import onnx
import pytest
from onnx import helper

from camshaft.errors import ModelError
from camshaft.ops.host import has_reference, run_proto
from camshaft.ops.hosted.reference import COMPARED, CONTROL, RANDOM, REFERENCE, TRIED
from camshaft.ops.hosted.table import IMPLEMENTATIONS, implementation
from operator_table import GENERATORS

NOT_COMPARED = {
    "Multinomial", "Optional", "OptionalGetElement", "OptionalHasElement", "Reshape", "SequenceEmpty",
}  # fmt: skip
"""Random, or of one line each; test_hosted_specification.py has them."""


def operators() -> set[str]:
    schemas = onnx.defs.get_all_schemas_with_history()
    return {s.name for s in schemas if not s.domain}


def test_every_operator_stands_in_one_table() -> None:
    tables = ([i.op_type for i in IMPLEMENTATIONS], COMPARED, TRIED, RANDOM, CONTROL)
    listed = [name for table in tables for name in table]
    assert sorted(set(listed)) == sorted(listed)
    assert operators() - set(listed) == set()


def test_what_is_said_to_be_compared_has_a_generator() -> None:
    assert set(COMPARED) - GENERATORS.keys() == set()
    assert {i.op_type for i in IMPLEMENTATIONS} - NOT_COMPARED - GENERATORS.keys() == set()
    assert all(REFERENCE[name] for name in (*COMPARED, *TRIED, *RANDOM))


def test_tables_are_in_order() -> None:
    for names in ([i.op_type for i in IMPLEMENTATIONS], COMPARED, TRIED, RANDOM):
        assert list(names) == sorted(names)


def test_an_older_opset_than_an_implementation_knows_is_not_taken() -> None:
    assert implementation("", "LSTM", 7) is not None
    assert implementation("ai.onnx", "LSTM", 7) is implementation("", "LSTM", 7)
    assert implementation("", "LSTM", 6) is None
    assert implementation("com.microsoft", "LSTM", 7) is None


def test_an_operator_nobody_has() -> None:
    proto = helper.make_node("Nothing", ["x"], ["y"]).SerializeToString()
    assert not has_reference(proto, 17)
    with pytest.raises(ModelError):
        run_proto(proto, 17, [None])
