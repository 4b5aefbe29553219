"""Code that turns the shapes of a call into everything that depends on them.

Compiled with an engine that has open extents.  One function checks the sizes of a call, and computes
every extent of the program (work items, byte offsets, kernels' dims) and where each buffer of the
arena lies: straight-line code of some hundred integer instructions, well under a microsecond.  The
other one writes these to the words of a context's tables that vary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from camshaft.backends.base import Source
from camshaft.backends.cpu.lang import Arg, FunctionBuilder, Module, Pointer, Value
from camshaft.backends.cpu.target import CpuTarget
from camshaft.errors import BuildError
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import Dim, Extent, operands
from camshaft.ir.extents.symbol import Atom, Symbol, terms_of
from camshaft.ir.types import boolean, i64
from camshaft.program.arena import ALIGNMENT
from camshaft.program.shape import PLACE_WORDS, SET_SHAPE, Items, Sizing


def set_shape_source(target: CpuTarget, sizing: Sizing) -> Source:
    """Two phases; all their arguments are i64.

    The first has one item and args = (given, loads, outputs, results): see `Sizing`, whose dims
    are the loads.
    An item of the second is a word: args = (results, base, first, second, places, words), and
    words[places[i]] = base[i] + results[first[i]] + results[second[i]].
    """
    module = Module(target)
    written = ("loads", "outputs", "results")
    args = [Arg("given", i64, readonly=True, noalias=True)]
    with module.phase(
        sizing.function(SET_SHAPE), 1, args + [Arg(n, i64, noalias=True) for n in written]
    ) as k:
        k.store(k.index(0), k.args["results"].at(sizing.fits))
        given = [k.load(k.args["given"].at(i)) for i in range(len(sizing.given))]
        sizes = {symbol: given[i] for symbol, i in sizing.sources.items()}
        with k.if_(_in_range(k, sizes)):  # what follows relies on it: no divisor is 0
            _compute(k, sizing, given, _Writer(k, sizes))
    read = ("results", "base", "first", "second", "places")
    args = [Arg(n, i64, readonly=True, noalias=True) for n in read]
    with module.phase(
        sizing.function(PLACE_WORDS), 1, [*args, Arg("words", i64, noalias=True)]
    ) as k:
        results = k.args["results"]
        with k.loop(k.begin, k.end) as i:
            base, first, second, place = (k.load(k.args[n].at(i)) for n in read[1:])
            value = base + k.load(results.at(first)) + k.load(results.at(second))
            k.store(value, k.args["words"].at(place))
    return module.source()


def _in_range(k: FunctionBuilder, sizes: Mapping[Symbol, Value]) -> Value:
    """Whether every size lies in its symbol's range."""
    fits = k.const(True, boolean)
    for symbol, size in sizes.items():
        fits = fits & (size >= symbol.low)
        if symbol.high is not None:
            fits = fits & (size <= symbol.high)
    return fits


def _compute(k: FunctionBuilder, sizing: Sizing, given: list[Value], writer: _Writer) -> None:
    """Everything, for sizes that are in range."""

    def store(extents: Sequence[Extent | Items], to: Pointer) -> None:
        for i, e in enumerate(extents):
            k.store(k.index(writer.items(e) if isinstance(e, Items) else writer.value(e)), to.at(i))

    results = k.args["results"]
    store(sizing.extents, results)
    store(sizing.dims, k.args["loads"])
    store(sizing.outputs, k.args["outputs"])
    ends: list[Value] = []
    total = k.index(0)
    for i, (nbytes, above) in enumerate(sizing.slots, len(sizing.extents)):
        offset = k.index(0)
        for j in above:
            offset = k.max(offset, ends[j])
        k.store(offset, results.at(i))
        end = offset + writer.value(nbytes)
        ends.append((end + (ALIGNMENT - 1)) & -ALIGNMENT)
        total = k.max(total, end)
    k.store(total, results.at(sizing.arena_bytes))
    k.store(k.index(0), results.at(sizing.zero))
    fits = k.const(True, boolean)
    for value, e in zip(given, sizing.given, strict=True):
        fits = fits & k.eq(value, writer.value(e))
    for c in sizing.constraints:
        gap = k.index(writer.value(c.left)) - writer.value(c.right)
        fits = fits & (k.eq(gap, 0) if c.kind == "==" else gap >= 0)
    for e in sizing.unproven:
        fits = fits & (k.index(writer.value(e)) >= 0)
    k.store(k.select(fits, k.index(1), 0), results.at(sizing.fits))


class _Writer:
    """Writes extents as code, each sum and atom once."""

    def __init__(self, k: FunctionBuilder, sizes: Mapping[Symbol, Value]) -> None:
        self.k, self.sizes = k, sizes
        self.done: dict[Dim, Value] = {}
        self.atoms: dict[Atom, Value] = {}

    def items(self, items: Items) -> Value:
        """The number of items, 0 where they have no turn."""
        k = self.k
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
        k = self.k
        if atom.op in ("min", "max"):
            return k.min(a, b) if atom.op == "min" else k.max(a, b)
        x, y = k.index(a), k.index(b)
        if bounds(first)[0] >= 0:
            return x // y if atom.op == "div" else x % y
        left = k.rem(k.rem(x, y) + y, y)  # with the sign of the divisor, which is positive
        return left if atom.op == "mod" else k.div(x - left, y)
