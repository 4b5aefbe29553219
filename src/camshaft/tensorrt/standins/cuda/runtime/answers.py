"""How functions of the runtime answer: with a cudaError_t first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from camshaft.tensorrt.standins.cuda.calls import Answer, Call, LastError, answering
from camshaft.tensorrt.standins.cuda.errors import TEXTS, cudaError_t

_LAST = LastError()


def call(results: int = 0) -> Callable[[Callable[..., Any]], Call]:
    """Makes a function one of the runtime with so many results."""
    return answering(cudaError_t, results, _LAST)


def cudaGetErrorName(error: int) -> Answer:
    """(cudaError_t, an error's name as bytes)."""
    try:
        return cudaError_t.cudaSuccess, cudaError_t(error).name.encode()
    except ValueError:
        return cudaError_t.cudaSuccess, b"unrecognized error code"


def cudaGetErrorString(error: int) -> Answer:
    """(cudaError_t, what an error means as bytes)."""
    return cudaError_t.cudaSuccess, TEXTS.get(int(error), "unrecognized error code").encode()


def cudaPeekAtLastError() -> Answer:
    """(the last error of this thread,)."""
    return (cudaError_t(_LAST.number),)


def cudaGetLastError() -> Answer:
    """(the last error of this thread,), which is forgotten."""
    last = cudaPeekAtLastError()
    _LAST.number = 0
    return last
