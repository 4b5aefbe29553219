"""Loops: a number of times, while a condition holds, or both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.network import Network
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.enums.modes import LoopOutput, TripLimit
from camshaft.tensorrt.errors import Reporting, reported
from camshaft.tensorrt.network.call import Call
from camshaft.tensorrt.network.emission import Emission
from camshaft.tensorrt.network.graph import Graph
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.params import Param, flag, member, text, whole
from camshaft.tensorrt.network.record import Record
from camshaft.tensorrt.network.tensor import ITensor
from camshaft.tensorrt.objects import Result

_limit, _output = member(TripLimit), member(LoopOutput)
_COUNT, _WHILE = TripLimit.COUNT, TripLimit.WHILE
_LAST, _REVERSE = LoopOutput.LAST_VALUE, LoopOutput.REVERSE


class ILoop(Result, Reporting):
    """A loop: what goes round, what is read slice by slice, how often, and what comes out."""

    _graph: Graph
    _name: str

    @classmethod
    def _made(cls, graph: Graph) -> ILoop:
        made = cls.__new__(cls)
        made._graph, made._reports, made._name = graph, graph._reports, ""
        return made

    @property
    def name(self) -> str:
        """Name."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = text(name, "name")

    @reported(None)
    def add_recurrence(self, initial_value: ITensor) -> IRecurrenceLayer:
        """A value that goes round; `set_input(1, next)` says what it is in the next iteration."""
        return self._graph._add(IRecurrenceLayer, [initial_value], 1, self)

    @reported(None)
    def add_trip_limit(self, tensor: ITensor, kind: TripLimit) -> ITripLimitLayer:
        """How often: COUNT, a scalar of whole numbers; WHILE, a BOOL scalar of the loop, looked at before each iteration."""
        return self._graph._add(ITripLimitLayer, [tensor], 0, self, kind=_limit(kind, "kind"))

    @reported(None)
    def add_iterator(self, tensor: ITensor, axis: int = 0, reverse: bool = False) -> IIteratorLayer:
        """In each iteration the next slice of a tensor."""
        way = {"axis": whole(axis, "axis"), "reverse": flag(reverse, "reverse")}
        return self._graph._add(IIteratorLayer, [tensor], 1, self, **way)

    @reported(None)
    def add_loop_output(self, tensor: ITensor, kind: LoopOutput, axis: int = 0) -> ILoopOutputLayer:
        """The last value of a recurrence, or the values of all iterations along an axis, whose extent is input 1; 0 for iterations that a
        condition leaves out."""
        way = {"kind": _output(kind, "kind"), "axis": whole(axis, "axis")}
        return self._graph._add(ILoopOutputLayer, [tensor], 1, self, **way)

    def _layers(self, cls: type[ILayer]) -> list[Record]:
        return [r for r in self._graph._records if r.owner is self and r.cls is cls]


class ILoopBoundaryLayer(ILayer):
    """A layer that belongs to a loop."""

    @property
    def loop(self) -> ILoop:
        """The loop."""
        owner: ILoop = self._record.owner
        return owner


class IRecurrenceLayer(ILoopBoundaryLayer):
    """A value that goes round."""

    _kind = LayerType.RECURRENCE
    _most = 2

    @classmethod
    def _before(cls, record: Record, draft: bool) -> list[ITensor]:
        return [t for t in record.inputs[:1] if t is not None]

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        _only_drafts(call)
        return [call.net.op("Identity", call.input(0))]


class ITripLimitLayer(ILoopBoundaryLayer):
    """How often a loop runs."""

    _kind = LayerType.TRIP_LIMIT

    @property
    def kind(self) -> TripLimit:
        """What the tensor says."""
        kind: TripLimit = self._record.param("kind")
        return kind


