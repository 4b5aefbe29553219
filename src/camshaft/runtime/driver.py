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
from camshaft.program.rows import Row, Targets

DRIVERS = {"cpu": "camshaft.backends.cpu.driver"}
"""Driver name -> module that holds it as DRIVER."""

RUNNER = "runner"
"""Name among an engine's object code of the generated loop that walks the row table."""


class LinkedProgram(Protocol):
    """A row table with its worker threads; one thread at a time may call it.

    What its calls return is an `Outcome`.
    """

    call: Callable[..., int] | None  # of all arrays, inputs first; None where not supported
    call_in_turn: Callable[..., int] | None

    @property
    def closed(self) -> bool: ...
    def close(self) -> None: ...
    def in_turn(self, action: Callable[[], int]) -> int: ...
    def enter(self, addresses: Sequence[int], host: Callable[[int], None]) -> int: ...
    def hold(self, said: Sequence[np.ndarray]) -> None: ...
    def set_fitted(self, on: bool) -> None: ...
    def words(self, targets: Targets) -> tuple[int, np.ndarray]: ...
    def set_timing(self, on: bool) -> None: ...
    def stamps_ns(self) -> np.ndarray: ...


class LinkedCode(Protocol):
    """Kernels loaded into this process."""

    def address(self, code: str, symbol: str) -> int: ...
    def call(self, address: int, pointers: Sequence[int], begin: int, end: int) -> None:
        """Do work items begin..end-1 of the phase at that address, without the GIL."""
        ...

    def bound(
        self, address: int, pointers: Sequence[int], begin: int, end: int
    ) -> Callable[[], None]:
        """`call` with these arguments, made ready: for short work that is done often, with the
        GIL."""
        ...

    def program(
        self,
        rows: Sequence[Row],
        bindings: Sequence[TensorType],
        first_output: int,
        threads: int,
        check_finite: bool,
        saying: Sequence[int],
    ) -> LinkedProgram:
        """A program over these rows.  Whoever holds it keeps this object and all memory that
        the rows point to alive.  saying: the bindings that say sizes by their values."""
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
        imports: Mapping[str, Sequence[str]],
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
