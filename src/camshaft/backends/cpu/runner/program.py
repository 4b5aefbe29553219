"""A program: one execution context's step table in memory, its worker threads, and how to run it.

The runtime resolves a plan to addresses and hands them over as `Row`s; from then on a call is one
entry into generated code (`runner.ir`).  Worker threads are Python threads that sit in generated
code, without the GIL, from the first call until the program is closed or dropped.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NamedTuple

import numpy as np

from camshaft.backends.cpu.runner.functions import (
    ALIGNED,
    C_CONTIGUOUS,
    WRITEABLE,
    Runner,
    array_layout,
)
from camshaft.backends.cpu.runner.ir.layout import (
    BARRIER,
    CHECK_CHUNK,
    EXPECTED_WORDS,
    IS_BUSY,
    MASK_WORDS,
    ROW_WORDS,
    SERIAL,
    SLOT_WORDS,
    WINDOW_NS,
    Word,
)
from camshaft.cpus import available_cpus
from camshaft.errors import ConfigError
from camshaft.ir.types import TensorType

SPIN_US, YIELD_US, BARRIER_US, PARK_US = 20, 100, 200, 60
"""Stages of a wait, as `Word` explains them, where every worker can have a core of its own."""
CROWDED_US = 2, 0, 50, 5
"""The same where there are more workers than cores."""

_INFINITY = {"f16": 0x7C00, "bf16": 0x7F80, "f32": 0x7F800000, "f64": 0x7FF0000000000000}


class Patch(NamedTuple):
    """An argument that points into a caller's array: binding number and byte offset."""

    binding: int
    offset: int


class Row(NamedTuple):
    """One phase of a kernel, or a host step.

    code: the phase's address, 0 for a host step.  args: addresses (0: null), or patches.
    items: how many work items.  waits: whether all earlier rows must have finished.
    """

    code: int
    args: tuple[int | Patch, ...]
    items: int
    waits: bool


