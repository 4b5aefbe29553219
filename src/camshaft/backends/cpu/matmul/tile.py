"""The register tile of a matrix product: rows of a times a panel of b, accumulated over all of K.

Each step loads the panel's vectors once and broadcasts one element (or a group of them) of every row.
The accumulators never leave the registers until the epilogue stores them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from camshaft.backends.cpu.expr.epilogue import Epilogue, Result
from camshaft.backends.cpu.lang import FunctionBuilder, Pointer, Value
from camshaft.backends.cpu.matmul.problem import MatmulProblem
from camshaft.backends.cpu.products.form import Parts, ProductForm
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import HALVES, f32, i8, i32

_UNROLL = 4
_SHARED = 4  # rows that share an address register
_ONES = 0x01010101


@dataclass(frozen=True)
class PanelVectors:
    """Reads vector `column` of the panel's row at a pointer; `count` lanes of it exist in b."""

    base: Pointer
    step: Extent  # elements from one step of the reduction to the next
    load: Callable[[Pointer, int, int | Value], Value]

    @staticmethod
    def of_floats(k: FunctionBuilder, base: Pointer, width: int, lanes: int) -> PanelVectors:
        """A packed panel of `width` floats a row, all of which are in memory."""

        def load(line: Pointer, j: int, count: int | Value) -> Value:
            return k.load(line.at(j * lanes), lanes)

        return PanelVectors(base, width, load)


@dataclass(frozen=True)
class Partial:
    """Sums of a tile over the elements of K so far: rows `pitch` elements apart in scratch memory."""

    base: Pointer
    pitch: int

    def at(self, row: int, column: int) -> Pointer:
        """Where the sums of a row from a column on lie."""
        return self.base.at(row * self.pitch + column)


