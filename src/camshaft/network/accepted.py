"""Which types of elements ONNX's operators take: layers by hand of other types fail at their line, not in a build or a run."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import onnx
from onnx import NodeProto, TensorProto
from onnx.defs import OpSchema

_NAMES: dict[int, str] = {
    int(number): name.lower() for name, number in TensorProto.DataType.items() if number
}
_FLOATS = frozenset(("float16", "bfloat16", "double"))
"""Types that are taken wherever float is: kernels have them, and some operators' specifications do not yet."""
_UNUSUAL = ("complex", "float4", "float8", "int2", "int4", "uint2", "uint4", "string")
"""Beginnings of types that messages leave out."""


def refusal(node: NodeProto, version: int, kind: Callable[[str], int]) -> str:
    """What is wrong with the types of a node's inputs; "": nothing.

    version: of ONNX's operators.  kind: the number of the element type of a value, 0 where it is not known.
    """
    shared: dict[str, tuple[int, str]] = {}
    parameters = _schema(node.op_type, version).inputs
    for index, name in enumerate(node.input):
        if not parameters:
            break
        formal = parameters[min(index, len(parameters) - 1)]
        given = _NAMES.get(kind(name)) if name else None
        if given is None:
            continue
        taken = {t.removeprefix("tensor(").removesuffix(")") for t in formal.types}
        if given not in taken and not (given in _FLOATS and "float" in taken):
            return f"input {index} is {given}; it takes {_listed(taken)}"
        is_mixed = (
            formal.option == OpSchema.FormalParameterOption.Variadic and not formal.is_homogeneous
        )
        if is_mixed or formal.type_str.startswith("tensor("):
            continue
        first, other = shared.setdefault(formal.type_str, (index, given))
        if other != given:
            return f"input {first} is {other}, and input {index} {given}; cast one of them"
    return ""


def _listed(taken: set[str]) -> str:
    usual = [t for t in sorted(taken) if "(" not in t and not t.startswith(_UNUSUAL)]
    return ", ".join(usual or sorted(taken))


@cache
def _schema(operator: str, version: int) -> OpSchema:
    return onnx.defs.get_schema(operator, version, "")
