"""One tensor of all steps [T, N, C] from what single steps read: sequences are taken whole, products made of all steps at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.attrs import extents_attr, ints_attr
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import GraphBuilder, Node, Tensor
from camshaft.ops import POINTWISE, SLICE
from camshaft.ops import functional as F
from camshaft.recurrence.terms import Made, Product, Term, Terms, View, rows_of

DEEPEST = 40
"""Operations behind one another that are made of all steps at once; what lies deeper is stacked as it is."""


class NotAlike(Exception):
    """Steps are too unlike to be stacked."""


class Stacker:
    """Stacks terms of T steps over N rows; axes on which all is equal have an extent of 1."""

    def __init__(
        self,
        terms: Terms,
        builder: GraphBuilder,
        get: Callable[[Tensor], Tensor],
        size: int,
    ) -> None:
        """get: the new tensor for one of the old graph.  size: H."""
        self.terms, self.builder = terms, builder
        self._get, self._size = get, size
        self._made: dict[tuple[Term, ...], Tensor] = {}

    def gates(self, gates: Sequence[Sequence[Sequence[Term]]]) -> Tensor:
        """The sums of all gates [T, N, G*H], one behind the other.  gates: gate -> step -> addends."""
        constants = [self._constants(steps) for steps in gates]
        terms = [
            [[a for a in s if self.terms.constant(a) is None] for s in steps] for steps in gates
        ]
        counts = {len(addends) for steps in terms for addends in steps}
        if len(counts) > 1 and any(len({len(s) for s in steps}) > 1 for steps in terms):
            raise NotAlike
        rows = max(len(c[0]) for c in constants)
        steps = max(len(c) for c in constants)
        spread = [np.broadcast_to(c, (steps, rows, c.shape[2])) for c in constants]
        constant = self.builder.constant(np.concatenate(spread, 2))
        joined = [
            self._joined([[s[p] for s in steps] for steps in terms]) for p in range(min(counts))
        ]
        if len(counts) == 1 and all(j is not None for j in joined):
            return self._sum([*(j for j in joined if j is not None), constant])
        each = [[self.of(place) for place in zip(*steps, strict=True)] for steps in terms]
        sums = [self._sum(parts) if parts else None for parts in each]
        present = [s for s in sums if s is not None]
        if len(present) < len(sums) or any(s.shape != present[0].shape for s in present):
            raise NotAlike
        return self._sum([F.concat(self.builder, present, 2), constant])

    def _constants(self, steps: Sequence[Sequence[Term]]) -> np.ndarray:
        """The sums of a gate's constants [T or 1, N or 1, H]."""
        sums = [
            sum((c for a in step if (c := self.terms.constant(a)) is not None), np.zeros((1, self._size), np.float32))
            for step in steps
        ]  # fmt: skip
        same = all(np.array_equal(s, sums[0]) for s in sums)
        return np.stack(sums[:1] if same else np.broadcast_arrays(*sums)).astype(np.float32)

    def _sum(self, parts: Sequence[Tensor]) -> Tensor:
        total = parts[0]
        for part in parts[1:]:
            total = self._pointwise(E.add(E.inp(0), E.inp(1)), [total, part])
        return total

    def _joined(self, gates: Sequence[Sequence[Term]]) -> Tensor | None:
        """An addend of all gates, gate -> step -> term, that is a product of the same rows, with all their columns."""
        firsts = [steps[0] for steps in gates if isinstance(steps[0], Product)]
        if len(firsts) < len(gates) or not all(map(self._is_same, gates)):
            return None
        read = [
            [self.terms.root(p.rows) for p in steps if isinstance(p, Product)] for steps in gates
        ]
        if any(r != read[0] for r in read):
            return None
        x = self.of([self.terms.whole(r) for r in read[0]])
        columns = np.concatenate([f.matrix for f in firsts], axis=1)
        return F.matmul(self.builder, x, self.builder.constant(columns))

    def _is_same(self, steps: Sequence[Term]) -> bool:
        """Whether all steps have the same constant, or read the same, here."""
        return len({self._key(s) for s in steps}) == 1

    def _key(self, term: Term) -> object:
        if isinstance(term, Product):
            return "product", self.terms.content(term.weights), term.start, term.size, term.above
        if (constant := self.terms.constant(term)) is not None:
            return "constant", constant.shape, constant.tobytes()
        return term

    # -- one addend --------------------------------------------------------------------------------

    def of(self, steps: Sequence[Term], depth: int = 0) -> Tensor:
        """[T or 1, N or 1, C or 1].  depth: operations that were seen through on the way; there is a limit."""
        key = tuple(steps)
        if key not in self._made:
            self._made[key] = self._of(steps, depth)
        return self._made[key]

    def _of(self, steps: Sequence[Term], depth: int) -> Tensor:
        first = steps[0]
        if isinstance(first, View) and self._is_same(steps):
            return self._alone(first)
        if all(isinstance(s, Product) for s in steps) and self._is_same(steps):
            assert isinstance(first, Product)
            roots = [self.terms.whole(self.terms.root(s.rows)) for s in steps]  # type: ignore[union-attr]
            x = self.of(roots, depth + 1)
            return F.matmul(self.builder, x, self.builder.constant(first.matrix))
        views = [s for s in steps if isinstance(s, View)]
        if len(views) == len(steps):
            sequence = self._sequence(views)
            if sequence is not None:
                return sequence
        if depth < DEEPEST or len(views) < len(steps):
            opened = [self.terms.opened(s) for s in steps]
            made = [o for o in opened if isinstance(o, Made)]
            if len(made) == len(steps):
                return self._of_made(made, depth)
            if any(isinstance(o, Product) for o in opened):
                if opened == list(steps):
                    raise NotAlike
                return self.of(opened, depth + 1)
        parts = [self._alone(v) for v in views]
        if len(parts) != len(steps) or any(p.shape != parts[0].shape for p in parts):
            raise NotAlike
        return F.concat(self.builder, parts, 0)

    def _of_made(self, steps: Sequence[Made], depth: int) -> Tensor:
        if len({(m.op, len(m.args), m.value, m.dtype) for m in steps}) > 1:
            raise NotAlike
        first, operands, inputs = steps[0], list[Tensor](), list[E.Expr]()
        for n, own in enumerate(first.args):
            if isinstance(own, Made) and own.op == "const":
                if any(s.args[n] != own for s in steps):
                    raise NotAlike
                inputs.append(E.Expr("const", (), own.value, own.dtype))
                continue
            inputs.append(E.inp(len(operands)))
            operands.append(self.of([s.args[n] for s in steps], depth + 1))
        return self._pointwise(E.Expr(first.op, tuple(inputs), first.value, first.dtype), operands)

    def _alone(self, view: View) -> Tensor:
        """[1, N or 1, C or 1] of a single step."""
        t = self._get(view.tensor)
        if not t.shape:
            return F.reshape(self.builder, t, (1, 1, 1))
        t = F.reshape(self.builder, t, (1, rows_of(t), t.shape[-1]))
        return self._columns(t, view)

    def _columns(self, t: Tensor, view: View) -> Tensor:
        return (
            t if t.shape[-1] == view.size else F.narrow(self.builder, t, 2, view.start, view.size)
        )

    def _sequence(self, views: Sequence[View]) -> Tensor | None:
        """Neighbouring places of one axis of a tensor, each of which a step reads; None if they are not."""
        nodes = [self.terms.maker(v.tensor) for v in views]
        if any(n is None or n.op is not SLICE for n in nodes) or len(views) < 2:
            return None
        cuts = [n for n in nodes if n is not None]
        place = _steps(cuts)
        source, first = cuts[0].args[0], views[0]
        if place is None or any((v.start, v.size) != (first.start, first.size) for v in views):
            return None
        axis, start, forward = place
        t = F.narrow(self.builder, self._get(source), axis, start, len(views))
        t = lengthwise(self.builder, t, axis)
        t = F.reshape(self.builder, t, (len(views), rows_of(first.tensor), t.shape[-1]))
        t = self._columns(t, first)
        return t if forward else turned(self.builder, t)

    def _pointwise(self, expr: E.Expr, operands: Sequence[Tensor]) -> Tensor:
        return self.builder.emit(POINTWISE, operands, {"expr": expr})


