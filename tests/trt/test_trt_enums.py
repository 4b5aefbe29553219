"""Enums behave as those of pybind11 do."""

from __future__ import annotations

import copy
import operator
import pickle
from typing import Any

import numpy as np
import pytest

import camshaft.tensorrt as trt
from camshaft.tensorrt.enums.base import Enumeration, Member, Ordered

ORDERED = frozenset(
    [
        "AllocatorFlag",
        "BuilderFlag",
        "DimensionOperation",
        "EngineCapability",
        "EngineStat",
        "ErrorCodeTRT",
        "ExecutionContextAllocationStrategy",
        "NetworkDefinitionCreationFlag",
        "PluginArgDataType",
        "PluginArgType",
        "PluginCapabilityType",
        "QuantizationFlag",
        "QuickPluginCreationRequest",
        "SeekPosition",
        "SerializationFlag",
        "TacticSource",
        "TensorFormat",
        "TensorRTPhase",
    ]
)
"""Those at module level that compare; `Severity` is the other."""
ENUMS = {
    name: cls
    for name in trt.__all__
    if isinstance(cls := getattr(trt, name), type) and issubclass(cls, Enumeration)
}


class Size(Ordered):
    """Two names of one value."""

    SMALL = Member(0)
    TINY = Member(0)
    LARGE = Member(5)


def test_a_member_has_name_value_and_text() -> None:
    member = trt.DataType.HALF
    assert (member.name, member.value, int(member)) == ("HALF", 1, 1)
    assert (str(member), repr(member)) == ("DataType.HALF", "<DataType.HALF: 1>")
    assert str(trt.Logger.VERBOSE) == "Severity.VERBOSE"
    assert f"{member}" == "DataType.HALF"


def test_any_int_makes_a_member_and_a_name_does_not() -> None:
    assert trt.DataType(0) == trt.DataType.FLOAT
    assert trt.DataType(np.int64(1)) == trt.DataType.HALF
    assert trt.DataType(trt.DataType.INT8) == trt.DataType.INT8
    assert (str(trt.DataType(99)), trt.DataType(99).value) == ("DataType.???", 99)
    for wrong in ("FLOAT", 1.0, None):
        with pytest.raises(TypeError, match="takes an int"):
            trt.DataType(wrong)  # type: ignore[arg-type]


def test_it_equals_its_like_alone() -> None:
    assert trt.DataType.FLOAT != 0
    assert trt.DataType.FLOAT != trt.TensorFormat.LINEAR
    assert trt.DataType.FLOAT is trt.DataType.FLOAT
    mixed = {0: "int", trt.DataType.FLOAT: "type", trt.TensorFormat.LINEAR: "format"}
    assert (mixed[0], mixed[trt.DataType(0)], len(mixed)) == ("int", "type", 3)
    assert hash(trt.DataType.INT64) == 8


def test_it_is_an_index_and_always_true() -> None:
    assert [*"abc"][trt.DataType.HALF] == "b"
    assert trt.DataType.FLOAT
    assert 1 << int(trt.BuilderFlag.INT8) == 2


@pytest.mark.parametrize("wrong", [lambda f: 1 << f, lambda f: f | f, lambda f: f + 1])
def test_it_does_not_calculate(wrong: Any) -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        wrong(trt.BuilderFlag.FP16)


def test_the_class_is_no_collection() -> None:
    with pytest.raises(TypeError):
        iter(trt.DataType)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        trt.DataType["FLOAT"]  # type: ignore[misc]
    assert not hasattr(trt.DataType, "FLOAT32")


def test_members_are_listed_in_order_and_cannot_be_changed() -> None:
    listed = trt.DataType.__members__
    assert list(listed)[:2] == ["FLOAT", "HALF"]
    assert listed["INT8"] == trt.DataType.INT8 == trt.DataType.FLOAT.__members__["INT8"]
    listed.clear()
    assert trt.DataType.__members__
    for attribute in ("name", "value"):
        with pytest.raises(AttributeError):
            setattr(trt.DataType.FLOAT, attribute, 1)


def test_tools_know_enums_by_their_entries() -> None:
    entries = getattr(trt.ActivationType.RELU, "__entries")
    assert [member for member, _ in entries.values()] == [*trt.ActivationType.__members__.values()]
    assert not hasattr(trt.Dims, "__entries")


@pytest.mark.parametrize("name", ENUMS)
def test_members_survive_copies_and_pickles(name: str) -> None:
    for member in ENUMS[name].__members__.values():
        for other in (copy.deepcopy(member), copy.copy(member), pickle.loads(pickle.dumps(member))):
            assert other == member
            assert type(other) is type(member)


def test_an_alias_is_listed_and_prints_as_the_first_name() -> None:
    assert list(Size.__members__) == ["SMALL", "TINY", "LARGE"]
    assert Size.TINY == Size.SMALL
    assert str(Size.TINY) == "Size.SMALL"
    assert trt.ProfilingVerbosity.VERBOSE == trt.ProfilingVerbosity.DETAILED
    assert trt.BuilderFlag.STRIP_PLAN == trt.BuilderFlag.WEIGHTLESS


@pytest.mark.parametrize("name", ENUMS)
def test_the_members_of_some_enums_have_an_order(name: str) -> None:
    one, two = ENUMS[name](1), ENUMS[name](2)
    comparisons = (operator.lt, operator.le, operator.gt, operator.ge)
    if name in ORDERED:
        assert [compare(one, two) for compare in comparisons] == [True, True, False, False]
        assert [compare(one, one) for compare in comparisons] == [False, True, False, True]
    for other in (2, Size(2)) if name in ORDERED else (two, 2):
        for compare in comparisons:
            with pytest.raises(TypeError):
                compare(one, other)


def test_names_of_old_releases_keep_clear_of_new_values() -> None:
    flags = trt.NetworkDefinitionCreationFlag
    assert (flags.EXPLICIT_BATCH.value, flags.EXPLICIT_PRECISION.value) == (0, 40)
    assert (trt.BuilderFlag.STRICT_TYPES.value, trt.BuilderFlag.ENABLE_TACTIC_HEURISTIC.value) == (
        40,
        41,
    )
    assert trt.ResizeMode is trt.InterpolationMode
    assert trt.SliceMode is trt.SampleMode


@pytest.mark.parametrize(
    ("kind", "size", "scalar"),
    [
        (trt.float32, 4, np.float32),
        (trt.float16, 2, np.float16),
        (trt.int8, 1, np.int8),
        (trt.int32, 4, np.int32),
        (trt.bool, 1, np.bool_),
        (trt.uint8, 1, np.uint8),
        (trt.int64, 8, np.int64),
        (trt.bfloat16, 2, None),
        (trt.fp8, 1, None),
        (trt.int4, 0.5, None),
        (trt.fp4, 0.5, None),
        (trt.e8m0, 1, None),
    ],
    ids=str,
)
def test_a_type_has_a_size_and_perhaps_a_numpy_type(
    kind: trt.DataType, size: float, scalar: type[np.generic] | None
) -> None:
    assert kind.itemsize == size
    if scalar is None:
        with pytest.raises(TypeError, match="NumPy has no such type"):
            trt.nptype(kind)
    else:
        assert trt.nptype(kind) is scalar


def test_what_is_no_type_has_no_numpy_type() -> None:
    for wrong in (0, trt.DataType(99), trt.TensorFormat.LINEAR):
        with pytest.raises(TypeError, match="pass a member of DataType"):
            trt.nptype(wrong)  # type: ignore[arg-type]
