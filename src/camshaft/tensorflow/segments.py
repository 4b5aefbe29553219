"""Which operators of a graph one engine can compute together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

from camshaft.tensorflow.branches import constructs
from camshaft.tensorflow.frozen import Frozen
from camshaft.tensorflow.messages import (
    NodeDef,
    constants,
    full,
    functions,
    in_order,
    is_control,
    node_of,
    placeholder,
    values,
    with_nodes,
)
from camshaft.tensorflow.respelt import stays

_PYTHON = ("PyFunc", "PyFuncStateless", "EagerPyFunc")
_NOTHING = ("Identity", "IdentityN", "NoOp", "StopGradient", "Placeholder", "Const")
"""What computes nothing, so that nobody asks where it is."""
_OPAQUE = (tf.string, tf.resource, tf.variant)
"""Types that engines do not take, variants but within."""


@dataclass(frozen=True)
class Segment:
    """nodes: names, in order.  inputs, outputs: names of tensors."""

    nodes: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass
class Partition:
    """A model's graph, and what of it stays in TensorFlow: names of nodes -> why, which grows.

    least: the fewest operators of an engine.
    """

    frozen: Frozen
    least: int
    left: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes = {n.name: n for n in in_order(self.frozen.definition)}
        self._library = {f.signature.name: f for f in self.frozen.definition.library.function}
        self.constants = constants(self.nodes.values(), self.stateful)
        for name, node in self.nodes.items():
            why = self._why(node)
            if why and name not in self.constants:
                self.left[name] = why
        self._constructs = constructs(list(self.nodes.values()))

    def stateful(self, node: Any) -> bool:
        """Whether a node does more than compute."""
        inner = functions(node)
        if inner:
            return any(self.stateful(n) for name in inner for n in self._library[name].node_def)
        known = op_def_registry.get(node.op)
        return known is None or known.is_stateful

    def computes(self, name: str) -> bool:
        """Whether a node computes something that hangs on an input."""
        return name not in self.constants and self.nodes[name].op not in _NOTHING

    def _why(self, node: Any) -> str:
        """Why a node stays in TensorFlow, whatever is beside it; nothing where it need not."""
        operation = self.frozen.graph.get_operation_by_name(node.name)
        if node.op == "Placeholder":
            return "it is an input"
        if node.op in _PYTHON:
            return "it calls Python"
        if self.stateful(node):
            return "it has state or effects"
        for tensor in (*operation.inputs, *operation.outputs):
            if tensor.dtype in _OPAQUE[:2]:
                return f"it handles {tensor.dtype.name}s"
        return _staying(node, self._value) or self._within(node)

    def _value(self, given: str) -> np.ndarray | None:
        """A tensor that hangs on no input."""
        if node_of(given) not in self.constants:
            return None
        return values(self.frozen.graph, [full(given)])[full(given)]

    def _within(self, node: Any) -> str:
        """Why a node that calls functions stays for what is in these."""
        for called in functions(node):
            fixed = {n.name: n for n in self._library[called].node_def if n.op == "Const"}

            def value(given: str, fixed: Mapping[str, Any] = fixed) -> np.ndarray | None:
                giver = fixed.get(node_of(given))
                return None if giver is None else tf.make_ndarray(giver.attr["value"].tensor)

            for inner in self._library[called].node_def:
                why = _staying(inner, value) or self._within(inner)
                if why:
                    return f"{inner.name!r} in {called!r}: {why}"
        return ""

    def segments(self) -> list[Segment]:
        """What engines can compute as far as is known, each of at least `least` operators."""
        found = self._found()
        while self._leave_what_is_cut(found):
            found = self._found()
        return found

    def _leave_what_is_cut(self, found: Sequence[Segment]) -> bool:
        """Leave branches and loops that no one engine has whole to TensorFlow; whether there were some."""
        before = len(self.left)
        for nodes in self._constructs:
            some = [n for n in nodes if n not in self.left]
            if some and not any(set(nodes) <= set(s.nodes) for s in found):
                whys = [self.left[n] for n in nodes if n in self.left and self.computes(n)]
                why = f" ({whys[0]})" if whys else ""
                self.left.update(
                    dict.fromkeys(some, f"no engine has its whole branch or loop{why}")
                )
        return len(self.left) > before

    def _found(self) -> list[Segment]:
        inside = [n for n in self.nodes if n not in self.left and n not in self.constants]
        if not any(self.computes(n) for n in self.left):
            groups = [inside]
        else:
            groups = self._groups(inside)
        found = []
        for group in groups:
            count = sum(self.computes(n) for n in group)
            if count >= self.least:
                found.append(self._segment(group))
        return found

    def few(self, segments: Sequence[Segment]) -> Iterator[tuple[str, str]]:
        """Nodes that could be in an engine and are not, with reasons."""
        taken = {n for s in segments for n in s.nodes}
        for name in self.nodes:
            if self.computes(name) and name not in taken and name not in self.left:
                yield name, f"fewer than {self.least} operators together"

    def _groups(self, inside: Sequence[str]) -> list[list[str]]:
        """Nodes that hang together on one level.  A level is how often a path to a node leaves what can be in engines and comes back,
        so that no path between two nodes of a level leads over nodes outside."""
        able, level = set(inside), dict.fromkeys(self.constants, 0)
        parent = {n: n for n in inside}

        def root(name: str) -> str:
            while parent[name] != name:
                parent[name] = parent[parent[name]]
                name = parent[name]
            return name

        for name, node in self.nodes.items():
            if name in self.constants:
                continue
            behind = [node_of(i) for i in node.input]
            levels = [
                level[b] + (name in able and b not in able and b not in self.constants)
                for b in behind
            ]
            level[name] = max(levels, default=0)
            if name in able:
                for b in behind:
                    if b in able and level[b] == level[name]:
                        parent[root(b)] = root(name)
        groups: dict[str, list[str]] = {}
        for name in inside:
            groups.setdefault(root(name), []).append(name)
        return list(groups.values())

    def _segment(self, group: Sequence[str]) -> Segment:
        within = set(group)
        inputs: dict[str, None] = {}
        used: dict[str, None] = {}
        for name, node in self.nodes.items():
            for given in node.input:
                giver = node_of(given)
                if is_control(given) or giver in self.constants:
                    continue
                if name in within and giver not in within:
                    inputs[full(given)] = None
                if name not in within and giver in within:
                    used[full(given)] = None
        for end in self.frozen.outputs:
            if node_of(end) in within:
                used[end] = None
        return Segment(tuple(group), tuple(inputs), tuple(used))

    def definition(self, segment: Segment) -> Any:
        """A segment as a graph of its own, whose inputs are placeholders named as the nodes that give them."""
        made: list[Any] = []
        renamed = {}
        for name in segment.inputs:
            tensor = self.frozen.graph.get_tensor_by_name(name)
            hole = name.removesuffix(":0").replace(":", "__output_")
            renamed[name] = hole
            made.append(placeholder(hole, tensor.dtype, tensor.shape))
        wanted, stack = set(segment.nodes), list(segment.nodes)
        while stack:
            for given in self.nodes[stack.pop()].input:
                giver = node_of(given)
                if giver in self.constants and giver not in wanted and not is_control(given):
                    wanted.add(giver)
                    stack.append(giver)
        for name in self.nodes:
            if name in wanted:
                node = NodeDef()
                node.CopyFrom(self.nodes[name])
                del node.input[:]
                tensors = [i for i in self.nodes[name].input if not is_control(i)]
                node.input.extend(renamed.get(full(i), i) for i in tensors)
                made.append(node)
        return with_nodes(self.frozen.definition, made)

    def refuse(self, segment: Segment, refused: Mapping[str, str]) -> None:
        """Leave nodes of a segment to TensorFlow, by what is known of their names: one that is not in the segment stands for those
        that read it, and one that is nowhere for all."""
        for name, why in refused.items():
            found = [name] if name in segment.nodes else self._readers(name, segment)
            if not found:
                found = [n for n in segment.nodes if name.startswith(f"{n}/")][-1:]
            for one in found or segment.nodes:
                self.left[one] = why

    def _readers(self, name: str, segment: Segment) -> list[str]:
        reach, found = {name}, []
        for other, node in self.nodes.items():
            if any(node_of(i) in reach for i in node.input):
                if other in segment.nodes:
                    found.append(other)
                elif other in self.constants:
                    reach.add(other)
        return found


def _staying(node: Any, value: Callable[[str], np.ndarray | None]) -> str:
    return stays(node, lambda i: value(node.input[i]))
