"""The package beside the facts of TensorRT's own bindings (`bindings.json`): names, values, kinds of members, parameters.

What is not there yet is listed in NOT_WRITTEN: a class that is written leaves the list, and then all of its members are tested.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from typing import Any

import pytest

import camshaft.tensorrt as trt
from camshaft.tensorrt.eras import PROFILES, VARIABLE, bindings

NOT_WRITTEN = frozenset(
    [
        "ISymExpr",
        "ISymExprs",
        "KernelLaunchParams",
    ]
)

FACTS = bindings()
OLD, TEN, ELEVEN = range(3)
WRITTEN = sorted(set(FACTS["classes"]) - NOT_WRITTEN)


def latest(kinds: str) -> str:
    """The kind of a member in 10.16, or else in the release that has it; writable if it is so in any."""
    if "w" in kinds:
        return "w"
    return next(kinds[column] for column in (TEN, ELEVEN, OLD) if kinds[column] != "-")


def enum_class(name: str) -> Any:
    return trt.ILogger.Severity if name == "Severity" else getattr(trt, name)


def test_the_list_of_what_is_not_written_is_true() -> None:
    known = {*FACTS["classes"], *FACTS["functions"]}
    assert known >= NOT_WRITTEN
    assert {name for name in known if not hasattr(trt, name)} == NOT_WRITTEN


@pytest.mark.parametrize("name", WRITTEN)
def test_a_class_has_the_members_of_all_releases(name: str) -> None:
    cls, (base, members) = getattr(trt, name), FACTS["classes"][name]
    assert base is None or issubclass(cls, getattr(trt, base))
    for member, fact in members.items():
        kinds, *parameters = fact.split()
        check_member(cls, member, latest(kinds), parameters)


def check_member(cls: type, member: str, kind: str, parameters: list[str]) -> None:
    if kind == "x":
        with pytest.raises(TypeError, match="no constructor"):
            cls()
        return
    static, value = inspect.getattr_static(cls, member), getattr(cls, member)
    if kind == "m":
        assert callable(value), member
        skipped = 0 if isinstance(static, staticmethod) else 1  # self
        taken = list(inspect.signature(value).parameters.values())[skipped:]
        names = [p.name.removesuffix("_") for p in taken]  # Python can have no parameter `in`
        assert names[: len(parameters)] == [p.rstrip("=") for p in parameters]
        behind_default = False  # of which Python, unlike pybind11, takes none without one
        for parameter, fact in zip(taken, parameters, strict=False):
            has_default = parameter.default is not parameter.empty
            behind_default |= fact.endswith("=")
            assert has_default == behind_default, (member, fact)
    elif kind == "w":
        assert isinstance(static, property), member
        assert static.fset is not None, member
    elif kind == "r":
        assert not isinstance(static, property) or static.fset is None, member
    elif kind == "c":
        assert isinstance(value, type), member


@pytest.mark.parametrize("name", FACTS["enums"])
def test_an_enum_has_the_values_of_10_and_the_names_of_all(name: str) -> None:
    cls, releases = enum_class(name), FACTS["enums"][name]
    members = {member: m.value for member, m in cls.__members__.items()}
    assert set(members) == {m for release in releases for m in release or {}}
    ten = releases[TEN] or {}
    assert list(members.items())[: len(ten)] == list(ten.items()) or not ten
    for release in filter(None, releases):
        for member in set(release) - set(ten):
            same = [m for m, value in ten.items() if value == members[member]]
            assert all(release.get(m) == release[member] for m in same), (
                f"{member} would be taken for {same}"
            )


def test_types_have_their_short_names() -> None:
    for alias, (_, member, _) in FACTS["aliases"].items():
        assert getattr(trt, alias) == getattr(trt.DataType, member)


REPORT = """
import json
import camshaft.tensorrt as trt
from camshaft.tensorrt.enums.base import Enumeration
classes = {n: c for n in trt.__all__ if isinstance(c := getattr(trt, n), type)}
classes["Severity"] = trt.ILogger.Severity
enums = {n: c for n, c in classes.items() if issubclass(c, Enumeration)}
print(json.dumps({
    "version": trt.__version__,
    "parser": trt.get_nv_onnx_parser_version(),
    "enums": {n: [[m, v.value] for m, v in c.__members__.items()] for n, c in enums.items()},
    "attributes": {n: [a for a in dir(c) if a.isupper()] for n, c in enums.items()},
    "classes": {n: dir(c) for n, c in classes.items() if n not in enums},
    "aliases": [n for n in trt.__all__ if isinstance(getattr(trt, n), trt.DataType)],
}))
"""


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_shows_the_names_and_values_of_its_release(profile: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REPORT],
        env=os.environ | {VARIABLE: profile, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    seen, era = json.loads(done.stdout), PROFILES[profile]
    column = era.column
    assert column is not None
    assert seen["version"] == era.version == FACTS["releases"][column]
    assert seen["parser"] == {"8.6": 80601, "10": 101600, "11": 110100}[profile]
    expected = {n: r[column] for n, r in FACTS["enums"].items() if r[column] is not None}
    assert {n: dict(pairs) for n, pairs in seen["enums"].items()} == expected
    for name, pairs in seen["enums"].items():
        assert sorted(seen["attributes"][name]) == sorted(member for member, _ in pairs)
    for name, members in seen["classes"].items():
        kinds = FACTS["classes"][name][1]
        lacking = {m for m, fact in kinds.items() if fact[column] == "-"}
        assert set(kinds) - lacking <= set(members)
        assert not lacking & set(members)
    assert sorted(seen["aliases"]) == sorted(a for a, r in FACTS["aliases"].items() if r[column])


def test_an_unknown_profile_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import camshaft.tensorrt"],
        env=os.environ | {VARIABLE: "9", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{VARIABLE}='9' is none of 8.6, 10, 11" in done.stderr
