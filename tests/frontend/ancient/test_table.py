"""The table of what opsets 2 to 7 changed holds every operator's every version, and nothing else."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from onnx import helper

from camshaft.frontends.onnx.ancient import CHANGES, OLDEST_OPSET
from camshaft.frontends.onnx.ancient.respelling import respelled

VERSIONS: dict[tuple[str, int], Any] = {
    (s.name, s.since_version): s
    for s in onnx.defs.get_all_schemas_with_history()
    if s.domain == "" and s.since_version <= OLDEST_OPSET
}
OPERATORS = sorted({name for name, _ in VERSIONS})


def newest(name: str) -> int:
    """The version that opset 7 has."""
    return max(v for n, v in VERSIONS if n == name)


def test_table_holds_each_version_that_opset_7_does_not_have() -> None:
    assert set(CHANGES) == {(n, v) for n, v in VERSIONS if v < newest(n)}


def test_no_operator_was_gone_at_opset_7() -> None:
    assert not [n for n in OPERATORS if VERSIONS[n, newest(n)].deprecated]


def _attributes(schema: Any) -> dict[str, tuple[Any, ...]]:
    return {n: (a.type, a.required) for n, a in schema.attributes.items() if n != "consumed_inputs"}


@pytest.mark.parametrize(("name", "since"), [k for k, c in CHANGES.items() if c is respelled])
def test_what_is_only_respelled_takes_the_same_operands_and_attributes(
    name: str, since: int
) -> None:
    """Attributes may have been added, with defaults that say what held before."""
    old, new = VERSIONS[name, since], VERSIONS[name, newest(name)]
    assert [(i.name, i.option) for i in old.inputs] == [(i.name, i.option) for i in new.inputs]
    assert len(old.outputs) == len(new.outputs)
    kept = {n: a for n, a in _attributes(new).items() if n in _attributes(old)}
    assert kept == _attributes(old)
    added = set(_attributes(new)) - set(kept)
    assert added <= {"count_include_pad"}


def test_defaults_changed_where_it_is_known() -> None:
    """Concat's, which was in the text alone, is respelled too.  GRU-1's direction is a misprint."""
    found = {
        (name, since, attribute): helper.get_attribute_value(old.default_value)
        for name, since in CHANGES
        for attribute, old in VERSIONS[name, since].attributes.items()
        if (new := VERSIONS[name, newest(name)].attributes.get(attribute)) is not None
        and old.default_value.name
        and old.default_value != new.default_value
    }
    assert found == {
        ("GRU", 1, "direction"): b"foward",
        ("GlobalLpPool", 1, "p"): 2.0,
        ("LpPool", 1, "p"): 2.0,
        ("Selu", 1, "alpha"): pytest.approx(1.6732),
        ("Selu", 1, "gamma"): pytest.approx(1.0507),
    }
