"""Tactic: the numbers 0, 1, 2, ... of an open count."""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.backends.base import KernelSpec, Source
from camshaft.backends.cpu.abi import phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.lang import Module
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.extent import ceil_div
from camshaft.ir.types import i64

_PER_ITEM = 4 << 10


class Iota:
    """Whole vectors of numbers, then what is left."""

    name = "iota"
    version = 1

    def plan(self, spec: KernelSpec, target: CpuTarget, threads: int) -> Sequence[IotaCandidate]:
        """One way, for adjacent elements."""
        if spec.op != "iota" or spec.outputs[0].strides[0] != 1:
            return ()
        return [IotaCandidate(spec, target, None)]


class IotaCandidate(CpuCandidate[None]):
    """Work items are runs of _PER_ITEM numbers."""

    def emit(self) -> Source:
        """One phase."""
        count, lanes = self.spec.outputs[0].shape[0], self.target.lanes(i64)
        m = Module(self.target)
        with m.phase("iota", ceil_div(count, _PER_ITEM), phase_args(self.spec)) as k:
            numbers = k.const_vector(range(lanes), i64)
            begin, end = k.begin * _PER_ITEM, k.min(k.end * _PER_ITEM, count)
            with k.loop(begin, end, lanes) as at:
                k.store(k.splat(at, lanes) + numbers, k.args["out0"].at(at), end - at)
        return m.source()