class Program:
    """Tables for `threads` workers.  One thread at a time calls it; `call`'s code says if not.

    call: built-in function of all arrays (inputs, then outputs) -> code, or None where NumPy's
    layout is unknown.  Codes are those of `runner.ir.layout`; before the first call, and after a
    fork, every entry returns IS_BUSY until `start` has started the worker threads.
    """

    def __init__(
        self,
        runner: Runner,
        rows: Sequence[Row],
        bindings: Sequence[TensorType],
        first_output: int,
        threads: int,
        check_finite: bool,
    ) -> None:
        """bindings: types of the arrays of a call, inputs first, outputs from `first_output`."""
        self.threads = threads
        self._runner = runner
        words = _zeros(Word.SLOTS + SLOT_WORDS * threads)
        self.address = words.ctypes.data
        status = self.address + 8 * Word.STATUS
        checks = _check_rows(runner, bindings[:first_output], status) if check_finite else []
        tables = _Tables(words, bindings, [*checks, *rows], threads)
        self.checks = len(checks)
        self._tables = tables
        tables.fill(first_output, len(checks))
        self.call: Callable[..., int] | None = runner.bound_call(self.address)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._started = self._closed = False
        self._claim: dict[str, FrameType] = {}
        _programs.add(self)
        self._release = weakref.finalize(self, _stop, tables, runner, self._threads)

    # -- life --------------------------------------------------------------------------------

    def start(self) -> bool:
        """Start the workers unless they run.  False if they did, or if the program is closed.

        ConfigError where the system has no more threads.  Whatever fails closes the program.
        """
        with self._lock:
            if self._started or self._closed:
                return False
            self._tables.reset()
            try:
                for number in range(1, self.threads):
                    thread = threading.Thread(
                        target=self._runner.worker,
                        args=(self.address, number, 0),
                        name=f"camshaft-worker-{number}",
                        daemon=True,
                    )
                    self._threads.append(thread)
                    thread.start()
                self._started = True
            except RuntimeError as error:
                self._closed = True
                raise ConfigError(
                    f"the worker threads of an execution context cannot start: {error}; create "
                    "contexts with fewer threads, or raise the limit on them (`ulimit -u`)"
                ) from error
            except BaseException:  # Ctrl-C, while only some of the workers run
                self._closed = True
                raise
            self._runner.leave(self.address)
            return True

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Stop the workers; later calls return IS_BUSY.  ConfigError while a call is running."""
        with self._lock:
            if self._started and not self._closed and self._runner.acquire(self.address):
                raise ConfigError("an execution context cannot be closed while it runs")
            self._closed = True
            self._release()

    def _forget_workers(self) -> None:
        """In a forked child: the workers and whoever was in a call stayed behind."""
        self._lock = threading.Lock()
        self._claim.clear()
        self._threads.clear()
        self._started = False
        self._tables.words[Word.BUSY] = 1

    # -- running -----------------------------------------------------------------------------

    def enter(self, addresses: Sequence[int]) -> int:
        """One call on arrays at these addresses, which the caller has checked."""
        block = (ctypes.c_int64 * max(1, len(addresses)))(*addresses)
        return int(self._runner.enter(self.address, ctypes.addressof(block)))

    def enter_with_hosts(self, addresses: Sequence[int], host: Callable[[int], None]) -> int:
        """`enter` for programs with host steps, which must use nothing else: calls `host(row)`
        (rows numbered without checks) for each step that falls due.

        Ctrl-C may raise where generated code returns with a host step due, before anyone has seen
        the code, and even in the middle of a `finally`.  So a call claims the program under its
        own frame, and a claim whose frame no thread executes any longer counts for nothing.
        """
        me = sys._getframe()
        holder = self._claim.get("call")
        if holder is not None and not _is_executed(holder):
            self._end_claim(holder)
        try:
            if self._claim.setdefault("call", me) is not me:
                return IS_BUSY
            code = self.enter(addresses)
            while code > 0:
                host(code - 1 - self.checks)
                code = int(self._runner.resume(self.address, code))  # the row after the host step
            return code
        finally:
            self._end_claim(me)

    def _end_claim(self, holder: FrameType) -> None:
        """Free the program if that call has it; interrupted, it can be done again."""
        with self._lock:
            if self._claim.get("call") is holder:
                if self._started and not self._closed:
                    self._runner.leave(self.address)
                del self._claim["call"]

    def set_timing(self, on: bool) -> None:
        """Turn time stamps on or off, between calls."""
        self._tables.words[Word.STAMPS] = self._tables.stamps.ctypes.data if on else 0

    def stamps_ns(self) -> np.ndarray:
        """Start of every row, then the end, of the last timed call: int64 nanoseconds [rows+1].

        At a host step there is the time at which the step became due.
        """
        return self._tables.stamps[self.checks :].copy()


def _is_executed(frame: FrameType) -> bool:
    """Whether some thread is in that frame, or in a function called from it."""
    for top in sys._current_frames().values():
        at: FrameType | None = top
        while at is not None:
            if at is frame:
                return True
            at = at.f_back
    return False


class _Tables:
    """The memory of a program: one zeroed block per kind of table, kept alive together."""

    def __init__(
        self,
        words: np.ndarray,
        bindings: Sequence[TensorType],
        rows: Sequence[Row],
        threads: int,
    ) -> None:
        self.words = words
        self.bindings, self.rows_in, self.threads = bindings, rows, threads
        self.rows = _zeros(ROW_WORDS * len(rows))
        self.args = _zeros(sum(len(r.args) for r in rows))
        self.stamps = _zeros(len(rows) + 1)
        self.addresses = _zeros(len(bindings))
        self.extents = _zeros(len(bindings))
        self.expected = _zeros(EXPECTED_WORDS * len(bindings))
        self.shapes = _zeros(sum(b.rank for b in bindings))
        self.dtypes = [np.dtype(b.dtype.numpy) for b in bindings]  # kept: `expected` holds ids
        self.patches = _zeros(3 * sum(isinstance(a, Patch) for r in rows for a in r.args))

    def fill(self, first_output: int, checks: int) -> None:
        """Write every table."""
        words = self.words
        words[Word.ROWS] = self.rows.ctypes.data
        words[Word.ROW_COUNT] = len(self.rows_in)
        words[Word.THREADS] = self.threads
        words[Word.BINDING_COUNT] = len(self.bindings)
        words[Word.FIRST_OUTPUT] = first_output
        words[Word.BINDINGS] = self.addresses.ctypes.data
        words[Word.EXTENTS] = self.extents.ctypes.data
        words[Word.PATCHES] = self.patches.ctypes.data
        words[Word.PATCH_COUNT] = self.patches.size // 3
        words[Word.EXPECTED] = self.expected.ctypes.data
        words[Word.AT_TYPE : Word.AT_FLAGS + 1] = array_layout() or 0
        words[Word.BUSY] = 1  # until start()
        crowded = self.threads > available_cpus()
        stages = CROWDED_US if crowded else (SPIN_US, YIELD_US, BARRIER_US, PARK_US)
        where = (Word.SPIN_NS, Word.YIELD_NS, Word.BARRIER_NS, Word.PARK_NS)
        for word, microseconds in zip(where, stages, strict=True):
            words[word] = 1000 * microseconds
        parted = any(row.code == 0 for row in self.rows_in)  # calls are then judged in pieces
        words[Word.WATCH] = self.threads > 1 and not parted
        words[Word.SPELL] = WINDOW_NS
        if hasattr(os, "sched_getaffinity") and not crowded:
            words[Word.PLACE] = 1
            mask = sum(1 << cpu for cpu in os.sched_getaffinity(0) if cpu < 64 * MASK_WORDS)
            words[Word.MASK : Word.MASK + MASK_WORDS] = np.frombuffer(
                mask.to_bytes(8 * MASK_WORDS, "little"), np.int64
            )
        self._fill_bindings(first_output)
        self._fill_rows(checks)

    def reset(self) -> None:
        """Counters as before the first call."""
        for word in (Word.STATUS, Word.GENERATION, Word.STOP, Word.PARKED, Word.SLEEPERS):
            self.words[word] = 0
        self.words[Word.SLOTS :] = 0

    def _fill_bindings(self, first_output: int) -> None:
        at = 0
        for i, b in enumerate(self.bindings):
            self.extents[i] = b.nbytes
            flags = C_CONTIGUOUS | ALIGNED | (WRITEABLE if i >= first_output else 0)
            where = self.shapes.ctypes.data + 8 * at
            entry = (id(np.ndarray), id(self.dtypes[i]), b.rank, where, flags)
            self.expected[EXPECTED_WORDS * i : EXPECTED_WORDS * (i + 1)] = entry
            self.shapes[at : at + b.rank] = b.shape
            at += b.rank

    def _fill_rows(self, checks: int) -> None:
        at = patch = 0
        base = self.args.ctypes.data
        flags = row_flags(self.rows_in, checks)
        for i, row in enumerate(self.rows_in):
            self.rows[ROW_WORDS * i : ROW_WORDS * (i + 1)] = (
                row.code,
                base + 8 * at,
                row.items,
                flags[i],
            )
            for a in row.args:
                if isinstance(a, Patch):
                    self.patches[patch : patch + 3] = (base + 8 * at, a.binding, a.offset)
                    patch += 3
                else:
                    self.args[at] = a
                at += 1


def _zeros(words: int) -> np.ndarray:
    """Zeroed int64 words on a 128-byte boundary (a pair of cache lines, which prefetch as one)."""
    room = np.zeros(words + 16, np.int64)
    start = (-room.ctypes.data % 128) // 8
    return room[start : start + words]


def row_flags(rows: Sequence[Row], checks: int) -> list[int]:
    """Flags of every row; the first `checks` rows only read inputs, so nobody waits for them.

    A barrier is left out where `waits` asks for it but worker 0 alone has done everything since
    the last one and does this row too (a row of one item is worker 0's).  Rows that follow without
    waiting relied on that barrier: the first of them that others share in gets it.
    """
    flags = [0] * len(rows)
    pending: list[int] = []  # items of the rows since the last barrier
    owed = False  # whether a barrier was left out since
    for i, row in enumerate(rows):
        if row.code == 0:
            pending, owed = [], False
            continue
        if (row.waits or owed) and any(max(items, row.items) > 1 for items in pending):
            flags[i] |= BARRIER
            pending, owed = [], False
        owed |= row.waits and bool(pending)
        if i >= checks:
            pending.append(row.items)
    serial = True
    for i in reversed(range(len(rows))):
        serial = rows[i].code == 0 or (serial and rows[i].items <= 1)
        flags[i] |= SERIAL if serial else 0
    return flags


def _check_rows(runner: Runner, inputs: Sequence[TensorType], status: int) -> list[Row]:
    """Rows that write to `status` if an input holds NaN or infinity."""
    return [
        Row(
            code=runner.addresses[f"finite{b.dtype.bits}"],
            args=(Patch(i, 0), status, b.nbytes, 1 + i, _INFINITY[b.dtype.name]),
            items=-(-b.nbytes // CHECK_CHUNK),
            waits=False,
        )
        for i, b in enumerate(inputs)
        if b.dtype.is_float and b.size
    ]


# --- threads come to an end -----------------------------------------------------------------


def _stop(tables: _Tables, runner: Runner, threads: list[threading.Thread]) -> None:
    """Stop a program's workers and wait for them; run when a program is closed or dropped, and at
    interpreter exit.  Refers to the tables, not the program, and so keeps them until the end."""
    tables.words[Word.STOP] = 1
    runner.signal(tables.words.ctypes.data)
    for thread in threads:
        if thread.is_alive() and thread is not threading.current_thread():
            thread.join()


_programs: weakref.WeakSet[Program] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for program in list(_programs):
        program._forget_workers()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
