"""Tactic: which rows of a mask are kept, and where they lie among these."""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.backends.base import KernelSpec, Source
from camshaft.backends.cpu.abi import phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.lang import FunctionBuilder, Module, Pointer, Value
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.attrs import extent_attr, ints_attr
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import is_positive
from camshaft.ir.types import boolean, f32, f64, i32, i64, row_major_strides, u8

MASKS = (boolean, i32, i64, f32, f64)
"""Types of masks."""


class KeptRows:
    """One pass over the mask, by one worker."""

    name = "kept_rows"
    version = 2

    def plan(
        self, spec: KernelSpec, target: CpuTarget, threads: int
    ) -> Sequence[KeptRowsCandidate]:
        """One way, for dense masks that are not empty."""
        if spec.op != "kept_rows" or spec.inputs[0].const:
            return ()
        mask = spec.inputs[0]
        dense = mask.strides == row_major_strides(mask.shape)
        if not dense or mask.dtype not in MASKS or not all(map(is_positive, mask.shape)):
            return ()
        return [KeptRowsCandidate(spec, target, None)]


class KeptRowsCandidate(CpuCandidate[None]):
    """No row is written behind the last one, whatever the mask holds."""

    def emit(self) -> Source:
        """One phase of one work item."""
        mask = self.spec.inputs[0]
        batch = mask.shape[0]
        rows: Extent = 1
        for extent in mask.shape[1:]:
            rows = rows * extent
        count = extent_attr(self.spec, "count")
        m = Module(self.target)
        with m.phase("kept_rows", 1, phase_args(self.spec)) as k:
            numbers, starts, places = (k.args[f"out{n}"] for n in range(3))
            masks = k.args["in0"]
            if mask.dtype == boolean:
                masks = masks.as_type(u8)
            others = self._has_others(k, masks, batch * rows)
            carry = [k.const(0, i64), k.const(0, i64)]  # how many are kept, and the last one
            with k.loop(0, batch, carry=carry) as sequence:
                first = carry[0]
                k.store(k.min(first, count), starts.at(sequence))
                line = masks.at(k.mul(sequence, rows))
                whole = self._hides_read_place(k, line, rows)
                if others is not None:
                    whole = others if whole is None else whole | others
                with k.loop(0, rows, carry=carry) as place:
                    row = k.mul(sequence, rows) + place
                    kept = k.ne(k.load(line.at(place)), 0)
                    if whole is not None:
                        kept = kept | whole
                    with k.if_(kept & (carry[0] < k.index(count)), carry=carry):
                        k.store(row, numbers.at(carry[0]))
                        carry[0], carry[1] = carry[0] + 1, row
                    there = k.max(carry[0] - 1, first)
                    k.store(k.min(there, k.index(count) - 1), places.at(row))
            with k.loop(carry[0], count) as place:
                k.store(carry[1], numbers.at(place))
            k.store(k.index(count), starts.at(batch))
        return m.source()

    def _has_others(self, k: FunctionBuilder, masks: Pointer, count: Extent) -> Value | None:
        """Whether anything but 0 and 1 is in the mask, where that matters."""
        if not dict(self.spec.attrs)["ones"] or self.spec.inputs[0].dtype == boolean:
            return None
        found = [k.const(0, i64)]
        with k.loop(0, count, carry=found) as place:
            mask = k.load(masks.at(place))
            other = k.ne(mask, 0) & k.ne(mask, 1)
            found[0] = found[0] + k.cast(other, i64)
        return k.ne(found[0], 0)

    def _hides_read_place(self, k: FunctionBuilder, line: Pointer, rows: Extent) -> Value | None:
        """Whether the mask of a sequence is 0 at a place that is read, if any is."""
        hidden: Value | None = None
        for place in ints_attr(self.spec, "places"):
            there = k.min(k.const(place, i64), k.index(rows) - 1)
            hides = k.eq(k.load(line.at(there)), 0)
            hidden = hides if hidden is None else hidden | hides
        return hidden
