"""The linked program runner: generated code as Python functions, and what it knows of arrays.

`compile_runner` turns `runner.ir` into an object file once per target (an engine file carries it,
so loading compiles nothing); `RunnerFunctions` are that object file linked into this process.  A
`LinkedProgram` (module `program`) is one context's tables, run by a runner.
"""

from __future__ import annotations

import ctypes
import platform
import sys
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import count
from typing import Any

import numpy as np
from llvmlite import binding

from camshaft.backends.base import Source
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.link import linker
from camshaft.backends.cpu.runner.ir import runner_ir
from camshaft.backends.cpu.target import CpuTarget
from camshaft.errors import BuildError
from camshaft.program.program import Phase

C_CONTIGUOUS, ALIGNED, WRITEABLE = 0x1, 0x100, 0x400  # PyArrayObject.flags
_SYMBOLS = (
    "call",
    "call_in_turn",
    "enter",
    "resume",
    "acquire",
    "leave",
    "signal",
    "worker",
    "finite16",
    "finite32",
    "finite64",
)
_IMPORTS = (
    "clock_gettime",
    "sched_yield",
    "sched_getcpu",
    "sched_setaffinity",
    "syscall",
    "usleep",
    "PyCapsule_GetPointer",
    "PyEval_SaveThread",
    "PyEval_RestoreThread",
    "PyLong_FromLongLong",
)
_LOCK = threading.Lock()
_serial = count()
_METH_FASTCALL = 0x80


def on_linux() -> bool:
    """Whether waiting threads can sleep in the kernel and be woken (else they take short naps)."""
    return sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")


@lru_cache(maxsize=8)
def compile_runner(target: CpuTarget, linux: bool | None = None) -> bytes:
    """Object code of the runner for `target` (about 0.1 s the first time).

    linux: whether to use Linux's calls for sleeping and placement; None: if this is Linux.
    BuildError on Windows, whose clock and scheduler calls the generated code does not know.
    """
    if sys.platform == "win32":
        raise BuildError("engines run on Linux and macOS; on Windows use WSL")
    text = runner_ir(platform.machine().lower(), on_linux() if linux is None else linux)
    source = Source(text, tuple(Phase(symbol, 0) for symbol in _SYMBOLS))
    return CpuCompiler(target).compile(source).code


# --- linking --------------------------------------------------------------------------------


def _link(code: bytes) -> binding.ResourceTracker:
    """Link the runner, which unlike kernels calls Python and the C library (see `_IMPORTS`)."""
    builder = binding.JITLibraryBuilder().add_object_img(code)
    process = ctypes.CDLL(None)
    for name in _IMPORTS:
        function = getattr(ctypes.pythonapi if name.startswith("Py") else process, name, None)
        if function is None:  # a Linux call, which code for this system does not make
            continue
        builder.import_symbol(name, ctypes.cast(function, ctypes.c_void_p).value)
    for symbol in _SYMBOLS:
        builder.export_symbol(symbol)
    try:
        return builder.link(linker(), f"runner.{next(_serial)}")
    except RuntimeError as error:
        raise BuildError(f"object code of the step loop does not link: {error}") from error


# --- arrays as C sees them ------------------------------------------------------------------


@lru_cache(maxsize=1)
def array_layout() -> tuple[int, ...] | None:
    """Byte offsets of type, data, rank, shape, dtype and flags in a PyArrayObject.

    The struct is part of NumPy's ABI (numpy/ndarraytypes.h); still, what it says is compared with
    what NumPy says on a few arrays, and None is returned where they differ: `LinkedProgram.call` is
    then not to be used, and callers fall back on NumPy's slower public interface.
    """
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    head = object.__basicsize__
    layout = (head - 8, head, head + 8, head + 16, head + 40, head + 48)
    locked = np.zeros((2, 3, 4), np.float64)
    locked.flags.writeable = False
    samples = (np.zeros((3, 5), np.float32), np.zeros((4, 6), np.int8)[:, ::2], locked)
    return layout if all(_layout_holds(layout, a) for a in samples) else None


def _layout_holds(layout: Sequence[int], a: np.ndarray) -> bool:
    def read(kind: Any, field: int) -> int:
        return int(kind.from_address(id(a) + layout[field]).value)

    word = ctypes.c_size_t
    if read(word, 0) != id(type(a)) or read(word, 4) != id(a.dtype):
        return False
    if read(word, 1) != a.ctypes.data or read(ctypes.c_int, 2) != a.ndim:
        return False
    shape = (ctypes.c_ssize_t * a.ndim).from_address(read(word, 3))
    flags = C_CONTIGUOUS | ALIGNED | WRITEABLE
    return tuple(shape) == a.shape and (read(ctypes.c_int, 5) & flags) == (a.flags.num & flags)


# --- the runner -----------------------------------------------------------------------------


class _MethodDef(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


class RunnerFunctions:
    """The runner's functions.  Those called through ctypes release the GIL while they run, but for
    `acquire` and `leave`, which take no time.

    enter(program, addresses) -> code; resume(program, row) -> code;
    acquire(program) -> 1 if a call is in progress; leave(program);
    signal(program); worker(program, number, seen generation).  Codes: `Outcome`.
    """

    def __init__(self, code: bytes) -> None:
        with _LOCK:
            self._library = _link(code)
        self.addresses = {symbol: int(self._library[symbol]) for symbol in _SYMBOLS}
        p, i64 = ctypes.c_void_p, ctypes.c_int64
        self.enter = self._function("enter", i64, p, p)
        self.resume = self._function("resume", i64, p, i64)
        self.acquire = ctypes.PYFUNCTYPE(i64, p)(self.addresses["acquire"])
        self.leave = ctypes.PYFUNCTYPE(None, p)(self.addresses["leave"])
        self.signal = self._function("signal", None, p)
        self.worker = self._function("worker", None, p, i64, ctypes.c_int32)
        self._methods = {
            name: _MethodDef(name.encode(), self.addresses[name], _METH_FASTCALL, None)
            for name in ("call", "call_in_turn")
        }

    def _function(self, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
        return ctypes.CFUNCTYPE(result, *arguments)(self.addresses[name])

    def bound_call(self, program: int, name: str) -> Callable[..., int] | None:
        """`call` or `call_in_turn` as a built-in Python function of the arrays, or None without a
        known layout.

        A built-in's calling convention costs a tenth of what ctypes' does (20 ns against 300).
        The caller keeps this runner and the program's memory alive.
        """
        if array_layout() is None:
            return None
        api = ctypes.pythonapi
        capsule = _prototype(api.PyCapsule_New, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
        method = _prototype(
            api.PyCFunction_NewEx, ctypes.c_void_p, ctypes.py_object, ctypes.py_object
        )
        owner = capsule(program, None, None)
        bound: Callable[..., int] = method(ctypes.addressof(self._methods[name]), owner, None)
        return bound


def _prototype(function: Any, *arguments: Any) -> Callable[..., Any]:
    address = ctypes.cast(function, ctypes.c_void_p).value or 0
    prototype: Callable[..., Any] = ctypes.PYFUNCTYPE(ctypes.py_object, *arguments)(address)
    return prototype


@lru_cache(maxsize=4)
def runner_from(code: bytes) -> RunnerFunctions:
    """The runner made of this object code, linked once per process."""
    return RunnerFunctions(code)
