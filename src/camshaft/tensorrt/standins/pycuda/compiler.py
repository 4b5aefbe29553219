"""`pycuda.compiler`: scripts import it for kernels of their own. A CPU has no use for what it compiles: it fails."""

from __future__ import annotations

from typing import Any, NoReturn

from camshaft.tensorrt.standins.pycuda.errors import CompileError

__all__ = ["DEFAULT_NVCC_FLAGS", "DynamicSourceModule", "SourceModule", "compile"]

DEFAULT_NVCC_FLAGS: list[str] = []


def compile(source: str, *options: Any, **more: Any) -> NoReturn:
    """CompileError: CUDA kernels cannot run on a CPU."""
    raise CompileError("nvcc compilation failed: there is no GPU; write the kernel in NumPy")


class SourceModule:
    """Kernels of a CUDA source; CompileError, as of `compile`."""

    def __init__(self, source: str, *options: Any, **more: Any) -> None:
        compile(source)


class DynamicSourceModule(SourceModule):
    """As `SourceModule`."""
