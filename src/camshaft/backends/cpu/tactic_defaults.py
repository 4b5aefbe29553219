"""What most tactics have in common, so that each states only where it differs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.backends.base import KernelSpec, Params
from camshaft.backends.cpu.target import CpuTarget


class TacticDefaults:
    """One way without parameters, constants packed as they are, no scratch memory."""

    def candidates(self, spec: KernelSpec, target: CpuTarget, threads: int) -> Sequence[Params]:
        """Parameter sets worth timing: the empty one."""
        return ({},)

    def prepack(
        self, spec: KernelSpec, params: Params, target: CpuTarget, constants: Sequence[np.ndarray]
    ) -> Sequence[np.ndarray]:
        """The constant operands, dense."""
        return [np.ascontiguousarray(c) for c in constants]

    def workspace(self, spec: KernelSpec, params: Params, threads: int) -> int:
        """Bytes of scratch memory: none."""
        return 0
