"""Loops whose bodies are recurrent cells, as recurrent layers where the loop stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from camshaft.frontends.onnx.scripts.control.carried import Body
from camshaft.frontends.onnx.scripts.control.node import Control
from camshaft.frontends.onnx.scripts.scope import Value
from camshaft.ir.attrs import axis_attr
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.symbol import UndecidedExtent
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import TensorType, f32
from camshaft.ops import GATHER, RESHAPE
from camshaft.ops import functional as F
from camshaft.recurrence.bodies import BodyLayers, LoopBody
from camshaft.recurrence.stacking import NotAlike, lengthwise, stacked_along, turned


@dataclass(frozen=True)
class Iterations:
    """Those of a loop.

    steps: how many.  sequences: name of what a body is given -> the value of which it is a part in each of them, and the axis.
    counter: the name of their number, by which a body may pick parts itself.  backward: whether the last part comes first.
    """

    steps: Extent
    sequences: Mapping[str, tuple[Value, int]]
    counter: str = ""
    backward: bool = False


@dataclass(frozen=True)
class Collected:
    """A result of the body that is stacked along an axis, from the end if `backward`."""

    value: Value
    axis: int
    backward: bool = False


def as_layers(
    c: Control,
    body: Body,
    carried: Sequence[Value],
    after: Sequence[Value],
    collected: Sequence[Collected],
    iterations: Iterations,
) -> list[Value] | None:
    """The states in the end, and what is collected; None if the body is no cells, or there may be no step.

    after: the new values of what is carried, in the body.
    """
    states = _states(body, carried, after)
    if states is None or bounds(iterations.steps)[0] < 1:
        return None
    around = _Around(c, body, carried, iterations)
    loop = LoopBody(
        body.scope.levels[0].builder.producer,
        states,
        around.sequence,
        around.outside,
        iterations.steps,
        iterations.backward,
    )
    layers = BodyLayers(around.builder, loop)
    initial = {s.name: around.tensor(v) for (s, _), v in zip(states, carried, strict=True)}
    try:
        layers.make(initial)
        stacks = [_stacked(around.builder, layers, s, iterations.backward) for s in collected]
    except (NotAlike, UndecidedExtent):
        return None
    ends = [F.reshape(around.builder, layers.last[s.name], s.shape) for s, _ in states]
    for t in (*ends, *stacks):
        c.scope.own(t, around.level)
    return [*ends, *stacks]


def _states(
    body: Body, carried: Sequence[Value], after: Sequence[Value]
) -> list[tuple[Tensor, Tensor]] | None:
    """What stands for each state in the body, and its new value; None if one is no floats, or changes its shape."""
    if not body.scope.is_plain or not carried:
        return None
    taken, found = body.scope.levels[0].taken, list[tuple[Tensor, Tensor]]()
    for given, value, new in zip(body.given, carried, after, strict=True):
        floats = isinstance(given.type, TensorType) and given.type.dtype == f32
        same = given.type == value.type == new.type
        if not floats or not same or given.name not in taken or not isinstance(new, Tensor):
            return None
        found.append((taken[given.name], new))
    return found


class _Around:
    """The graph around a loop, as its body sees it."""

    def __init__(
        self, c: Control, body: Body, carried: Sequence[Value], iterations: Iterations
    ) -> None:
        self._scope, self._inner, self._iterations = c.scope, body.scope.levels[0], iterations
        own = {*(v.name for v in body.given), *iterations.sequences, iterations.counter}
        self._outer = {n: v for n, v in self._inner.behind.items() if v.name not in own}
        read = [v for v, _ in iterations.sequences.values()]
        values = (*carried, *read, *self._outer.values())
        self.level = max(c.scope.level(v) for v in values)

    @property
    def builder(self) -> GraphBuilder:
        """Of the graph."""
        return self._scope.at(self.level).builder

    def tensor(self, value: Value) -> Tensor:
        """What stands for a value there."""
        return self._scope.tensor(value, self.level)

    def outside(self, t: Tensor) -> Tensor | None:
        """See `LoopBody`."""
        value = self._outer.get(t.name)
        return None if value is None else self.tensor(value)

    def sequence(self, t: Tensor) -> Tensor | None:
        """See `LoopBody`."""
        value = self._inner.behind.get(t.name)
        part = None if value is None else self._iterations.sequences.get(value.name)
        if part is not None:
            return self._lengthwise(self.tensor(part[0]), part[1])
        node = self._inner.builder.producer(t)
        if node is None or node.op is not GATHER or not self._counts(node.args[1]):
            return None
        whole = self.outside(node.args[0])
        return whole and self._lengthwise(whole, axis_attr(node, whole.type.rank))

    def _counts(self, index: Tensor) -> bool:
        """Whether it is the number of the iteration."""
        node = self._inner.builder.producer(index)
        while node is not None and node.op is RESHAPE:
            index = node.args[0]
            node = self._inner.builder.producer(index)
        value = self._inner.behind.get(index.name)
        return value is not None and value.name == self._iterations.counter

    def _lengthwise(self, t: Tensor, axis: int) -> Tensor:
        """As far as there are iterations, with the axis of the steps first."""
        steps = F.narrow(self.builder, t, axis, 0, self._iterations.steps)
        return lengthwise(self.builder, steps, axis)


def _stacked(b: GraphBuilder, layers: BodyLayers, result: Collected, backward: bool) -> Tensor:
    if not isinstance(result.value, Tensor):
        raise NotAlike
    places = layers.stacked(result.value)
    t = places if backward == result.backward else turned(b, places)
    return stacked_along(b, t, result.axis % t.type.rank)
