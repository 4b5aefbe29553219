"""Scores that causal attention and windows hide become minus infinity as they are stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from camshaft.backends.base import Operand
from camshaft.backends.cpu.attention.problem import AttentionProblem
from camshaft.backends.cpu.expr.epilogue import Epilogue, Result
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Pointer, Value
from camshaft.ir import expr as E
from camshaft.ir.types import i32


class Hider:
    """Hides scores of keys that a query does not see, in causal attention."""

    def __init__(self, k: FunctionBuilder, p: AttentionProblem, start: Value, first: Value) -> None:
        """start, first: the query and the key in the corner of the scores."""
        self.k, self.p = k, p
        place = k.index(p.first) + (start if p.place_step else 0)
        self.ahead = place - first
        """How many keys the corner's query sees behind the corner's key, which may be negative."""

    def hidden(self, score: Value, row: Value, column: Value) -> Value:
        """The score of `lanes` keys from `column` on."""
        k, p, lanes = self.k, self.p, score.lanes
        edge = k.cast(self.ahead + (row if p.place_step else 0) - column, i32)
        lane = k.const_vector(range(lanes), i32)
        seen = lane <= k.splat(edge, lanes)
        if p.window:
            seen = seen & (lane > k.splat(edge - p.window, lanes))
        return k.select(seen, score, float("-inf"))


class Hiding(Epilogue):
    """Scores of which some are hidden."""

    def __init__(
        self,
        k: FunctionBuilder,
        expr: E.Expr,
        operands: Sequence[Operand],
        pointers: Sequence[Pointer],
        output: Operand,
        out: Pointer,
        hider: Hider,
    ) -> None:
        super().__init__(k, expr, operands, pointers, output, out)
        self.hider = hider
        self.corner: tuple[Index, Index] = (0, 0)

    def at(self, index: Sequence[Index]) -> Hiding:
        """The same seen from the score at `index` (row, column)."""
        moved = super().at(index)
        hiding = Hiding.__new__(Hiding)
        hiding.__dict__.update(moved.__dict__)
        hiding.hider = self.hider
        row, column = (self.k.index(a) + b for a, b in zip(index, self.corner, strict=True))
        hiding.corner = (row, column)
        return hiding

    def store_all(self, results: Iterable[Result]) -> None:
        """One after another."""
        for value, offset, count in results:
            k = self.k
            row, column = (k.index(a) + b for a, b in zip(self.corner, offset, strict=True))
            score = self.hider.hidden(self.apply(value, offset, count), row, column)
            access = self._output.at(offset)
            k.store_strided(score, access.pointer, 1, count)
