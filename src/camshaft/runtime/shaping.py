"""Setting a shape: from the arrays of a call to tables that fit them.

A program with open extents has rows whose items, arguments and dims depend on the sizes that a
call brings along.  Generated code (`program.shape`) computes all of them and the arena's offsets
from the sizes; what is left here is to put the results where they belong, in a few assignments
of whole arrays.  Nothing of this runs when a call has the sizes of the one before.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from camshaft.errors import BindingError, ShapeError
from camshaft.ir.extent import Dim, Extent, sole_symbol, symbols_of
from camshaft.ir.sizes import evaluate
from camshaft.ir.symbol import Symbol
from camshaft.program.program import Binding, Launch, Program, Requirement
from camshaft.program.rows import Targets, Words
from camshaft.program.shape import SET_SHAPE, shape_extents
from camshaft.runtime.bindings import Bindings
from camshaft.runtime.driver import LinkedCode

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
    for requirement in program.constraints:
        if not requirement.holds(sizes):
            raise _broken(program, requirement, sizes)
    return sizes


def _broken(program: Program, requirement: Requirement, sizes: Sizes) -> ShapeError:
    """The error for sizes that break a requirement."""
    symbols = symbols_of(requirement.left, requirement.right)
    given = ", ".join(f"{s.name}={sizes[s.name]}" for s in symbols)
    near = _near(program, symbols[0], sizes) if len(symbols) == 1 else []
    mend = f"; the next that fit: {' and '.join(map(str, near))}" if near else ""
    return ShapeError(
        f"{requirement.why} needs {requirement.left} {requirement.kind} {requirement.right}, which "
        f"{given} breaks{mend or '; give inputs of other sizes'}"
    )


def _near(program: Program, symbol: Symbol, sizes: Sizes) -> list[int]:
    """The next smaller and the next larger size that meet all that is required of this symbol alone."""
    size = sizes[symbol.name]
    rules = [r for r in program.constraints if symbols_of(r.left, r.right) == (symbol,)]
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


@dataclass
class _Words:
    """`Words` while they are collected."""

    at: list[int] = field(default_factory=list)
    base: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    second: list[int] = field(default_factory=list)
    in_arena: list[int] = field(default_factory=list)

    def add(self, at: int, base: int, first: int, second: int, in_arena: bool) -> None:
        self.at.append(at)
        self.base.append(base)
        self.first.append(first)
        self.second.append(second)
        self.in_arena.append(int(in_arena))

    def frozen(self) -> Words:
        columns = (self.at, self.base, self.first, self.second, self.in_arena)
        return Words(*(np.array(column, np.int64) for column in columns))


class Shaper:
    """Computes what depends on sizes, for one context.

    results: values of the extents, then arena offsets, then the arena's bytes, then a zero.
    """

    def __init__(self, program: Program, linked: LinkedCode) -> None:
        self.program, self._linked = program, linked
        extents = shape_extents(program)
        self._numbers: dict[Dim, int] = {e: i for i, e in enumerate(extents)}
        self._slots = {slot.buffer: len(extents) + i for i, slot in enumerate(program.arena.slots)}
        self.total = len(extents) + len(program.arena.slots)
        self.results = np.zeros(self.total + 2, np.int64)
        self._sizes = np.zeros(len(program.symbols), np.int64)
        self._address = linked.address(SET_SHAPE, SET_SHAPE)

    def compute(self, sizes: Mapping[str, int]) -> int:
        """Fill `results` for these sizes; returns the bytes that the arena needs."""
        self._sizes[:] = [sizes[s.name] for s in self.program.symbols]
        pointers = (self._sizes.ctypes.data, self.results.ctypes.data)
        self._linked.call(self._address, pointers, 0, 1)
        return int(self.results[self.total])

    def split(self, extent: Extent) -> tuple[int, int]:
        """(constant, number of a result) whose sum is the extent."""
        if isinstance(extent, int):
            return extent, self.total + 1
        return 0, self._numbers[extent]

    def offset(self, buffer: Any) -> int:
        """Number of the result that says where a buffer of the arena lies."""
        return self._slots[buffer]


def targets_of(
    program: Program,
    shaper: Shaper,
    addresses: Mapping[str, int],
    dims_at: Mapping[int, int],
) -> Targets:
    """For the rows that `LinkedEngine.rows` makes.  addresses: of constants.  dims_at: instruction ->
    position of its dims in the context's block."""
    items, args, patches, dims = _Words(), _Words(), _Words(), _Words()
    row = at = patch = 0
    for index, instruction in enumerate(program.instructions):
        if not isinstance(instruction, Launch):
            row += 1
            continue
        for position, e in enumerate(instruction.dims):
            base, number = shaper.split(e)
            dims.add(dims_at[index] + position, base, number, shaper.total + 1, False)
        for phase in program.kernels[instruction.kernel].phases:
            base, number = shaper.split(phase.items)
            items.add(row, base, number, shaper.total + 1, False)
            for view in instruction.views:
                if view is None:
                    at += 1
                    continue
                base, number = shaper.split(view.first_byte)
                space = view.buffer.space
                if space == "constant":
                    args.add(
                        at, addresses[view.buffer.name] + base, number, shaper.total + 1, False
                    )
                elif space in ("input", "output"):
                    patches.add(patch, base, number, shaper.total + 1, False)
                    patch += 1
                elif space != "report":  # which stays where it is
                    args.add(at, base, number, shaper.offset(view.buffer), True)
                at += 1
            at += bool(instruction.dims)
            row += 1
    nbytes, shapes = _bindings((*program.inputs, *program.outputs), shaper)
    return Targets(*(w.frozen() for w in (items, args, patches, dims, nbytes, shapes)))


def _bindings(bindings: Sequence[Binding], shaper: Shaper) -> tuple[_Words, _Words]:
    nbytes, shapes = _Words(), _Words()
    at = 0
    for i, binding in enumerate(bindings):
        base, number = shaper.split(binding.type.nbytes)
        nbytes.add(i, base, number, shaper.total + 1, False)
        for extent in binding.type.shape:
            base, number = shaper.split(extent)
            shapes.add(at, base, number, shaper.total + 1, False)
            at += 1
    return nbytes, shapes
