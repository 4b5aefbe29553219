"""Control flow of the kernel language: loops and branches as context managers.

Values that change in a loop or branch live in *carried lists*: `carry` is a (possibly nested)
list of values.  Inside, its entries name the current values and may be replaced; afterwards they
name the results.  The phi instructions follow from that.

    total = [k.const(0.0, f32, 16)]
    with k.loop(0, n, 16, carry=total) as i:
        total[0] = total[0] + k.load(x.at(i), 16)
    k.store(total[0], y)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from camshaft.backends.cpu.lang.memory import Memory
from camshaft.backends.cpu.lang.values import Index, Value, llvm_type
from camshaft.errors import BuildError
from camshaft.ir.types import DType, i64

Carry = list[Any]
"""A list of values, or of such lists."""


def flatten(carry: Carry) -> list[Value]:
    """The values of a nested list in order."""
    flat: list[Value] = []
    for item in carry:
        if isinstance(item, list):
            flat.extend(flatten(item))
        else:
            flat.append(item)
    return flat


def assign(carry: Carry, values: Iterator[Value]) -> None:
    """Put `values` into the places of a nested list."""
    for place, item in enumerate(carry):
        if isinstance(item, list):
            assign(item, values)
        else:
            carry[place] = next(values)


Part = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Branch:
    """The two parts of an `if_else`, each opened once, in this order."""

    then: Part
    otherwise: Part


class Control(Memory):
    """Adds loops and branches."""

    @contextmanager
    def loop(
        self,
        low: Index,
        high: Index,
        step: int = 1,
        carry: Carry | None = None,
        *,
        nonempty: bool = False,
    ) -> Iterator[Value]:
        """for i in range(low, high, step): yields i as an i64 scalar; step is positive.

        No test is made before the first iteration where constant bounds say that there is one, or
        the caller does (nonempty).
        """
        carry = carry if carry is not None else []
        before = flatten(carry)
        head, done = self.new_block("loop"), self.new_block("done")
        known = isinstance(low, int) and isinstance(high, int)
        start, stop = self.index(low), self.index(high)
        entry = self.block
        if not nonempty and (not known or _int(low) >= _int(high)):
            self.branch(start < stop, head, done)
            guarded = True
        else:
            self.jump(head)
            guarded = False
        self.open_block(head)
        counter, count_place = self._reserve(i64, 1)
        phis = [self._reserve(v.dtype, v.lanes) for v in before]
        assign(carry, iter([value for value, _ in phis]))
        yield counter
        after = flatten(carry)
        self._check(before, after)
        following = self.add(counter, step)
        latch = self.block
        self.branch(following < stop, head, done)
        self._phi(counter, count_place, [(start, entry), (following, latch)])
        for (value, place), first, again in zip(phis, before, after, strict=True):
            self._phi(value, place, [(first, entry), (again, latch)])
        self.open_block(done)
        if guarded:
            after = [
                self._merge([(first, entry), (last, latch)])
                for first, last in zip(before, after, strict=True)
            ]
        assign(carry, iter(after))

    @contextmanager
    def if_(self, condition: Value, carry: Carry | None = None) -> Iterator[None]:
        """Run the body where the scalar bool holds."""
        with self.if_else(condition, carry) as branch:
            with branch.then():
                yield
            with branch.otherwise():
                pass

    @contextmanager
    def if_else(self, condition: Value, carry: Carry | None = None) -> Iterator[Branch]:
        """Run one of two bodies, `with branch.then():` or `with branch.otherwise():`."""
        carry = carry if carry is not None else []
        before = flatten(carry)
        then, other, join = (self.new_block(hint) for hint in ("then", "else", "join"))
        self.branch(condition, then, other)
        ends: list[tuple[list[Value], str]] = []

        @contextmanager
        def part(number: int) -> Iterator[None]:
            if len(ends) != number:
                raise BuildError("then() and otherwise() are opened once each, in this order")
            assign(carry, iter(before))
            self.open_block((then, other)[number])
            yield
            values = flatten(carry)
            self._check(before, values)
            ends.append((values, self.block))
            self.jump(join)

        yield Branch(lambda: part(0), lambda: part(1))
        if len(ends) != 2:
            raise BuildError("if_else needs both parts; use if_ for one")
        self.open_block(join)
        (first, a), (second, b) = ends
        merged = [
            self._merge([(x, a), (y, b)]) if x.ref != y.ref else x
            for x, y in zip(first, second, strict=True)
        ]
        assign(carry, iter(merged))

    def _reserve(self, dtype: DType, lanes: int) -> tuple[Value, int]:
        return Value(self, self.register(), dtype, lanes), self.placeholder()

    def _phi(self, value: Value, place: int, sources: Sequence[tuple[Value, str]]) -> None:
        self.fill(place, f"{value.ref} = {_phi_text(sources)}")

    def _merge(self, sources: Sequence[tuple[Value, str]]) -> Value:
        first = sources[0][0]
        return self.value(_phi_text(sources), first.dtype, first.lanes)

    @staticmethod
    def _check(before: Sequence[Value], after: Sequence[Value]) -> None:
        if len(before) != len(after):
            raise BuildError("a carried list must keep its length")
        for x, y in zip(before, after, strict=True):
            if (x.dtype, x.lanes) != (y.dtype, y.lanes):
                raise BuildError(f"a carried value changed from {x.type} to {y.type}")


def _phi_text(sources: Sequence[tuple[Value, str]]) -> str:
    first = sources[0][0]
    pairs = ", ".join(f"[ {v.ref}, %{block} ]" for v, block in sources)
    return f"phi {llvm_type(first.dtype, first.lanes)} {pairs}"


def _int(x: Index) -> int:
    if isinstance(x, int):
        return x
    raise BuildError("not a constant bound")
