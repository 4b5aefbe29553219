"""Weights to time kernels with: of the right type and size, of any values.

A kernel is timed on as many copies of its weights as a net reads before it comes back to the same
ones.  How long it takes does not depend on their values, so all candidates of a build read the same memory.
What says which memory a kernel touches (indices, say) is no weight: its values matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from camshaft.backends.base import Kernel
from camshaft.builder.tuning.values import random_values
from camshaft.ir.types import DType, dtype_of
from camshaft.program.arena import ALIGNMENT, aligned_up

PATTERN = 1 << 20
"""Elements after which the values repeat."""


@dataclass(frozen=True)
class PackedForm:
    """What `Candidate.prepack` returned, without the values of weights.

    sizes: bytes of each packed constant as the kernel reads it.  dtypes: their types.  fixed: those
    that are no weights, by number.
    """

    sizes: tuple[int, ...]
    dtypes: tuple[DType, ...]
    fixed: dict[int, np.ndarray]

    @staticmethod
    def of(packed: Sequence[np.ndarray], kernel: Kernel) -> PackedForm:
        """That of packed constants of a kernel, which may expand some."""
        large = {e.packed: e.nbytes for e in kernel.expansions}
        dtypes = tuple(map(dtype_of, packed))
        fixed = {i: a for i, (a, d) in enumerate(zip(packed, dtypes, strict=True)) if _matters(d)}
        return PackedForm(
            tuple(large.get(i, a.nbytes) for i, a in enumerate(packed)), dtypes, fixed
        )

    @property
    def nbytes(self) -> int:
        """Bytes of all packed constants."""
        return sum(self.sizes)


def _matters(dtype: DType) -> bool:
    """Whether values of a type may be indices or sizes: integers of more than 16 bits."""
    return not dtype.is_float and dtype.bits > 16


class SpareWeights:
    """Memory that all candidates of a build read for weights; grows to what is asked for.

    Arrays that were given stay as they are.  Not thread-safe.
    """

    def __init__(self) -> None:
        self._pools: dict[DType, np.ndarray] = {}

    def copies(self, form: PackedForm, count: int) -> list[list[np.ndarray]]:
        """So many copies of packed constants of a form, flat, each in memory of its own."""
        pieces: dict[int, Iterator[np.ndarray]] = {}
        for dtype in set(form.dtypes):
            numbers = [i for i, d in enumerate(form.dtypes) if d == dtype and i not in form.fixed]
            sizes = [aligned_up(max(1, form.sizes[i])) for i in numbers]
            pool = self._pool(dtype, count * sum(sizes))
            start = 0
            for i, size in zip(numbers, sizes, strict=True):
                starts = range(start, start + count * size, size)
                pieces[i] = iter([pool[at : at + form.sizes[i]] for at in starts])
                start += count * size
        return [
            [
                form.fixed[i].copy() if i in form.fixed else next(pieces[i])
                for i in range(len(form.sizes))
            ]
            for _ in range(count)
        ]

    def _pool(self, dtype: DType, nbytes: int) -> np.ndarray:
        """At least so many bytes that hold values of a type."""
        pool = self._pools.pop(dtype, None)
        if pool is None or pool.nbytes < nbytes:
            pool = None  # the old memory goes before there is new
            values = random_values(dtype, PATTERN, np.random.default_rng(0)).view(np.uint8)
            memory = np.empty(nbytes + ALIGNMENT, np.uint8)
            pool = memory[-memory.ctypes.data % ALIGNMENT :][:nbytes]
            for start in range(0, nbytes, values.nbytes):
                part = pool[start : start + values.nbytes]
                part[:] = values[: part.nbytes]
        self._pools[dtype] = pool
        return pool
