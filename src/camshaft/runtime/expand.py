"""Constants that an engine file does not hold: made by the engine's own code when it is linked.

Some kernels want their weights in a form that is larger than the weights themselves (Winograd's
transformed filters: four times).  Making it costs about what reading it would, so the file stores
the small form, and `Program.expanded` says how the large one comes about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from camshaft.cpus import available_cpus
from camshaft.ir.extents.sizes import evaluate
from camshaft.program.arena import aligned_up
from camshaft.program.program import Expanded
from camshaft.runtime.arena import allocate
from camshaft.runtime.driver import LinkedCode

MOST_THREADS = 4
"""Beyond, memory is the limit."""


def expand(
    wanted: Sequence[Expanded], constants: Mapping[str, np.ndarray], linked: LinkedCode
) -> dict[str, np.ndarray]:
    """The expanded constants by name: u8 arrays, 64-byte aligned, read-only.

    constants: the stored ones.  BuildError if there is not enough memory.
    """
    if not wanted:
        return {}
    ends = np.cumsum([aligned_up(e.nbytes) for e in wanted]).tolist()
    advice = "free memory, or rebuild with a lower optimization level"
    memory = allocate(ends[-1], "expanded weights", advice)
    starts = zip(wanted, [0, *ends], strict=False)
    arrays = {e.name: memory[start : start + e.nbytes] for e, start in starts}
    fill(wanted, constants, arrays, linked)
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


def fill(
    wanted: Sequence[Expanded],
    constants: Mapping[str, np.ndarray],
    arrays: Mapping[str, np.ndarray],
    linked: LinkedCode,
) -> None:
    """Make these expanded constants, in memory that is there.  arrays: where each lies, by name."""
    threads = min(MOST_THREADS, available_cpus())
    with ThreadPoolExecutor(threads) as pool:
        jobs = []
        for e in wanted:
            address = linked.address(e.code, e.phase.symbol)
            pointers = (constants[e.stored].ctypes.data, arrays[e.name].ctypes.data)
            cuts = [evaluate(e.phase.items, {}) * t // threads for t in range(threads + 1)]
            jobs += [
                pool.submit(linked.call, address, pointers, begin, end)
                for begin, end in pairwise(cuts)
            ]
        for job in jobs:
            job.result()
