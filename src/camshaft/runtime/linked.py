"""An engine's code and weights in this process: what all of its contexts share.

Links the code, makes the constants that the file does not hold, and turns a program into rows of
addresses for one arena.  `ExecutionContext` adds the arena, the threads and the arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from copy import copy

import numpy as np

from camshaft.errors import BuildError, EngineFileError, ModelError
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import evaluate
from camshaft.ir.types import TensorType
from camshaft.program.program import HostCall, Launch, Phase, Program
from camshaft.program.rows import Patch, Row
from camshaft.program.shape import PLACE_WORDS, SET_SHAPE, Items, Sizing, items_of
from camshaft.program.view import Buffer, View
from camshaft.runtime.bindings import Bindings, fixed_arrays
from camshaft.runtime.driver import RUNNER, driver_named
from camshaft.runtime.expand import expand, fill
from camshaft.runtime.host import operator_of


class LinkedEngine:
    """Linked code, constants and the program.  Immutable; shared by contexts in any thread."""

    def __init__(
        self,
        program: Program,
        driver: str,
        constants: Mapping[str, np.ndarray],
        code: Mapping[str, bytes],
    ) -> None:
        """driver: name of what runs it.  constants: those stored, 64-byte aligned.

        BuildError if code does not link, or if there is no memory for the expanded constants.  ModelError names an
        operator or function of users that this process lacks.
        """
        self.program = program
        fixed = fixed_arrays(program, constants)
        self.inputs = Bindings("input", program.inputs, fixed)
        self.outputs = Bindings("output", program.outputs)
        self.numbers = {("input", b.name): i for i, b in enumerate(program.inputs)}
        self.numbers |= {
            ("output", b.name): i for i, b in enumerate(program.outputs, len(program.inputs))
        }
        symbols: dict[str, list[str]] = {}
        used = [(kernel.code, phase) for kernel in program.kernels for phase in kernel.phases]
        used += [(e.code, e.phase) for e in program.expanded]
        if program.symbols:
            sizing = Sizing.of(program)
            names = map(sizing.function, (SET_SHAPE, PLACE_WORDS))
            used += [(SET_SHAPE, Phase(name, 1)) for name in names]
        for name, phase in used:
            wanted = symbols.setdefault(name, [])
            if phase.symbol not in wanted:
                wanted.append(phase.symbol)
        imports: dict[str, tuple[str, ...]] = {
            k.code: k.imports for k in program.kernels if k.imports
        }
        self.linked = driver_named(driver).link(code, symbols, code[RUNNER], imports)
        for call in program.instructions:
            if isinstance(call, HostCall) and call.asks:
                operator_of(call, constants)
        self.constants = {**constants, **expand(program.expanded, constants, self.linked)}
        self._stored = constants
        self._addresses = {n: a.ctypes.data for n, a in self.constants.items()}
        self.typical = program.typical
        self.dims_at: dict[int, int] = {}
        self.dims_count = 0
        for index, instruction in enumerate(program.instructions):
            if isinstance(instruction, Launch) and instruction.dims:
                self.dims_at[index] = self.dims_count
                self.dims_count += len(instruction.dims)

    def holding(self, constants: Mapping[str, np.ndarray]) -> LinkedEngine:
        """The same with these arrays in place of equal ones."""
        made = copy(self)
        made.constants = {**self.constants, **constants}
        made._stored = {n: made.constants[n] for n in self._stored}
        made._addresses = {n: a.ctypes.data for n, a in made.constants.items()}
        return made

    def expand_again(self, changed: Collection[str]) -> None:
        """Make the constants again that are expanded from these stored ones."""
        wanted = [e for e in self.program.expanded if e.stored in changed]
        fill(wanted, self._stored, self.constants, self.linked)

    @property
    def typical_types(self) -> list[TensorType]:
        """Types of the arrays of a call, inputs first, at typical sizes."""
        return [
            TensorType(t.dtype, tuple(evaluate(e, self.typical) for e in t.shape))
            for t in (*self.inputs.types, *self.outputs.types)
        ]

    @property
    def addresses(self) -> Mapping[str, int]:
        """Where each constant lies."""
        return self._addresses

    def dims(self) -> np.ndarray:
        """A context's block of dims: int64 [dims_count], 0 for what sizes will say."""
        launches = [i for i in self.program.instructions if isinstance(i, Launch)]
        dims = (d for i in launches for d in i.dims)
        return np.array([d if isinstance(d, int) else 0 for d in dims], np.int64)

    def rows(
        self, arena: int, dims: np.ndarray, others: Mapping[Buffer, int]
    ) -> tuple[list[Row], list[int]]:
        """The row table for an arena at that address, at typical sizes, and the instruction of each
        row.  dims: the context's block.  others: where its reports and states lie."""
        rows: list[Row] = []
        owners: list[int] = []
        for index, instruction in enumerate(self.program.instructions):
            made = (
                [Row(0, (), 0, True)]
                if isinstance(instruction, HostCall)
                else self._launched(index, instruction, arena, dims, others)
            )
            rows += made
            owners += [index] * len(made)
        return rows, owners

    def _launched(
        self,
        index: int,
        launch: Launch,
        arena: int,
        dims: np.ndarray,
        others: Mapping[Buffer, int],
    ) -> list[Row]:
        """One row for each phase; those after the first wait for the one before."""
        kernel = self.program.kernels[launch.kernel]
        args = tuple(
            0 if view is None else self._argument(view, arena, others) for view in launch.views
        )
        if launch.dims:
            args += (dims.ctypes.data + 8 * self.dims_at[index],)
        return [
            Row(
                self.linked.address(kernel.code, phase.symbol),
                args,
                self._items(items_of(launch, phase)),
                launch.waits or i > 0,
            )
            for i, phase in enumerate(kernel.phases)
        ]

    def _items(self, items: Extent | Items) -> int:
        """Work items; several where they vary, so that others wait for them."""
        if isinstance(items, int):
            return items
        return max(2, evaluate(items.count if isinstance(items, Items) else items, self.typical))

    def _argument(self, view: View, arena: int, others: Mapping[Buffer, int]) -> int | Patch:
        buffer, first = view.buffer, evaluate(view.first_byte, self.typical)
        if buffer.space == "constant":
            return self._addresses[buffer.name] + first
        if buffer.space in ("report", "state"):
            return others[buffer] + first
        if buffer in self.program.offsets:
            return arena + self.program.offsets[buffer] + first
        return Patch(self.numbers[buffer.space, buffer.name], first)


def link_loaded(link: Callable[[], object], title: str, rebuild: str) -> None:
    """Link an engine that a file holds.  EngineFileError says that its code cannot be used, or what of users this process
    lacks.  title: of the file.  rebuild: how to make another."""
    try:
        link()
    except BuildError as error:
        raise EngineFileError(f"{title}: its code cannot be used: {error}; {rebuild}") from error
    except ModelError as error:
        raise EngineFileError(f"{title}: {error}") from error