def turned(b: GraphBuilder, t: Tensor) -> Tensor:
    """The last place of the first axis first."""
    return t if t.shape[0] == 1 else F.slice(b, t, [-1], [-(1 << 62)], [0], [-1])


def lengthwise(b: GraphBuilder, t: Tensor, axis: int) -> Tensor:
    """With an axis, that of the steps, first."""
    return F.transpose(b, t, (axis, *(a for a in range(t.type.rank) if a != axis)))


def stacked_along(b: GraphBuilder, t: Tensor, axis: int) -> Tensor:
    """With the first axis, that of the steps, as axis number `axis`."""
    return F.transpose(b, t, (*range(1, axis + 1), 0, *range(axis + 1, t.type.rank)))


def _steps(cuts: Sequence[Node]) -> tuple[int, Extent, bool] | None:
    """The axis along which slices of one tensor lie side by side, each of one place, the first of these places, and whether steps
    go forward."""
    source = cuts[0].args[0]
    if any(c.args[0] is not source or set(ints_attr(c, "steps")) != {1} for c in cuts):
        return None
    starts, sizes = [extents_attr(c, "starts") for c in cuts], extents_attr(cuts[0], "sizes")
    axes = [a for a, (n, d) in enumerate(zip(sizes, source.shape, strict=True)) if n != d]
    if len(axes) != 1 or axes[0] == len(source.shape) - 1 or sizes[axes[0]] != 1:
        return None
    (axis,) = axes
    if any(extents_attr(c, "sizes") != sizes for c in cuts):
        return None
    forward = starts[1][axis] == starts[0][axis] + 1
    first = starts[0][axis] if forward else starts[-1][axis]
    ordered = starts if forward else starts[::-1]
    if any(s[axis] != first + n for n, s in enumerate(ordered)):
        return None
    return axis, first, forward
