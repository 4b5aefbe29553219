"""How many processors this process may use: the default number of threads everywhere."""

from __future__ import annotations

import os


def available_cpus() -> int:
    """Logical processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
