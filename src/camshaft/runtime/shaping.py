"""Setting a shape: from the arrays of a call to tables that fit them.

A program with open extents has rows whose items, arguments and dims depend on the sizes that a
call brings along.  Generated code (`program.shape`) checks the sizes, computes all that depends on them
and writes it to the words of the tables that vary; what is left here is to call it, and to say what
is wrong with sizes that it refuses.  Nothing of this runs when a call has the shapes of the one
before.
"""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from camshaft.errors import BindingError, ShapeError
from camshaft.ir.extents.extent import Dim, Extent, sole_symbol
from camshaft.ir.extents.sizes import Constraint, evaluate
from camshaft.ir.extents.symbol import Symbol
from camshaft.program.program import Binding, Launch, Program
from camshaft.program.rows import Targets
from camshaft.program.shape import PLACE_WORDS, SET_SHAPE, Items, Sizing, items_of
from camshaft.program.view import Buffer
from camshaft.runtime.bindings import Bindings
from camshaft.runtime.driver import LinkedProgram
from camshaft.runtime.linked import LinkedEngine

Sizes = dict[str, int]
_FAR = 512
"""How far from a size that does not fit one that does is looked for."""


def sizes_of(program: Program, shapes: Sequence[tuple[int, ...]]) -> Sizes:
    """The symbols' sizes from the shapes of the inputs, in order.

    ShapeError names the input and axis that does not fit, the value there and what is allowed, or
    the node that needs other sizes.
    """
    sizes: Sizes = {}
    by: dict[str, str] = {}
    for binding, shape in zip(program.inputs, shapes, strict=True):
        declared = binding.type.shape
        if len(shape) != len(declared):
            raise ShapeError(
                f"input {binding.name!r} has shape {shape}, expected {binding.type!r}: its rank is "
                f"{len(declared)}"
            )
        for axis, (extent, size) in enumerate(zip(declared, shape, strict=True)):
            symbol = sole_symbol(extent)
            if symbol is None:
                continue
            where = f"input {binding.name!r}, axis {axis}"
            if sizes.setdefault(symbol.name, size) != size:
                raise ShapeError(
                    f"{where} is {size}, and {by[symbol.name]} is {sizes[symbol.name]}: both are "
                    f"{symbol.name}, one size"
                )
            by.setdefault(symbol.name, where)
            if size < symbol.low or (symbol.high is not None and size > symbol.high):
                raise ShapeError(
                    f"{where} is {size}, and the engine was built for {symbol.name} = "
                    f"{symbol.range}; rebuild with a wider range (shapes= or profiles=), where the "
                    "model allows it"
                )
    for binding, shape in zip(program.inputs, shapes, strict=True):
        expected = tuple(evaluate(e, sizes) for e in binding.type.shape)
        if shape != expected:
            here = "" if expected == binding.type.shape else f", which is {expected} here"
            raise ShapeError(
                f"input {binding.name!r} has shape {shape}, expected {binding.type!r}{here}"
            )
    for constraint in program.constraints:
        if not constraint.holds(sizes):
            raise _broken(program, constraint, sizes)
    return sizes


def _broken(program: Program, constraint: Constraint, sizes: Sizes) -> ShapeError:
    """The error for sizes that break a constraint."""
    symbols = constraint.symbols
    given = ", ".join(f"{s.name}={sizes[s.name]}" for s in symbols)
    near = _near(program, symbols[0], sizes) if len(symbols) == 1 else []
    mend = f"; the next that fit: {' and '.join(map(str, near))}" if near else ""
    return ShapeError(
        f"{constraint.why} needs {constraint}, which {given} breaks"
        f"{mend or '; give inputs of other sizes'}"
    )


def _near(program: Program, symbol: Symbol, sizes: Sizes) -> list[int]:
    """The next smaller and the next larger size that meet all that is required of this symbol alone."""
    size = sizes[symbol.name]
    rules = [c for c in program.constraints if c.symbols == (symbol,)]
    top = size + _FAR if symbol.high is None else min(symbol.high, size + _FAR)
    ways = (range(size - 1, max(symbol.low, size - _FAR) - 1, -1), range(size + 1, top + 1))
    found = (
        next((n for n in way if all(r.holds({symbol.name: n}) for r in rules)), None)
        for way in ways
    )
    return [n for n in found if n is not None]


def output_shapes(
    program: Program, inputs: Bindings, given: Mapping[str, Any]
) -> dict[str, tuple[int, ...]]:
    """Shapes of the outputs by name.  given: input name -> array, or shape as tuple or list.

    Errors as in `Bindings.arrange` and `sizes_of`.
    """
    shapes = [_shape(name, x) for name, x in zip(inputs.names, inputs.arrange(given), strict=True)]
    sizes = sizes_of(program, shapes)
    return {b.name: tuple(evaluate(e, sizes) for e in b.type.shape) for b in program.outputs}


def _shape(name: str, given: Any) -> tuple[int, ...]:
    if not isinstance(given, tuple | list):
        return np.shape(given)
    try:
        shape = tuple(operator.index(d) for d in given)
    except TypeError:
        shape = (-1,)
    if any(d < 0 for d in shape):
        raise BindingError(
            f"input {name!r} is given as {given!r}, which is neither an array nor a shape; a shape "
            "holds whole numbers of at least 0"
        )
    return shape


Shapes = tuple[tuple[int, ...], ...]
"""Of the inputs, in order."""


class _Words:
    """Words of a context's tables while they are collected: word i is
    base[i] + results[first[i]] + results[second[i]] and lies where `at[i]` says in its table."""

    def __init__(self) -> None:
        self.at: list[int] = []
        self.terms: list[tuple[int, int, int]] = []

    def add(self, at: int, base: int, first: int, second: int) -> None:
        self.at.append(at)
        self.terms.append((base, first, second))


