"""Runs kernels that use AMX's tiles on a machine without them.

A tactic's code is generated for a target with tiles and compiled for this machine with each tile instruction
replaced by a call of its model (`half_models.AmxTiles`): everything but the tiles runs as it is.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from camshaft.backends.base import Kernel, Source
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.link import link
from camshaft.backends.cpu.target import AVX2
from half_models import AmxTiles
from kernel_harness import SymbolicKernel
from targets import skip_unless_runnable

INTERPRETED = replace(AVX2, name="avx2 with tiles", vector_bits=512, has_amx=True)
"""Vectors of 512 bits are two registers each; the tiles are a model."""

_ARGUMENTS = {"ptr": ctypes.c_void_p, "i64": ctypes.c_int64, "i8": ctypes.c_uint8}


class Interpreter:
    """Compiles kernels whose tile instructions are calls of the model `tiles`."""

    def __init__(self) -> None:
        self.tiles = AmxTiles()
        self._kept: list[Any] = []

    def compile(self, source: Source) -> Kernel:
        text = re.sub(
            r"^declare void @llvm\.x86\.(\w*tile|tdp)\w*\(.*\n", "", source.text, flags=re.M
        )
        text = re.sub(r"call void @llvm\.x86\.(\w+)\((.*)\)", self._call, text)
        return CpuCompiler(INTERPRETED).compile(replace(source, text=text))

    def _call(self, found: re.Match[str]) -> str:
        name, operands = found[1], found[2]
        kinds = [_ARGUMENTS[operand.split()[0]] for operand in operands.split(", ") if operand]
        method = getattr(self.tiles, name)

        def counted(*values: int) -> None:
            self.tiles.counts[name] += 1
            method(*values)

        function = ctypes.CFUNCTYPE(None, *kinds)(counted)
        self._kept.append(function)
        address = ctypes.cast(function, ctypes.c_void_p).value
        return f"call void inttoptr (i64 {address} to ptr)({operands})"


def interpreted(
    candidate: Any,
    sizes: Mapping[str, int],
    arrays: Sequence[np.ndarray],
    consts: Sequence[np.ndarray],
    threads: int,
) -> tuple[np.ndarray, AmxTiles]:
    """The candidate's result, run with every trap of the harness, and the tiles afterwards."""
    interpreter = Interpreter()
    kernel = SymbolicKernel.__new__(SymbolicKernel)
    kernel.candidate = candidate
    kernel.kernel = interpreter.compile(candidate.emit())
    kernel.library = link(kernel.kernel.code, [p.symbol for p in kernel.kernel.phases])
    skip_unless_runnable(INTERPRETED)
    run = kernel.laid_out(sizes, arrays, consts, threads)
    run.run()
    run.check_guards()
    assert interpreter.tiles.rows is None, "tiles are released"
    return run.outputs()[0], interpreter.tiles
