"""How a recurrent layer is split into work items, and what lies in its workspace."""

from __future__ import annotations

from dataclasses import dataclass

from camshaft.backends.cpu.recurrent.problem import Layout, RecurrentProblem
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import i8

ALIGN = 64


@dataclass(frozen=True)
class Split:
    """Work items: directions x parts of the batch, each a multiple of `rows` rows but the last, x shares of the
    hidden units."""

    problem: RecurrentProblem
    rows: int
    parts: int
    shares: int = 1

    @property
    def size(self) -> Extent:
        """Rows of a part."""
        tiles = -(-self.problem.batch // self.rows)
        return -(-tiles // self.parts) * self.rows

    @property
    def groups(self) -> int:
        """Directions x parts."""
        return self.problem.directions * self.parts

    @property
    def items(self) -> int:
        """How many there are."""
        return self.groups * self.shares


@dataclass(frozen=True)
class States:
    """What stays between steps, arrays of each direction whose rows have H in whole blocks, in f32: the hidden
    state before and after a step, an LSTM's cell; of a GRU that resets the state first, z and the state that is reset.
    Where weights are integers, what they multiply lies beside it as i16.
    """

    problem: RecurrentProblem
    layout: Layout

    @property
    def names(self) -> tuple[str, ...]:
        """The arrays of a direction."""
        p = self.problem
        found = ["before", "after"]
        found += ["cell"] if p.cell == "lstm" else []
        found += ["z", "reset"] if p.cell == "gru" and not p.after else []
        return (*found, *(["before levels", "after levels"] if p.weights == i8 else []))

    @property
    def array(self) -> Extent:
        """f32 elements of one array."""
        return self.problem.batch * self.layout.padded

    @property
    def elements(self) -> Extent:
        """Of all arrays."""
        return self.problem.directions * len(self.names) * self.array

    def nbytes(self, split: Split) -> Extent:
        """Of all arrays, behind the words by which a group's workers agree and the sums that they put aside; then what is
        known of each row."""
        before = words(split) + split.items * put_aside(split, self.layout)
        return before + 4 * self.elements + 8 * (self.order_words + self.bound_words)

    @property
    def order_words(self) -> Extent:
        """Words of the order of rows, where their lengths differ."""
        p = self.problem
        return p.directions * p.batch if "lengths" in p.options else 0

    @property
    def bound_words(self) -> Extent:
        """Words of bounds of integer states and their inverses in f32, where initial ones are given."""
        p = self.problem
        return p.directions * p.batch if p.bounds_vary else 0


def words(split: Split) -> int:
    """Bytes of the words of all groups: how many shares are done, and of each share how often it was claimed, a
    cache line each."""
    return 0 if split.shares == 1 else split.groups * (1 + split.shares) * ALIGN


def put_aside(split: Split, layout: Layout) -> int:
    """Bytes of the sums of a worker's register tile, which wait in memory for the activations."""
    gates = max(map(len, split.problem.passes))
    return 0 if split.rows == 1 else -(-4 * split.rows * gates * layout.width // ALIGN) * ALIGN
