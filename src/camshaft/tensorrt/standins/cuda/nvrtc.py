"""`cuda.bindings.nvrtc`: scripts import it beside the runtime. A CPU has no use for what it compiles: it fails."""

from __future__ import annotations

from typing import Any

from camshaft.tensorrt.standins.cuda.calls import Answer
from camshaft.tensorrt.standins.cuda.errors import nvrtcResult
from camshaft.tensorrt.standins.device import CUDA_VERSION

__all__ = ["nvrtcCreateProgram", "nvrtcGetErrorString", "nvrtcResult", "nvrtcVersion"]


def nvrtcVersion() -> Answer:
    """(nvrtcResult, major, minor)."""
    return nvrtcResult.NVRTC_SUCCESS, CUDA_VERSION // 1000, CUDA_VERSION % 1000 // 10


def nvrtcGetErrorString(result: int) -> Answer:
    """(nvrtcResult, an error's name as bytes)."""
    return nvrtcResult.NVRTC_SUCCESS, nvrtcResult(result).name.encode()


def nvrtcCreateProgram(*args: Any) -> Answer:
    """(NVRTC_ERROR_PROGRAM_CREATION_FAILURE, None): CUDA kernels cannot run on a CPU."""
    return nvrtcResult.NVRTC_ERROR_PROGRAM_CREATION_FAILURE, None
