"""What the candidates of CPU tactics have in common, so that each states only where it differs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from camshaft.backends.base import KernelSpec, Packing, Params, Source
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.extent import Extent

P = TypeVar("P")


@dataclass(frozen=True, eq=False)
class CpuCandidate(ABC, Generic[P]):
    """A kernel for `spec` on `target`: constants packed as they are, no scratch memory.

    problem: the spec in the tactic's own numbers; candidates of one plan share it.
    """

    spec: KernelSpec
    target: CpuTarget
    problem: P
    params: Params = field(default_factory=dict)

    @property
    def reports(self) -> bool:
        """Whether its workspace is a report: no."""
        return False

    @property
    def approximate(self) -> bool:
        """Whether its rounding needs an error budget: no."""
        return False

    def features(self, threads: int) -> Mapping[str, float]:
        """What its time depends on: not known."""
        return {}

    @property
    def packing(self) -> Packing:
        """How weights are laid out: as they are."""
        return ()

    def prepack(self, constants: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """The constant operands, dense."""
        return [np.ascontiguousarray(c) for c in constants]

    def workspace(self, threads: int) -> Extent:
        """Bytes of scratch memory: none."""
        return 0

    @abstractmethod
    def emit(self) -> Source:
        """The kernel's program."""
