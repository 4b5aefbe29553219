"""What each output of an op should be, where it has several."""

from __future__ import annotations

import numpy as np

from camshaft.backends.base import KernelSpec, Operand
from camshaft.builder.tuning.reference import references
from camshaft.ir import expr as E
from camshaft.ir.types import dtype_of
from camshaft.ops import RECURRENT


def test_each_output_has_its_own_sums_that_may_overflow() -> None:
    """The hidden states of all steps, and the last one, of a cell that hands on what it sums."""
    gates = np.full((3, 2, 4), 1e37, np.float32)
    gates[2, 1, 3] = 2.0
    arrays = [gates, np.eye(4, dtype=np.float32)[None]]
    attrs = RECURRENT.complete({"cell": "rnn", "given": (), "f": E.inp(0)})
    wants = RECURRENT.reference(arrays, attrs)
    inputs, outputs = (
        tuple(Operand.dense(dtype_of(a), a.shape) for a in part) for part in (arrays, wants)
    )
    spec = KernelSpec("recurrent", inputs, outputs, tuple(attrs.items()))
    for reference, want in zip(references(spec, arrays), wants, strict=True):
        assert reference.check(want) == ""
        off = np.array(want)
        off[..., 0] = np.inf  # where sums of their magnitudes overflow, a kernel's may
        assert reference.check(off) == ""
