"""Whether any output depends on rows that are padding: from the outputs back, use by use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from camshaft.ir.attrs import expr_attr
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ops import ATTENTION, BROADCAST, POINTWISE
from camshaft.passes.padding.elements import Axis, Elements
from camshaft.passes.padding.hiding import Hiding, hiding
from camshaft.passes.padding.rows import Rows, place_read, rows_of
from camshaft.passes.padding.scalars import FALSE, Value, anything, evaluate


@dataclass(frozen=True)
class Plan:
    """What is known of a graph and one mask.

    batch, places: sequences, and places of each.  rows: where the rows lie, by tensor.  hidings: attention that
    hides padding, by the name of its output.  free: tensors whose padding nothing reads.  reads: places that
    are read of every sequence: where the mask hides one, its row is right only if all rows of the sequence are kept.  zeroed: outputs whose padding becomes 0.
    """

    mask: Tensor
    batch: Extent
    places: Extent
    rows: Mapping[str, Rows]
    hidings: Mapping[str, Hiding]
    free: frozenset[str]
    reads: tuple[int, ...]
    zeroed: frozenset[str]

    @property
    def ones(self) -> bool:
        """Whether what is known holds of masks of 0 and 1 only, so that any other has no padding."""
        return any(h.ones for h in self.hidings.values())


def plan_for(graph: Graph, mask: Tensor, *, permitted: bool) -> Plan | None:
    """What is known with `mask` for the mask of rows; None if no attention hides its padding.

    permitted: whether rows of outputs may become 0, as the user says.
    """
    batch, places = mask.shape[0], mask.shape[-1]
    rows: dict[str, Rows] = {}
    for t in graph.inputs:
        if t.name == mask.name:
            rows[t.name] = Rows(0, t.type.rank - 1)
        elif t.type.rank >= 2 and t.shape[0] == batch and t.shape[1] == places:
            rows[t.name] = Rows(0, 1)
    hidings: dict[str, Hiding] = {}
    for node in graph.nodes:
        found = rows_of(node, rows, batch, places) or _spread(node, batch, places)
        if found is None:
            continue
        rows[node.output.name] = found
        if node.op is ATTENTION:
            hides = hiding(graph, node, mask, found, permitted=permitted)
            if hides is not None:
                hidings[node.output.name] = hides
    return _Backwards(graph, mask, rows, hidings).plan(permitted) if hidings else None


def _spread(node: Node, batch: Extent, places: Extent) -> Rows | None:
    """Of something that is the same in every row: any axes of the right extents may be the rows."""
    if node.op is BROADCAST and node.output.shape[:2] == (batch, places):
        return Rows(0, 1)
    return None


class _Backwards:
    def __init__(
        self,
        graph: Graph,
        mask: Tensor,
        rows: Mapping[str, Rows],
        hidings: Mapping[str, Hiding],
    ) -> None:
        self.graph, self.mask, self.rows, self.hidings = graph, mask, rows, hidings
        self.batch, self.places = mask.shape[0], mask.shape[-1]
        self.needed: set[str] = set()
        self.read: dict[str, set[int]] = {}

    def plan(self, permitted: bool) -> Plan:
        """Go over the graph from its end."""
        outputs = {t.name for t in self.graph.outputs}
        zeroed = frozenset(outputs & self.rows.keys()) if permitted else frozenset()
        self.needed |= outputs - zeroed
        for node in reversed(self.graph.nodes):
            for n, t in enumerate(node.args):
                if t.name in self.rows and not self._is_harmless(node, n, t):
                    self.needed.add(t.name)
        free = frozenset(self.rows.keys() - self.needed)
        reads = {p for name in free for p in self.read.get(name, ())}
        return Plan(
            self.mask,
            self.batch,
            self.places,
            self.rows,
            self.hidings,
            free,
            tuple(sorted(reads)),
            zeroed & free,
        )

    def _is_harmless(self, node: Node, n: int, t: Tensor) -> bool:
        """Whether what a node makes of operand `n` is right whatever its padding holds."""
        if len(node.outputs) != 1:
            return False
        result = node.output.name
        if node.op is ATTENTION:
            return result in self.hidings and n < 3 and result not in self.needed
        if result in self.rows and result not in self.needed:
            return True
        place = place_read(node, self.rows[t.name]) if n == 0 else None
        if place is not None:
            self.read.setdefault(t.name, set()).add(place)
            return True
        return node.op is POINTWISE and self._drops(node, t)

    def _drops(self, node: Node, t: Tensor) -> bool:
        """Whether the result is one number where the mask is 0, whatever `t` is."""
        rows = self.rows.get(node.output.name)
        if rows is None:
            return False
        axes = [Axis.of(f"axis_{n}", d) for n, d in enumerate(node.output.shape)]
        index = [a.index if a.extent != 1 else 0 for a in axes]
        if rows.batch is None:
            batch, place = Axis.of("batch", self.batch), Axis.of("place", self.places)
            axes += [batch, place]
            index[rows.place] = batch.index * self.places + place.index
            row = (batch.index if self.batch != 1 else 0, place.index if self.places != 1 else 0)
        else:
            row = (index[rows.batch], index[rows.place])
        elements = Elements(self.graph, self.mask, {row: FALSE}, axes)
        values: list[Value] = []
        for u in node.args:
            known = elements.broadcast(u, tuple(index))
            values.append(anything(u.type.dtype) if u.name == t.name else known)
        result = evaluate(expr_attr(node, "expr"), values, [u.type.dtype for u in node.args])
        return result.is_known
