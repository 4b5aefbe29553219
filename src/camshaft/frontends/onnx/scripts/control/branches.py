"""If: the branch of a condition that is known when the model is imported, else a step that runs one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from onnx import GraphProto

from camshaft.errors import ModelError
from camshaft.frontends.onnx.scripts.control.node import (
    EMPTY,
    Control,
    argument,
    graph_of,
    hidden_symbols,
    level_of,
)
from camshaft.frontends.onnx.scripts.forks import Fork, have_other_ranks
from camshaft.frontends.onnx.scripts.scope import HostValue, Pending, Scope, Value
from camshaft.frontends.onnx.scripts.values import joined
from camshaft.ir.script import If
from camshaft.ir.types import TensorType


def if_(c: Control) -> list[Value]:
    """If: the branch of a condition that is known; else a step that runs one of them."""
    condition = argument(c, 0, "condition")
    if isinstance(condition.type, TensorType):
        if condition.type.size != 1 and all(isinstance(d, int) for d in condition.type.shape):
            raise ModelError(f"its condition {condition.name!r} is {condition.type}, not one bool")
        taken = c.decided(condition)
        if taken is not None:
            return c.in_place(branch_of(c, taken), {})
    then, yes = c.inside(branch_of(c, True), {})
    otherwise, no = c.inside(branch_of(c, False), {})
    if c.may_fork and have_other_ranks([*zip(yes, no, strict=False)]):
        raise Fork
    return chosen(c, condition, (then, yes), (otherwise, no))


def branch_of(c: Control, holds: bool) -> GraphProto:
    """The branch that is run where the condition holds, or does not."""
    return graph_of(c, "then_branch" if holds else "else_branch")


def chosen(
    c: Control,
    condition: Value,
    first: tuple[Scope, list[Value]],
    second: tuple[Scope, list[Value]],
) -> list[Value]:
    """A step that runs the first script if the condition holds, else the second."""
    (then, yes), (otherwise, no) = first, second
    if len(yes) != len(no):
        raise ModelError(f"its branches give {len(yes)} and {len(no)} results")
    outputs = tuple(
        _result(c, i, pair, [then, otherwise]) for i, pair in enumerate(zip(yes, no, strict=True))
    )
    step = If(c.name, condition.name, EMPTY, EMPTY, tuple(v.name for v in outputs))
    inner = ((then, (), tuple(yes)), (otherwise, (), tuple(no)))
    level = level_of(c, [then, otherwise], [condition])
    c.scope.add(Pending(step, (condition,), outputs, inner), level)
    return list(outputs)


def _result(c: Control, index: int, values: Sequence[Value], inner: Sequence[Scope]) -> HostValue:
    """What output number `index` is that may be any of these."""
    hidden = hidden_symbols(c, inner)
    name = c.output_name(index)
    made = joined(values[0], values[1:], lambda s: s.name not in hidden, c.fresh(name))
    return replace(made, name=name)
