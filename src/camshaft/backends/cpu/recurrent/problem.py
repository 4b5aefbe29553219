"""A "recurrent" spec in numbers, and how its weights are packed.

T is the number of steps, N the batch, D the number of directions, H the size of the hidden state, G the number
of gates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from camshaft.backends.base import KernelSpec, Operand
from camshaft.ir.attrs import expr_attr, ints_attr
from camshaft.ir.expr import Expr
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import HALVES, DType, f32, i8

Gates = tuple[int, ...]
_PASSES: Mapping[tuple[str, bool], tuple[Gates, ...]] = {
    ("lstm", False): ((0, 1, 2, 3),),
    ("gru", False): ((0, 1), (2,)),
    ("gru", True): ((0, 1, 2),),
    ("rnn", False): ((0,),),
}
_OWN = 2
_LONGEST = 8192
"""Terms of a sum of integers that fit i32."""
LEVELS = 2047
"""See `ops.cells.LEVELS`."""
MOST = 2.0**126
"""See `ops.cells.MOST`."""


@dataclass(frozen=True)
class RecurrentProblem:
    """The numbers of a "recurrent" spec.

    options: number of the inputs that a layer may have, by name.  backward: of each direction.
    """

    spec: KernelSpec
    cell: str
    after: bool
    clip: float
    coupled: bool
    backward: tuple[int, ...]
    functions: Mapping[str, Expr]
    options: Mapping[str, int]

    @staticmethod
    def of(spec: KernelSpec) -> RecurrentProblem:
        """Those of a spec."""
        attrs = dict(spec.attrs)
        cell, given, clip = attrs["cell"], attrs.get("given", ()), attrs.get("clip", 0.0)
        assert isinstance(cell, str)
        assert isinstance(given, tuple)
        assert isinstance(clip, float | int)
        return RecurrentProblem(
            spec,
            cell,
            bool(attrs.get("after", False)) and cell == "gru",
            float(clip),
            bool(attrs.get("coupled", False)),
            ints_attr(spec, "backward"),
            {name: expr_attr(spec, name) for name in "fgh"},
            {str(name): _OWN + n for n, name in enumerate(given)},
        )

    @property
    def gates(self) -> Operand:
        """[T, N, D*G*H]."""
        return self.spec.inputs[0]

    @property
    def y(self) -> Operand:
        """[T, D, N, H]."""
        return self.spec.outputs[0]

    @property
    def steps(self) -> Extent:
        """T."""
        return self.gates.shape[0]

    @property
    def batch(self) -> Extent:
        """N."""
        return self.gates.shape[1]

    @property
    def directions(self) -> int:
        """D."""
        return len(self.backward)

    @property
    def hidden(self) -> int:
        """H."""
        size = self.spec.inputs[1].shape[2]
        assert isinstance(size, int)
        return size

    @property
    def passes(self) -> tuple[Gates, ...]:
        """The gates whose products are made together; those of a second pass wait for the first one."""
        return _PASSES[self.cell, self.after]

    @property
    def gate_count(self) -> int:
        """G."""
        return sum(map(len, self.passes))

    @property
    def weights(self) -> DType:
        """The type of the recurrent weights."""
        return self.spec.inputs[1].dtype

    @property
    def bounds_vary(self) -> bool:
        """Whether integers stand for states that may lie beyond -1 and 1, as the initial ones are given."""
        return self.weights == i8 and "h" in self.options

    @property
    def group(self) -> int:
        """Neighbouring weights of a unit that are multiplied at once: pairs of integers."""
        return 2 if self.weights == i8 else 1


def fits_registers(rows: int, columns: int, registers: int) -> bool:
    """Whether sums of some rows with so many vectors of weights fit, beside what a step of the sum reads: all rows
    or all columns, whichever are fewer, and one of the others."""
    return rows * columns + min(rows, columns) + 1 <= registers


def is_supported(spec: KernelSpec) -> bool:
    """Whether there is code for the types and strides of a "recurrent" spec: floats of which rows are adjacent, and
    constant weights."""
    r = spec.inputs[1]
    if not r.const or not isinstance(r.shape[2], int):
        return False
    if r.dtype == i8 and r.shape[2] > _LONGEST:
        return False
    others = (spec.inputs[0], *spec.inputs[2:], *spec.outputs)
    floats = [o for o in others if not o.dtype.is_int]
    adjacent = all(o.strides[-1] == 1 or o.shape[-1] == 1 for o in floats)
    known = r.dtype in (f32, i8, *HALVES)
    return adjacent and known and all(o.dtype == f32 for o in floats)


@dataclass(frozen=True)
class Layout:
    """Weights in blocks of `width` hidden units: [D] [pass] [block] [sweep] [H] [gate of the sweep] [width]; of integers
    [H / 2] [gate] [width] [2].

    A sweep is the sum over the hidden state for `together` gates of a pass, or fewer; sweeps of few gates have
    registers for more rows, which then share each load of weights.
    What a block lacks of `width` units, and a pair of its second one, is 0.
    """

    problem: RecurrentProblem
    width: int
    together: int

    @property
    def blocks(self) -> int:
        """How many a pass has."""
        return -(-self.problem.hidden // self.width)

    @property
    def padded(self) -> int:
        """H in whole blocks."""
        return self.blocks * self.width

    def block_size(self, gates: Gates) -> int:
        """Elements of one block of a pass."""
        return self.groups * self.problem.group * len(gates) * self.width

    def sweeps(self, gates: Gates) -> list[Gates]:
        """The gates of a pass, as they are summed."""
        return [gates[n : n + self.together] for n in range(0, len(gates), self.together)]

    @property
    def groups(self) -> int:
        """Steps of a sum over the hidden state."""
        return -(-self.problem.hidden // self.problem.group)

    def start(self, number: int) -> int:
        """Where a pass begins in a direction."""
        return sum(self.block_size(g) * self.blocks for g in self.problem.passes[:number])

    @property
    def direction_size(self) -> int:
        """Elements of all passes of a direction."""
        return self.start(len(self.problem.passes))

    def packed(self, r: np.ndarray) -> np.ndarray:
        """r: [D, G*H, H]."""
        p, h = self.problem, self.problem.hidden
        steps, group = self.groups, p.group
        gates = np.zeros((p.directions, p.gate_count, self.padded, steps * group), r.dtype)
        gates[:, :, :h, :h] = r.reshape(p.directions, p.gate_count, h, h)
        blocks = gates.reshape(p.directions, p.gate_count, self.blocks, self.width, steps, group)
        parts = [
            np.concatenate(
                [self._sweep(blocks[d, list(sweep)]) for sweep in self.sweeps(chosen)], 1
            )
            for d in range(p.directions)
            for chosen in p.passes
        ]
        return np.concatenate([part.reshape(-1) for part in parts])

    def _sweep(self, weights: np.ndarray) -> np.ndarray:
        """[gate] [block] [width] [H] as [block] [all the rest]."""
        return weights.transpose(1, 3, 0, 2, 4).reshape(self.blocks, -1)
