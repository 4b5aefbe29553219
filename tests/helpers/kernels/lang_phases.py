"""Phases written in the kernel language, compiled and run for tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from camshaft.backends.cpu.lang import Arg, FunctionBuilder, Module
from camshaft.backends.cpu.link import call, pointer_table
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.types import dtype_of
from targets import runnable_code


def run_phase(
    target: CpuTarget, body: Callable[[FunctionBuilder], None], *arrays: np.ndarray, items: int = 1
) -> None:
    """Compile one phase whose arguments a0, a1, ... are `arrays`, and run it."""
    module = Module(target)
    args = [Arg(f"a{n}", dtype_of(a)) for n, a in enumerate(arrays)]
    with module.phase("phase", items, args) as k:
        body(k)
    library = runnable_code(module.source(), target)
    call(library["phase"], pointer_table([a.ctypes.data for a in arrays]), 0, items)
