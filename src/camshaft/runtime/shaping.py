"""Setting a shape: from the arrays of a call to tables that fit them.

A program with open extents has rows whose items, arguments and dims depend on the sizes that a
call brings along.  Generated code (`program.shape`) computes all of them and the arena's offsets
from the sizes; what is left here is to put the results where they belong, in one assignment of a
whole array.  Nothing of this runs when a call has the shapes of the one before, and little for the
last few shapes.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import inf
from typing import Any

import numpy as np

from camshaft.errors import BindingError, ShapeError
from camshaft.ir.extents.extent import Dim, Extent, sole_symbol
from camshaft.ir.extents.sizes import Constraint, evaluate
from camshaft.ir.extents.symbol import Symbol
from camshaft.program.program import Binding, Launch, Program
from camshaft.program.rows import Targets
from camshaft.program.shape import SET_SHAPE, Items, items_of, shape_extents
from camshaft.runtime.bindings import Bindings
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


REMEMBERED = 32
"""Shapes of calls for which a context keeps what it computed."""

Shapes = tuple[tuple[int, ...], ...]


@dataclass(slots=True)
class Fitted:
    """What a context's tables hold at some sizes.

    shapes: of the inputs.  values: for `Targets`, int64.  outputs: shapes of the outputs.
    offsets: where the buffers of the arena lie in it, by slot, in bytes.
    """

    shapes: Shapes
    sizes: Sizes
    values: np.ndarray
    outputs: tuple[tuple[int, ...], ...]
    offsets: np.ndarray


class _Words:
    """Words of one table while they are collected: value i is
    base[i] + results[first[i]] + results[second[i]], where `at[i]` says."""

    def __init__(self) -> None:
        self.at: list[int] = []
        self.terms: list[tuple[int, int, int]] = []

    def add(self, at: int, base: int, first: int, second: int) -> None:
        self.at.append(at)
        self.terms.append((base, first, second))


class Shaper:
    """Computes what depends on sizes, for one context.

    Results are, in this order: values of the extents, arena offsets, the arena's bytes, and a zero.
    """

    def __init__(self, engine: LinkedEngine, dims: np.ndarray) -> None:
        """dims: the context's block."""
        program = self.program = engine.program
        self._linked = engine.linked
        extents = shape_extents(program)
        self._numbers: dict[Dim | Items, int] = {e: i for i, e in enumerate(extents)}
        self._slots = {slot.buffer: len(extents) + i for i, slot in enumerate(program.arena.slots)}
        self._total = len(extents) + len(program.arena.slots)
        self._placed = slice(len(extents), self._total)
        self._results = np.zeros(self._total + 2, np.int64)
        self._given = np.zeros(len(program.symbols), np.int64)
        self._pointers = (self._given.ctypes.data, self._results.ctypes.data)
        self._address = self._linked.address(SET_SHAPE, SET_SHAPE)
        self._known: dict[Shapes, Fitted] = {}
        self._collect(engine, dims)
        self._compile()

    # -- made once ---------------------------------------------------------------------------

    def _collect(self, engine: LinkedEngine, dims: np.ndarray) -> None:
        """Find every word that varies."""
        bindings = (*self.program.inputs, *self.program.outputs)
        tables = (*self._rows(engine), *self._bindings(bindings))
        places = [np.array(words.at, np.int64) for words in tables]
        items, args, patches, nbytes, shapes = places
        self.targets = Targets(items, args, patches, nbytes, shapes, dims)
        launches = [i for i in self.program.instructions if isinstance(i, Launch)]
        terms = [term for words in tables for term in words.terms]
        terms += [(*self._split(e), self._total + 1) for launch in launches for e in launch.dims]
        columns = np.array(terms, np.int64).reshape(-1, 3)
        self._base, self._terms = columns[:, 0].copy(), columns[:, 1:].T.copy()
        self._shapes_at = sum(place.size for place in places[:-1])

    def _compile(self) -> None:
        """What `compute` looks at, in a form that is quick to go through."""
        inputs = self.program.inputs
        self._ranks = [b.type.rank for b in inputs]
        self._names = [s.name for s in self.program.symbols]
        where: dict[str, tuple[int, int]] = {}
        for i, b in enumerate(inputs):
            for axis, e in enumerate(b.type.shape):
                symbol = sole_symbol(e)
                if symbol is not None:
                    where.setdefault(symbol.name, (i, axis))
        self._sources = [
            (*where[s.name], s.low, inf if s.high is None else s.high) for s in self.program.symbols
        ]
        self._rules = [
            (c.kind == "==", *self._split(c.left), *self._split(c.right))
            for c in self.program.constraints
        ]
        ends = [0, *accumulate(b.type.rank for b in (*inputs, *self.program.outputs))]
        self._input_extents, self._extent_count = ends[len(inputs)], ends[-1]
        outputs = ends[len(inputs) :]
        self._output_slices = [slice(a, b) for a, b in pairwise(outputs)]

    def _split(self, extent: Extent | Items) -> tuple[int, int]:
        """(constant, number of a result) whose sum is the extent."""
        if isinstance(extent, int):
            return extent, self._total + 1
        return 0, self._numbers[extent]

    def _rows(self, engine: LinkedEngine) -> tuple[_Words, _Words, _Words]:
        """Items, arguments and patches of the rows that `LinkedEngine.rows` makes."""
        items, args, patches = _Words(), _Words(), _Words()
        row = at = patch = 0
        zero = self._total + 1
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
        zero = self._total + 1
        for i, binding in enumerate(bindings):
            nbytes.add(i, *self._split(binding.type.nbytes), zero)
            for extent in binding.type.shape:
                shapes.add(len(shapes.at), *self._split(extent), zero)
        return nbytes, shapes

    # -- for a call --------------------------------------------------------------------------

    def remembered(self, shapes: Shapes) -> Fitted | None:
        """What was `fitted` for these shapes of the inputs lately."""
        return self._known.get(shapes)

    def compute(self, shapes: Shapes) -> int:
        """Compute results for these shapes of the inputs; returns the bytes that the arena needs.

        Errors as in `sizes_of`.
        """
        sizes = self._in_range(shapes)
        if sizes is not None:
            self._given[:] = sizes
            self._linked.call(self._address, self._pointers, 0, 1)
        if sizes is None or not self._allowed():
            sizes_of(self.program, shapes)  # says what is wrong
            raise AssertionError(f"sizes {sizes} of {self.program.symbols} are refused for nothing")
        return int(self._results[self._total])

    def fitted(self, shapes: Shapes, arena: int) -> Fitted:
        """What belongs into the tables after `compute`.  arena: its address.  Errors as there."""
        placed = self._results[self._placed]
        offsets = placed.copy()
        placed += arena
        terms = self._results[self._terms]
        values = terms[0] + terms[1]
        values += self._base
        at = self._shapes_at
        extents = values[at : at + self._extent_count].tolist()
        if extents[: self._input_extents] != [d for shape in shapes for d in shape]:
            sizes_of(self.program, shapes)  # says what is wrong
            raise AssertionError(f"shapes {shapes} are refused for nothing")
        outputs = tuple(tuple(extents[s]) for s in self._output_slices)
        sizes = dict(zip(self._names, self._given.tolist(), strict=True))
        return Fitted(shapes, sizes, values, outputs, offsets)

    def remember(self, fitted: Fitted, *, moved: bool) -> None:
        """Keep it for `remembered`.  moved: the arena has another address than before."""
        if moved:
            self._known.clear()
        if fitted.shapes not in self._known and len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[fitted.shapes] = fitted

    def _in_range(self, shapes: Shapes) -> list[int] | None:
        """Sizes of the symbols, None if a rank or a size is wrong."""
        if [len(shape) for shape in shapes] != self._ranks:
            return None
        sizes = []
        for i, axis, low, high in self._sources:
            size = shapes[i][axis]
            if not low <= size <= high:
                return None
            sizes.append(size)
        return sizes

    def _allowed(self) -> bool:
        """Whether the results keep the program's constraints."""
        results = self._results
        for equal, a, i, b, j in self._rules:
            gap = a + results[i] - b - results[j]
            if gap < 0 or (equal and gap):
                return False
        return True
