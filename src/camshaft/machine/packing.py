"""Constants as kernels of this machine want them, when weights are exchanged (`Engine.refit`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from camshaft.backends.cpu.tactics import TACTICS
from camshaft.backends.cpu.target import target_named
from camshaft.builder.refit.packing import packed_by


def packed(
    *constants: np.ndarray, candidate: str, target: str, caches: Sequence[int]
) -> Sequence[np.ndarray]:
    """What a candidate makes of its constant operands: the function of recipes that pack.

    target, caches: name of the target that it was planned for, and `CpuTarget.caches`, which steer what is planned.
    """
    l1_bytes, l1_ways, l2_bytes = caches
    planned = replace(target_named(target), l1_bytes=l1_bytes, l1_ways=l1_ways, l2_bytes=l2_bytes)
    return packed_by(TACTICS, planned, constants, candidate)
