"""pycuda's exceptions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from camshaft.tensorrt.memory import Code, CudaFault
from camshaft.tensorrt.standins.cuda.errors import TEXTS


class Error(Exception):
    """The root of them."""


class MemoryError(Error):
    """There is no memory left."""


class LogicError(Error):
    """A call is wrong: its arguments, or its moment."""


class LaunchError(Error):
    """A kernel failed."""


class CompileError(Error):
    """A kernel's source cannot be compiled."""


class RuntimeError(Error):
    """Something else failed."""


@contextmanager
def raising(function: str) -> Iterator[None]:
    """Turns a CudaFault into one of pycuda's exceptions. function: the driver's, which the message begins with."""
    try:
        yield
    except CudaFault as fault:
        kind = MemoryError if fault.code == Code.OUT_OF_MEMORY else LogicError
        raise kind(f"{function} failed: {TEXTS[fault.code]} - {fault}") from None
