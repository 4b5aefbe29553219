"""What the runtime asks of a backend that runs code, and how it finds one.

A driver is imported when an engine is linked, not before: `import camshaft.runtime` costs no more
than NumPy, and an engine can be inspected on a machine that cannot run it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, cast

import numpy as np

from camshaft.errors import EngineFileError
from camshaft.ir.types import TensorType

DRIVERS = {"cpu": "camshaft.backends.cpu.driver"}
"""Driver name -> module that holds it as DRIVER."""

DONE, IS_BUSY, NOT_FINITE, OVERLAP, UNEXPECTED = 0, -1, -2, -3, -4
"""Outcome of entering a program.

IS_BUSY: another call is in progress, or the program was not started.  NOT_FINITE: an input holds
NaN or infinity.  OVERLAP: an output shares memory with another array.  UNEXPECTED: an array is
not exactly an ndarray of the expected type, shape, layout and writability.
"""

Argument = int | tuple[int, int]
"""An address (0: null), or (binding, byte offset) for memory that each call brings along."""

Row = tuple[int, tuple[Argument, ...], int, bool]
"""(code address or 0 for a host step, arguments, work items, whether it waits for earlier rows)."""


class Program(Protocol):
    """A step table with its worker threads; one thread at a time may call it."""

    call: Callable[..., int] | None  # of all arrays, inputs first; None where not supported

    @property
    def closed(self) -> bool: ...
    def start(self) -> bool: ...
    def close(self) -> None: ...
    def enter(self, addresses: Sequence[int]) -> int: ...
    def enter_with_hosts(self, addresses: Sequence[int], host: Callable[[int], None]) -> int: ...
    def set_timing(self, on: bool) -> None: ...
    def stamps_ns(self) -> np.ndarray: ...


class LinkedCode(Protocol):
    """Kernels loaded into this process."""

    def address(self, code: str, symbol: str) -> int: ...
    def call(self, address: int, pointers: Sequence[int], begin: int, end: int) -> None:
        """Do work items begin..end-1 of the phase at that address, without the GIL."""
        ...

    def program(
        self,
        rows: Sequence[Row],
        bindings: Sequence[TensorType],
        first_output: int,
        threads: int,
        check_finite: bool,
    ) -> Program:
        """A program over these rows.  Whoever holds it keeps this object and all memory that
        the rows point to alive."""
        ...


class Driver(Protocol):
    """A backend that links and runs code."""

    def missing_features(self, features: Sequence[str]) -> tuple[str, ...]: ...
    def runner_code(self, target: str) -> bytes: ...

    def link(
        self,
        code: Mapping[str, bytes],
        symbols: Mapping[str, Sequence[str]],
        runner_code: bytes,
    ) -> LinkedCode: ...


def driver_named(name: str) -> Driver:
    """The driver called `name`, imported now; EngineFileError if this camshaft has none such."""
    if name not in DRIVERS:
        known = ", ".join(DRIVERS)
        raise EngineFileError(
            f"the engine is for the backend {name!r:.40}, which this camshaft lacks (it has "
            f"{known}); rebuild the engine here"
        )
    return cast(Driver, importlib.import_module(DRIVERS[name]).DRIVER)
