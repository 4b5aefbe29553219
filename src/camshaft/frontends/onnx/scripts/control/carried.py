"""What loops carry and collect: types that hold in every iteration, and results stacked."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from onnx import GraphProto

from camshaft.errors import ModelError
from camshaft.frontends.onnx.dtypes import tensor_proto
from camshaft.frontends.onnx.scripts.control.node import (
    Control,
    hidden_symbols,
    level_of,
    lies_in,
)
from camshaft.frontends.onnx.scripts.scope import HostValue, Pending, Scope, Value
from camshaft.frontends.onnx.scripts.values import Fresh, joined
from camshaft.ir.extents.extent import Extent, symbols_of
from camshaft.ir.extents.symbol import Symbol, UndecidedExtent
from camshaft.ir.script import Loop, Scan
from camshaft.ir.types import TensorType
from camshaft.ops import functional as F
from camshaft.ops.common import normal_axis

MOST_ITERATIONS = 4096
"""Of a loop that is unrolled."""
MOST_UNROLLED = 2048
"""Nodes of a loop that is unrolled, in all its iterations."""
MOST_ROUNDS = 4
"""Imports of a loop's body in which the types of what it carries may still change."""


@dataclass(frozen=True)
class Body:
    """A loop's body as a script.  given: what is carried into an iteration.  hidden: names of symbols that only
    it knows."""

    scope: Scope
    given: tuple[HostValue, ...]
    results: tuple[Value, ...]
    hidden: frozenset[str]


def settled(
    c: Control,
    graph: GraphProto,
    first: Sequence[Value],
    others: Sequence[Value],
    *,
    leading: bool,
) -> Body:
    """The body imported with types of what it carries that hold in every iteration.

    first: what is carried into the first one.  others: what else it is given, in front of what is carried if
    `leading` (the body then says first whether it goes on), else behind it.
    ModelError if the types change from one import to the next.
    """
    types: list[Value] = [*first]
    kept = c.scope.shared.snapshot()
    for _ in range(MOST_ROUNDS):
        c.scope.shared.restore(kept)
        given = [
            replace(joined(v, [], lambda s: True, c.fresh("")), name=c.claim(f"carried {i}"))
            for i, v in enumerate(types)
        ]
        inputs = [*others, *given] if leading else [*given, *others]
        scope, results = c.inside(
            graph, dict(zip((v.name for v in graph.input), inputs, strict=True))
        )
        after = results[leading : leading + len(first)]
        wider = [
            _wider(c, g, [v, a], scope, f"carried {i}")
            for i, (g, v, a) in enumerate(zip(given, first, after, strict=True))
        ]
        if all(w.type == g.type for w, g in zip(wider, given, strict=True)):
            break
        types = [*wider]
    else:
        raise ModelError("the types of what it carries do not settle")
    hidden = hidden_symbols(c, [scope])
    hidden |= {s.name for s in symbols_in(given) - symbols_in(first)}
    return Body(scope, tuple(given), tuple(results), frozenset(hidden))


def add_step(
    c: Control,
    step: Loop | Scan,
    inputs: Sequence[Value],
    outputs: Sequence[HostValue],
    names: Sequence[str],
    body: Body,
) -> list[Value]:
    """Make the loop a step of the script.  names: of what the body is given."""
    shared = c.scope.shared
    found = symbols_of(*(e for t in step.collected if isinstance(t, TensorType) for e in t.shape))
    known = [s.name for s in found if s.name in shared.values]
    known = [n for n in known if lies_in(c.scope, shared.owners[shared.values[n].name][0])]
    step = replace(step, sizes=tuple(shared.sizes[name] for name in known))
    inputs = [*inputs, *(shared.values[name] for name in known)]
    level = level_of(c, [body.scope], inputs)
    inner = ((body.scope, tuple(names), body.results),)
    c.scope.add(Pending(step, tuple(inputs), tuple(outputs), inner), level)
    return list(outputs)


def symbols_in(values: Sequence[Value]) -> set[Symbol]:
    """The symbols of the shapes of tensors."""
    return {s for v in values if isinstance(v.type, TensorType) for s in symbols_of(*v.type.shape)}


def _wider(
    c: Control, given: HostValue, others: Sequence[Value], scope: Scope, what: str
) -> HostValue:
    """What is carried into an iteration, if that may be `given` or any of the others."""
    hidden = hidden_symbols(c, [scope])
    hidden -= {s.name for s in symbols_in([given])}
    fresh = c.fresh(f"{c.name} {what}")
    return joined(given, others, lambda s: s.name not in hidden, fresh)


def final(c: Control, index: int, value: Value, hidden: Container[str]) -> HostValue:
    """The output that is `value` at the end: extents that only the body knows are new."""
    name = c.output_name(index)
    made = joined(value, [], lambda s: s.name not in hidden, c.fresh(name))
    return replace(made, name=name)


def along(value: HostValue, axis: int, extent: Extent | None, fresh: Fresh) -> HostValue:
    """The value stacked: a new axis of this extent (None: a new symbol)."""
    if not isinstance(value.type, TensorType):
        return value
    shape = [*value.type.shape]
    axis = normal_axis(axis, len(shape) + 1)
    shape.insert(axis, fresh(len(shape), None) if extent is None else extent)
    type = TensorType(value.type.dtype, tuple(shape))
    return HostValue(value.name, type, tensor_proto(type))


def stacked(
    c: Control, scans: Sequence[Sequence[Value]], axes: Sequence[int]
) -> list[Value] | None:
    """What was collected in each step as one tensor; None where that is no tensor of known rank."""
    found: list[Value] = []
    for parts, axis in zip(scans, axes, strict=True):
        if not all(isinstance(v.type, TensorType) for v in parts):
            return None
        if len({v.type for v in parts}) > 1 and any(s.from_data for s in symbols_in(parts)):
            return None  # only a run finds whether they are equal
        level = max(c.scope.level(v) for v in parts)
        builder = c.scope.at(level).builder
        tensors = [c.scope.tensor(v, level) for v in parts]
        try:
            made = F.stack(builder, tensors, axis)
        except UndecidedExtent:
            return None
        c.scope.own(made, level)
        found.append(made)
    return found
