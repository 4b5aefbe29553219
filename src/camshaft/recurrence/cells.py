"""Recurrent cells, recognized by what they compute: LSTM, GRU in its usual forms, RNN.

The equations are those of `ops.cells`; sums and products may be in any order, gates cut from one product or from several.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.graph import Tensor
from camshaft.recurrence.terms import Made, Product, Term, Terms, View, rows_of

_SIGMOID, _TANH = E.sigmoid(E.inp(0)), E.unary("tanh", E.inp(0))
_RELU = E.maximum(E.inp(0), E.const(0.0))


@dataclass(frozen=True, eq=False)
class Found:
    """One step of a cell.

    hidden, cell: the states that it makes.  before: the roots of the states that it reads, as far as they are seen and not 0: the hidden
    one of a GRU, the cell of an LSTM.  gates: what is summed for each, in the op's order.  inner: of a GRU whose reset gate multiplies the
    recurrent product, the addends of that product.  reset: of one whose reset gate multiplies the state, the product of both.
    flipped: whether a GRU's z is 1 - z of the op.
    """

    kind: str
    hidden: Tensor
    functions: tuple[Expr, ...]
    gates: tuple[tuple[Term, ...], ...]
    cell: Tensor | None = None
    before: Tensor | None = None
    inner: tuple[Term, ...] = ()
    reset: Tensor | None = None
    flipped: bool = False

    @property
    def size(self) -> int:
        """Hidden units."""
        size = self.hidden.shape[-1]
        assert isinstance(size, int)
        return size

    @property
    def sums(self) -> tuple[tuple[Term, ...], ...]:
        """The sums that hold the recurrent products, a gate each."""
        return (*self.gates[:2], self.inner) if self.inner else self.gates


@dataclass(frozen=True)
class Recurrence:
    """The recurrent products of a cell, one for each gate, and what else the gates get.

    state: the root of the hidden state that they read.  behind: what is added to the inner product of a GRU.
    A first step whose state is 0 has no products.
    """

    state: Tensor | None
    products: tuple[Product, ...]
    entering: tuple[tuple[Term, ...], ...]
    behind: tuple[Term, ...] = ()


def cells_of(terms: Terms, hidden: Tensor) -> Iterator[Found]:
    """The cells whose hidden state this tensor may be."""
    if not hidden.shape or not isinstance(hidden.shape[-1], int):
        return
    yield from _lstm(terms, hidden)
    yield from _gru(terms, hidden)
    yield from _rnn(terms, hidden)


def _lstm(t: Terms, hidden: Tensor) -> Iterator[Found]:
    """o tanh(c'), c' = f c + i tanh(g)."""
    for out, last in t.pairs(t.whole(hidden), "mul"):
        o, cell = t.sigmoid(out), t.tanh(last)
        if o is None or not _is_whole(t, cell):
            continue
        assert isinstance(cell, View)
        for keep, add in t.pairs(cell, "add"):
            for forget, old in t.pairs(keep, "mul"):
                for enter, new in t.pairs(add, "mul"):
                    sums = t.sigmoid(enter), o, t.sigmoid(forget), t.tanh(new)
                    if None in sums or not _is_state(t, old):
                        continue
                    gates = tuple(tuple(t.addends(s)) for s in sums if s is not None)
                    functions = (_SIGMOID, _TANH, _TANH)
                    before = _root(t, old)
                    yield Found("lstm", hidden, functions, gates, cell.tensor, before)


def _gru(t: Terms, hidden: Tensor) -> Iterator[Found]:
    """(1 - z) n + z h, in any of its forms."""
    for z, new, old in _mixed(t, t.whole(hidden)):
        gate, candidate = t.sigmoid(z), t.tanh(new)
        flipped = False
        if candidate is None or not _is_state(t, old):
            candidate, old, flipped = t.tanh(old), new, True
        if gate is None or candidate is None or not _is_state(t, old):
            continue
        before = _root(t, old)
        sums = tuple(t.addends(candidate))
        for n, term in enumerate(sums):
            for r, inner in t.pairs(term, "mul"):
                reset = t.sigmoid(r)
                if reset is not None:
                    others = sums[:n] + sums[n + 1 :]
                    gates = (tuple(t.addends(gate)), tuple(t.addends(reset)), others)
                    yield Found(
                        "gru", hidden, (_SIGMOID, _TANH), gates, None, before, tuple(t.addends(inner)), flipped=flipped
                    )  # fmt: skip
            if isinstance(term, Product):
                for r, state in t.pairs(t.whole(term.rows), "mul"):
                    reset = t.sigmoid(r)
                    if reset is None or before is None or not _is_whole(t, state):
                        continue
                    if _root(t, state) is before:
                        gates = (tuple(t.addends(gate)), tuple(t.addends(reset)), sums)
                        root = t.root(term.rows)
                        yield Found(
                            "gru", hidden, (_SIGMOID, _TANH), gates, None, before, (), root, flipped
                        )


def _mixed(t: Terms, term: Term) -> Iterator[tuple[Term, Term, Term]]:
    """z, a and b of a sum (1 - z) a + z b, or a + z (b - a), or a - z (a - b)."""
    for p, q in t.pairs(term, "add"):
        for z, other in t.pairs(p, "mul"):
            yield from ((z, a, b) for b, a in t.each(other, "sub") if a == q)
            for one, same in t.each(z, "sub"):
                if t.is_number(one, 1.0):
                    yield from ((same, other, b) for y, b in t.pairs(q, "mul") if y == same)
    for a, scaled in t.each(term, "sub"):
        for z, other in t.pairs(scaled, "mul"):
            yield from ((z, a, b) for first, b in t.each(other, "sub") if first == a)


def _rnn(t: Terms, hidden: Tensor) -> Iterator[Found]:
    """An activation of a sum."""
    whole = t.whole(hidden)
    kinds = [(_SIGMOID, t.sigmoid(whole)), (_TANH, t.tanh(whole))]
    kinds += [(_RELU, x) for x, zero in t.pairs(whole, "max") if t.is_number(zero, 0.0)]
    for function, x in kinds:
        if x is not None:
            yield Found("rnn", hidden, (function,), (tuple(t.addends(x)),))


def _is_whole(t: Terms, term: Term | None) -> bool:
    """Whether it is a tensor, not columns of one, or something without a tensor of its own."""
    return isinstance(term, View) and bool(term.tensor.shape) and t.whole(term.tensor) == term


def _is_state(t: Terms, term: Term) -> bool:
    """Whether it is a tensor, or 0."""
    return _is_whole(t, term) or t.is_number(term, 0.0)


def _root(t: Terms, term: Term) -> Tensor | None:
    """The root of a state; None of one that is 0."""
    return t.root(term.tensor) if isinstance(term, View) and not t.is_number(term, 0.0) else None


def recurrences(t: Terms, found: Found) -> Iterator[Recurrence]:
    """What a cell's state may be: every tensor of which all gates have one product."""
    for state in dict.fromkeys(t.root(p.rows) for p in found.sums[0] if isinstance(p, Product)):
        if found.kind == "gru" and state is not found.before:
            continue
        read = [state] * len(found.gates)
        if found.reset is not None:
            read[2] = found.reset
        parts = [_parted(t, sums, r, found) for sums, r in zip(found.sums, read, strict=True)]
        if all(p is not None for p in parts):
            products, others = zip(*(p for p in parts if p is not None), strict=True)
            yield from _checked(t, found, Recurrence(state, products, others))


def first_step(t: Terms, found: Found) -> Iterator[Recurrence]:
    """A cell whose states are 0, of which nothing is left in its sums."""
    if found.before is None and found.reset is None:
        yield from _checked(t, found, Recurrence(None, (), found.sums))


def _checked(t: Terms, found: Found, r: Recurrence) -> Iterator[Recurrence]:
    """With what belongs to a GRU's inner product put aside; nothing if terms do not fit."""
    if found.inner:
        r = replace(r, entering=(*r.entering[:2], found.gates[2]), behind=r.entering[2])
        if any(t.constant(b) is None for b in r.behind):
            return
    if all(_fits(t, term, found) for sums in r.entering for term in sums):
        yield r


def _parted(
    t: Terms, sums: Sequence[Term], state: Tensor, found: Found
) -> tuple[Product, tuple[Term, ...]] | None:
    """The product of the state, and the other terms."""
    own = [p for p in sums if isinstance(p, Product) and t.root(p.rows) is state]
    if len(own) != 1 or own[0].matrix.shape != (found.size, found.size):
        return None
    return own[0], tuple(x for x in sums if x is not own[0])


def _fits(t: Terms, term: Term, found: Found) -> bool:
    """Whether a term has as many columns and rows as the state, or one."""
    if isinstance(term, Product):
        return term.size == found.size and rows_of(term.rows) == rows_of(found.hidden)
    if isinstance(term, View):
        rows = 1 if not term.tensor.shape else rows_of(term.tensor)
        return term.size in (1, found.size) and rows in (1, rows_of(found.hidden))
    return isinstance(term, Made) and all(_fits(t, a, found) for a in term.args)