class Shaper:
    """Computes what depends on sizes, for one context."""

    def __init__(self, engine: LinkedEngine, dims: np.ndarray, context: LinkedProgram) -> None:
        """dims: the block that the rows of `context` point into; whoever holds this keeps it."""
        program = self.program = engine.program
        self._linked = engine.linked
        sizing = self._sizing = Sizing.of(program)
        self._numbers: dict[Dim | Items, int] = {e: i for i, e in enumerate(sizing.extents)}
        slots = (slot.buffer for slot in program.arena.slots)
        self._slots = {buffer: i for i, buffer in enumerate(slots, len(sizing.extents))}
        self._given = _block(len(sizing.given))
        self._outputs = _block(len(sizing.outputs))
        self._results = _block(sizing.results)
        given, outputs, results = map(ctypes.addressof, (self._given, self._outputs, self._results))
        address = self._linked.address(SET_SHAPE, SET_SHAPE)
        pointers = [given, dims.ctypes.data, outputs, results]
        self._compute = self._linked.bound(address, pointers, 0, 1)
        self._fits, self._bytes = sizing.fits, sizing.arena_bytes
        self._ranks = [b.type.rank for b in program.inputs]
        ends = [0, *accumulate(b.type.rank for b in program.outputs)]
        self._output_slices = [slice(a, b) for a, b in pairwise(ends)]
        self._sources = [(s.name, i) for s, i in sizing.sources.items()]
        self._collect(engine, context)

    # -- made once ---------------------------------------------------------------------------

    def _collect(self, engine: LinkedEngine, context: LinkedProgram) -> None:
        """Find every word that varies."""
        bindings = (*self.program.inputs, *self.program.outputs)
        tables = (*self._rows(engine), *self._bindings(bindings))
        table, places = context.words(Targets(*(np.array(w.at, np.int64) for w in tables)))
        columns = np.array([term for words in tables for term in words.terms], np.int64)
        base, first, second = np.ascontiguousarray(columns.reshape(-1, 3).T)
        self._in_arena = np.flatnonzero(np.isin(second, list(self._slots.values())))
        self._base, self._unplaced = base, base[self._in_arena]
        self._kept = (first, second, places)
        addresses = [a.ctypes.data for a in (base, *self._kept)]
        pointers = [ctypes.addressof(self._results), *addresses, table]
        address = self._linked.address(SET_SHAPE, PLACE_WORDS)
        self._place = self._linked.bound(address, pointers, 0, len(base))

    def _split(self, extent: Extent | Items) -> tuple[int, int]:
        """(constant, number of a result) whose sum is the extent."""
        if isinstance(extent, int):
            return extent, self._sizing.zero
        return 0, self._numbers[extent]

    def _rows(self, engine: LinkedEngine) -> tuple[_Words, _Words, _Words]:
        """Items, arguments and patches of the rows that `LinkedEngine.rows` makes."""
        items, args, patches = _Words(), _Words(), _Words()
        row = at = patch = 0
        zero = self._sizing.zero
        for instruction in self.program.instructions:
            if not isinstance(instruction, Launch):
                row += 1
                continue
            for phase in self.program.kernels[instruction.kernel].phases:
                items.add(row, *self._split(items_of(instruction, phase)), zero)
                for view in instruction.views:
                    if view is None:
                        at += 1
                        continue
                    base, number = self._split(view.first_byte)
                    space = view.buffer.space
                    if space == "constant":
                        args.add(at, engine.addresses[view.buffer.name] + base, number, zero)
                    elif space in ("input", "output"):
                        patches.add(patch, base, number, zero)
                        patch += 1
                    elif space != "report":  # which stays where it is
                        args.add(at, base, number, self._slots[view.buffer])
                    at += 1
                at += bool(instruction.dims)
                row += 1
        return items, args, patches

    def _bindings(self, bindings: Sequence[Binding]) -> tuple[_Words, _Words]:
        nbytes, shapes = _Words(), _Words()
        zero = self._sizing.zero
        for i, binding in enumerate(bindings):
            nbytes.add(i, *self._split(binding.type.nbytes), zero)
            for extent in binding.type.shape:
                shapes.add(len(shapes.at), *self._split(extent), zero)
        return nbytes, shapes

    # -- for a call --------------------------------------------------------------------------

    def compute(self, shapes: Shapes) -> int:
        """Compute all that depends on these shapes, dims included; returns the bytes that the arena
        needs.  The context must not run meanwhile, nor before `place`.  Errors as in `sizes_of`.
        """
        if [len(shape) for shape in shapes] == self._ranks:
            self._given[:] = [d for shape in shapes for d in shape]
            self._compute()
            if self._results[self._fits]:
                return self._results[self._bytes]
        sizes_of(self.program, shapes)  # says what is wrong
        raise AssertionError(f"shapes {shapes} are refused for nothing")

    def move(self, arena: int) -> None:
        """The arena lies at this address from now on."""
        self._base[self._in_arena] = self._unplaced + arena

    def place(self) -> None:
        """Write what was computed to the tables."""
        self._place()

    @property
    def output_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the outputs that were computed last."""
        return [tuple(self._outputs[s]) for s in self._output_slices]

    @property
    def sizes(self) -> Sizes:
        """Sizes of the symbols that things were computed for last."""
        return {name: self._given[i] for name, i in self._sources}

    @property
    def offsets(self) -> dict[Buffer, int]:
        """Where each buffer of the arena lies in it, in bytes, as was computed last."""
        return {buffer: self._results[i] for buffer, i in self._slots.items()}


def _block(count: int) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * max(1, count))()
