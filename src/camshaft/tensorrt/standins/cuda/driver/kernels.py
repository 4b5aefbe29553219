"""Kernels: their machine code is a GPU's, so that these functions fail. They are there for scripts that ask first."""

from __future__ import annotations

from typing import Any

from camshaft.tensorrt.memory import Code, CudaFault
from camshaft.tensorrt.standins.cuda.driver.answers import call


def _refusal() -> CudaFault:
    return CudaFault(
        Code.NOT_SUPPORTED, "CUDA kernels cannot run on a CPU: write the plugin with NumPy instead"
    )


@call(1)
def cuModuleLoadData(image: Any) -> None:
    """CUDA_ERROR_NOT_SUPPORTED."""
    raise _refusal()


@call(1)
def cuModuleLoad(fname: Any) -> None:
    """CUDA_ERROR_NOT_SUPPORTED."""
    raise _refusal()


@call()
def cuModuleUnload(hmod: Any) -> None:
    """CUDA_ERROR_NOT_SUPPORTED."""
    raise _refusal()


@call(1)
def cuModuleGetFunction(hmod: Any, name: bytes) -> None:
    """CUDA_ERROR_NOT_SUPPORTED."""
    raise _refusal()


@call()
def cuLaunchKernel(*args: Any) -> None:
    """CUDA_ERROR_NOT_SUPPORTED."""
    raise _refusal()