class IIteratorLayer(ILoopBoundaryLayer):
    """The slices of a tensor, one in each iteration."""

    _kind = LayerType.ITERATOR
    axis = Param(whole, "The axis of slices.")
    reverse = Param(flag, "Whether the last slice is the first.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        _only_drafts(call)
        return [call.net.gather(call.input(0), 0, call["axis"])]


class ILoopOutputLayer(ILoopBoundaryLayer):
    """What comes out of a loop."""

    _kind = LayerType.LOOP_OUTPUT
    _most = 2
    _shapes = (1,)
    axis = Param(whole, "The axis of iterations, of CONCATENATE and REVERSE.")

    @property
    def kind(self) -> LoopOutput:
        """What of the iterations' values."""
        kind: LoopOutput = self._record.param("kind")
        return kind

    @classmethod
    def _before(cls, record: Record, draft: bool) -> list[ITensor]:
        return record.needed() if draft else _around(record.owner)

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        if not call.emission.draft:
            return _run(call)
        net, x = call.net, call.input(0)
        if call["kind"] == _LAST:
            return [net.op("Identity", x)]
        length = net.reshape(net.cast(call.input(1), "int64"), [1])
        ones = net.constant(np.ones(x.rank + 1, np.int64))
        sizes = net.scatter_elements(ones, np.array([call["axis"]]), length)
        return [net.expand(net.unsqueeze(x, call["axis"]), sizes)]


def _only_drafts(call: Call) -> None:
    """ModelError outside of drafts: what is in a loop is lowered with its body."""
    if not call.emission.draft:
        raise ModelError("it is read outside of its loop; use add_loop_output")


def _reads(record: Record) -> list[ITensor]:
    """What a layer depends on; an output of a loop on all that the loop reads."""
    if record.parsed is not None or record.cls is IRecurrenceLayer:
        return record.needed()
    if record.cls is not ILoopOutputLayer:
        return record.before(True)
    loop: ILoop = record.owner
    return [t for r in record.graph._records if r.owner is loop for t in r.needed()]


def _limits(loop: ILoop, kind: TripLimit) -> list[ITensor]:
    """The tensors of trip limits of a kind."""
    limits = [r for r in loop._layers(ITripLimitLayer) if r.params["kind"] == kind]
    return [t for r in limits for t in r.needed()]


def _ends(loop: ILoop) -> list[ITensor]:
    """What a body computes: next values of recurrences, outputs, and the condition."""
    nexts = [r.inputs[1] for r in loop._layers(IRecurrenceLayer) if len(r.inputs) > 1]
    outs = [r.inputs[0] for r in loop._layers(ILoopOutputLayer)]
    return [t for t in (*nexts, *outs, *_limits(loop, _WHILE)) if t is not None]


def _around(loop: ILoop) -> list[ITensor]:
    """Tensors that must be there before a loop: those that its boundary or its body read and that are not of the body."""
    seeds = [*loop._layers(IRecurrenceLayer), *loop._layers(IIteratorLayer)]
    behind: set[Record] = set()
    waiting = _ends(loop)
    while waiting:
        record = waiting.pop()._producer
        if record is not None and record not in behind and record not in seeds:
            behind.add(record)
            waiting += _reads(record)
    body: set[Record] = set(seeds)
    grew = True
    while grew:
        fresh = {r for r in behind - body if any(t._producer in body for t in _reads(r))}
        body |= fresh
        grew = bool(fresh)
    limits = _limits(loop, _COUNT)
    read = [t for r in body - set(seeds) for t in _reads(r)]
    first = [r.inputs[0] for r in seeds]
    whole_ends = _ends(loop)
    every = [t for t in (*limits, *first, *read, *whole_ends) if t is not None]
    return [t for t in dict.fromkeys(every) if t._producer is None or t._producer not in body]


def _trips(loop: ILoop, call: Call) -> tuple[Tensor | None, ITensor | None]:
    """Most iterations, and the condition; either may be None, not both."""
    counts, conditions = _limits(loop, _COUNT), _limits(loop, _WHILE)
    if len(counts) > 1 or len(conditions) > 1 or not (counts or conditions):
        raise ModelError(
            "the loop must have a trip limit, and at most one of TripLimit.COUNT and of WHILE"
        )
    count = call.scalar(call.emission.value(counts[0])) if counts else None
    return count, conditions[0] if conditions else None


def _run(call: Call) -> Sequence[Tensor]:
    """The whole loop, of which the layer is one output; the others are kept for their layers."""
    loop: ILoop = call.record.owner
    kept = call.emission.loops.get(loop)
    if kept is None:
        kept = call.emission.loops[loop] = _looped(loop, call)
    return [kept[call.record]]


def _looped(loop: ILoop, call: Call) -> dict[Record, Tensor]:
    net, emission = call.net, call.emission
    carried = loop._layers(IRecurrenceLayer)
    outputs = loop._layers(ILoopOutputLayer)
    stacked = [r for r in outputs if r.params["kind"] != _LAST]
    for record in carried:
        if len(record.inputs) < 2 or record.inputs[1] is None:
            raise ModelError(f"recurrence {record.name!r} has no next value; call set_input(1, tensor)")  # fmt: skip

    def body(inner: Network, iteration: Tensor, *values: Tensor) -> Any:
        inside = emission.body(inner)
        for record, value in zip(carried, values, strict=True):
            inside.set(record.outputs[0], value)
        for record in loop._layers(IIteratorLayer):
            inside.set(record.outputs[0], _slice(inner, inside, record, iteration))
        after = [inside.value(r.inputs[1]) for r in carried if r.inputs[1] is not None]
        stack = [inside.value(r.inputs[0]) for r in stacked if r.inputs[0] is not None]
        again = True if condition is None else _holds(condition, emission, inner, carried, after)
        return again, after, stack

    first = [emission.value(r.inputs[0]) for r in carried if r.inputs[0] is not None]
    count, condition = _trips(loop, call)
    begin = True if condition is None else _holds(condition, emission, net, carried, first)
    made = net.loop(body, first, count=count, condition=begin, name=call.name)
    results = dict(zip([*carried, *stacked], made, strict=True))
    if condition is not None:
        results |= {r: _filled(r, call, results[r]) for r in stacked}
    return {r: _result(r, net, results) for r in outputs}


def _holds(
    condition: ITensor,
    emission: Emission,
    net: Network,
    carried: Sequence[Record],
    values: Sequence[Tensor],
) -> Tensor:
    """The condition, lowered for these values of recurrences: it decides on the iteration that begins with them."""
    then = emission.again(net)
    for record, value in zip(carried, values, strict=True):
        then.values[record.outputs[0]] = value
    return net.reshape(then.value(condition), np.zeros(0, np.int64))


def _filled(record: Record, call: Call, stack: Tensor) -> Tensor:
    """The values of iterations, with 0 for those that were not, up to the extent that the output has."""
    net = call.net
    if len(record.inputs) < 2 or record.inputs[1] is None:
        raise ModelError(f"loop output {record.name!r} has no extent; call set_input(1, tensor)")
    most = net.reshape(net.cast(call.emission.value(record.inputs[1]), "int64"), [1])
    sizes = net.shape(stack)
    missing = net.sub(most, sizes[:1])
    nothing = net.expand(
        net.constant(np.zeros((), stack.dtype)), net.concat([missing, sizes[1:]], 0)
    )
    return net.concat([stack, nothing], 0)


def _slice(net: Network, inside: Emission, record: Record, iteration: Tensor) -> Tensor:
    """The slice of an iteration."""
    (source,) = record.needed()
    x, axis = inside.value(source), record.params["axis"]
    if record.params["reverse"]:
        extent = net.gather(net.shape(x), axis)
        iteration = net.sub(net.sub(extent, net.constant(1, "int64")), iteration)
    return net.gather(x, iteration, axis)


def _result(record: Record, net: Network, results: dict[Record, Tensor]) -> Tensor:
    """An output of the loop, of its recurrences' last values and of its stacks."""
    kind, axis = record.params["kind"], record.params["axis"]
    if kind == _LAST:
        source = record.inputs[0]
        maker = None if source is None else source._producer
        if maker not in results:
            raise ModelError(f"loop output {record.name!r}: LAST_VALUE takes the output of a recurrence")  # fmt: skip
        return results[maker]
    stack = results[record]
    if kind == _REVERSE:
        stack = net.slice(stack, [-1], [np.iinfo(np.int64).min], [0], [-1])
    if axis == 0:
        return stack
    return net.transpose(stack, [*range(1, axis + 1), 0, *range(axis + 1, stack.rank)])


@reported(None)
def add_loop(self: Graph) -> ILoop:
    """A loop, empty at first."""
    return ILoop._made(self)
