"""Candidates whose `packing` is equal store the same weights, whatever tactics they are of: see `Candidate.packing`."""

from __future__ import annotations

from typing import Any

import numpy as np

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.tactics import TACTICS
from camshaft.backends.cpu.target import AMX, AVX2, AVX512_VNNI, CpuTarget
from kernel_corpus import specs

SPECS = {
    name: spec
    for name, spec in specs().items()
    if spec.op in ("conv", "matmul", "matmul_nbits") and any(o.const for o in spec.inputs)
}


def values(operand: Operand, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(rng.integers(0, 7, operand.shape), operand.dtype.numpy)


def stored(candidate: Any, constants: list[np.ndarray]) -> bytes:
    """The largest constant, which the weights are."""
    packed = candidate.prepack([c.copy() for c in constants])
    return bytes(max(packed, key=lambda a: a.nbytes).tobytes())


def test_equal_packings_are_equal_bytes() -> None:
    shared = 0
    for spec in SPECS.values():
        shared += sum(check(spec, target) for target in (AVX2, AVX512_VNNI, AMX))
    assert shared > 20, "tactics share weights"


def check(spec: KernelSpec, target: CpuTarget) -> int:
    """How many packings candidates of more than one tactic have."""
    rng = np.random.default_rng(0)
    constants = [values(o, rng) for o in spec.inputs if o.const]
    found: dict[object, tuple[bytes, set[str]]] = {}
    for tactic in TACTICS:
        for candidate in tactic.plan(spec, target, 2):
            weights = stored(candidate, constants)
            first, tactics = found.setdefault(candidate.packing, (weights, set()))
            tactics.add(tactic.name)
            assert weights == first, (spec.key(), candidate.packing, tactics)
    return sum(len(tactics) > 1 for _, tactics in found.values())
