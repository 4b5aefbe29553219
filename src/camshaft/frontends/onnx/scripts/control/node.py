"""What control flow sees of its node, and what If, Loop and Scan have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from onnx import GraphProto, NodeProto

from camshaft.errors import ModelError
from camshaft.frontends.onnx.scripts.scope import Scope, Value
from camshaft.frontends.onnx.scripts.values import Fresh
from camshaft.ir.extents.constraints import require_equal
from camshaft.ir.extents.sizes import is_static
from camshaft.ir.graph import Tensor
from camshaft.ir.script import Script
from camshaft.ir.types import DType, TensorType

EMPTY = Script((), (), ())
"""Stands in a step for a script that is not finished."""


class Control(Protocol):
    """What the importer offers for a node that holds graphs.

    values: its inputs.  in_place: imports a graph where the node stands; iteration: of a loop without a loop,
    whose sizes that data say are its own.  inside: imports one as a script of
    its own, and gives its scope and results.  fresh(what): new symbols for a value called so.  claim: a name
    that nothing has.  may_fork: whether a `Fork` is taken.  known: elements of a value as far as they are known.
    decided: whether a condition holds, where that is known.
    """

    node: NodeProto
    name: str
    opset: int
    values: tuple[Value | None, ...]

    @property
    def scope(self) -> Scope: ...
    @property
    def may_fork(self) -> bool: ...
    def in_place(
        self, graph: GraphProto, bound: Mapping[str, Value], iteration: int | None = None
    ) -> list[Value]: ...
    def inside(
        self, graph: GraphProto, bound: Mapping[str, Value]
    ) -> tuple[Scope, list[Value]]: ...
    def fresh(self, what: str) -> Fresh: ...
    def claim(self, what: str) -> str: ...
    def output_name(self, index: int) -> str: ...
    def known(self, value: Value) -> np.ndarray | None: ...
    def decided(self, condition: Value) -> bool | None: ...
    def constant(self, array: np.ndarray, what: str) -> Tensor: ...


def graph_of(c: Control, name: str) -> GraphProto:
    """The graph in an attribute.  ModelError if it is missing."""
    for a in c.node.attribute:
        if a.name == name and a.HasField("g"):
            graph: GraphProto = a.g
            return graph
    raise ModelError(f"attribute {name!r} is missing")


def argument(c: Control, index: int, what: str) -> Value:
    """Input `index`.  ModelError, calling it `what`, if it is missing."""
    value = optional_input(c, index)
    if value is None:
        raise ModelError(f"its {what} (input number {index}) is missing")
    return value


def optional_input(c: Control, index: int) -> Value | None:
    """Input `index`; None if it is missing."""
    return c.values[index] if index < len(c.values) else None


def scalar_input(c: Control, index: int, dtype: DType, what: str) -> Value | None:
    """Input `index`, None if it is missing.  ModelError, calling it `what`, if it is not one `dtype`."""
    value = optional_input(c, index)
    if value is None:
        return None
    wrong = value.type.dtype != dtype
    if isinstance(value.type, TensorType):
        wrong |= value.type.size != 1 and is_static(value.type.shape)
        if not wrong:
            with c.scope.levels[0].builder.constraints.learning(f"node {c.name!r}"):
                for extent in value.type.shape:
                    require_equal(extent, 1, f"its {what} {value.name!r} is not one {dtype.name}")
    elif value.type.kind != "tensor":
        wrong = True
    if wrong:
        raise ModelError(f"its {what} {value.name!r} is {value.type}, not one {dtype.name}")
    return value


def check_results(c: Control, count: int, what: str) -> None:
    """ModelError if the node names more results than `what` gives."""
    if len(c.node.output) > count:
        raise ModelError(f"it names {len(c.node.output)} results, and {what} gives {count}")


def constant_input(c: Control, index: int) -> np.ndarray | None:
    """Input `index` where it is constant."""
    value = optional_input(c, index)
    return value.array if isinstance(value, Tensor) and value.is_const else None


def level_of(c: Control, scopes: Sequence[Scope], inputs: Sequence[Value]) -> int:
    """The level of a step that runs these scopes and reads these values."""
    levels = [c.scope.level(v) for s in scopes for v in s.captured.values()]
    return max([*levels, *(c.scope.level(v) for v in inputs)], default=0)


def hidden_symbols(c: Control, inner: Sequence[Scope]) -> set[str]:
    """Names of the symbols that only inner scopes know."""
    shared = c.scope.shared
    found = set()
    for name, value in shared.values.items():
        owner = shared.owners.get(value.name)
        if owner is not None and any(lies_in(owner[0], s) for s in inner):
            found.add(name)
    return found


def lies_in(scope: Scope, outer: Scope) -> bool:
    """Whether a scope is `outer` or within it."""
    current: Scope | None = scope
    while current is not None:
        if current is outer:
            return True
        current = current.parent
    return False
