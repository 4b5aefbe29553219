"""Writes the products of hidden states and recurrent weights, for register tiles of rows and units."""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.backends.cpu.lang import FunctionBuilder, Pointer, Tile, Value
from camshaft.backends.cpu.recurrent.problem import (
    LEVELS,
    Gates,
    Layout,
    RecurrentProblem,
    fits_registers,
)
from camshaft.ir.types import f32, i8, i16, i32


class ProductWriter:
    """The products of one direction."""

    def __init__(
        self, k: FunctionBuilder, p: RecurrentProblem, d: int, layout: Layout, scale: Pointer | None
    ) -> None:
        """scale: of integer weights."""
        self.k, self.p, self.d, self.layout, self.scale = k, p, d, layout, scale
        self.lanes = k.target.lanes(f32)

    def bundles(self, number: int, rows: int) -> list[list[Gates]]:
        """The sweeps of a pass, as many at once as there are registers for with so many rows."""
        made: list[list[Gates]] = []
        for sweep in self.layout.sweeps(self.p.passes[number]):
            if made:
                gates = len(sweep) + sum(map(len, made[-1]))
                columns = gates * self.layout.width // self.lanes
                if fits_registers(rows, columns, self.k.target.registers):
                    made[-1].append(sweep)
                    continue
            made.append([sweep])
        return made

    def sums(
        self, rows: Sequence[Pointer], weights: Pointer, sweeps: Sequence[Gates]
    ) -> list[list[list[Value]]]:
        """[row][gate of the sweeps][vector]: sums over the state's elements; of levels and integer weights, in i32."""
        k, lanes, width, group = self.k, self.lanes, self.layout.width, self.p.group
        are_bytes = self.p.weights == i8
        gates = [
            (sum(map(self.layout.block_size, sweeps[:n])), len(sweep), g)
            for n, sweep in enumerate(sweeps)
            for g in range(len(sweep))
        ]
        zero = k.const(0, i32 if are_bytes else f32, lanes)
        sums = [[[zero] * (width // lanes) for _ in gates] for _ in rows]
        with k.loop(0, self.layout.groups, carry=sums) as unit:

            def state(row: int) -> Value:
                if are_bytes:
                    return k.load(rows[row].as_type(i32).at(unit))
                return k.broadcast(rows[row].at(unit), lanes)

            def weight(gate: int, vector: int) -> Value:
                start, count, g = gates[gate]
                line = weights.at(unit * (group * count * width)).at(start)
                own = k.load(line.at(group * (g * width + vector * lanes)), group * lanes)
                return k.bitcast(k.cast(own, i16), i32, lanes) if are_bytes else k.cast(own, f32)

            join = k.dot_words if are_bytes else k.fma
            places = [(g, v) for g in range(len(gates)) for v in range(width // lanes)]
            if len(rows) <= len(places):  # what is fewer stays in registers
                spread = [state(row) for row in range(len(rows))]
                for g, v in places:
                    w = weight(g, v)
                    for h, own in zip(spread, sums, strict=True):
                        own[g][v] = join(h, w, own[g][v])
            else:
                held = [(g, v, weight(g, v)) for g, v in places]
                for row, own in enumerate(sums):
                    h = state(row)
                    for g, v, w in held:
                        own[g][v] = join(h, w, own[g][v])
        return sums

    def scaled(self, sums: list[list[Value]], gates: Gates, columns: Tile) -> list[list[Value]]:
        """Sums of integers as floats."""
        k, hidden = self.k, self.p.hidden
        strides = self.p.spec.inputs[self.p.options["scale"]].strides
        assert self.scale is not None
        scales = self.scale.at(self.d * strides[0])
        made: list[list[Value]] = []
        for gate, own in zip(gates, sums, strict=True):
            first = scales.at(gate * hidden).at(columns.start)
            factors = [
                k.load(first.at(v * self.lanes), self.lanes, count) * (1.0 / LEVELS)
                for v, count in enumerate(columns.counts(self.lanes))
            ]
            made.append([k.cast(x, f32) * f for x, f in zip(own, factors, strict=False)])
        return made
