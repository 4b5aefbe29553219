"""Families: tensors that share their levels, since ops that only move elements lie between them, and who reads them as bytes.

A channel of a family may have a factor of its own wherever all that read it undo that: convolutions by their weights, elementwise
functions by a multiplication.  Which channel of a join (a concatenation, a slice, a pool of maxima) is which channel of what it joins
is seen by giving numbers to channels and computing what the op makes of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from camshaft.ir.attrs import attr_at
from camshaft.ir.extents.sizes import typical
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.passes.qdq.rules import commutes
from camshaft.quant.apart.products import is_carried, is_product_of_rows
from camshaft.quant.channels.equalize import is_channels_last
from camshaft.quant.placement import QuantizationPlan, activation_of

MOST_ELEMENTS = 1 << 24
"""Elements of a tensor beyond which numbers of its channels are not carried through."""


@dataclass(frozen=True)
class Family:
    """Tensors with one range, of which channels may be scaled.

    group: as in the plan; of rows with channels apart, the tensor.  sources: those that are no result of a movement -> the
    family's channel of each of theirs, int64 [C].  members: all, sources too, likewise.
    convs: convolutions that read members as bytes.  plain: members that others read as bytes.
    """

    group: str
    sources: Mapping[str, np.ndarray]
    members: Mapping[str, np.ndarray]
    convs: Sequence[Node]
    plain: Sequence[str] = ()

    @property
    def channels(self) -> int:
        """How many channels there are in all."""
        return 1 + max(int(at.max()) for at in self.sources.values())

    @property
    def joins(self) -> bool:
        """Whether some convolution reads several sources at once."""
        last = np.cumsum([len(at) for at in self.sources.values()])
        read = (np.searchsorted(last, self.members[n.args[0].name], "right") for n in self.convs)
        return any(len(np.unique(of)) > 1 for of in read)

    @property
    def of_rows(self) -> bool:
        """Whether products of rows alone read it."""
        return all(is_product_of_rows(n) for n in self.convs)

    @property
    def layers(self) -> frozenset[str]:
        """Source layers of its convolutions."""
        return frozenset(o for n in self.convs for o in n.origin)


def families(graph: Graph, plan: QuantizationPlan) -> list[Family]:
    """Families of which channels may be scaled, in the order of the graph."""
    return _Search(graph, plan).run()


@dataclass
class _Search:
    graph: Graph
    plan: QuantizationPlan
    members: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    convs: dict[str, list[Node]] = field(default_factory=dict)
    plain: dict[str, list[str]] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)

    def run(self) -> list[Family]:
        for node in self.graph.nodes:
            self._read_by(node)
        wanted = {g for g in self.convs if g in self.plan.sources} - self.refused
        self._number_sources(wanted)
        for node in self.graph.nodes:
            if self.plan.group.get(node.outputs[0].name) in wanted and commutes(node):
                self._move(node, self.plan.group[node.outputs[0].name])
        found = [self._family(g) for g in self.convs if g in wanted]
        return [f for f in found if f is not None] + self._rows()

    def _read_by(self, node: Node) -> None:
        """Note what a node reads as bytes."""
        name, plan = node.outputs[0].name, self.plan
        for i, t in enumerate(node.args):
            as_bytes = (name, i) in plan.uses or t.name in plan.carriers
            if not as_bytes or t.name not in plan.group or name in plan.carriers:
                continue
            group = plan.group[t.name]
            if name in plan.convs and i == activation_of(node):
                self.convs.setdefault(group, []).append(node)
                if not is_channels_last(node):
                    self.refused.add(group)
            elif node.op.anchors is not None and i >= (node.op.own_inputs(node.attrs) or 0):
                self.plain.setdefault(group, []).append(t.name)
            else:
                self.refused.add(group)

    def _number_sources(self, groups: set[str]) -> None:
        tensors = self.graph.tensors
        for group in sorted(groups):
            known: dict[str, np.ndarray] = {}
            first = 0
            for name in self.plan.sources[group]:
                channels = _channels(tensors[name])
                if channels is None:
                    self.refused.add(group)
                    break
                known[name] = np.arange(first, first + channels)
                first += channels
            self.members[group] = known

    def _move(self, node: Node, group: str) -> None:
        """The channels of what a movement makes; left out where it has no channels of its own."""
        known = self.members[group]
        data = [t for t in node.args if t.name in self.plan.group]
        types = [tuple(map(typical, t.shape)) for t in node.args]
        small = sum(np.prod(s) for s in types) < MOST_ELEMENTS
        rest = [t for t in node.args if t not in data]
        if not small or any(t.name not in known for t in data):
            return
        if any(not t.is_const or t.type.dtype.is_float for t in rest):
            return
        arrays = [
            np.broadcast_to(known[t.name] + 1.0, s).astype(np.float32) if t in data else t.array
            for t, s in zip(node.args, types, strict=True)
        ]
        attrs = {k: attr_at(v, typical) for k, v in node.attrs.items()}
        made = node.op.reference(tuple(arrays), attrs)[0]
        flat = made.reshape(-1, made.shape[-1]) if made.size else np.zeros((1, 1))
        numbers = flat.max(axis=0)
        padded = (flat == 0) | (flat == numbers)  # zeros are padding
        if padded.all() and numbers.min() > 0:
            known[node.outputs[0].name] = numbers.astype(np.int64) - 1

    def _family(self, group: str) -> Family | None:
        known = self.members[group]
        needed = {
            n
            for n, g in self.plan.group.items()
            if g == group
            and (n in self.plan.carriers or any(n == c.args[0].name for c in self.convs[group]))
        }
        plain = self.plain.get(group, ())
        if group in self.refused or not known.keys() >= needed | set(plain):
            return None
        sources = {n: known[n] for n in self.plan.sources[group]}
        return Family(group, sources, dict(known), self.convs[group], plain)

    def _rows(self) -> list[Family]:
        """Of rows with channels apart that nobody reads as bytes with these."""
        found: dict[str, list[Node]] = {}
        for node in self.graph.nodes:
            if node.outputs[0].name in self.plan.convs and node.args[0].name in self.plan.apart:
                found.setdefault(node.args[0].name, []).append(node)
        made = []
        for name, nodes in found.items():
            count = _channels(nodes[0].args[0])
            alone = name not in self.plan.group and all(
                is_carried(n, self.plan.apart) for n in nodes
            )
            if alone and count is not None:
                channels = {name: np.arange(count)}
                made.append(Family(name, channels, channels, nodes))
        return made


def _channels(t: Tensor) -> int | None:
    """How many channels a tensor has, None where that is open or it has no axis."""
    last = t.shape[-1] if t.shape else None
    return last if isinstance(last, int) and last else None
