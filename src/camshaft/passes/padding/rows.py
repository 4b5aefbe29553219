"""Which axes of a tensor are the rows of a batch of sequences, and how ops carry them on.

A row is a place in a sequence.  An op works row by row where each row of its results depends on the same row of
its operands alone: it may then be given some of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from camshaft.ir.attrs import axis_attr, extents_attr, ints_attr
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import Node, Tensor
from camshaft.ir.types import Shape
from camshaft.ops import (
    ATTENTION,
    BROADCAST,
    CONCAT,
    CONV,
    DEQUANTIZE,
    GATHER,
    MATMUL,
    MATMUL_NBITS,
    POINTWISE,
    QUANTIZE,
    REDUCE,
    RESHAPE,
    SLICE,
    SOFTMAX,
    TRANSPOSE,
)


@dataclass(frozen=True)
class Rows:
    """Where rows lie among the axes of a tensor.

    batch, place: the axis of sequences and that of places.  batch None: `place` holds all rows, one sequence
    behind the other, or, if `by_place`, one place of all sequences behind the other.
    """

    batch: int | None
    place: int
    by_place: bool = False

    @property
    def place_first(self) -> bool:
        """Whether rows of one place lie closer together than those of one sequence."""
        return self.by_place if self.batch is None else self.place < self.batch

    def between(self, shape: Shape) -> Extent:
        """How many elements the axes between the two hold."""
        if self.batch is None:
            return 1
        return prod(shape[min(self.axes) + 1 : max(self.axes)])

    @property
    def axes(self) -> tuple[int, ...]:
        """Those that hold rows."""
        return (self.place,) if self.batch is None else (self.batch, self.place)

    def moved(self, place_of: Callable[[int], int | None]) -> Rows | None:
        """Each axis where the function says; None where it says nothing."""
        batch = None if self.batch is None else place_of(self.batch)
        place = place_of(self.place)
        if place is None or (batch is None and self.batch is not None):
            return None
        return replace(self, batch=batch, place=place)

    def shifted(self, by: int) -> Rows:
        """With so many more axes in front."""
        batch = None if self.batch is None else self.batch + by
        return replace(self, batch=batch, place=self.place + by)

    def extents(self, batch: Extent, places: Extent) -> dict[int, Extent]:
        """Axis -> its extent, of so many sequences and places."""
        if self.batch is None:
            return {self.place: batch * places}
        return {self.batch: batch, self.place: places}

    def resized(self, shape: Shape, batch: Extent, places: Extent) -> Shape:
        """A shape with other sequences and places."""
        new = self.extents(batch, places)
        return tuple(new.get(axis, d) for axis, d in enumerate(shape))


Known = Mapping[str, Rows]


def rows_of(node: Node, known: Known, batch: Extent, places: Extent) -> Rows | None:
    """Where the rows lie in the only output of a node that works row by row (or of attention, which mixes the
    places of a sequence); None of any other.

    known: of the tensors before.  batch, places: how many sequences and places there are.
    """
    rule = RULES.get(node.op.name)
    if rule is None or len(node.outputs) != 1:
        return None
    found = rule(node, known)
    if found is None:
        return None
    shape = node.output.shape
    fits = all(a < len(shape) and shape[a] == d for a, d in found.extents(batch, places).items())
    return found if fits else None


def _aligned(node: Node, args: Sequence[Tensor], known: Known) -> Rows | None:
    """Of operands that broadcast to the output."""
    rank = node.output.type.rank
    found = {known[t.name].shifted(rank - t.type.rank) for t in args if t.name in known}
    return found.pop() if len(found) == 1 else None


def _pointwise(node: Node, known: Known) -> Rows | None:
    return _aligned(node, node.args, known)


def _first(node: Node, known: Known) -> Rows | None:
    """Those of the first operand, whose axes the output has."""
    return known.get(node.args[0].name)


def _conv(node: Node, known: Known) -> Rows | None:
    """Convolutions of single pixels."""
    x, w = node.args[:2]
    rows = known.get(x.name)
    if rows is None or w.name in known or node.attrs["layout"] != "NHWC" or 3 in rows.axes:
        return None
    plain = w.shape[1] == w.shape[2] == 1 and ints_attr(node, "strides") == (1, 1)
    return rows if plain and not any(ints_attr(node, "pads")) else None


def _matmul(node: Node, known: Known) -> Rows | None:
    x, w = node.args[:2]
    rows = known.get(x.name)
    if rows is None or w.name in known or w.type.rank > x.type.rank or x.type.rank < 2:
        return None
    shift = x.type.rank - w.type.rank
    shared = all(a < shift or w.shape[a - shift] == 1 or a == x.type.rank - 2 for a in rows.axes)
    return rows if shared and x.type.rank - 1 not in rows.axes else None


def _nbits(node: Node, known: Known) -> Rows | None:
    rows, rank = known.get(node.args[0].name), node.args[0].type.rank
    return rows if rows is not None and rank - 1 not in rows.axes else None


def _reduce(node: Node, known: Known) -> Rows | None:
    x = node.args[0]
    rows = known.get(x.name)
    axes = {a % x.type.rank for a in ints_attr(node, "axes")}
    if rows is None or not axes.isdisjoint(rows.axes):
        return None
    if node.attrs["keepdims"]:
        return rows
    return rows.moved(lambda axis: axis - sum(a < axis for a in axes))


def _along(node: Node, known: Known) -> Rows | None:
    """Of an op along an axis that holds no rows."""
    rows = known.get(node.args[0].name)
    axis = axis_attr(node, node.args[0].type.rank)
    return rows if rows is not None and axis not in rows.axes else None


def _quantized(node: Node, known: Known) -> Rows | None:
    along = node.args[1].type.rank > 0
    return _along(node, known) if along else _first(node, known)


def _concat(node: Node, known: Known) -> Rows | None:
    found = {known.get(t.name) for t in node.args}
    rows = found.pop()
    whole = rows is not None and not found
    return rows if whole and axis_attr(node, node.output.type.rank) not in rows.axes else None  # type: ignore[union-attr]


def _slice(node: Node, known: Known) -> Rows | None:
    rows = known.get(node.args[0].name)
    if rows is None:
        return None
    starts, steps = extents_attr(node, "starts"), extents_attr(node, "steps")
    return rows if all(starts[a] == 0 and steps[a] == 1 for a in rows.axes) else None


def _broadcast(node: Node, known: Known) -> Rows | None:
    return _aligned(node, node.args[:1], known)


def _transpose(node: Node, known: Known) -> Rows | None:
    rows, perm = known.get(node.args[0].name), ints_attr(node, "perm")
    return None if rows is None else rows.moved(perm.index)


def _reshape(node: Node, known: Known) -> Rows | None:
    x, shape = node.args[0], node.output.shape
    rows = known.get(x.name)
    if rows is None:
        return None

    def same(axis: int) -> int | None:
        return next((n for n in range(len(shape)) if _keeps(x.shape, axis, shape, n)), None)

    found = rows.moved(same)
    if found is not None and (found.batch is None or found.batch != found.place):
        return found
    if rows.batch is None:
        return _split(x.shape, rows, shape)
    first, second = sorted(rows.axes)
    if second != first + 1:
        return None
    merged = (*x.shape[:first], x.shape[first] * x.shape[second])
    whole = (*merged, *x.shape[second + 1 :])
    at = next((n for n in range(len(shape)) if _keeps(whole, first, shape, n)), None)
    return None if at is None else Rows(None, at, rows.place_first)


def _keeps(before: Shape, axis: int, after: Shape, n: int) -> bool:
    """Whether axis `axis` of one shape is axis `n` of the other, of the same elements."""
    return before[axis] == after[n] and prod(before[axis + 1 :]) == prod(after[n + 1 :])


def _split(before: Shape, rows: Rows, after: Shape) -> Rows | None:
    """Of an axis of all rows that becomes two."""
    axis = rows.place
    for n in range(len(after) - 1):
        whole = after[n] * after[n + 1]
        if whole == before[axis] and prod(before[axis + 1 :]) == prod(after[n + 2 :]):
            return Rows(n + 1, n) if rows.by_place else Rows(n, n + 1)
    return None


def _gather(node: Node, known: Known) -> Rows | None:
    """Rows of a table, or elements of rows."""
    x, numbers = node.args
    axis = axis_attr(node, x.type.rank)
    rows = known.get(numbers.name)
    if rows is not None:
        return rows.shifted(axis) if x.name not in known else None
    own = known.get(x.name)
    if own is None or axis in own.axes:
        return None
    more = numbers.type.rank - 1
    return own.moved(lambda a: a if a < axis else a + more)


def _attention(node: Node, known: Known) -> Rows | None:
    q, k, v = (known.get(t.name) for t in node.args[:3])
    rank = node.output.type.rank
    alike = q is not None and q == k == v and all(t.type.rank == rank for t in node.args[:3])
    return q if alike and q is not None and q.place == rank - 2 else None


RULES: Mapping[str, Callable[[Node, Known], Rows | None]] = {
    ATTENTION.name: _attention,
    BROADCAST.name: _broadcast,
    CONCAT.name: _concat,
    CONV.name: _conv,
    DEQUANTIZE.name: _quantized,
    GATHER.name: _gather,
    MATMUL.name: _matmul,
    MATMUL_NBITS.name: _nbits,
    POINTWISE.name: _pointwise,
    QUANTIZE.name: _quantized,
    REDUCE.name: _reduce,
    RESHAPE.name: _reshape,
    SLICE.name: _slice,
    SOFTMAX.name: _along,
    TRANSPOSE.name: _transpose,
}


def own_inputs(node: Node) -> int:
    """How many leading inputs have shapes of their own; the rest broadcast to the output."""
    if node.op in (POINTWISE, BROADCAST):
        return 0
    if node.op in (QUANTIZE, DEQUANTIZE, GATHER):
        return len(node.args)
    count = node.op.own_inputs(node.attrs)
    return len(node.args) if count is None else count


def place_read(node: Node, rows: Rows) -> int | None:
    """The only place of its sequences that a node reads of its first input, as a slice or a gather; else None.

    rows: where they lie in that input.
    """
    x, axis = node.args[0], rows.place
    if rows.batch is None:
        return None
    if node.op is SLICE:
        starts, sizes = extents_attr(node, "starts"), extents_attr(node, "sizes")
        whole = starts[rows.batch] == 0 and sizes[rows.batch] == x.shape[rows.batch]
        start = starts[axis]
        return start if whole and sizes[axis] == 1 and isinstance(start, int) else None
    if node.op is GATHER and axis_attr(node, x.type.rank) == axis:
        numbers = node.args[1].data
        if numbers is not None and numbers.size == 1:
            number = int(numbers.reshape(-1)[0])
            return number if number >= 0 else None
    return None
