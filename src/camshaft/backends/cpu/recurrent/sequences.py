"""Which sequence of a batch lies where, and how long it is."""

from __future__ import annotations

from camshaft.backends.cpu.lang import FunctionBuilder, Pointer, Value
from camshaft.backends.cpu.recurrent.problem import RecurrentProblem
from camshaft.ir.types import i64


class Sequences:
    """The rows of one direction, the states of which lie by falling length where lengths are given: so the rows that
    have a step are the first ones, and a step's register tiles as few as they can be."""

    def __init__(
        self, k: FunctionBuilder, p: RecurrentProblem, given: Pointer | None, order: Pointer
    ) -> None:
        """given: the lengths [N]; None: all have all steps.  order: where the rows' numbers are kept, [N] in i64."""
        self.k, self.p, self.given, self.order = k, p, given, order

    @property
    def vary(self) -> bool:
        """Whether lengths are given."""
        return self.given is not None

    def length(self, row: Value) -> Value:
        """How many steps a row has, from 0 to T."""
        k = self.k
        if self.given is None:
            return k.index(self.p.steps)
        (stride,) = self.p.spec.inputs[self.p.options["lengths"]].strides
        given = k.cast(k.load(self.given.at(row * stride)), i64)
        return k.max(k.min(given, self.p.steps), 0)

    def row(self, position: Value) -> Value:
        """The row whose states lie at a position."""
        return self.k.load(self.order.at(position)) if self.vary else position

    def sort(self, low: Value, high: Value) -> None:
        """Put some rows in order, by counting for each how many precede it."""
        if not self.vary:
            return
        k = self.k
        with k.loop(low, high) as row:
            own, before = self.length(row), [low]
            with k.loop(low, high, carry=before) as other:
                theirs = self.length(other)
                precedes = (theirs > own) | (k.eq(theirs, own) & (other < row))
                before[0] = before[0] + k.cast(precedes, i64)
            k.store(row, self.order.at(before[0]))
