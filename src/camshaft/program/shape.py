"""What depends on the sizes of a call: the order in which code that sets a shape computes it.

Both the build, which makes that code, and the runtime, which calls it, derive the order from the
program, so it is stored nowhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from camshaft.ir.extents.extent import Dim, Extent, extent_of, sole_symbol
from camshaft.ir.extents.sizes import Constraint
from camshaft.ir.extents.symbol import Symbol
from camshaft.program.program import Launch, Phase, Program, When

SET_SHAPE = "set_shape"
"""Name of the object code, and of the function in it that computes (see `backends.cpu.set_shape`)."""
PLACE_WORDS = "place_words"
"""The function in it that writes what was computed to where it belongs."""


@dataclass(frozen=True)
class Items:
    """Work items of a launch that has some only at certain sizes: `count` of them, else none."""

    count: Extent
    when: When

    def __str__(self) -> str:
        return f"{self.count} if {self.when}"


def items_of(launch: Launch, phase: Phase) -> Extent | Items:
    """Work items of one phase of a launch."""
    return phase.items if launch.when is None else Items(phase.items, launch.when)


@dataclass(frozen=True)
class Sizing:
    """What code that sets a shape is given and computes.

    given: extents of the inputs, one behind the other, then elements that say sizes, then counts of kept rows,
    then lengths of growing states.
    outputs: extents of the outputs.
    dims: what kernels load, launch after launch.
    extents: everything else that varies and that rows, arguments and bindings need, each once.
    slots: for each slot of the arena its bytes and the earlier slots that it lies above.
    unproven: what must come to at least 0 (`Program.unproven`).
    """

    symbols: tuple[Symbol, ...]
    constraints: tuple[Constraint, ...]
    given: tuple[Extent, ...]
    outputs: tuple[Extent, ...]
    dims: tuple[Extent, ...]
    extents: tuple[Dim | Items, ...]
    slots: Sequence[tuple[Extent, Sequence[int]]]
    unproven: tuple[Dim, ...] = ()

    @staticmethod
    def of(program: Program) -> Sizing:
        """Of a program with symbols."""
        launches = [i for i in program.instructions if isinstance(i, Launch)]
        return Sizing(
            program.symbols,
            program.constraints,
            (
                *(e for b in program.inputs for e in b.type.shape),
                *(e for b in program.valued for e in b.values),
                *(extent_of(kept.symbol) for _, kept in program.masks),
                *(s.length for s in program.growing),
            ),
            tuple(e for b in program.outputs for e in b.type.shape),
            tuple(e for launch in launches for e in launch.dims),
            _varying(program, launches),
            [(slot.buffer.nbytes, slot.above) for slot in program.arena.slots],
            tuple(program.unproven),
        )

    @cached_property
    def digest(self) -> str:
        """A hash of all of it: part of the names of the functions, which serve no other sizing."""
        slots = ((str(nbytes), tuple(above)) for nbytes, above in self.slots)
        symbols = ((s.name, s.low, s.high) for s in self.symbols)
        parts = (self.constraints, self.given, self.outputs, self.dims, self.extents)
        text = repr((*symbols, *([*map(str, part)] for part in parts), *slots))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def function(self, name: str) -> str:
        """What the code calls its function SET_SHAPE or PLACE_WORDS."""
        return f"{name}_{self.digest}"

    @cached_property
    def sources(self) -> dict[Symbol, int]:
        """For each symbol the number of the given extent that it is read from."""
        found: dict[Symbol, int] = {}
        for i, e in enumerate(self.given):
            symbol = sole_symbol(e)
            if symbol is not None:
                found.setdefault(symbol, i)
        return found

    # -- results, in order: extents, offsets of slots, and these ---------------------------------

    @property
    def arena_bytes(self) -> int:
        """Number of the result that says how many bytes the arena needs."""
        return len(self.extents) + len(self.slots)

    @property
    def zero(self) -> int:
        """Number of a result that is 0."""
        return self.arena_bytes + 1

    @property
    def fits(self) -> int:
        """Number of the result that is 1 if the sizes are allowed, else 0; then no other counts."""
        return self.arena_bytes + 2

    @property
    def results(self) -> int:
        """How many there are."""
        return self.arena_bytes + 3


def _varying(program: Program, launches: Sequence[Launch]) -> tuple[Dim | Items, ...]:
    found: dict[Dim | Items, None] = {}

    def add(*extents: Extent | Items) -> None:
        found.update((e, None) for e in extents if not isinstance(e, int))

    for binding in (*program.inputs, *program.outputs):
        add(binding.type.nbytes, *binding.type.shape)
    for launch in launches:
        add(*(items_of(launch, phase) for phase in program.kernels[launch.kernel].phases))
        add(*(view.first_byte for view in launch.views if view is not None))
    return tuple(found)
