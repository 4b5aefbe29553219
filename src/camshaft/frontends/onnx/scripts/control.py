"""If, Loop and Scan: decided and unrolled where the model says how, else steps with scripts of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from onnx import GraphProto, NodeProto

from camshaft.errors import ModelError
from camshaft.frontends.onnx.scripts.forks import Fork, have_other_ranks
from camshaft.frontends.onnx.scripts.scope import HostValue, Pending, Scope, Value, tensor_proto
from camshaft.frontends.onnx.scripts.values import Fresh, joined
from camshaft.ir.extents.constraints import require_equal
from camshaft.ir.extents.extent import Extent, symbols_of
from camshaft.ir.extents.symbol import Symbol, UndecidedExtent
from camshaft.ir.graph import Tensor
from camshaft.ir.script import If, Loop, Scan, Script
from camshaft.ir.types import TensorType, i64
from camshaft.ops import functional as F
from camshaft.ops.common import normal_axis

MOST_ITERATIONS = 4096
"""Of a loop that is unrolled."""
MOST_UNROLLED = 2048
"""Nodes of a loop that is unrolled, in all its iterations."""
MOST_ROUNDS = 4
"""Imports of a loop's body in which the types of what it carries may still change."""
_EMPTY = Script((), (), ())


class Control(Protocol):
    """What the importer offers for a node that holds graphs.

    values: its inputs.  in_place: imports a graph where the node stands.  inside: imports one as a script of
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
    def in_place(self, graph: GraphProto, bound: Mapping[str, Value]) -> list[Value]: ...
    def inside(
        self, graph: GraphProto, bound: Mapping[str, Value]
    ) -> tuple[Scope, list[Value]]: ...
    def fresh(self, what: str) -> Fresh: ...
    def claim(self, what: str) -> str: ...
    def output_name(self, index: int) -> str: ...
    def known(self, value: Value) -> np.ndarray | None: ...
    def decided(self, condition: Value) -> bool | None: ...
    def constant(self, array: np.ndarray, what: str) -> Tensor: ...


def _graph(c: Control, name: str) -> GraphProto:
    for a in c.node.attribute:
        if a.name == name and a.HasField("g"):
            graph: GraphProto = a.g
            return graph
    raise ModelError(f"attribute {name!r} is missing")


def _arg(c: Control, index: int, what: str) -> Value:
    value = c.values[index] if index < len(c.values) else None
    if value is None:
        raise ModelError(f"its {what} (input number {index}) is missing")
    return value


def _known(c: Control, index: int) -> np.ndarray | None:
    """Input `index` where it is constant."""
    value = c.values[index] if index < len(c.values) else None
    return value.array if isinstance(value, Tensor) and value.is_const else None


def _captured_level(c: Control, scopes: Sequence[Scope], inputs: Sequence[Value]) -> int:
    """The level of a step that runs these scopes and reads these values."""
    levels = [c.scope.level(v) for s in scopes for v in s.captured.values()]
    return max([*levels, *(c.scope.level(v) for v in inputs)], default=0)


def _is_outer(c: Control, inner: Sequence[Scope]) -> set[str]:
    """Names of the symbols that only inner scopes know."""
    shared = c.scope.shared
    found = set()
    for name, value in shared.values.items():
        owner = shared.owners.get(value.name)
        if owner is not None and any(_lies_in(owner[0], s) for s in inner):
            found.add(name)
    return found


def _lies_in(scope: Scope, outer: Scope) -> bool:
    current: Scope | None = scope
    while current is not None:
        if current is outer:
            return True
        current = current.parent
    return False


def _result(c: Control, index: int, values: Sequence[Value], inner: Sequence[Scope]) -> HostValue:
    """What output number `index` is that may be any of these."""
    hidden = _is_outer(c, inner)
    name = c.output_name(index)
    made = joined(values[0], values[1:], lambda s: s.name not in hidden, c.fresh(name))
    return replace(made, name=name)


# --- If ---------------------------------------------------------------------------------------


def if_(c: Control) -> list[Value]:
    """If: the branch of a condition that is known; else a step that runs one of them."""
    condition = _arg(c, 0, "condition")
    if isinstance(condition.type, TensorType):
        if condition.type.size != 1 and all(isinstance(d, int) for d in condition.type.shape):
            raise ModelError(f"its condition {condition.name!r} is {condition.type}, not one bool")
        taken = c.decided(condition)
        if taken is not None:
            return c.in_place(_graph(c, "then_branch" if taken else "else_branch"), {})
    then, yes = c.inside(_graph(c, "then_branch"), {})
    otherwise, no = c.inside(_graph(c, "else_branch"), {})
    if c.may_fork and have_other_ranks([*zip(yes, no, strict=False)]):
        raise Fork
    return chosen(c, condition, (then, yes), (otherwise, no))


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
    step = If(c.name, condition.name, _EMPTY, _EMPTY, tuple(v.name for v in outputs))
    inner = ((then, (), tuple(yes)), (otherwise, (), tuple(no)))
    level = _captured_level(c, [then, otherwise], [condition])
    c.scope.add(Pending(step, (condition,), outputs, inner), level)
    return list(outputs)


# --- Loop -------------------------------------------------------------------------------------


def loop(c: Control) -> list[Value]:
    """Loop: unrolled where the number of iterations is known and small, else a step."""
    body = _graph(c, "body")
    carried = [_arg(c, i, "carried value") for i in range(2, len(c.values))]
    if len(body.input) != len(carried) + 2:
        raise ModelError(f"its body has {len(body.input)} inputs for {len(carried)} carried values")
    if len(body.output) < len(carried) + 1:
        raise ModelError(
            f"its body has {len(body.output)} outputs for {len(carried)} carried values"
        )
    unrolled = _unrolled(c, body, carried)
    return _looped(c, body, carried) if unrolled is None else unrolled


def _unrolled(c: Control, body: GraphProto, carried: Sequence[Value]) -> list[Value] | None:
    """The loop without a loop; None where that is not possible, or too much."""
    limit, going = _known(c, 0), _known(c, 1)
    if (limit is None and _optional(c, 0)) or (going is None and _optional(c, 1)):
        return None
    most = MOST_ITERATIONS if limit is None else int(limit.reshape(-1)[0])
    most = min(most, MOST_UNROLLED // max(1, len(body.node)))
    alive = going is None or bool(going.reshape(-1)[0])
    scans: list[list[Value]] = [[] for _ in body.output[len(carried) + 1 :]]
    names = [v.name for v in body.input]
    step = 0
    while alive and (limit is None or step < int(limit.reshape(-1)[0])):
        if step >= most:
            return None
        counter = c.constant(np.array(step, np.int64), "iteration")
        flag = c.constant(np.array(True), "condition")
        bound = dict(zip(names, [counter, flag, *carried], strict=True))
        results = c.in_place(body, bound)
        head = results[0]
        if not (isinstance(head, Tensor) and head.is_const):
            return None
        alive = bool(head.array.reshape(-1)[0])
        carried = list(results[1 : 1 + len(carried)])
        for parts, value in zip(scans, results[1 + len(carried) :], strict=True):
            parts.append(value)
        step += 1
    if scans and not step:
        return None  # the shape of what it collects is known to the body alone
    stacked = _stacked(c, scans, [0] * len(scans))
    return None if stacked is None else [*carried, *stacked]


def _stacked(
    c: Control, scans: Sequence[Sequence[Value]], axes: Sequence[int]
) -> list[Value] | None:
    """What was collected in each step as one tensor; None where that is no tensor of known rank."""
    found: list[Value] = []
    for parts, axis in zip(scans, axes, strict=True):
        if not all(isinstance(v.type, TensorType) for v in parts):
            return None
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


def _looped(c: Control, body: GraphProto, carried: Sequence[Value]) -> list[Value]:
    scalar = TensorType(i64, ())
    counter = HostValue(c.claim("iteration"), scalar, tensor_proto(scalar))
    flag = c.constant(np.array(True), "condition")
    types: list[Value] = [*carried]
    kept = c.scope.shared.snapshot()
    for _ in range(MOST_ROUNDS):
        c.scope.shared.restore(kept)
        given = [
            replace(joined(v, [], lambda s: True, c.fresh("")), name=c.claim(f"carried {i}"))
            for i, v in enumerate(types)
        ]
        bound = dict(zip((v.name for v in body.input), [counter, flag, *given], strict=True))
        scope, results = c.inside(body, bound)
        after = results[1 : 1 + len(carried)]
        wider = [
            _wider(c, g, [v, a], scope, f"carried {i}")
            for i, (g, v, a) in enumerate(zip(given, carried, after, strict=True))
        ]
        if all(w.type == g.type for w, g in zip(wider, given, strict=True)):
            break
        types = [*wider]
    else:
        raise ModelError("the types of what it carries do not settle")
    collected = [v.type for v in results[1 + len(carried) :]]
    trips = _trips(c, results[0])
    hidden = _is_outer(c, [scope])
    for v in given:
        if isinstance(v.type, TensorType):
            hidden.update(s.name for s in symbols_of(*v.type.shape) if s not in _symbols(carried))
    outputs = [
        _final(c, i, v, hidden) for i, v in enumerate([*given, *results[1 + len(carried) :]])
    ]
    for i in range(len(carried), len(outputs)):
        outputs[i] = _along(outputs[i], 0, trips, c.fresh(outputs[i].name))
    count, condition = (_optional(c, 0), _optional(c, 1))
    step = Loop(
        c.name,
        None if count is None else count.name,
        None if condition is None else condition.name,
        tuple(v.name for v in carried),
        _EMPTY,
        tuple(v.name for v in outputs),
        tuple(collected),
    )
    inputs = tuple(v for v in (count, condition, *carried) if v is not None)
    names = (counter.name, flag.name, *(v.name for v in given))
    level = _captured_level(c, [scope], inputs)
    inner = ((scope, names, tuple(results)),)
    c.scope.add(Pending(step, inputs, tuple(outputs), inner), level)
    return list(outputs)


def _optional(c: Control, index: int) -> Value | None:
    return c.values[index] if index < len(c.values) else None


def _symbols(values: Sequence[Value]) -> set[Symbol]:
    return {s for v in values if isinstance(v.type, TensorType) for s in symbols_of(*v.type.shape)}


def _wider(
    c: Control, given: HostValue, others: Sequence[Value], scope: Scope, what: str
) -> HostValue:
    """What is carried into an iteration, if that may be `given` or any of the others."""
    hidden = _is_outer(c, [scope])
    hidden -= {s.name for s in _symbols([given])}
    fresh = c.fresh(f"{c.name} {what}")
    return joined(given, others, lambda s: s.name not in hidden, fresh)


def _final(c: Control, index: int, value: Value, hidden: set[str]) -> HostValue:
    """The output that is `value` at the end: extents that only the body knows are new."""
    name = c.output_name(index)
    made = joined(value, [], lambda s: s.name not in hidden, c.fresh(name))
    return replace(made, name=name)


def _trips(c: Control, condition: Value) -> Extent | None:
    """How often the loop runs; None if the data say that."""
    limit, going = _known(c, 0), _known(c, 1)
    endless = isinstance(condition, Tensor) and condition.is_const and bool(condition.array.all())
    starts = _optional(c, 1) is None or (going is not None and bool(going.all()))
    if not (endless and starts):
        return None
    if limit is not None:
        return max(0, int(limit.reshape(-1)[0]))
    value = _optional(c, 0)
    known = None if value is None else c.known(value)
    count = None if known is None else known.reshape(-1)[0]
    return count if isinstance(count, Extent) and not isinstance(count, bool) else None


def _along(value: HostValue, axis: int, extent: Extent | None, fresh: Fresh) -> HostValue:
    """The value stacked: a new axis of this extent (None: a new symbol)."""
    if not isinstance(value.type, TensorType):
        return value
    shape = [*value.type.shape]
    axis = normal_axis(axis, len(shape) + 1)
    shape.insert(axis, fresh(len(shape), None) if extent is None else extent)
    type = TensorType(value.type.dtype, tuple(shape))
    return HostValue(value.name, type, tensor_proto(type))


# --- Scan -------------------------------------------------------------------------------------


def _filled(c: Control, name: str, count: int) -> list[int]:
    values = [v for a in c.node.attribute if a.name == name for v in a.ints] or [0] * count
    if len(values) != count:
        raise ModelError(f"attribute {name}={values} should have {count} values")
    return values


def _attr_int(c: Control, name: str) -> int:
    return next((int(a.i) for a in c.node.attribute if a.name == name), 0)


def scan(c: Control) -> list[Value]:
    """Scan: unrolled over short sequences of known length, else a step."""
    body = _graph(c, "body")
    batched = c.opset < 9
    values = [*c.values]
    lengths = values.pop(0) if batched and values else None
    count = _attr_int(c, "num_scan_inputs")
    states = len(values) - count
    if states < 0 or count < 1 or len(body.input) != len(values) or any(v is None for v in values):
        raise ModelError(f"num_scan_inputs={count} does not fit {len(values)} inputs")
    present = [v for v in values if v is not None]
    for v in present:
        if not isinstance(v.type, TensorType):
            raise ModelError(f"{v.name!r} is {v.type}, not a tensor of known rank")
    carried, sequences = present[:states], present[states:]
    outputs = len(body.output) - states
    if batched:
        form = _Form([0] * count, _filled(c, "directions", count), [0] * outputs, [0] * outputs)
    else:
        form = _Form(
            [
                normal_axis(a, len(v.type.shape))  # type: ignore[union-attr]
                for a, v in zip(_filled(c, "scan_input_axes", count), sequences, strict=True)
            ],
            _filled(c, "scan_input_directions", count),
            _filled(c, "scan_output_axes", outputs),
            _filled(c, "scan_output_directions", outputs),
        )
    if not batched:
        unrolled = _unrolled_scan(c, body, carried, sequences, form)
        if unrolled is not None:
            return unrolled
    return _scanned(c, body, carried, sequences, form, lengths, batched)


class _Form:
    """Along which axes a Scan goes, and where from the end, of sequences and of what it collects."""

    def __init__(
        self,
        axes: list[int],
        backward: list[int],
        output_axes: list[int],
        output_backward: list[int],
    ) -> None:
        self.axes, self.backward = axes, backward
        self.output_axes, self.output_backward = output_axes, output_backward


def _length(c: Control, sequences: Sequence[Value], axes: Sequence[int], lead: int = 0) -> Extent:
    """How many steps there are."""
    extents = [v.type.shape[a + lead] for v, a in zip(sequences, axes, strict=True)]  # type: ignore[union-attr]
    common = extents[0]
    misfit = f"sequences of lengths {extents} cannot be scanned together"
    with c.scope.levels[0].builder.constraints.learning(f"node {c.name!r}"):
        for other in extents[1:]:
            common = require_equal(common, other, misfit)
    return common


def _unrolled_scan(
    c: Control,
    body: GraphProto,
    carried: Sequence[Value],
    sequences: Sequence[Value],
    form: _Form,
) -> list[Value] | None:
    length = _length(c, sequences, form.axes)
    most = min(MOST_ITERATIONS, MOST_UNROLLED // max(1, len(body.node)))
    if not isinstance(length, int) or not 0 < length <= most:
        return None
    states = len(carried)
    scans: list[list[Value]] = [[] for _ in form.output_axes]
    names = [v.name for v in body.input]
    level = max(c.scope.level(v) for v in sequences)
    builder = c.scope.at(level).builder
    tensors = [c.scope.tensor(v, level) for v in sequences]
    for step in range(length):
        parts: list[Value] = []
        for t, axis, back in zip(tensors, form.axes, form.backward, strict=True):
            part = F.select(builder, t, axis, length - 1 - step if back else step)
            c.scope.own(part, level)
            parts.append(part)
        results = c.in_place(body, dict(zip(names, [*carried, *parts], strict=True)))
        carried = list(results[:states])
        for found, value in zip(scans, results[states:], strict=True):
            found.append(value)
    ordered = [
        found[::-1] if back else found
        for found, back in zip(scans, form.output_backward, strict=True)
    ]
    stacked = _stacked(c, ordered, form.output_axes)
    return None if stacked is None else [*carried, *stacked]


def _scanned(
    c: Control,
    body: GraphProto,
    carried: Sequence[Value],
    sequences: Sequence[Value],
    form: _Form,
    lengths: Value | None,
    batched: bool,
) -> list[Value]:
    lead = 1 if batched else 0
    length = _length(c, sequences, form.axes, lead)
    elements = [
        _element(c, v, axis, lead, i)
        for i, (v, axis) in enumerate(zip(sequences, form.axes, strict=True))
    ]
    first = [_element(c, v, None, lead, len(elements) + i) for i, v in enumerate(carried)]
    types: list[Value] = [*first]
    kept = c.scope.shared.snapshot()
    for _ in range(MOST_ROUNDS):
        c.scope.shared.restore(kept)
        given = [
            replace(joined(v, [], lambda s: True, c.fresh("")), name=c.claim(f"state {i}"))
            for i, v in enumerate(types)
        ]
        bound = dict(zip((v.name for v in body.input), [*given, *elements], strict=True))
        scope, results = c.inside(body, bound)
        after = results[: len(carried)]
        wider = [
            _wider(c, g, [v, a], scope, f"state {i}")
            for i, (g, v, a) in enumerate(zip(given, first, after, strict=True))
        ]
        if all(w.type == g.type for w, g in zip(wider, given, strict=True)):
            break
        types = [*wider]
    else:
        raise ModelError("the types of its states do not settle")
    collected = results[len(carried) :]
    hidden = _is_outer(c, [scope])
    for v in given:
        if isinstance(v.type, TensorType):
            hidden.update(s.name for s in symbols_of(*v.type.shape) if s not in _symbols(first))
    outputs = [_final(c, i, v, hidden) for i, v in enumerate([*given, *collected])]
    batch = carried[0].type.shape[0] if batched and carried else None  # type: ignore[union-attr]
    if batched and not carried:
        batch = sequences[0].type.shape[0]  # type: ignore[union-attr]
    for i, value in enumerate(outputs):
        if i >= len(carried):
            value = _along(value, form.output_axes[i - len(carried)], length, c.fresh(value.name))
        outputs[i] = _along(value, 0, batch, c.fresh(value.name)) if batched else value
    step = Scan(
        c.name,
        tuple(v.name for v in carried),
        tuple(v.name for v in sequences),
        _EMPTY,
        tuple(v.name for v in outputs),
        tuple(form.axes),
        tuple(map(bool, form.backward)),
        tuple(form.output_axes),
        tuple(map(bool, form.output_backward)),
        tuple(v.type for v in collected),
        batched,
        None if lengths is None else lengths.name,
    )
    inputs = tuple(v for v in (lengths, *carried, *sequences) if v is not None)
    names = (*(v.name for v in given), *(v.name for v in elements))
    level = _captured_level(c, [scope], inputs)
    inner = ((scope, names, tuple(results)),)
    c.scope.add(Pending(step, inputs, tuple(outputs), inner), level)
    return list(outputs)


def _element(c: Control, value: Value, axis: int | None, lead: int, number: int) -> HostValue:
    """What one step sees of a sequence (or, with axis None, one batch of a state)."""
    assert isinstance(value.type, TensorType)
    shape = [*value.type.shape[lead:]]
    if axis is not None:
        del shape[axis]
    type = TensorType(value.type.dtype, tuple(shape))
    return HostValue(c.claim(f"element {number}"), type, tensor_proto(type))


CONTROL = {"If": if_, "Loop": loop, "Scan": scan}
