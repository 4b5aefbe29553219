"""Where a model becomes a script: graphs in levels, and the steps between them.

A scope is one script while it is imported: the model's own, or a branch's or loop body's.  Its nodes
lie in levels.  What the inputs of the model give is of level 0; what a step (`ir.script`) makes of
values of level n is of level n + 1; and a node of a graph is of the highest level among its inputs.
Each level has one graph, which runs before the steps of that level.  A model without steps has one
level and is one graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from onnx import TypeProto

from camshaft.frontends.onnx.dtypes import tensor_proto
from camshaft.frontends.onnx.scripts.narrowed import narrowed
from camshaft.ir.attrs import symbolic_in
from camshaft.ir.extents.constraints import Constraints
from camshaft.ir.extents.extent import Dim, Extent, extent_of, sole_symbol, symbols_of
from camshaft.ir.extents.known import is_whole
from camshaft.ir.extents.sizes import Constraint, substitute
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.graph import Graph, GraphBuilder, Tensor
from camshaft.ir.script import SIZES, Call, If, Loop, Run, Scan, Script, Size, Step, ValueType
from camshaft.ir.types import Shape, TensorType, i64


@dataclass(frozen=True, eq=False)
class HostValue:
    """A value that no graph makes: an input of a script, or a result of a step.

    proto: its type as ONNX writes it, open extents by their text.
    """

    name: str
    type: ValueType
    proto: TypeProto

    @property
    def shape(self) -> Shape:
        """The shape of a tensor."""
        assert isinstance(self.type, TensorType)
        return self.type.shape


Value = Tensor | HostValue


@dataclass
class Pending:
    """A step with the values it reads; `inner` are the scopes that it runs, each with its results.

    step: complete but for inner scripts, which are empty in it.
    """

    step: Call | If | Loop | Scan
    inputs: tuple[Value, ...]
    outputs: tuple[HostValue, ...]
    inner: tuple[tuple[Scope, tuple[str, ...], tuple[Value, ...]], ...] = ()


@dataclass
class Level:
    """The graph of one level, what it takes from elsewhere, and the steps behind it.

    taken: name of a value -> what stands for it in the graph.  behind: the reverse.
    """

    builder: GraphBuilder
    taken: dict[str, Tensor] = field(default_factory=dict)
    behind: dict[str, Value] = field(default_factory=dict)
    steps: list[Pending] = field(default_factory=list)


@dataclass
class Shared:
    """What all scopes of one model have in common.

    owners: name of a value -> its scope and level.  sizes: name of a symbol -> where its size is read.
    originals: values of which some scope knows more, as they were made.  graphs: those finished.  constants: values of steps that are constant, by name.
    needs: name of a symbol that a step finds -> what bounds it everywhere, in words.
    """

    first: GraphBuilder
    owners: dict[str, tuple[Scope, int]] = field(default_factory=dict)
    sizes: dict[str, Size] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    originals: dict[str, Value] = field(default_factory=dict)
    graphs: list[Graph] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)

    def snapshot(self) -> tuple[dict[str, Size], dict[str, Value]]:
        """What is known of sizes now."""
        return dict(self.sizes), dict(self.values)

    def restore(self, kept: tuple[dict[str, Size], dict[str, Value]]) -> None:
        """Forget what a scope that is imported again has said of sizes."""
        self.sizes, self.values = dict(kept[0]), dict(kept[1])

    def sized(self, value: Value, elements: Sequence[Extent] = ()) -> None:
        """Note which sizes can be read off a value."""
        extents = value.type.shape if isinstance(value.type, TensorType) else ()
        for found, of_elements in ((extents, False), (elements, True)):
            for at, extent in enumerate(found):
                symbol = sole_symbol(extent)
                if symbol is not None and symbol.name not in self.sizes:
                    self.sizes[symbol.name] = Size(symbol.name, value.name, at, of_elements)
                    self.values[symbol.name] = value


class Scope:
    """One script while it is imported.

    facts: what symbols of the scopes around it turn out to be here.
    captured: values from around it that it reads.  given: those it is given.  demands: what its nodes require
    of extents, which holds only when it runs (those of the model's own script are in its `Constraints`).
    """

    def __init__(self, shared: Shared, builder: GraphBuilder, parent: Scope | None = None) -> None:
        """builder: for the graph of level 0."""
        self.shared, self.parent = shared, parent
        self.levels = [Level(builder)]
        self.captured: dict[str, Value] = {}
        self.given: dict[str, Value] = {}
        self.demands: dict[tuple[Extent, str, Extent], Constraint] = {}
        self.facts: dict[Symbol, Extent] = {} if parent is None else dict(parent.facts)

    @property
    def is_plain(self) -> bool:
        """Whether one graph is all there is."""
        return len(self.levels) == 1 and not self.levels[0].steps

    def inner(self) -> Scope:
        """A scope for a branch or a loop's body."""
        first = self.shared.first
        return Scope(self.shared, GraphBuilder(first.name, beside=first), self)

    def at(self, number: int) -> Level:
        """Level `number`, made if need be."""
        first = self.shared.first
        while len(self.levels) <= number:
            self.levels.append(Level(GraphBuilder(first.name, beside=first)))
        return self.levels[number]

    # -- values --------------------------------------------------------------------------------

    def give(self, value: Value, elements: Sequence[Extent] = ()) -> None:
        """Take a value for an input of the script.  elements: where they say sizes, these."""
        self.given[value.name] = value
        self.shared.owners[value.name] = (self, 0)  # a body may be imported again
        self.shared.sized(value, elements)

    def own(self, value: Value, level: int) -> None:
        """Note that a value is made here, in the graph of `level` or by a step of the one before."""
        if not (isinstance(value, Tensor) and value.is_const):
            self.shared.owners.setdefault(value.name, (self, level))

    def level(self, value: Value) -> int:
        """The level from which on a value can be read here; one from outside is captured."""
        if isinstance(value, Tensor) and value.is_const:
            return 0
        scope, level = self.shared.owners[value.name]
        if scope is self:
            return level
        self.captured[value.name] = value
        return 0

    def seen(self, value: Value) -> Value:
        """A value as it looks here, where more may be known of sizes than where it was made."""
        if not self.facts or not isinstance(value.type, TensorType):
            return value
        if isinstance(value, Tensor) and value.is_const:
            return value
        shape = tuple(substitute(e, self.facts) for e in value.shape)
        type = TensorType(value.type.dtype, shape)
        if type == value.type:
            return value
        self.shared.originals.setdefault(value.name, value)
        if isinstance(value, Tensor):
            return replace(value, type=type)
        return replace(value, type=type, proto=tensor_proto(type))

    def tensor(self, value: Value, level: int) -> Tensor:
        """What stands for a value in the graph of `level`."""
        if isinstance(value, Tensor) and value.is_const:
            return value
        owner = self.shared.owners[value.name]
        if isinstance(value, Tensor) and owner[0] is self and owner[1] == level:
            return value
        here = self.at(level)
        self.level(value)
        if value.name not in here.taken:
            made = self._stand_in(value, here.builder)
            here.taken[value.name] = made
            here.behind[made.name] = value
        return here.taken[value.name]

    def _stand_in(self, value: Value, builder: GraphBuilder) -> Tensor:
        assert isinstance(value.type, TensorType)
        known = None
        if isinstance(value, Tensor):
            scope, level = self.shared.owners[value.name]
            known = scope.levels[level].builder.known(value)
            if known is not None and self.facts:
                known = known_at(known, self.facts)
        if known is not None and is_whole(known):
            return builder.again(known, value.type, value.name)
        return builder.stand_in(value.name, value.type, known)

    def origin(self, tensor: Tensor, level: int) -> Value:
        """The value itself, where a tensor of the graph of `level` only stands for one."""
        return self.levels[level].behind.get(tensor.name, tensor)

    def add(self, pending: Pending, level: int) -> None:
        """Add a step behind the graph of `level`."""
        self.at(level).steps.append(pending)
        for value in pending.outputs:
            self.own(value, level + 1)
            self.shared.sized(value)
        self.at(level + 1)

    # -- finishing -----------------------------------------------------------------------------

    def finish(self, inputs: Iterable[str], outputs: Sequence[Value]) -> tuple[Script, list[Value]]:
        """The script that gives `outputs`, with only the steps and nodes that it takes, and the values
        that it reads from around it."""
        wanted: dict[str, Value] = {}
        self._want(wanted, outputs)
        steps: list[Step] = []
        for number in reversed(range(len(self.levels))):
            for pending in reversed(self.levels[number].steps):
                if any(v.name in wanted for v in pending.outputs):
                    steps.insert(0, self._finished(pending, wanted))
            run = self._run(number, wanted)
            if run is not None:
                steps.insert(0, run)
        script = Script(tuple(inputs), tuple(steps), tuple(v.name for v in outputs))
        outside = [v for v in wanted.values() if self.shared.owners[v.name][0] is not self]
        return script, outside

    def _want(self, wanted: dict[str, Value], values: Iterable[Value]) -> None:
        for value in values:
            if isinstance(value, Tensor) and value.is_const:
                self.shared.constants[value.name] = value.array
            else:
                wanted[value.name] = self.shared.originals.get(value.name, value)

    def _finished(self, pending: Pending, wanted: dict[str, Value]) -> Step:
        scripts = []
        for scope, given, results in pending.inner:
            script, outside = scope.finish(given, results)
            scripts.append(script)
            self._want(wanted, outside)
        self._want(wanted, pending.inputs)
        step = pending.step
        if isinstance(step, If):
            return replace(step, then=scripts[0], otherwise=scripts[1])
        if isinstance(step, Loop | Scan):
            return replace(step, body=scripts[0])
        kept = tuple(n if n in wanted else None for n in step.outputs)
        return replace(step, outputs=kept)

    def _run(self, number: int, wanted: dict[str, Value]) -> Run | None:
        """The run of the graph of one level; None if nothing is wanted of it."""
        level = self.levels[number]
        results = {
            name: value
            for name, value in wanted.items()
            if isinstance(value, Tensor)
            and self.shared.owners[name] == (self, number)
            and name not in self.given
        }
        if not results:
            return None
        graph = level.builder.graph(results)
        read = {t.name for n in graph.nodes for t in n.args} | {t.name for t in graph.outputs}
        inputs = [t for t in graph.inputs if t.name in read]
        values = [level.behind.get(t.name, t) for t in inputs]
        missing = _unsaid(graph, inputs)
        sizes = tuple(self.shared.sizes[s.name] for s in missing)
        self._want(wanted, values)
        self._want(wanted, [self.shared.values[s.name] for s in missing])
        if missing:
            inputs.append(_sizes_input(level.builder, missing))
        symbols = {*symbols_of(*(e for t in inputs for e in (*t.shape, *t.values)))}
        graph = replace(
            graph,
            inputs=tuple(inputs),
            constraints=self._about(graph.constraints, symbols),
            fixed=(),
        )
        graph, needs = narrowed(graph)
        known = (self.shared.needs.get(s.name) for s in sorted(symbols, key=lambda s: s.name))
        needs = tuple(dict.fromkeys([*needs, *(n for n in known if n is not None)]))
        self.shared.graphs.append(graph)
        names = tuple(v.name for v in values)
        return Run(len(self.shared.graphs) - 1, names, tuple(results), sizes, needs)

    def _about(self, constraints: Constraints, symbols: set[Symbol]) -> Constraints:
        """What must hold where this runs and is about these symbols alone."""
        found = dict(constraints.found)
        scope: Scope | None = self
        while scope is not None:
            found.update(scope.demands)
            scope = scope.parent
        kept = {k: c for k, c in found.items() if symbols.issuperset(c.symbols)}
        return Constraints(kept)


def known_at(known: np.ndarray, facts: Mapping[Symbol, Extent]) -> np.ndarray:
    """Elements that are known as extents, with what else is known of sizes."""
    made = known.copy()
    for at, e in np.ndenumerate(known):
        made[at] = substitute(e, facts) if isinstance(e, Dim) else e
    return made


def _sizes_input(builder: GraphBuilder, symbols: Sequence[Symbol]) -> Tensor:
    type = TensorType(i64, (len(symbols),))
    values = tuple(extent_of(s) for s in symbols)
    return Tensor(builder.fresh(SIZES), type, values=values)


def _unsaid(graph: Graph, inputs: Sequence[Tensor]) -> list[Symbol]:
    """The symbols of a graph that none of its inputs says."""
    said = {sole_symbol(e) for t in inputs for e in (*t.shape, *t.values)}
    extents: list[Extent] = [e for t in (*inputs, *graph.outputs) for e in t.shape]
    for node in graph.nodes:
        extents += [e for t in (*node.args, *node.outputs) for e in t.shape]
        extents += [e for value in node.attrs.values() for e in symbolic_in(value)]
    return [s for s in symbols_of(*extents) if s not in said]
