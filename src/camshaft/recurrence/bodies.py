"""Bodies of loops that are recurrent cells: layers over all iterations, whose number need not be known.

A body computes new states of old ones and of what it sees of sequences in this iteration; cells may be stacked in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import GraphBuilder, Node, Tensor
from camshaft.ir.types import f32
from camshaft.ops import functional as F
from camshaft.recurrence.cells import Found, Recurrence, cells_of, recurrences
from camshaft.recurrence.layers import layer
from camshaft.recurrence.stacking import DEEPEST, NotAlike, Stacker
from camshaft.recurrence.terms import Term, Terms, View, rows_of, tensors_of


@dataclass(frozen=True)
class LoopBody:
    """A body as a graph.

    maker: the node that makes a tensor of it.  states: tensors that stand for the states, each with its new value.
    sequence: all that the iterations see [T, ...] where a tensor stands for what one sees, in the order of places, in the graph around
    the body; else None.  outside: likewise for a tensor that all iterations see.
    steps: T.  backward: whether the last place comes first.
    """

    maker: Callable[[Tensor], Node | None]
    states: Sequence[tuple[Tensor, Tensor]]
    sequence: Callable[[Tensor], Tensor | None]
    outside: Callable[[Tensor], Tensor | None]
    steps: Extent
    backward: bool = False


class BodyStacker(Stacker):
    """Stacks terms of a body, whose only step stands for all."""

    def __init__(
        self,
        terms: Terms,
        builder: GraphBuilder,
        body: LoopBody,
        hidden: Mapping[str, Tensor],
        size: int = 0,
    ) -> None:
        """hidden: name of a state that is known -> all of it [T, 1, N, H]."""
        super().__init__(terms, builder, self._outer, size)
        self._body, self._hidden = body, hidden

    def _outer(self, t: Tensor) -> Tensor:
        found = t if t.is_const else self._body.outside(t)
        if found is None:
            raise NotAlike
        return found

    def _of(self, steps: Sequence[Term], depth: int) -> Tensor:
        (term,) = steps
        if not isinstance(term, View):
            return super()._of(steps, depth)
        for t in (term.tensor, self.terms.root(term.tensor)):
            sequence = self._hidden.get(t.name) or self._body.sequence(t)
            if sequence is not None:
                rows, width = (rows_of(t), t.shape[-1]) if t.shape else (1, 1)
                shape = (self._body.steps, rows, width)
                return self._columns(F.reshape(self.builder, sequence, shape), term)
        opened = self.terms.opened(term)
        if opened == term or self._body.outside(term.tensor) is not None:
            return self._alone(term)
        if depth > DEEPEST:
            raise NotAlike  # deeper than Python calls itself
        return self.of([opened], depth + 1)


class BodyLayers:
    """The layers that a body is."""

    def __init__(self, builder: GraphBuilder, body: LoopBody) -> None:
        """builder: of the graph around it."""
        self._builder, self._body = builder, body
        self._terms = Terms(body.maker)
        self._hidden: dict[str, Tensor] = {}
        self.last: dict[str, Tensor] = {}
        """Name of a state -> what it is in the end, [1, N, H]."""

    def make(self, initial: Mapping[str, Tensor]) -> None:
        """Make the layers.

        initial: name of a state -> its value before the first step, in the graph around it.  NotAlike if a state is none of a cell, or
        what enters one hangs on states or cannot be stacked.
        """
        while len(self.last) < len(self._body.states):
            if not self._make_next(initial):
                raise NotAlike

    def stacked(self, t: Tensor) -> Tensor:
        """A result of the body in all steps [T, ...], in the order of places.  NotAlike if it cannot be stacked."""
        stacker = BodyStacker(self._terms, self._builder, self._body, self._hidden)
        rows, width = (rows_of(t), t.shape[-1]) if t.shape else (1, 1)
        if not isinstance(width, int) or t.type.dtype != f32:
            raise NotAlike
        whole = stacker.of([self._terms.whole(t)])
        steps = self._body.steps
        return F.reshape(
            self._builder, F.broadcast_to(self._builder, whole, (steps, rows, width)), (steps, *t.shape)
        )  # fmt: skip

    def _make_next(self, initial: Mapping[str, Tensor]) -> bool:
        """Make the layer of one cell of which all that enters is known."""
        unknown = {s.name for s, _ in self._body.states} - set(self.last)
        for state, new in self._body.states:
            if state.name not in unknown or new.type.dtype != f32 or new.is_const:
                continue
            for found in cells_of(self._terms, self._terms.root(new)):
                for r in recurrences(self._terms, found):
                    own = self._own(found, r, state)
                    if own is not None and not any(self._hang(s, unknown) for s in r.entering):
                        self._make(found, r, own, initial)
                        return True
        return False

    def _own(self, found: Found, r: Recurrence, state: Tensor) -> list[Tensor] | None:
        """The states of a cell, if they are states of the loop."""
        if r.state is not state:
            return None
        if found.cell is None:
            return [state]
        cell = self._terms.root(found.cell)
        for other, new in self._body.states:
            if self._terms.root(new) is cell and found.before is other:
                return [state, other]
        return None

    def _hang(self, sums: Sequence[Term], unknown: set[str]) -> bool:
        """Whether terms hang on states that are not known yet."""
        left, seen = list(tensors_of(sums)), set[str]()
        while left:
            t = left.pop()
            if t.name in unknown:
                return True
            if t.name not in seen and t.name not in self._hidden:
                node = self._body.maker(t)
                left += [] if node is None else node.args
            seen.add(t.name)
        return False

    def _make(
        self, found: Found, r: Recurrence, own: Sequence[Tensor], initial: Mapping[str, Tensor]
    ) -> None:
        body = self._body
        stacker = BodyStacker(self._terms, self._builder, body, self._hidden, found.size)
        y, *states = layer(
            stacker,
            found,
            r,
            [[sums] for sums in r.entering],
            [initial[s.name] for s in own],
            body.steps,
            backward=body.backward,
        )
        self._hidden[found.hidden.name] = y
        self.last |= {s.name: end for s, end in zip(own, states, strict=True)}
