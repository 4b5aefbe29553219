"""An engine's code and weights in this process: what all of its contexts share.

Links the code, makes the constants that the file does not hold, and turns a program into rows of
addresses for one arena.  `ExecutionContext` adds the arena, the threads and the arrays.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from camshaft.ir.sizes import evaluate
from camshaft.program.program import HostCall, Launch, Program
from camshaft.program.rows import Patch, Row
from camshaft.program.view import View
from camshaft.runtime.bindings import Bindings
from camshaft.runtime.driver import RUNNER, driver_named
from camshaft.runtime.expand import expand


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

        BuildError if code does not link, or if there is no memory for the expanded constants.
        """
        self.program = program
        self.inputs = Bindings("input", program.inputs)
        self.outputs = Bindings("output", program.outputs)
        self.numbers = {("input", b.name): i for i, b in enumerate(program.inputs)}
        self.numbers |= {
            ("output", b.name): i for i, b in enumerate(program.outputs, len(program.inputs))
        }
        symbols: dict[str, list[str]] = {}
        used = [(kernel.code, phase) for kernel in program.kernels for phase in kernel.phases]
        used += [(e.code, e.phase) for e in program.expanded]
        for name, phase in used:
            wanted = symbols.setdefault(name, [])
            if phase.symbol not in wanted:
                wanted.append(phase.symbol)
        self.linked = driver_named(driver).link(code, symbols, code[RUNNER])
        self.constants = {**constants, **expand(program.expanded, constants, self.linked)}
        self._addresses = {n: a.ctypes.data for n, a in self.constants.items()}
        self._dims = {
            launch.dims: np.array([evaluate(d, {}) for d in launch.dims], np.int64)
            for launch in program.instructions
            if isinstance(launch, Launch) and launch.dims
        }

    def rows(self, arena: int) -> tuple[list[Row], list[int]]:
        """The row table for an arena at that address, and the instruction of each row."""
        rows: list[Row] = []
        owners: list[int] = []
        for index, instruction in enumerate(self.program.instructions):
            made = (
                [Row(0, (), 0, True)]
                if isinstance(instruction, HostCall)
                else self._launched(instruction, arena)
            )
            rows += made
            owners += [index] * len(made)
        return rows, owners

    def _launched(self, launch: Launch, arena: int) -> list[Row]:
        """One row for each phase; those after the first wait for the one before."""
        kernel = self.program.kernels[launch.kernel]
        args = tuple(0 if view is None else self._argument(view, arena) for view in launch.views)
        if launch.dims:
            args += (self._dims[launch.dims].ctypes.data,)
        return [
            Row(
                self.linked.address(kernel.code, phase.symbol),
                args,
                evaluate(phase.items, {}),
                launch.waits or i > 0,
            )
            for i, phase in enumerate(kernel.phases)
        ]

    def _argument(self, view: View, arena: int) -> int | Patch:
        buffer, first = view.buffer, evaluate(view.first_byte, {})
        if buffer.space == "constant":
            return self._addresses[buffer.name] + first
        if buffer in self.program.offsets:
            return arena + self.program.offsets[buffer] + first
        return Patch(self.numbers[buffer.space, buffer.name], first)
