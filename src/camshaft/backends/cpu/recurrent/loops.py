"""Writes the loops of a recurrent layer: steps, blocks of hidden units, tiles of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import gcd

from camshaft.backends.cpu.abi import constant_numbers, operand_pointer
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Part, Pointer, Tile, Value
from camshaft.backends.cpu.recurrent.cells import CellWriter, Lanes
from camshaft.backends.cpu.recurrent.problem import LEVELS, MOST, Gates, Layout, RecurrentProblem
from camshaft.backends.cpu.recurrent.products import ProductWriter
from camshaft.backends.cpu.recurrent.sequences import Sequences
from camshaft.backends.cpu.recurrent.workspace import ALIGN, Split, States, put_aside, words
from camshaft.ir.types import f32, i8, i16, i32, i64


class RecurrentLoops:
    """Writes the phase."""

    def __init__(
        self, k: FunctionBuilder, p: RecurrentProblem, layout: Layout, split: Split
    ) -> None:
        self.k, self.p, self.layout, self.split = k, p, layout, split
        self.states = States(p, layout)
        self.lanes = k.target.lanes(f32)
        others = [n for n in constant_numbers(p.spec) if n != 1]
        numbers = {n: 1 + place for place, n in enumerate(others)}
        self.options = {
            name: operand_pointer(k, p.spec, n, numbers) for name, n in p.options.items()
        }
        self.entering = operand_pointer(k, p.spec, 0, numbers)
        before = words(split) + split.items * put_aside(split, layout)
        self.space = k.args["workspace"].at(before).as_type(f32).aligned(ALIGN)

    def all_items(self, do: Callable[[Direction], None], shares: int = 1) -> None:
        """Every work item of this call, of which each group has `shares`."""
        k, p, split = self.k, self.p, self.split
        with k.loop(k.begin, k.end) as item:
            share, group = item % shares, item // shares
            part = group % split.parts
            low = k.mul(part, split.size)
            high = k.min(low + split.size, p.batch)
            for d, backward in enumerate(p.backward):
                with k.if_(k.eq(group // split.parts, d)):
                    do(Direction(self, d, bool(backward), low, high, Group(group, share)))


@dataclass(frozen=True)
class Group:
    """The workers of one direction and part: its number, and the share that this one begins with."""

    number: Value
    share: Value


class Direction:
    """One direction of some rows of the batch."""

    def __init__(
        self,
        loops: RecurrentLoops,
        d: int,
        backward: bool,
        low: Value,
        high: Value,
        group: Group,
    ) -> None:
        self.group = group
        self.l, self.k, self.p = loops, loops.k, loops.p
        self.d, self.backward, self.low, self.high = d, backward, low, high
        self.lanes, self.layout = loops.lanes, loops.layout
        states = loops.states
        base = loops.space.at(states.array * (d * len(states.names)))
        self.arrays = {name: base.at(states.array * n) for n, name in enumerate(states.names)}
        self.pitch = loops.layout.padded
        order = loops.space.at(states.elements).as_type(i64).aligned(8)
        self.sequences = Sequences(
            self.k, self.p, loops.options.get("lengths"), order.at(self.p.batch * d)
        )
        bounds = order.at(states.order_words).as_type(f32).at(self.p.batch * (2 * d))
        self.bounds = bounds if self.p.bounds_vary else None
        self.cell = CellWriter(self.k, self.p, d, loops.entering, loops.options, self.lanes)
        scale = loops.options.get("scale")
        self.products = ProductWriter(self.k, self.p, d, loops.layout, scale)

    # -- where things lie ----------------------------------------------------------------------

    def _row(self, array: Pointer, row: Index) -> Pointer:
        return array.at(self.k.mul(row, self.pitch))

    def _hidden(self, step: Value, after: int, what: str = "") -> Pointer:
        """The hidden states before a step, or after it; or their levels."""
        return self.arrays["before" + what].at(((step + after) & 1) * self.l.states.array)

    def _levels(self, array: Pointer, row: Index) -> Pointer:
        return array.as_type(i16).at(self.k.mul(row, self.pitch))

    def _state(self, which: int, operand: Pointer | None, row: Value) -> Pointer:
        """A row [H] of an initial or a last state [D, N, H]."""
        strides = self.p.spec.outputs[1 + which].strides
        if operand is not None:
            strides = self.p.spec.inputs[self.p.options["hc"[which]]].strides
        pointer = operand or self.k.args[f"out{1 + which}"]
        return pointer.at(self.d * strides[0]).at(row * strides[1])

    # -- the loops -----------------------------------------------------------------------------

    def run(self) -> None:
        """All steps, by one worker."""
        k, p = self.k, self.p
        self.begin()
        with k.if_(self.low < self.high), k.loop(0, self._longest()) as step:
            for number, gates in enumerate(p.passes):
                self._pass(step, number, gates, None)
        self.end()

    def _longest(self) -> Value:
        """Steps of the longest sequence.  There must be one."""
        return self.sequences.length(self.sequences.row(self.low))

    def take_shares(self) -> None:
        """Steps by several workers.

        Each takes its share of the hidden units, then any share of the step that nobody has claimed, so that nobody
        waits for a worker who has not come, or is late.  It waits for those at work before the next step.
        """
        k, p, count = self.k, self.p, len(self.p.passes)
        shares = self.l.split.shares
        done = self._word(self.k.index(0))
        begun = k.load_shared(done) // shares
        with k.if_(self.low < self.high), k.loop(begun, self._longest() * count) as stage:
            for offset in range(shares):
                share = (self.group.share + offset) % shares
                with k.if_(k.claim(self._word(share + 1), stage)):
                    step = stage // count
                    for number, gates in enumerate(p.passes):
                        with k.if_(k.eq(stage % count, number)):
                            self._pass(step, number, gates, share)
                    k.add_shared(done, 1)
            k.wait_until(done, (stage + 1) * shares)

    def _word(self, number: Value) -> Pointer:
        """Word `number` of this group: 0 counts shares that are done, the others claims of each."""
        shares = self.l.split.shares
        line = self.group.number * (1 + shares) + number
        return self.k.args["workspace"].at(line * ALIGN).as_type(i64).aligned(8)

    def begin(self) -> None:
        """Put the initial states where they are worked on."""
        if self.l.split.shares > 1:
            for number in range(1 + self.l.split.shares):
                self.k.store(self.k.const(0, i64), self._word(self.k.index(number)))
        self.sequences.sort(self.low, self.high)
        start = self.k.index(0)
        arrays = [self._hidden(start, 0), *self._cell]
        with self.k.loop(self.low, self.high) as position:
            row = self.sequences.row(position)
            for which, array in enumerate(arrays):
                target, given = self._row(array, position), self.l.options.get("hc"[which])
                source = None if given is None else self._state(which, given, row)
                self._copy(source, target)
            if self.p.weights == i8:
                levels = self._levels(self._hidden(start, 0, " levels"), position)
                self._begin_levels(self._row(arrays[0], position), levels, position)

    @property
    def _cell(self) -> list[Pointer]:
        return [self.arrays["cell"]] if self.p.cell == "lstm" else []

    def _copy(self, source: Pointer | None, target: Pointer) -> None:
        """H elements, or zeros, in whole vectors."""
        k, lanes = self.k, self.lanes
        for tile in k.tiles(self.p.hidden, lanes):
            (count,) = tile.counts(lanes)
            value = k.const(0, f32, lanes)
            if source is not None:
                value = k.load(source.at(tile.start), lanes, count)
            k.store(value, target.at(tile.start))

    def _begin_levels(self, states: Pointer, levels: Pointer, position: Value) -> None:
        """The bound of a row, and integers for its initial states, which lie in whole vectors."""
        k, lanes = self.k, self.lanes
        width = -(-self.p.hidden // lanes) * lanes
        if self.bounds is not None:
            most = [k.const(1.0, f32, lanes)]
            with k.loop(0, width, lanes, carry=most) as at:
                size = k.abs(k.load(states.at(at), lanes))
                most[0] = k.select(size > most[0], size, most[0])  # NaN bounds nothing
            bound, own = k.min(k.reduce(most[0], k.max), MOST), self.bounds.at(position * 2)
            k.store(bound, own)
            k.store(k.div(k.const(1.0, f32), bound), own.at(1))
        with k.loop(0, width, lanes) as at:
            self._store_levels(k.load(states.at(at), lanes), levels.at(at), position)

    def _store_levels(self, x: Value, target: Pointer, position: Value) -> None:
        """Integers for states within their bound; 0 for NaN."""
        k = self.k
        x = k.select(k.eq(x, x), x, 0.0)
        if self.bounds is not None:
            x = x * k.broadcast(self.bounds.at(position * 2).at(1), x.lanes)
        held = k.min(k.max(x, -1.0), 1.0) * float(LEVELS)
        k.store(k.cast(k.round(held), i16), target)

    def end(self) -> None:
        """Hand out the last states, and zeros for steps that sequences do not have."""
        k, p = self.k, self.p
        with k.loop(self.low, self.high) as position:
            row = self.sequences.row(position)
            length = self.sequences.length(row)
            for which, array in enumerate([self._hidden(length, 0), *self._cell]):
                source, target = self._row(array, position), self._state(which, None, row)
                for tile in k.tiles(p.hidden, self.lanes):
                    (count,) = tile.counts(self.lanes)
                    value = k.load(source.at(tile.start), self.lanes)
                    value = k.select(length > 0, value, k.const(0, f32, self.lanes))
                    k.store(value, target.at(tile.start), count)
            if self.sequences.vary:
                with k.loop(length, p.steps) as place:
                    for tile in k.tiles(p.hidden, self.lanes):
                        (count,) = tile.counts(self.lanes)
                        zero = k.const(0, f32, self.lanes)
                        k.store(zero, self._y(place, row).at(tile.start), count)

    def _y(self, place: Value, row: Value) -> Pointer:
        """The hidden states [H] of a row at a place."""
        strides = self.p.y.strides
        first = self.k.args["out0"].at(place * strides[0]).at(self.d * strides[1])
        return first.at(row * strides[2])

    def _pass(self, step: Value, number: int, gates: Gates, share: Value | None) -> None:
        """The blocks of one pass of a step, or of a share of them, with all rows."""
        k, layout = self.k, self.layout
        first = k.args["packed0"].at(self.d * layout.direction_size + layout.start(number))
        part = None
        if share is not None:
            shares = self.l.split.shares
            size = -(-layout.blocks // shares) * layout.width
            last = (layout.blocks - 1) // -(-layout.blocks // shares)
            part = Part(share * size, size, lambda: k.eq(share, last))
        for tile in k.tiles(self.p.hidden, layout.width, part=part):
            block = k.index(tile.start) // layout.width
            weights = first.at(block * layout.block_size(gates)).aligned(self._alignment(number))
            self._rows(step, partial(self._tile, step, number, weights, tile, share or 0))

    def _alignment(self, number: int) -> int:
        """Of the blocks of a pass, in bytes."""
        layout, gates = self.layout, self.p.passes[number]
        starts = (layout.direction_size, layout.start(number), layout.block_size(gates))
        return gcd(ALIGN, *(n * self.p.weights.bytes for n in starts))

    @contextmanager
    def _if_any(self, step: Value, position: Value) -> Iterator[None]:
        """Code for steps that the sequence at a position has; those behind it are no longer."""
        if not self.sequences.vary:
            yield
            return
        with self.k.if_(step < self.sequences.length(self.sequences.row(position))):
            yield

    def _rows(self, step: Value, write: Callable[[Value, int], None]) -> None:
        """The rows of this item that have a step in register tiles: (first row, how many)."""
        k, rows, batch = self.k, self.l.split.rows, self.p.batch
        whole = batch // rows * rows
        if whole != 0:
            with k.loop(self.low, k.min(self.high, whole), rows) as row, self._if_any(step, row):
                write(row, rows)

        def is_last() -> Value:
            return k.eq(self.high, batch) & (self.low < self.high)

        for tile in k.rest(batch, whole, rows, is_last=is_last, halves=True):
            row = k.index(tile.start)
            with self._if_any(step, row):
                write(row, tile.size)

    def _tile(
        self,
        step: Value,
        number: int,
        weights: Pointer,
        columns: Tile,
        share: Index,
        row: Value,
        rows: int,
    ) -> None:
        """New states of some rows and hidden units.

        The sums of several rows wait in memory, so that the next sweep has all registers, and the code of the
        activations is a loop over the rows: written out for each it took five times as long.
        """
        k, lanes, width = self.k, self.lanes, self.layout.width
        states = self._operands(step, number, row, rows)
        bundles = self.products.bundles(number, rows)
        if rows == len(bundles) == 1:
            (sums,) = self.products.sums(states, weights, bundles[0])
            self._finish_row(step, number, columns, row, sums)
            return
        space, pitch = self._put_aside(share), len(self.p.passes[number]) * width
        column = 0
        for bundle in bundles:
            for n, own in enumerate(self.products.sums(states, weights, bundle)):
                for v, value in enumerate(x for gate in own for x in gate):
                    k.store(value, space.at(n * pitch + column + v * lanes))
            column += sum(map(len, bundle)) * width
            weights = weights.at(sum(map(self.layout.block_size, bundle)))
        with k.loop(0, rows) as which, self._if_any(step, row + which):
            first = space.at(which * pitch)
            sums = [
                [k.load(first.at(at), lanes) for at in range(begin, begin + width, lanes)]
                for begin in range(0, pitch, width)
            ]
            self._finish_row(step, number, columns, row + which, sums)

    def _operands(self, step: Value, number: int, row: Value, rows: int) -> list[Pointer]:
        """What the products of a pass multiply, of some rows."""
        are_bytes = self.p.weights == i8
        array = self._hidden(step, 0, " levels" if are_bytes else "")
        array = array if number == 0 else self.arrays["reset"]
        row_of = self._levels if are_bytes else self._row
        return [row_of(array, row + n) for n in range(rows)]

    def _put_aside(self, share: Index) -> Pointer:
        """Where a worker's sums wait for the activations."""
        k, split = self.k, self.l.split
        item = k.add(k.mul(self.group.number, split.shares), share)
        space = k.args["workspace"].at(words(split)).at(item * put_aside(split, self.layout))
        return space.aligned(ALIGN).as_type(i32 if self.p.weights == i8 else f32)

    def _finish_row(
        self, step: Value, number: int, columns: Tile, row: Value, sums: list[list[Value]]
    ) -> None:
        """New states of a row.  sums: [gate of the pass][vector]."""
        gates = self.p.passes[number]
        if self.p.weights == i8:
            sums = self.products.scaled(sums, gates, columns)
            if self.bounds is not None:
                bound = self.k.broadcast(self.bounds.at(row * 2), self.lanes)
                sums = [[x * bound for x in gate] for gate in sums]
        for v, lanes in enumerate(self._lanes(step, row, columns)):
            self._finish(number, lanes, [s[v] for s in sums])

    def _lanes(self, step: Value, position: Value, columns: Tile) -> list[Lanes]:
        """The vectors of hidden units of a row."""
        k, row = self.k, self.sequences.row(position)
        place = self.sequences.length(row) - 1 - step if self.backward else step
        return [
            Lanes(position, row, place, k.add(k.index(columns.start), v * self.lanes), count, step)
            for v, count in enumerate(columns.counts(self.lanes))
        ]

    def _finish(self, number: int, lanes: Lanes, sums: Sequence[Value]) -> None:
        """Activations and new states of one vector of hidden units of a row."""
        cell = self.cell
        gates = [cell.gate(lanes, g, s) for g, s in zip(self.p.passes[number], sums, strict=True)]
        old = self._load(self._hidden(lanes.step, 0), lanes)
        if self.p.cell == "gru" and not self.p.after:
            if number == 0:
                z, reset = (cell.activated("f", g) for g in gates)
                self._store(self.arrays["z"], lanes, z)
                self._store_operand(self.arrays["reset"], lanes, reset * old)
                return
            z = self._load(self.arrays["z"], lanes)
            new = cell.mixed(z, cell.activated("g", gates[0]), old)
        elif self.p.cell == "gru":
            new = cell.gru(lanes, gates, sums, old)
        elif self.p.cell == "rnn":
            new = cell.activated("f", gates[0])
        else:
            state = self._load(self.arrays["cell"], lanes)
            new, state_after = cell.lstm(lanes, gates, state)
            self._store(self.arrays["cell"], lanes, state_after)
        self._store(self._hidden(lanes.step, 1), lanes, new)
        if self.p.weights == i8:
            levels = self._levels(self._hidden(lanes.step, 1, " levels"), lanes.position)
            self._store_levels(new, levels.at(lanes.unit), lanes.position)
        self.k.store(new, self._y(lanes.place, lanes.row).at(lanes.unit), lanes.count)

    def _store_operand(self, array: Pointer, lanes: Lanes, x: Value) -> None:
        """What the products of the next pass multiply."""
        if self.p.weights == i8:
            target = self._levels(array, lanes.position).at(lanes.unit)
            self._store_levels(x, target, lanes.position)
        else:
            self._store(array, lanes, x)

    def _store(self, array: Pointer, lanes: Lanes, value: Value) -> None:
        self.k.store(value, self._row(array, lanes.position).at(lanes.unit))

    def _load(self, array: Pointer, lanes: Lanes) -> Value:
        """A whole vector, as rows have whole blocks."""
        return self.k.load(self._row(array, lanes.position).at(lanes.unit), self.lanes)
