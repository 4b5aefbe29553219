"""What kernels report of operands outside their op's domain: a gather's index, so far.

A kernel that may meet such an operand has a block of its own in each context (space "report") in
place of a workspace, and writes there: a mark, the value, the extent it does not fit.  It goes on
with a value that fits, so that nothing outside its operands is read.  After a call the context looks
whether any block is marked.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.errors import BindingError
from camshaft.program.view import REPORT_BYTES, Buffer
from camshaft.runtime.arena import allocate_arena

_MARK, _VALUE, _EXTENT = range(3)


class Reports:
    """The report blocks of a context."""

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        """buffers: those of space "report"; their names end in the node's."""
        self._names = [b.name.partition(":")[2] for b in buffers]
        self._memory = allocate_arena(REPORT_BYTES * len(buffers))
        self._words = self._memory.data.cast("q")
        self._marks = range(0, len(self._words), REPORT_BYTES // 8)
        first = self._memory.ctypes.data
        self.addresses = {b: first + i * REPORT_BYTES for i, b in enumerate(buffers)}

    def check(self) -> None:
        """Raise BindingError for the first kernel that reported something in the last call."""
        words = self._words
        for mark in self._marks:
            if words[mark]:
                self._raise()

    def _raise(self) -> None:
        blocks = self._memory.view(np.int64).reshape(len(self._names), -1).copy()
        self._memory.fill(0)
        for name, block in zip(self._names, blocks.tolist(), strict=True):
            if block[_MARK]:
                value, extent = block[_VALUE], block[_EXTENT]
                raise BindingError(
                    f"node {name!r} is given the index {value}, and its axis has the indices "
                    f"{-extent} to {extent - 1}"
                )
