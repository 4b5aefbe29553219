"""libcudart for who loads it with ctypes, as Polygraphy and onnx-tensorrt do: an object with the library's functions.

They take what C functions do (`ctypes.byref`, `c_void_p`, `c_size_t`, numbers) and return the error as an int.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from camshaft.tensorrt.standins.cuda import runtime

_OUTPUTS = {
    "cudaMalloc": 1,
    "cudaMallocHost": 1,
    "cudaHostAlloc": 1,
    "cudaMallocManaged": 1,
    "cudaMallocAsync": 1,
    "cudaMemGetInfo": 2,
    "cudaGetDevice": 1,
    "cudaGetDeviceCount": 1,
    "cudaDeviceGetAttribute": 1,
    "cudaRuntimeGetVersion": 1,
    "cudaDriverGetVersion": 1,
    "cudaStreamCreate": 1,
    "cudaStreamCreateWithFlags": 1,
    "cudaStreamCreateWithPriority": 1,
    "cudaEventCreate": 1,
    "cudaEventCreateWithFlags": 1,
    "cudaEventElapsedTime": 1,
    "cudaFree": 0,
    "cudaFreeAsync": 0,
    "cudaFreeHost": 0,
    "cudaMemcpy": 0,
    "cudaMemcpyAsync": 0,
    "cudaMemset": 0,
    "cudaMemsetAsync": 0,
    "cudaStreamDestroy": 0,
    "cudaStreamSynchronize": 0,
    "cudaStreamQuery": 0,
    "cudaStreamWaitEvent": 0,
    "cudaEventDestroy": 0,
    "cudaEventRecord": 0,
    "cudaEventSynchronize": 0,
    "cudaEventQuery": 0,
    "cudaSetDevice": 0,
    "cudaDeviceSynchronize": 0,
    "cudaDeviceReset": 0,
    "cudaGetLastError": 0,
    "cudaPeekAtLastError": 0,
    "cudaProfilerStart": 0,
    "cudaProfilerStop": 0,
}
"""Functions, with how many pointers to results come first."""

_TEXTS = ("cudaGetErrorName", "cudaGetErrorString")


class LibCudart:
    """The library: functions are made when they are first asked for. AttributeError for those that it lacks."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in _OUTPUTS and name not in _TEXTS:
            raise AttributeError(f"camshaft's stand-in for {self._name} has no function {name}")
        made = _text_function(name) if name in _TEXTS else _function(name, _OUTPUTS[name])
        setattr(self, name, made)
        return made

    def __getitem__(self, name: str) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(self, name)
        return function

    def __repr__(self) -> str:
        return f"<camshaft's stand-in for {self._name}>"


def _function(name: str, outputs: int) -> Callable[..., Any]:
    """A function of the runtime in C's form. Attributes that ctypes gives functions (restype) may be set."""
    called = getattr(runtime, name)

    def function(*args: Any) -> int:
        error, *results = called(*(_value(a) for a in args[outputs:]))
        if error == runtime.cudaError_t.cudaSuccess:
            for pointer, result in zip(args, results, strict=False):
                _target(pointer).value = result
        return int(error)

    function.__name__ = name
    return function


def _text_function(name: str) -> Callable[..., Any]:
    called = getattr(runtime, name)

    def function(error: Any) -> bytes:
        text: bytes = called(_value(error))[1]
        return text

    function.__name__ = name
    return function


def _value(argument: Any) -> Any:
    """An argument without ctypes' wrapping: pointers as addresses; what is memory itself stays as it is."""
    if isinstance(argument, ctypes._Pointer | ctypes.c_char_p | ctypes.c_void_p):
        return ctypes.cast(argument, ctypes.c_void_p).value or 0
    if isinstance(argument, ctypes._SimpleCData):
        return argument.value
    if hasattr(argument, "_obj"):
        return ctypes.addressof(argument._obj)
    return argument


def _target(pointer: Any) -> Any:
    """The ctypes object that `byref` or `pointer` points to."""
    if hasattr(pointer, "_obj"):
        return pointer._obj
    if hasattr(pointer, "contents"):
        return pointer.contents
    raise TypeError(
        f"an output is given as {type(pointer).__name__}: give ctypes.byref of what takes it"
    )
