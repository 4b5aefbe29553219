"""Object code to callable functions in this process: the CPU backend's driver.

The last stage of the CPU backend, used when an engine is loaded and when candidates are timed.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial

from llvmlite import binding

from camshaft.backends.cpu.compile import start_llvm
from camshaft.errors import BuildError
from camshaft.ir.plugins.registry import resolved, symbol_of

_PHASE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
_SHORT = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
_LOCK = threading.Lock()
_NUMBER = itertools.count()
_KEPT = 512
"""Object files that stay linked when nothing uses them; an engine has some dozens, of 2 to 50 KB."""


class Library:
    """Linked code; its addresses are valid while the object lives."""

    def __init__(self, tracker: binding.ResourceTracker, symbols: Sequence[str]) -> None:
        self._tracker = tracker
        self.addresses = {symbol: int(tracker[symbol]) for symbol in symbols}

    def __getitem__(self, symbol: str) -> int:
        """Address of an exported function; KeyError if it was not asked for."""
        return self.addresses[symbol]


@cache
def linker() -> binding.LLJIT:
    """What links object code into this process.

    JITLink puts code and constants of an object file side by side.  LLVM's older linker puts them where there is room, which in a
    process with large arrays can be further apart than code reaches (2 GiB), and ends the process then.
    """
    start_llvm()
    return binding.create_lljit_compiler(use_jit_link=True)


def link(code: bytes, symbols: Sequence[str], imports: Sequence[str] = ()) -> Library:
    """Load an object file and find `symbols` in it; BuildError if that fails.

    Code resolves nothing outside itself, so what loads on one machine loads on another, but for `imports`:
    functions of users, by the references of `ir.plugins.registry`.  ModelError names one that this process lacks.
    The last ones stay linked: LLVM gives some kilobytes of each never back, and engines are often loaded again.
    """
    given = tuple((symbol_of(reference), resolved(reference)) for reference in imports)
    return _linked(bytes(code), tuple(symbols), given)


@lru_cache(_KEPT)
def _linked(code: bytes, symbols: tuple[str, ...], imports: tuple[tuple[str, int], ...]) -> Library:
    """imports: symbols of functions, and their addresses."""
    builder = binding.JITLibraryBuilder().add_object_img(code)
    for imported, address in imports:
        builder.import_symbol(imported, address)
    for symbol in symbols:
        builder.export_symbol(symbol)
    with _LOCK:
        name = f"camshaft.{next(_NUMBER)}"
        try:
            tracker = builder.link(linker(), name)
        except RuntimeError as error:
            raise BuildError(f"cannot link kernel code ({', '.join(symbols)}): {error}") from error
    return Library(tracker, symbols)


def pointer_table(pointers: Sequence[int]) -> ctypes.Array[ctypes.c_void_p]:
    """The `args` array of a phase from addresses (0 for none)."""
    return (ctypes.c_void_p * max(1, len(pointers)))(*pointers)


def call(
    address: int, table: ctypes.Array[ctypes.c_void_p], begin: int, end: int, worker: int = 0
) -> None:
    """Run work items begin..end-1 of the phase at `address`; releases the GIL meanwhile."""
    _PHASE(address)(ctypes.addressof(table), begin, end, worker)


def bound(
    address: int, table: ctypes.Array[ctypes.c_void_p], begin: int, end: int
) -> Callable[[], None]:
    """`call` with these arguments, for short work: keeps the GIL."""
    return partial(_SHORT(address), table, begin, end, 0)
