"""An engine's code and weights in this process: what all of its contexts share.

Links the code, makes the constants that the file does not hold, and turns a plan into rows of addresses for one arena.  Contexts (next in line) add the arena, the
threads and the arrays.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from camshaft.runtime.bindings import Bindings
from camshaft.runtime.check import RUNNER
from camshaft.runtime.driver import Argument, Row, driver_named
from camshaft.runtime.expand import expand
from camshaft.runtime.plan import Plan, Ref


class LinkedEngine:
    """Linked code, constants and the plan.  Immutable; shared by contexts in any thread."""

    def __init__(
        self, plan: Plan, constants: Mapping[str, np.ndarray], code: Mapping[str, bytes]
    ) -> None:
        """constants: those stored, 64-byte aligned.  BuildError if code does not link, or if
        there is no memory for the expanded ones."""
        self.plan = plan
        self.inputs = Bindings("input", plan.inputs)
        self.outputs = Bindings("output", plan.outputs)
        self.numbers = {("input", b.name): i for i, b in enumerate(plan.inputs)}
        self.numbers |= {
            ("output", b.name): i for i, b in enumerate(plan.outputs, len(plan.inputs))
        }
        driver = driver_named(plan.fingerprint.driver)
        symbols: dict[str, list[str]] = {}
        used = [(kernel.code, phase) for kernel in plan.kernels for phase in kernel.phases]
        used += [(e.code, e.phase) for e in plan.expanded]
        for name, phase in used:
            wanted = symbols.setdefault(name, [])
            if phase.symbol not in wanted:
                wanted.append(phase.symbol)
        self.linked = driver.link(code, symbols, code[RUNNER])
        self.constants = {**constants, **expand(plan.expanded, constants, self.linked)}
        self._addresses = {n: a.ctypes.data for n, a in self.constants.items()}

    def rows(self, arena: int) -> tuple[list[Row], list[int]]:
        """The step table for an arena at that address, and for each row its step's index."""
        rows: list[Row] = []
        steps: list[int] = []
        for index, step in enumerate(self.plan.steps):
            if step.host is not None:
                rows.append((0, (), 0, True))
                steps.append(index)
                continue
            kernel = self.plan.kernels[step.kernel]
            args = tuple(self._argument(ref, arena) for ref in step.args)
            waits = step.waits
            for phase in kernel.phases:
                rows.append(
                    (self.linked.address(kernel.code, phase.symbol), args, phase.items, waits)
                )
                steps.append(index)
                waits = True
        return rows, steps

    def _argument(self, ref: Ref, arena: int) -> Argument:
        if ref.space == "null":
            return 0
        if ref.space == "arena":
            return arena + ref.offset
        if ref.space == "constant":
            return self._addresses[ref.name] + ref.offset
        return self.numbers[ref.space, ref.name], ref.offset
