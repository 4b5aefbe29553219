"""Tactic: extents as data, for models that compute with shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from camshaft.backends.base import Candidate, KernelSpec, Source
from camshaft.backends.cpu.abi import phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.lang import Module
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.extent import Extent


class Extents:
    """Spec "extents": no inputs; writes the extents in the attribute `values` to the output."""

    name = "extents"
    version = 1

    def plan(self, spec: KernelSpec, target: CpuTarget, threads: int) -> Sequence[Candidate]:
        """One way, for dense outputs of any integer type."""
        if spec.op != "extents" or len(spec.outputs[0].shape) > 1:
            return ()
        return [ExtentsCandidate(spec, target, cast(tuple[Extent, ...], spec.attr("values")))]


class ExtentsCandidate(CpuCandidate[tuple[Extent, ...]]):
    """One work item."""

    def emit(self) -> Source:
        """A store for each element."""
        output = self.spec.outputs[0]
        stride = output.strides[0] if output.shape else 1
        module = Module(self.target)
        with module.phase(Extents.name, 1, phase_args(self.spec)) as k:
            for i, extent in enumerate(self.problem):
                k.store(k.cast(k.index(extent), output.dtype), k.args["out0"].at(i * stride))
        return module.source()