class MatmulTile:
    """Writes tiles of one problem.

    lanes: of a vector of sums.  form: how the panel's vectors are multiplied; by default that
    of packed ones.
    """

    def __init__(
        self, k: FunctionBuilder, p: MatmulProblem, lanes: int, form: ProductForm | None = None
    ) -> None:
        self.k, self.p, self.lanes = k, p, lanes
        self.form = form or ProductForm.packed(p.a_dtype, p.b_dtype, adjacent=True)

    def write(
        self,
        a: Pointer,
        panel: PanelVectors,
        constants: Pointer | None,
        place: Epilogue,
        rows: int,
        counts: Sequence[int | Value],
        depth: Value | None = None,
        sums: Partial | None = None,
    ) -> None:
        """rows x counts: `counts` are the lanes that exist of each vector of the panel.

        constants: i32 per column, or None (floats).
        depth: of floats, how many elements of K there are, where not all.
        sums: those of earlier elements of K.
        """
        found = self._accumulated(a, panel, rows, counts, depth, sums)
        self._store(*found, constants, place, counts)

    def add(
        self,
        a: Pointer,
        panel: PanelVectors,
        rows: int,
        counts: Sequence[int | Value],
        sums: Partial,
    ) -> None:
        """The same without the epilogue: products are added to `sums`, all lanes of which exist."""
        acc, _ = self._accumulated(a, panel, rows, counts, None, sums)
        for i, row in enumerate(acc):
            for j, value in enumerate(row):
                self.k.store(value, sums.at(i, j * self.lanes))

    def _accumulated(
        self,
        a: Pointer,
        panel: PanelVectors,
        rows: int,
        counts: Sequence[int | Value],
        depth: Value | None,
        before: Partial | None,
    ) -> tuple[list[list[Value]], list[Value]]:
        """Sums of the tile, and of rows of a where they are needed."""
        k, p, narrow = self.k, self.p, self.form.narrow

        def initial(i: int, j: int) -> Value:
            if before is None or narrow:
                return k.const(0, self.form.sums, self.lanes)
            return k.load(before.at(i, j * self.lanes), self.lanes)

        acc = [[initial(i, j) for j in range(len(counts))] for i in range(rows)]
        sums = [k.const(0, i32, self.lanes) for _ in range(rows if self._needs_row_sums else 0)]
        state = [*acc, sums]
        steps: Extent | Value = p.k if self._group == 1 else p.k // self._group
        if depth is not None:
            steps = depth
        short = isinstance(steps, int) and steps < 2 * _UNROLL
        whole = 0 if short else steps // _UNROLL * _UNROLL
        if isinstance(whole, Value) or whole != 0:
            with k.loop(0, whole, _UNROLL, carry=state) as start:
                here = self._lines(a.at(start * (self._group * p.a_steps[-1])), rows)
                line = panel.base.at(start * panel.step)
                for n in range(_UNROLL):
                    self._step(here, line, n, panel, counts, acc, sums)
        left = steps - whole
        if isinstance(left, int):
            here = self._lines(a.at(whole * self._group * p.a_steps[-1]), rows)
            line = panel.base.at(whole * panel.step)
            for n in range(left):
                self._step(here, line, n, panel, counts, acc, sums)
        else:
            with k.loop(whole, steps, carry=state) as at:
                here = self._lines(a.at(at * (self._group * p.a_steps[-1])), rows)
                self._step(here, panel.base.at(at * panel.step), 0, panel, counts, acc, sums)
        rest = p.k % self._group if self._group > 1 else 0
        if not isinstance(rest, int):
            with k.if_(k.index(rest) > 0, carry=state):
                self._last_group(a, panel, k.index(rest), counts, acc, sums)
        elif rest:
            self._last_group(a, panel, rest, counts, acc, sums)
        return self._widened(acc, before) if narrow else acc, sums

    def _widened(self, acc: list[list[Value]], before: Partial | None) -> list[list[Value]]:
        """Sums in f16 as f32, added to earlier ones."""
        k, lanes = self.k, self.lanes

        def total(i: int, j: int, value: Value) -> Value:
            wide = k.cast(value, f32)
            return wide if before is None else k.load(before.at(i, j * lanes), lanes) + wide

        return [[total(i, j, value) for j, value in enumerate(row)] for i, row in enumerate(acc)]

    @property
    def _group(self) -> int:
        return self.form.group

    @property
    def _needs_row_sums(self) -> bool:
        return self.p.integer and self.p.zeros[1] != 0

    def _lines(self, a: Pointer, rows: int) -> list[Pointer]:
        """The rows of a tile whose first row is at `a`.

        A distance known at run time only takes an address register per row, more than there are.
        Every fourth row gets one then; the three behind it lie 1, 2 and 3 distances further, which
        x86 adds as it loads, from two registers that all share.
        """
        k, step = self.k, self.p.a_steps[-2]
        if isinstance(step, int):
            return [a.at(i * step) for i in range(rows)]
        lines: list[Pointer] = []
        for i in range(rows):
            if i and i % _SHARED == 0:
                a = k.opaque(a.at(_SHARED * step))
            lines.append(a.at(i % _SHARED * step))
        return lines

    def _step(
        self,
        lines: Sequence[Pointer],
        line: Pointer,
        n: int,
        panel: PanelVectors,
        counts: Sequence[int | Value],
        acc: list[list[Value]],
        sums: list[Value],
    ) -> None:
        k, p = self.k, self.p
        if len(lines) == 1 and self.form.w in HALVES and not self.form.narrow:
            self._one_row(lines[0], line, n, panel, counts, acc[0])
            return
        loaded = [panel.load(line.at(n * panel.step), j, c) for j, c in enumerate(counts)]
        vectors = [self.form.widened(k, vector) for vector in loaded]
        for i, row in enumerate(lines):
            place = row.at(n * self._group * p.a_steps[-1])
            x = self.form.element(k, place, p.a_steps[-1])
            self._accumulate(i, x, vectors, acc, sums)

    def _one_row(
        self,
        row: Pointer,
        line: Pointer,
        n: int,
        panel: PanelVectors,
        counts: Sequence[int | Value],
        acc: list[Value],
    ) -> None:
        """A step of one row: vectors are widened and multiplied in turn, such that few are held at once."""
        k, step = self.k, self.p.a_steps[-1]
        x = self.form.element(k, row.at(n * self._group * step), step)
        spread = self.form.spread(k, x, self.lanes)
        for j, count in enumerate(counts):
            vector = self.form.widened(k, panel.load(line.at(n * panel.step), j, count))
            acc[j] = self.form.add(k, spread, vector, acc[j])

    def _accumulate(
        self, i: int, x: Parts, vectors: list[Parts], acc: list[list[Value]], sums: list[Value]
    ) -> None:
        k, p = self.k, self.p
        if p.integer and p.a_dtype == i8:
            x = (x[0] ^ -0x7F7F7F80,)  # every byte plus 128
        spread = self.form.spread(k, x, self.lanes)
        for j, vector in enumerate(vectors):
            acc[i][j] = self.form.add(k, spread, vector, acc[i][j])
        if sums:
            sums[i] = k.dot4(spread[0], k.const(_ONES, i32, self.lanes), sums[i])

    def _last_group(
        self,
        a: Pointer,
        panel: PanelVectors,
        left: int | Value,
        counts: Sequence[int | Value],
        acc: list[list[Value]],
        sums: list[Value],
    ) -> None:
        """The last `left` elements of K, fewer than a group; nothing behind them is read."""
        k, p = self.k, self.p
        depth = p.k // self._group
        line = panel.base.at(depth * panel.step)
        loaded = [panel.load(line, j, c) for j, c in enumerate(counts)]
        vectors = [self.form.widened(k, vector) for vector in loaded]
        for i in range(len(acc)):
            last = i * p.a_steps[-2] + self._group * depth * p.a_steps[-1]
            if not p.integer:
                assert isinstance(left, int)  # elements are taken one by one where K is open
                x = self.form.rest(k, a.at(last), p.a_steps[-1], left)
                self._accumulate(i, x, vectors, acc, sums)
                continue
            self._accumulate(i, (self._bytes(a, last, left),), vectors, acc, sums)
            if sums and p.a_dtype == i8:  # bytes that do not exist became 128 each
                missing = 4 - left if isinstance(left, int) else k.cast(4 - left, i32)
                sums[i] = sums[i] - missing * 128

    def _bytes(self, a: Pointer, first: Extent, count: int | Value) -> Value:
        """The `count` bytes of a from `first` on, fewer than four, as a word; the others are 0."""
        k = self.k
        if isinstance(count, Value):
            return k.bitcast(k.load(a.at(first), 4, count), i32, 1)
        four = k.const(0, self.p.a_dtype, 4)
        for n in range(count):
            four = k.insert(four, k.load(a.at(first + n)), n)
        return k.bitcast(four, i32, 1)

    def _store(
        self,
        acc: list[list[Value]],
        sums: list[Value],
        constants: Pointer | None,
        place: Epilogue,
        counts: Sequence[int | Value],
    ) -> None:
        k, p, lanes = self.k, self.p, self.lanes
        axes = len(p.rows) - 1

        def results() -> Iterator[Result]:
            for j, count in enumerate(counts):
                column = None
                if constants is not None:
                    column = k.load(constants.at(j * lanes), lanes)
                for i, row in enumerate(acc):
                    value = row[j]
                    if column is not None:
                        value = value + column
                    if sums:
                        value = value - sums[i] * p.zeros[1]
                    yield value, (*(0,) * axes, i, j * lanes), count

        place.store_all(results())
