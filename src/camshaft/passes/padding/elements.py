"""What an element of a tensor is, at indices that are symbols, where it depends on a mask alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from math import prod

import numpy as np

from camshaft.ir.attrs import axis_attr, expr_attr, extents_attr, ints_attr
from camshaft.ir.expr import Expr
from camshaft.ir.extents.extent import Extent, exact_quotient, extent_of, sole_symbol
from camshaft.ir.extents.symbol import Symbol, terms_of
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ir.types import DType, Shape
from camshaft.ops import (
    BROADCAST,
    EXTENTS,
    GATHER,
    IOTA,
    POINTWISE,
    RESHAPE,
    SLICE,
    TRANSPOSE,
)
from camshaft.passes.padding.lengths import LENGTH, Mask
from camshaft.passes.padding.scalars import FALSE, TRUE, Value, anything, evaluate, of_extent

Indices = tuple[Extent, ...]
_DEEPEST = 60


@dataclass(frozen=True)
class Axis:
    """An index: any of the numbers below an extent."""

    symbol: Symbol
    extent: Extent

    @staticmethod
    def of(name: str, extent: Extent) -> Axis:
        """Under a name that no size has."""
        return Axis(Symbol(f"index_of_{name}", 0, 0, None), extent)

    @property
    def index(self) -> Extent:
        """The index as an extent."""
        return extent_of(self.symbol)


@dataclass(frozen=True)
class Elements:
    """Values of elements of a graph's tensors.

    mask: what says which rows are kept.  rows: for the sequence and the place (both as indices) of an
    element of the mask [B, ..., S], what it is; other elements may be anything.  axes: the indices.
    """

    graph: Graph
    mask: Mask
    rows: Mapping[tuple[Extent, Extent], Value]
    axes: Sequence[Axis]
    _found: dict[tuple[str, Indices], Value] = field(default_factory=dict)

    def evaluate(self, expr: Expr, values: Sequence[Value], dtypes: Sequence[DType]) -> Value:
        """An expression of such values of these types."""
        return evaluate(expr, values, dtypes, self._facts)

    @cached_property
    def _facts(self) -> tuple[Extent, ...]:
        """What is not negative, because rows lie below a length or not."""
        if self.mask.lengths is None:
            return ()
        known = [(place, kept.truth) for (_, place), kept in self.rows.items()]
        return tuple(
            LENGTH - place - 1 if kept else place - LENGTH
            for place, kept in known
            if kept is not None
        )

    def at(self, t: Tensor, index: Indices, depth: int = 0) -> Value:
        """The element of `t` at an index."""
        key = (t.name, index)
        if key not in self._found:
            self._found[key] = self._element(t, index, depth)
        return self._found[key]

    def broadcast(self, t: Tensor, index: Indices, depth: int = 0) -> Value:
        """Likewise where `t` is broadcast to a tensor of as many axes as there are indices."""
        own = index[len(index) - t.type.rank :]
        return self.at(
            t, tuple(0 if d == 1 else i for d, i in zip(t.shape, own, strict=True)), depth
        )

    def _element(self, t: Tensor, index: Indices, depth: int) -> Value:
        unknown = anything(t.type.dtype)
        if t.name == self.mask.tensor.name:
            return self.rows.get((index[0], index[-1]), unknown)
        if self.mask.hidden is not None and t.name == self.mask.hidden.name:
            kept = self.rows.get((index[0], index[-1]), unknown).truth
            return unknown if kept is None else FALSE if kept else TRUE
        if t.name == self.mask.source.name:  # lengths
            return of_extent(LENGTH) if any(index[0] == b for b, _ in self.rows) else unknown
        if t.data is not None:
            return _in_order(t.data, index) or _of_constant(_seen(t.data, index), unknown)
        node = self.graph.producers.get(t.name)
        if node is None or depth > _DEEPEST or len(node.outputs) != 1:
            return unknown
        return self._computed(node, index, depth + 1) or unknown

    def _computed(self, node: Node, index: Indices, depth: int) -> Value | None:
        op, args = node.op, node.args
        if op is POINTWISE:
            values = [self.broadcast(t, index, depth) for t in args]
            return self.evaluate(expr_attr(node, "expr"), values, [t.type.dtype for t in args])
        if op is IOTA:
            return of_extent(index[0])
        if op is EXTENTS:
            values_ = extents_attr(node, "values")
            at = index[0] if index else 0
            return of_extent(values_[at]) if isinstance(at, int) else None
        if op is GATHER:
            return self._gathered(node, index, depth)
        source = self._source(node, index)
        return None if source is None else self.at(args[0], source, depth)

    def _source(self, node: Node, index: Indices) -> Indices | None:
        """The index into the only input of an op that moves elements."""
        x = node.args[0]
        if node.op is RESHAPE:
            return self._reshaped(index, node.output.shape, x.shape)
        if node.op is TRANSPOSE:
            perm = ints_attr(node, "perm")
            return tuple(index[perm.index(axis)] for axis in range(len(perm)))
        if node.op is BROADCAST:
            own = index[len(index) - x.type.rank :]
            return tuple(0 if d == 1 else i for d, i in zip(x.shape, own, strict=True))
        if node.op is SLICE:
            starts, steps = extents_attr(node, "starts"), extents_attr(node, "steps")
            return tuple(a + i * s for a, i, s in zip(starts, index, steps, strict=True))
        return None

    def _gathered(self, node: Node, index: Indices, depth: int) -> Value | None:
        x, numbers = node.args
        axis = axis_attr(node, x.type.rank)
        behind = axis + numbers.type.rank
        number = self.at(numbers, index[axis:behind], depth).whole
        if number is None:
            return None
        return self.at(x, (*index[:axis], number, *index[behind:]), depth)

    def _reshaped(self, index: Indices, before: Shape, after: Shape) -> Indices | None:
        """An index into a tensor of shape `before` as one of the same elements in shape `after`."""
        flat: Extent = 0
        for n, i in enumerate(index):
            flat = flat + i * prod(before[n + 1 :])
        found: list[Extent] = []
        for n, extent in enumerate(reversed(after)):
            if n == len(after) - 1:
                found.append(flat)
                break
            parts = self._divided(flat, extent)
            if parts is None:
                return None
            flat, rest = parts
            found.append(rest)
        return tuple(reversed(found))

    def _divided(self, flat: Extent, extent: Extent) -> tuple[Extent, Extent] | None:
        """Quotient and remainder by an extent, where the remainder is an index of an axis of that extent."""
        if extent == 1:
            return flat, 0
        quotient: Extent = 0
        rest: Extent = 0
        for monomial, coefficient in terms_of(flat):
            term: Extent = coefficient
            for atom, power in monomial:
                if not isinstance(atom, Symbol):
                    return None
                for _ in range(power):
                    term = term * extent_of(atom)
            part = exact_quotient(term, extent)
            if part is None:
                rest = rest + term
            else:
                quotient = quotient + part
        if isinstance(rest, int):
            fits = rest == 0 or (isinstance(extent, int) and 0 < rest < extent)
        else:
            symbol = sole_symbol(rest)
            fits = any(a.symbol == symbol and a.extent == extent for a in self.axes)
        return (quotient, rest) if fits else None


def _seen(data: np.ndarray, index: Indices) -> np.ndarray:
    """The elements of an array that an index may mean: where two axes have one index, the diagonal."""
    axes = list(index)
    for n in reversed(range(len(axes))):
        first = axes.index(axes[n])
        number = axes[n]
        if isinstance(number, int):
            data = data.take(number, n)
            axes.pop(n)
        elif first < n and data.shape[first] == data.shape[n]:
            data = np.moveaxis(np.diagonal(data, axis1=first, axis2=n), -1, first)
            axes.pop(n)
    return data


def _in_order(data: np.ndarray, index: Indices) -> Value | None:
    """The element of whole numbers that ascend evenly along one axis, as those of an arange."""
    along = [n for n, d in enumerate(data.shape) if d > 1]
    if data.dtype.kind not in "iu" or len(along) != 1:
        return None
    numbers = data.reshape(-1).astype(object)
    step = numbers[1] - numbers[0]
    if any(b - a != step for a, b in pairwise(numbers)):
        return None
    return of_extent(int(numbers[0]) + index[along[0]] * int(step))


def _of_constant(data: np.ndarray, unknown: Value) -> Value:
    if data.size == 0 or data.dtype.kind not in "biuf":
        return unknown
    if data.dtype.kind in "iu" and data.size == 1:
        return of_extent(int(data.reshape(-1)[0]))
    low, high = float(data.min()), float(data.max())
    if np.isnan(low + high) and not np.isinf(low):
        return Value(-np.inf, np.inf)
    return Value(low, high, not (low <= 0 <= high))
