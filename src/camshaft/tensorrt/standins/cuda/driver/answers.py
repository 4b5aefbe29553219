"""How functions of the driver answer: with a CUresult first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from camshaft.tensorrt.standins.cuda.calls import Answer, Call, answering
from camshaft.tensorrt.standins.cuda.errors import TEXTS, CUresult


def call(results: int = 0) -> Callable[[Callable[..., Any]], Call]:
    """Makes a function one of the driver with so many results."""
    return answering(CUresult, results)


def cuGetErrorName(error: int) -> Answer:
    """(CUresult, an error's name as bytes)."""
    try:
        return CUresult.CUDA_SUCCESS, CUresult(error).name.encode()
    except ValueError:
        return CUresult.CUDA_ERROR_INVALID_VALUE, None


def cuGetErrorString(error: int) -> Answer:
    """(CUresult, what an error means as bytes)."""
    text = TEXTS.get(int(error))
    if text is None:
        return CUresult.CUDA_ERROR_INVALID_VALUE, None
    return CUresult.CUDA_SUCCESS, text.encode()
