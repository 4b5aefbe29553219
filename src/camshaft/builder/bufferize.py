"""Bufferization: a buffer, an offset and strides for every tensor.

Concatenations, slices, reshapes, interleavings and most transposes cost nothing, because a tensor
is a `View` (buffer, offset, strides) and kernels take strided operands.  Two sweeps decide:

1. Backwards: the *owner* of memory gives slices of it to producers.  A graph output owns the
   caller's array; a concat owns a buffer and its inputs are written straight into slices of it.
   So is what a state is after a call, where that leaves alone what the call still reads of it.
2. Forwards: what is left of the movement ops becomes a view of its input where the strides allow
   it and the readers can take them.

What neither sweep resolves is copied by a kernel.  Module `memory` decides where buffers lie in the
arena, the backend (`Preferences`) which operands kernels read through any strides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from camshaft.backends.base import Preferences
from camshaft.builder.in_place import may_be_written_in_place
from camshaft.ir.extents.sizes import is_static
from camshaft.ir.extents.symbol import UndecidedExtent
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.program.state import StateSpec
from camshaft.program.view import Buffer, Space, View


@dataclass(frozen=True)
class Copy:
    """Elements to be copied: from where a tensor lies (`source`) to `target`, same shape."""

    source: View
    target: View
    tensor: Tensor
    origin: tuple[str, ...]


@dataclass
class Bufferized:
    """A view for every tensor that is no constant, and what still has to be done.

    work: in execution order, graph nodes that compute and copies that no view could avoid; nothing
    whose results have no elements at any size.
    constants: those that views lie in, whose buffers have their tensors' names.
    states: those given, with what was decided of them.
    """

    views: dict[str, View] = field(default_factory=dict)
    work: list[Node | Copy] = field(default_factory=list)
    constants: dict[str, Tensor] = field(default_factory=dict)
    states: tuple[StateSpec, ...] = ()


def bufferize(
    graph: Graph, preferences: Preferences, states: Sequence[StateSpec] = ()
) -> Bufferized:
    """Decide where all tensors of `graph` (channels-last, canonical) lie.

    states: pairs of its inputs and outputs that are arrays of a context.
    """
    return _Bufferizer(graph, preferences, states).run()


class _Bufferizer:
    def __init__(self, graph: Graph, preferences: Preferences, states: Sequence[StateSpec]) -> None:
        self.graph, self.preferences = graph, preferences
        self.states = {s.name: s for s in states}
        self.result = Bufferized()
        self.views = self.result.views
        self.settled: set[int] = set()  # id() of movement nodes that need no work
        self.parts: dict[int, list[View]] = {}  # id(concat node) -> slice for each input

    def run(self) -> Bufferized:
        for t in self.graph.inputs:
            state = self.states.get(t.name)
            self.views[t.name] = self._dense(t, t.name, "input") if state is None else state.found
        self._claim_states()
        self._claim_outputs()
        for node in reversed(self.graph.nodes):
            self._hand_down(node)
        for node in self.graph.nodes:
            self._settle(node)
        self._copy_outputs()
        self._copy_states()
        self.result.states = tuple(self.states.values())
        return self.result

    # -- backwards: owners hand out memory ----------------------------------------------------

    def _dense(self, t: Tensor, name: str, space: Space = "arena") -> View:
        """The whole of a new buffer."""
        return View.dense(Buffer(name, t.type.dtype, t.type.size, space), t.shape)

    def _ownable(self, t: Tensor) -> bool:
        return not t.is_const and t.name not in self.views

    @property
    def _results(self) -> dict[str, Tensor]:
        return dict(zip(self.graph.output_names, self.graph.outputs, strict=True))

    def _claim_states(self) -> None:
        """Write what states become where they lie, if no step reads there what it needs afterwards."""
        for state in self.states.values():
            t = self._results[state.output]
            if self._ownable(t) and may_be_written_in_place(self.graph, state, t):
                self.views[t.name] = state.left
                self.states[state.name] = replace(state, in_place=True)

    def _claim_outputs(self) -> None:
        kept = {s.output for s in self.states.values()}
        for name, t in self._results.items():
            if self._ownable(t) and name not in kept:
                self.views[t.name] = self._dense(t, name, "output")

    def _hand_down(self, node: Node) -> None:
        if node.op.parts is not None:
            self._hand_down_parts(node)
            return
        if node.op.inverse is None:
            return
        if node.output.name not in self.views and self._saves_a_copy(node):
            self.views[node.output.name] = self._dense(node.output, node.output.name)
        if node.output.name in self.views:
            source, out = node.args[0], self.views[node.output.name]
            view = node.op.inverse(out, source.shape, node.attrs)
            if view is None or not view.inner_is_unit or not self._writable(source, view):
                return
            if self._ownable(source):
                self.views[source.name] = view
                self.settled.add(id(node))

    def _writable(self, source: Tensor, view: View) -> bool:
        """Whether what makes `source` can write it as `view`."""
        if _in_order(view):
            return True
        made = self.graph.producers.get(source.name)
        while made is not None and made.op.inverse is not None:
            made = self.graph.producers.get(made.args[0].name)
        if made is not None and made.op.parts is not None and view.buffer.space == "state":
            return True  # part by part
        return made is not None and self.preferences.writes_any_order(made.op.name)

    def _saves_a_copy(self, node: Node) -> bool:
        """Whether `node` would copy a view of another tensor, whose producer can write what `node` makes."""
        first = self.graph.producers.get(node.args[0].name)
        if (
            node.op.view is None
            or first is None
            or first.op.view is None
            or first.op.inverse is None
        ):
            return False
        source, middle = first.args[0], first.output
        if not self._ownable(source):
            return False
        seen = first.op.view(self._dense(source, source.name), middle.shape, first.attrs)
        if seen is None or node.op.view(seen, node.output.shape, node.attrs) is not None:
            return False
        assert node.op.inverse is not None
        whole = self._dense(node.output, node.output.name)
        part = node.op.inverse(whole, middle.shape, node.attrs)
        written = None if part is None else first.op.inverse(part, source.shape, first.attrs)
        return written is not None and written.inner_is_unit and self._writable(source, written)

    def _hand_down_parts(self, node: Node) -> None:
        out = node.output
        if out.name not in self.views:
            self.views[out.name] = self._dense(out, out.name)
        whole = self.views[out.name]
        assert node.op.parts is not None
        self.parts[id(node)] = node.op.parts(whole, [t.shape for t in node.args], node.attrs)
        for t, slot in zip(node.args, self.parts[id(node)], strict=True):
            in_state = slot.buffer.space == "state"
            if self._ownable(t) and (not in_state or self._writable(t, slot)):
                self.views[t.name] = slot

    # -- forwards: the rest becomes views, work or copies -------------------------------------

    def _settle(self, node: Node) -> None:
        if id(node) in self.settled:
            return
        if id(node) in self.parts:
            for t, slot in zip(node.args, self.parts[id(node)], strict=True):
                if self.views.get(t.name) != slot:
                    self._copy(t, slot, node)
            return
        if node.op.view is not None:
            self._settle_movement(node)
            return
        if any(t.type.size != 0 for t in node.outputs):
            self.result.work.append(node)
        for t in node.outputs:
            if t.name not in self.views:
                self.views[t.name] = self._dense(t, t.name)

    def _settle_movement(self, node: Node) -> None:
        source = self._view_of(node.args[0])
        out = node.output
        assert node.op.view is not None
        view = node.op.view(source, out.shape, node.attrs)
        if out.name not in self.views and view is not None and self._readable(out, view):
            self.views[out.name] = view
            return
        if out.name not in self.views:
            self.views[out.name] = self._dense(out, out.name)
        target = self.views[out.name]
        if view == target:  # part of a state, where that lies
            return
        if view is None:  # a reshape of gappy memory: copy in the source's shape
            part = target.reshaped(source.shape)
            if part is None:  # gappy on both sides: go through a dense buffer
                middle = self._dense(node.args[0], f"{out.name}:dense")
                self._emit_copy(source, middle, node.args[0], node.origin)
                view = View.dense(middle.buffer, out.shape)
            else:
                view, target = source, part
        self._emit_copy(view, target, out, node.origin)

    def _readable(self, t: Tensor, view: View) -> bool:
        """Whether all readers of `t` can take it as `view`."""
        if view.inner_is_unit and 0 not in view.strides:
            return True
        readers = self.graph.consumers.get(t.name, ())
        if any(t.name == o.name for o in self.graph.outputs):
            return False
        return all(self._takes_any_strides(n, t) for n in readers)

    def _takes_any_strides(self, node: Node, t: Tensor) -> bool:
        if node.op.hosted or node.op.parts is not None:
            return True
        takes = self.preferences.takes_any_strides
        return all(takes(node.op.name, i, t.type) for i, a in enumerate(node.args) if a is t)

    def _copy(self, t: Tensor, target: View, node: Node) -> None:
        self._emit_copy(self._view_of(t), target, t, node.origin)

    def _view_of(self, t: Tensor) -> View:
        """The tensor's view; a constant is read where the engine keeps it."""
        if t.name in self.views:
            return self.views[t.name]
        self.result.constants[t.name] = t
        return self._dense(t, t.name, "constant")

    def _emit_copy(self, source: View, target: View, t: Tensor, origin: tuple[str, ...]) -> None:
        if t.type.size != 0:
            if target.buffer.space == "state" and not t.is_const:
                source, target = _in_order_of(source, target)
            self.result.work.append(Copy(source, target, t, origin))

    def _copy_outputs(self) -> None:
        """Outputs that are inputs, constants, views or repeated tensors get their own copy."""
        kept = {s.output for s in self.states.values()}
        for name, t in self._results.items():
            view = self._view_of(t)
            if name not in kept and (view.buffer.space, view.buffer.name, view.offset) != (
                "output",
                name,
                0,
            ):
                self._emit_copy(view, self._dense(t, name, "output"), t, (name,))

    def _copy_states(self) -> None:
        """Copy to states what was computed apart, behind everything that reads them; what is itself part of a
        state by way of other memory."""
        late: list[tuple[View, View, Tensor, str]] = []
        for state in self.states.values():
            t = self._results[state.output]
            view = self._view_of(t)
            if view == state.left:
                continue
            if view.buffer.space == "state":
                apart = self._dense(t, f"{state.output}:apart")
                self._emit_copy(view, apart, t, (state.output,))
                view = apart
            late.append((view, state.left, t, state.output))
        for view, target, t, name in late:
            self._emit_copy(view, target, t, (name,))


def _in_order_of(source: View, target: View) -> tuple[View, View]:
    """Both with their axes as the target has them in memory; as they are where sizes leave that open."""
    if not is_static(target.strides):
        return source, target
    strides = target.strides
    perm = sorted(range(len(strides)), key=lambda i: -strides[i])
    return source.transposed(perm), target.transposed(perm)


def _in_order(view: View) -> bool:
    """Whether no axis has larger strides than one before it; not where sizes leave that open."""
    strides = [s for d, s in zip(view.shape, view.strides, strict=True) if d != 1]
    try:
        return all(bool(a >= b) for a, b in pairwise(strides))
    except UndecidedExtent:
        return False
