"""Writes the activations and the new states of one vector of hidden units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from camshaft.backends.cpu.lang import FunctionBuilder, Pointer, Value
from camshaft.backends.cpu.recurrent.activations import activation
from camshaft.backends.cpu.recurrent.problem import RecurrentProblem


@dataclass(frozen=True)
class Lanes:
    """Some hidden units of a row at a step.

    position: where the row's states lie.  place: which of the sequence's steps this is.  unit: the first hidden unit.
    count: how many exist.  step: how many were made before.
    """

    position: Value
    row: Value
    place: Value
    unit: Value
    count: int | Value
    step: Value


class CellWriter:
    """The cells of one direction."""

    def __init__(
        self,
        k: FunctionBuilder,
        p: RecurrentProblem,
        d: int,
        entering: Pointer,
        options: Mapping[str, Pointer],
        lanes: int,
    ) -> None:
        """entering: what the input adds to the gates."""
        self.k, self.p, self.d, self.options, self.lanes = k, p, d, options, lanes
        self.entering = entering

    def gate(self, at: Lanes, gate: int, total: Value) -> Value:
        """What the input adds to a gate, and the recurrent sum; of a GRU's h that is reset after its product, only
        what the input adds."""
        entering = self._entering(at, gate)
        return entering if self.p.after and gate == 2 else entering + total

    def _entering(self, at: Lanes, gate: int) -> Value:
        p = self.p
        strides = p.gates.strides
        source = self.entering.at(at.place * strides[0]).at(at.row * strides[1])
        first = (self.d * p.gate_count + gate) * p.hidden
        return self.k.load(source.at(first).at(at.unit), self.lanes, at.count)

    def _constant(self, name: str, at: Lanes, part: int = 0) -> Value:
        """Lanes of `behind` [D, H] or of peepholes [D, 3*H]."""
        strides = self.p.spec.inputs[self.p.options[name]].strides
        source = self.options[name].at(self.d * strides[0] + part * self.p.hidden)
        return self.k.load(source.at(at.unit), self.lanes, at.count)

    def activated(self, name: str, x: Value, *, clips: bool = True) -> Value:
        """An activation of a gate's sum."""
        clip = self.p.clip
        if clips and clip > 0:
            x = self.k.min(self.k.max(x, -clip), clip)
        return activation(self.k, self.p.functions[name], x)

    def mixed(self, z: Value, new: Value, old: Value) -> Value:
        """(1 - z) new + z old."""
        return self.k.fma(z, old - new, new)

    def gru(self, at: Lanes, gates: Sequence[Value], sums: Sequence[Value], old: Value) -> Value:
        """The new state of a GRU whose reset gate multiplies the recurrent product."""
        z, reset = (self.activated("f", g) for g in gates[:2])
        product = sums[2]
        if "behind" in self.options:
            product = product + self._constant("behind", at)
        return self.mixed(z, self.activated("g", self.k.fma(reset, product, gates[2])), old)

    def lstm(self, at: Lanes, gates: Sequence[Value], cell: Value) -> tuple[Value, Value]:
        """The new hidden state and the new cell."""
        k, (i, o, forget, c) = self.k, gates
        peeps = "peepholes" in self.options
        if peeps:
            i = k.fma(self._constant("peepholes", at, 0), cell, i)
            forget = k.fma(self._constant("peepholes", at, 2), cell, forget)
        i = self.activated("f", i)
        kept = 1.0 - i if self.p.coupled else self.activated("f", forget)
        new = k.fma(kept, cell, i * self.activated("g", c))
        if peeps:
            o = k.fma(self._constant("peepholes", at, 1), new, o)
        return self.activated("f", o) * self.activated("h", new, clips=False), new
