"""Whether any output depends on rows that are padding: from the outputs back, use by use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from camshaft.ir.attrs import expr_attr
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ir.types import DType
from camshaft.ops import ATTENTION, BROADCAST, MATMUL
from camshaft.passes.padding.elements import Axis, Elements, Indices
from camshaft.passes.padding.hiding import Hiding, hiding
from camshaft.passes.padding.lengths import Mask
from camshaft.passes.padding.rows import Rows, own_inputs, place_read, rows_of
from camshaft.passes.padding.scalars import FALSE, anything


@dataclass(frozen=True)
class Plan:
    """What is known of a graph and one mask.

    batch, places: sequences, and places of each.  rows: where the rows lie, by tensor.  hidings: attention that
    hides padding, by the name of its output.  free: tensors whose padding nothing reads.  filled: others, whose
    padding is one number whatever that of what they are made of, and this number.  reads: places that
    are read of every sequence: where the mask hides one, its row is right only if all rows of the sequence are
    kept.  zeroed: outputs whose padding becomes 0.
    """

    mask: Mask
    batch: Extent
    places: Extent
    rows: Mapping[str, Rows]
    hidings: Mapping[str, Hiding]
    free: frozenset[str]
    filled: Mapping[str, float]
    reads: tuple[int, ...]
    zeroed: frozenset[str]

    @property
    def ones(self) -> bool:
        """Whether what is known holds of masks of 0 and 1 only, so that any other has no padding."""
        return any(h.ones for h in self.hidings.values())

    def packs(self, t: Tensor) -> bool:
        """Whether a tensor is computed for kept rows alone."""
        return t.name in self.free or t.name in self.filled


def plan_for(graph: Graph, mask: Mask, *, permitted: bool) -> Plan | None:
    """What is known with `mask` for the mask of rows; None if no attention hides its padding.

    permitted: whether rows of outputs may become 0, as the user says.
    """
    rows = labelled(graph, mask)
    hidings: dict[str, Hiding] = {}
    for node in graph.nodes:
        if node.op is ATTENTION and node.output.name in rows:
            hides = hiding(graph, node, mask, rows[node.output.name], permitted=permitted)
            if hides is not None:
                hidings[node.output.name] = hides
    return _Backwards(graph, mask, rows, hidings).plan(permitted) if hidings else None


def labelled(graph: Graph, mask: Mask) -> dict[str, Rows]:
    """Where the rows of a mask lie, by tensor: from inputs forward, as far as ops work row by row."""
    batch, places = mask.tensor.shape[0], mask.tensor.shape[-1]
    rows = {mask.tensor.name: Rows(0, mask.tensor.type.rank - 1)}
    if mask.hidden is not None:
        rows[mask.hidden.name] = rows[mask.tensor.name]
    for t in graph.inputs:
        beside = _leading(t, batch, places)
        if beside is not None and t.name not in rows:
            rows[t.name] = beside
    for node in graph.nodes:
        found = rows_of(node, rows, batch, places) or _spread(node, batch, places)
        if found is not None:
            rows[node.output.name] = found
    return rows


def _spread(node: Node, batch: Extent, places: Extent) -> Rows | None:
    """Of something that is the same in every row: any axes of the right extents may be the rows."""
    return _leading(node.output, batch, places) if node.op is BROADCAST else None


def _leading(t: Tensor, batch: Extent, places: Extent) -> Rows | None:
    """The first two axes, where they have these extents, in either order."""
    if t.shape[:2] == (batch, places):
        return Rows(0, 1)
    return Rows(1, 0) if t.shape[:2] == (places, batch) else None


class _Backwards:
    def __init__(
        self,
        graph: Graph,
        mask: Mask,
        rows: Mapping[str, Rows],
        hidings: Mapping[str, Hiding],
    ) -> None:
        self.graph, self.mask, self.rows, self.hidings = graph, mask, rows, hidings
        self.batch, self.places = mask.tensor.shape[0], mask.tensor.shape[-1]
        self.needed: set[str] = set()
        self.filled: dict[str, float] = {}
        self.read: dict[str, set[int]] = {}

    def plan(self, permitted: bool) -> Plan:
        """Go over the graph from its end."""
        outputs = {t.name for t in self.graph.outputs}
        zeroed = frozenset(outputs & self.rows.keys()) if permitted else frozenset()
        self.needed |= outputs - zeroed
        for node in reversed(self.graph.nodes):
            self._note_filled(node)
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
            {name: value for name, value in self.filled.items() if self._is_made_of(name, free)},
            tuple(sorted(reads)),
            zeroed & free,
        )

    def _is_harmless(self, node: Node, n: int, t: Tensor) -> bool:
        """Whether what a node makes of operand `n` is right whatever its padding holds."""
        if len(node.outputs) != 1:
            return False
        result = node.output.name
        is_free = result not in self.needed or result in self.filled
        if node.op is ATTENTION:
            return result in self.hidings and n < 3 and is_free
        if result in self.rows and is_free:
            return True
        place = place_read(node, self.rows[t.name]) if n == 0 else None
        if place is not None:
            self.read.setdefault(t.name, set()).add(place)
            return True
        return node.op is MATMUL and n < 2 and self._is_times_zero(node, n)

    def _is_made_of(self, name: str, free: frozenset[str]) -> bool:
        """Whether a node reads computed rows of which none is needed: else its result is made as it was."""
        read = {t.name for t in self.graph.producers[name].args} & self.graph.producers.keys()
        return not read.isdisjoint(free | self.filled.keys())

    def _note_filled(self, node: Node) -> None:
        """Whether the result is one number where the mask is 0, whatever the rows are that it is made of: a product
        with the mask, or a selection by it, perhaps in the epilogue of an op."""
        if len(node.outputs) != 1 or node.output.name not in self.needed & self.rows.keys():
            return
        name = node.op.expression
        if name is None:
            return
        operands = node.args[own_inputs(node) :]
        dtypes: list[DType] = []
        if name == "epilogue":
            types = [t.type for t in node.args]
            dtypes = [node.op.anchor_types(types, node.attrs)[0].dtype]
        elements, index = self._hidden_row(node.output)
        values = [*map(anything, dtypes), *(elements.broadcast(t, index) for t in operands)]
        dtypes += [t.type.dtype for t in operands]
        value = elements.evaluate(expr_attr(node, name), values, dtypes)
        if value.is_known:
            self.filled[node.output.name] = value.low

    def _hidden_row(self, t: Tensor, *more: Axis) -> tuple[Elements, Indices]:
        """What is known of other tensors beside a row of `t` whose mask is 0, and the index of its elements.

        more: other axes.
        """
        rows = self.rows[t.name]
        axes = [Axis.of(f"axis_{n}", d) for n, d in enumerate(t.shape)]
        index: list[Extent] = [a.index if a.extent != 1 else 0 for a in axes]
        if rows.batch is None:
            batch, place = Axis.of("batch", self.batch), Axis.of("place", self.places)
            axes += [batch, place]
            outer, inner = (place, batch) if rows.by_place else (batch, place)
            index[rows.place] = outer.index * inner.extent + inner.index
            row = (batch.index if self.batch != 1 else 0, place.index if self.places != 1 else 0)
        else:
            row = (index[rows.batch], index[rows.place])
        return Elements(self.graph, self.mask, {row: FALSE}, (*axes, *more)), tuple(index)

    def _is_times_zero(self, node: Node, n: int) -> bool:
        """Whether a product over all places multiplies the hidden ones of operand `n` by 0."""
        t, other = node.args[n], node.args[1 - n]
        rows, lead = self.rows[t.name], t.shape[:-2]
        if rows.batch is None or rows.place != t.type.rank - 1 - n or other.type.rank > t.type.rank:
            return False
        shared = zip(reversed(lead), reversed(other.shape[:-2]), strict=False)
        if any(d not in (1, own) for own, d in shared) or other.type.dtype.is_int:
            return False
        outer = Axis.of("outer", other.shape[-2 if n else -1])
        elements, index = self._hidden_row(t, outer)
        ends = (outer.index, index[rows.place])
        factor = elements.broadcast(other, (*index[:-2], *(ends if n else reversed(ends))))
        return factor.truth is False
