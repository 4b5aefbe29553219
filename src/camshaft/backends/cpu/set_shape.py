"""Code that turns the sizes of a call into everything that depends on them.

Compiled with an engine that has open extents: one function that computes every extent of the
program (work items, offsets, kernels' dims) and then where each buffer of the arena lies.  It is
straight-line code of some hundred integer instructions and takes well under a microsecond.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from camshaft.backends.base import Source
from camshaft.backends.cpu.lang import Arg, FunctionBuilder, Module, Value
from camshaft.backends.cpu.target import CpuTarget
from camshaft.errors import BuildError
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import Dim, Extent, operands
from camshaft.ir.extents.symbol import Atom, Symbol, terms_of
from camshaft.ir.types import i64
from camshaft.program.shape import Items

SYMBOL = "set_shape"


def set_shape_source(
    target: CpuTarget,
    symbols: Sequence[Symbol],
    extents: Sequence[Extent | Items],
    slots: Sequence[tuple[Extent, Sequence[int]]],
    alignment: int,
) -> Source:
    """A phase of one item, called with args = (sizes, results), both i64.

    sizes: of the symbols, in order.  results: the values of `extents`; then the byte offset of each
    of `slots` (its bytes, and the earlier slots that it lies above), a multiple of `alignment`; then
    the bytes of the whole arena.
    """
    module = Module(target)
    args = [
        Arg("sizes", i64, readonly=True, noalias=True),
        Arg("results", i64, noalias=True),
    ]
    with module.phase(SYMBOL, 1, args) as k:
        sizes = {s: k.load(k.args["sizes"].at(i)) for i, s in enumerate(symbols)}
        results = k.args["results"]
        writer = _Writer(sizes)
        for i, e in enumerate(extents):
            value = writer.items(k, e) if isinstance(e, Items) else k.index(writer.value(e))
            k.store(value, results.at(i))
        ends: list[Value] = []
        total = k.index(0)
        for i, (nbytes, above) in enumerate(slots, len(extents)):
            offset = k.index(0)
            for j in above:
                offset = k.max(offset, ends[j])
            k.store(offset, results.at(i))
            end = offset + writer.value(nbytes)
            ends.append((end + (alignment - 1)) & -alignment)
            total = k.max(total, end)
        k.store(total, results.at(len(extents) + len(slots)))
    return module.source()


class _Writer:
    """Writes extents as code, each sum and atom once."""

    def __init__(self, sizes: Mapping[Symbol, Value]) -> None:
        self.sizes = sizes
        self.done: dict[Dim, Value] = {}
        self.atoms: dict[Atom, Value] = {}

    def items(self, k: FunctionBuilder, items: Items) -> Value:
        """The number of items, 0 where they have no turn."""
        size, when = k.index(self.value(items.when.extent)), items.when
        turn = size >= when.low
        if when.high is not None:
            turn = turn & (size < when.high)
        return k.select(turn, k.index(self.value(items.count)), k.index(0))

    def value(self, e: Extent) -> Value | int:
        """The value of an extent."""
        if isinstance(e, int):
            return e
        if e not in self.done:
            total: Value | int = 0
            for monomial, coefficient in terms_of(e):
                product: Value | int = coefficient
                for atom, power in monomial:
                    for _ in range(power):
                        product = self.atom(atom) * product
                total = product + total
            assert isinstance(total, Value)
            self.done[e] = total
        return self.done[e]

    def atom(self, atom: Atom) -> Value:
        """The value of an atom."""
        if atom not in self.atoms:
            self.atoms[atom] = self._atom(atom)
        return self.atoms[atom]

    def _atom(self, atom: Atom) -> Value:
        if isinstance(atom, Symbol):
            if atom not in self.sizes:
                raise BuildError(f"extent {atom.name!r} is no size of the program")
            return self.sizes[atom]
        first, second = operands(atom)
        a, b = self.value(first), self.value(second)
        k = next(iter(self.sizes.values())).k
        if atom.op in ("min", "max"):
            return k.min(a, b) if atom.op == "min" else k.max(a, b)
        x, y = k.index(a), k.index(b)
        if bounds(first)[0] >= 0:
            return x // y if atom.op == "div" else x % y
        left = k.rem(k.rem(x, y) + y, y)  # with the sign of the divisor, which is positive
        return left if atom.op == "mod" else k.div(x - left, y)
