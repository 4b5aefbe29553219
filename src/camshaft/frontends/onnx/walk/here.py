"""A node where it stands, as handlers and control flow see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
from onnx import GraphProto, NodeProto

from camshaft.frontends.onnx.context import NodeContext
from camshaft.frontends.onnx.scripts.forks import MOST_FORKS, Facts, comparison
from camshaft.frontends.onnx.scripts.scope import HostValue, Scope, Value
from camshaft.frontends.onnx.scripts.values import Fresh
from camshaft.frontends.onnx.walk.state import State
from camshaft.ir.graph import Tensor


@dataclass(frozen=True)
class Place:
    """Where nodes stand: their opsets, which tensor names they may keep, in which operator's body, whether it is
    known what of them is wanted in the end (`Nodes.walk`), and in which iterations of loops without a loop, or
    sides of a fork: nodes that are imported several times."""

    opsets: Mapping[str, int]
    kept: frozenset[str]
    within: str | None = None
    ends: bool = False
    iterations: str = ""


class Walk(Protocol):
    """What imports the graphs that a node holds: see `walk.nodes.Nodes`."""

    state: State

    def subgraph(
        self,
        graph: GraphProto,
        bound: Mapping[str, Value],
        opsets: Mapping[str, int] | None = None,
        *,
        around: Place,
        level: int = 0,
    ) -> list[Value]: ...
    def inside(
        self,
        graph: GraphProto,
        bound: Mapping[str, Value],
        around: Place,
        known: Facts | None = None,
    ) -> tuple[Scope, list[Value]]: ...


@dataclass
class Here:
    """A node where it stands: see `scripts.control.node.Control`."""

    walk: Walk
    node: NodeProto
    name: str
    opset: int
    values: tuple[Value | None, ...]
    place: Place
    results: tuple[str, ...] = ()

    @property
    def scope(self) -> Scope:
        return self.walk.state.scope

    @property
    def may_fork(self) -> bool:
        return self.place.ends and self.walk.state.forks < MOST_FORKS

    def context(self, level: int) -> NodeContext:
        """The node as handlers see it: its inputs (tensors) in the graph of `level`."""
        walk, scope = self.walk, self.scope
        return NodeContext(
            scope.at(level).builder,
            self.node,
            self.name,
            self.opset,
            tuple(None if v is None else scope.tensor(v, level) for v in self.values),
            self.place.kept,
            walk.state.narrow,
            partial(walk.subgraph, around=self.place, level=level),  # type: ignore[arg-type]
            walk.state.ask,
            walk.state.unasked,
            walk.state.states,
        )

    def in_place(
        self, graph: GraphProto, bound: Mapping[str, Value], iteration: int | None = None
    ) -> list[Value]:
        place = self.place
        if iteration is not None:
            place = replace(place, iterations=f"{place.iterations} {iteration}")
        return self.walk.subgraph(graph, bound, around=place)

    def inside(self, graph: GraphProto, bound: Mapping[str, Value]) -> tuple[Scope, list[Value]]:
        return self.walk.inside(graph, bound, self.place)

    def fresh(self, what: str) -> Fresh:
        return lambda axis, like: self.walk.state.extents.found(
            f"{self.name} {what} {axis}{self.place.iterations}",
            what,
            axis,
            like,
            f"node {self.name!r}",
        )

    def claim(self, what: str) -> str:
        return self.walk.state.builder.claim(f"{self.name}:{what}")

    def output_name(self, index: int) -> str:
        names = self.results or self.node.output
        name = names[index] if index < len(names) else ""
        kept = name if name in self.place.kept else f"{self.name}:{name}"
        return self.walk.state.builder.claim(kept)

    def known(self, value: Value) -> np.ndarray | None:
        if isinstance(value, HostValue):
            return None
        if value.is_const:
            return value.array
        scope, level = self.walk.state.shared.owners[value.name]
        return scope.levels[level].builder.known(value)

    def decided(self, condition: Value) -> bool | None:
        known = self.known(condition)
        if known is not None:
            return bool(known.reshape(-1)[0])
        compared = comparison(self.scope, condition)
        if compared is None:
            return None
        return compared.decided(self.walk.state.builder.constraints)

    def constant(self, array: np.ndarray, what: str) -> Tensor:
        return self.walk.state.builder.constant(array, f"{self.name}:{what}")
