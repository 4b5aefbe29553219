"""Recurrent layers: all steps of a direction in one piece of code, FP32, with weights of FP32, halves or INT8.

The states stay in the workspace, in the core's cache; so do the weights as far as they fit.  Gates are put
together in registers: the products of one block of hidden units with all gates, then the activations, then the new
states.  Work items are (direction, rows of the batch); a direction's steps are one item, as each needs the one
before (Zhang et al., DeepCPU, USENIX ATC 2018, keep weights in private caches likewise).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from camshaft.backends.base import KernelSpec, Packing, Source
from camshaft.backends.cpu.abi import constant_numbers, phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.lang import Module
from camshaft.backends.cpu.recurrent.loops import Direction, RecurrentLoops
from camshaft.backends.cpu.recurrent.problem import Layout, RecurrentProblem, is_supported
from camshaft.backends.cpu.recurrent.workspace import Split, States
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import typical
from camshaft.ir.types import DType, f32

_SMALL = 256 << 10
"""Bytes of recurrent weights of which one core is as fast as two that wait for each other."""


class Recurrent:
    """Register tiles of rows of the batch by vectors of hidden units, all gates of them."""

    name = "recurrent"
    version = 1

    def plan(
        self, spec: KernelSpec, target: CpuTarget, threads: int
    ) -> Sequence[RecurrentCandidate]:
        """Tiles that fit the registers, as high as the batch is."""
        if spec.op != "recurrent" or not is_supported(spec):
            return ()
        p = RecurrentProblem.of(spec)
        batch, widest = typical(p.batch), max(map(len, p.passes))
        vectors = -(-p.hidden // target.lanes(f32))
        found: dict[tuple[int, int], None] = {}
        for cols in (2, 1, 4, 8):
            cols = min(cols, vectors)
            most = (target.registers - 1) // (widest * cols + 1)
            if most >= 1 and widest * cols <= target.registers - 3:
                found[(min(most, batch), cols)] = None
        order = sorted(found, key=lambda f: -min(f[0] * f[1] * widest, 12))
        each = -(-threads // p.directions)
        splits = dict.fromkeys([(1, each), (min(batch, each), 1)])
        if 4 * p.hidden**2 * p.gate_count < _SMALL:
            splits = dict.fromkeys(reversed(splits))
        return [
            RecurrentCandidate(
                spec, target, p, {"rows": rows, "cols": cols, "parts": parts, "shares": shares}
            )
            for parts, shares in splits
            for rows, cols in order
        ]


class RecurrentCandidate(CpuCandidate[RecurrentProblem]):
    """Parameters: rows (of the batch), cols (vectors of hidden units): the register tile; parts: of the batch, which
    are work items; shares: of the hidden units, likewise."""

    @cached_property
    def layout(self) -> Layout:
        """How weights are packed."""
        return Layout(self.problem, int(self.params["cols"]) * self.target.lanes(f32))

    @property
    def packing(self) -> Packing:
        """Blocks of so many units."""
        return ("recurrent", self.layout.width)

    def prepack(self, constants: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """The weights in blocks, then the other constants as they are."""
        numbers = constant_numbers(self.spec)
        others = [n for n in numbers if n != 1]
        made = [self.layout.packed(constants[numbers[1]])]
        return made + [np.ascontiguousarray(constants[numbers[n]]) for n in others]

    def workspace(self, threads: int) -> Extent:
        """Bytes of the states of all directions."""
        return States(self.problem, self.layout).nbytes(self._split)

    @property
    def _split(self) -> Split:
        sizes = (int(self.params[name]) for name in ("rows", "parts", "shares"))
        return Split(self.problem, *sizes)

    def emit(self) -> Source:
        """One phase; or, where workers share the hidden units, one before it and one behind it."""
        p, m, split = self.problem, Module(self.target), self._split
        packed: list[DType] = [p.weights]
        packed += [o.dtype for n, o in enumerate(self.spec.inputs) if o.const and n != 1]
        args = phase_args(self.spec, packed)

        def phase(name: str, items: int, do: Callable[[Direction], None], shares: int = 1) -> None:
            with m.phase(name, items, args) as k:
                RecurrentLoops(k, p, self.layout, split).all_items(do, shares)

        if split.shares == 1:
            phase("recurrent", split.groups, Direction.run)
        else:
            phase("begin", split.groups, Direction.begin)
            phase("recurrent", split.items, Direction.take_shares, split.shares)
            phase("end", split.groups, Direction.end)
        return m.source()
