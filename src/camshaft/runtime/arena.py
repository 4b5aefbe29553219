"""Memory for intermediate tensors and expanded constants, on huge pages where that pays."""

from __future__ import annotations

import mmap

import numpy as np

from camshaft.errors import BuildError

_HUGE = 2 << 20
_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # a forked child must not write to our arena


def allocate_arena(nbytes: int) -> np.ndarray:
    """Zeroed memory for a context, as `allocate` gives it.

    Every page is touched, so that no run pays for page faults.
    """
    advice = "close other contexts or build for smaller shapes"
    arena = allocate(nbytes, "an arena", advice)
    arena.fill(0)
    return arena


def allocate(nbytes: int, what: str, advice: str) -> np.ndarray:
    """u8 memory of at least one byte, on a page boundary (2 MiB from 2 MiB on), untouched.

    BuildError if there is not enough memory; what, advice: its words.
    """
    boundary = _HUGE if nbytes >= _HUGE else mmap.PAGESIZE
    try:
        room = mmap.mmap(-1, max(1, nbytes) + boundary, flags=_PRIVATE)
    except (OSError, ValueError, OverflowError) as error:
        raise BuildError(
            f"no memory for {what} of {nbytes / 1e6:.1f} MB ({error}); {advice}"
        ) from error
    if boundary == _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        room.madvise(mmap.MADV_HUGEPAGE)
    whole = np.frombuffer(room, np.uint8)
    start = -whole.ctypes.data % boundary
    return whole[start : start + max(1, nbytes)]
