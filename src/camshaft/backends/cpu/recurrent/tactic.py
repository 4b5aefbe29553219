"""Recurrent layers: all steps of a direction in one piece of code, FP32, with weights of FP32, halves or INT8.

The states stay in the workspace, in the core's cache; so do the weights as far as they fit.  Gates are put
together in registers: the products of one block of hidden units with all gates, then the activations, then the new
states.  Work items are (direction, rows of the batch); a direction's steps are one item, as each needs the one
before (Zhang et al., DeepCPU, USENIX ATC 2018, keep weights in private caches likewise).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from camshaft.backends.base import KernelSpec, Packing, Source
from camshaft.backends.cpu.abi import constant_numbers, phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.lang import Module
from camshaft.backends.cpu.recurrent.loops import Direction, RecurrentLoops
from camshaft.backends.cpu.recurrent.problem import (
    Layout,
    RecurrentProblem,
    fits_registers,
    is_supported,
)
from camshaft.backends.cpu.recurrent.workspace import Split, States
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import typical
from camshaft.ir.types import DType, f32

_SMALL = 256 << 10
"""Bytes of recurrent weights of which one core is as fast as two that wait for each other."""


@dataclass(frozen=True)
class RegisterTile:
    """rows: of the batch.  cols: vectors of hidden units.  together: gates that are summed at once."""

    rows: int
    cols: int
    together: int

    @property
    def sums(self) -> int:
        """Registers that sum."""
        return self.rows * self.cols * self.together


def _tiles(p: RecurrentProblem, target: CpuTarget) -> list[RegisterTile]:
    """Those that fit the registers, as high as the batch is, the best guess first."""
    batch, widest = typical(p.batch), max(map(len, p.passes))
    vectors = -(-p.hidden // target.lanes(f32))
    found: dict[RegisterTile, None] = {}
    for cols in (min(cols, vectors) for cols in (2, 1, 4, 8)):
        if most := _most_rows(cols * widest, target):
            found[RegisterTile(min(most, batch), cols, widest)] = None
    order = sorted(found, key=lambda t: -min(t.sums, 12))
    half = -(-widest // 2)
    halved = RegisterTile(min(_most_rows(half, target), batch), 1, half)
    if halved.rows > order[0].rows:
        order.insert(1, halved)
    return order


def _most_rows(columns: int, target: CpuTarget) -> int:
    """Rows of a register tile of so many vectors."""
    fits = [n for n in range(1, target.registers) if fits_registers(n, columns, target.registers)]
    return max(fits, default=0)


class Recurrent:
    """Register tiles of rows of the batch by vectors of hidden units, all gates of them."""

    name = "recurrent"
    version = 2

    def plan(
        self, spec: KernelSpec, target: CpuTarget, threads: int
    ) -> Sequence[RecurrentCandidate]:
        """Tiles that fit the registers, as high as the batch is."""
        if spec.op != "recurrent" or not is_supported(spec):
            return ()
        p = RecurrentProblem.of(spec)
        tiles = _tiles(p, target)
        each = -(-threads // p.directions)
        splits = dict.fromkeys([(1, each), (min(typical(p.batch), each), 1)])
        if 4 * p.hidden**2 * p.gate_count < _SMALL:
            splits = dict.fromkeys(reversed(splits))
        return [
            RecurrentCandidate(spec, target, p, {**asdict(tile), "parts": parts, "shares": shares})
            for parts, shares in splits
            for tile in tiles
        ]


class RecurrentCandidate(CpuCandidate[RecurrentProblem]):
    """Parameters: those of a `RegisterTile`; parts: of the batch, which are work items; shares: of the hidden units,
    likewise."""

    @cached_property
    def layout(self) -> Layout:
        """How weights are packed."""
        width = int(self.params["cols"]) * self.target.lanes(f32)
        return Layout(self.problem, width, int(self.params["together"]))

    @property
    def packing(self) -> Packing:
        """Blocks of so many units, gates that are summed at once."""
        return ("recurrent", self.layout.width, self.layout.together)

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
