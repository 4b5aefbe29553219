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
    check_results,
    graph_of,
    hidden_symbols,
    level_of,
    scalar_input,
)
from camshaft.frontends.onnx.scripts.forks import Fork, have_other_ranks
from camshaft.frontends.onnx.scripts.scope import HostValue, Pending, Scope, Value
from camshaft.frontends.onnx.scripts.values import joined
from camshaft.ir.script import If
from camshaft.ir.types import TensorType, boolean


def if_(c: Control) -> list[Value]:
    """If: the branch of a condition that is known; else a step that runs one of them."""
    condition = argument(c, 0, "condition")
    scalar_input(c, 0, boolean, "condition")
    _check_branches(c)
    if isinstance(condition.type, TensorType):
        taken = c.decided(condition)
        if taken is not None:
            return c.in_place(branch_of(c, taken), {})
    then, yes = c.inside(branch_of(c, True), {})
    otherwise, no = c.inside(branch_of(c, False), {})
    if c.may_fork and have_other_ranks([*zip(yes, no, strict=False)]):
        raise Fork
    return chosen(c, condition, (then, yes), (otherwise, no))


def _check_branches(c: Control) -> None:
    counts = []
    for name in ("then_branch", "else_branch"):
        graph = graph_of(c, name)
        given = {t.name for t in graph.initializer}
        if inputs := [v.name for v in graph.input if v.name not in given]:
            raise ModelError(f"its {name} has the inputs {inputs}, and a branch is given none")
        counts.append(len(graph.output))
    if counts[0] != counts[1]:
        raise ModelError(f"its branches give {counts[0]} and {counts[1]} results")
    check_results(c, counts[0], "each of its branches")


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
