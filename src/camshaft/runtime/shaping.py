"""Setting a shape: from the arrays of a call to tables that fit them.

A program with open extents has rows whose items, arguments and dims depend on the sizes that a
call brings along.  Generated code (`program.shape`) checks the sizes, computes all that depends on them
and writes it to the words of the tables that vary; what is left here is to call it, and to say what
is wrong with sizes that it refuses.  Nothing of this runs when a call has the shapes of the one
before.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise

import numpy as np

from camshaft.errors import BuildError, ShapeError
from camshaft.ir.extents.extent import Dim, Extent, operands
from camshaft.ir.extents.sizes import evaluate
from camshaft.ir.extents.symbol import Call, Symbol, terms_of
from camshaft.program.program import Binding, Launch
from camshaft.program.rows import Targets
from camshaft.program.shape import PLACE_WORDS, SET_SHAPE, Items, Sizing, items_of
from camshaft.program.view import Buffer
from camshaft.runtime.driver import LinkedProgram
from camshaft.runtime.linked import LinkedEngine
from camshaft.runtime.sizes import Shapes, Sizes, bytes_by_name, check_bytes, sizes_of, sources

_MOST = 1 << 60
"""Within this, extents need no exact look before they are computed in 64 bits."""


class _Words:
    """Words of a context's tables while they are collected: word i is
    base[i] + results[first[i]] + results[second[i]] and lies where `at[i]` says in its table."""

    def __init__(self) -> None:
        self.at: list[int] = []
        self.terms: list[tuple[int, int, int]] = []
        self.states: list[str] = []

    def add(self, at: int, base: int, first: int, second: int, state: str = "") -> None:
        """state: the name of the state in whose memory the word points, if it does."""
        self.at.append(at)
        self.terms.append((base, first, second))
        self.states.append(state)


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
        address = self._linked.address(SET_SHAPE, sizing.function(SET_SHAPE))
        pointers = [given, dims.ctypes.data, outputs, results]
        self._compute = self._linked.bound(address, pointers, 0, 1)
        self._fits, self._bytes = sizing.fits, sizing.arena_bytes
        self._ranks = [len(place.extents) for place in sources(program)]
        ends = [0, *accumulate(b.type.rank for b in program.outputs)]
        self._output_slices = [slice(a, b) for a, b in pairwise(ends)]
        self._sources = [(s.name, i) for s, i in sizing.sources.items()]
        self._bound_extents()
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
        owners = np.array([name for words in tables for name in words.states], object)
        self._in_states = {
            s.name: (found := np.flatnonzero(owners == s.name), base[found])
            for s in self.program.states
        }
        self._kept = (first, second, places)
        addresses = [a.ctypes.data for a in (base, *self._kept)]
        pointers = [ctypes.addressof(self._results), *addresses, table]
        address = self._linked.address(SET_SHAPE, self._sizing.function(PLACE_WORDS))
        self._place = self._linked.bound(address, pointers, 0, len(base))

    def _bound_extents(self) -> None:
        """Find a bound of all extents by the largest size of a call."""
        program = self.program
        sized = [e for _, e in bytes_by_name(program)]
        others: list[Extent] = [e for c in program.constraints for e in (c.left, c.right)]
        others += [e.when.extent if isinstance(e, Items) else e for e in self._sizing.extents]
        self._others = [*others, *self._sizing.dims]
        bounds = [_bound(e) for e in (*sized, *self._others)]
        self._scale = max((scale for scale, _ in bounds), default=0)
        self._degree = max((degree for _, degree in bounds), default=0)

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
                    elif space == "state":
                        args.add(at, base, number, zero, view.buffer.name)
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
            given = [d for shape in shapes for d in shape]
            if self._scale * max([1, *given]) ** self._degree > _MOST:
                self._check_exactly(shapes)
            self._given[:] = [*given]
            self._compute()
            if self._results[self._fits]:
                return self._results[self._bytes]
        sizes_of(self.program, shapes)  # says what is wrong
        raise BuildError(
            f"the engine's code refuses the shapes {shapes}, which its program takes: the two do not "
            "belong together; rebuild the engine"
        )

    def _check_exactly(self, shapes: Shapes) -> None:
        """Errors as in `sizes_of`, and ShapeError for what no memory holds: generated code, which
        computes in 64 bits, must not see such sizes."""
        sizes = sizes_of(self.program, shapes)
        check_bytes(self.program, sizes)
        for other in self._others:
            if abs(evaluate(other, sizes)) > _MOST:
                raise ShapeError(f"{other} is too large at {sizes}; give smaller inputs")

    def move(self, arena: int) -> None:
        """The arena lies at this address from now on."""
        self._base[self._in_arena] = self._unplaced + arena

    def move_states(self, addresses: Mapping[str, int]) -> None:
        """The states lie at these addresses, by name, from now on."""
        for name, (words, unplaced) in self._in_states.items():
            self._base[words] = unplaced + addresses[name]

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


def _bound(extent: Extent) -> tuple[int, int]:
    """(scale, degree): the extent, and all that it is computed from, lies within
    scale * L**degree, where L is the largest of its symbols and 1."""
    if isinstance(extent, int):
        return max(1, abs(extent)), 0
    total, most = 0, 0
    for monomial, coefficient in terms_of(extent):
        scale, degree = abs(coefficient), 0
        for atom, power in monomial:
            scale_, degree_ = (1, 1) if isinstance(atom, Symbol) else _bound_of_call(atom)
            scale, degree = scale * scale_**power, degree + degree_ * power
        total, most = total + scale, max(most, degree)
    return total, most


def _bound_of_call(atom: Call) -> tuple[int, int]:
    first, second = map(_bound, operands(atom))
    return max(first[0], second[0]), max(first[1], second[1])
