"""A linked program: one execution context's row table, its worker threads, and how to run it.

The runtime resolves a program to addresses and hands them over as `Row`s; from then on a call is
one entry into generated code (`runner.ir`).  Worker threads are Python threads that sit in generated
code, without the GIL, from the first call until the program is closed or dropped.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Callable, Sequence

import numpy as np

from camshaft.backends.cpu.runner.functions import RunnerFunctions
from camshaft.backends.cpu.runner.ir.layout import IN_CALL, SLOT_WORDS, Word
from camshaft.backends.cpu.runner.tables import Tables, check_rows, zeroed
from camshaft.errors import ConfigError
from camshaft.ir.types import TensorType
from camshaft.program.rows import Outcome, Row, Targets


class LinkedProgram:
    """Tables for `threads` workers.  One thread at a time calls it; `call`'s code says if not.

    call: built-in function of all arrays (inputs, then outputs) -> code, or None where NumPy's
    layout is unknown.  Codes are `Outcome`s; before the first `in_turn`, and after a fork, it returns
    IS_BUSY.  call_in_turn: the same within `in_turn`.
    """

    def __init__(
        self,
        runner: RunnerFunctions,
        rows: Sequence[Row],
        bindings: Sequence[TensorType],
        first_output: int,
        threads: int,
        check_finite: bool,
        saying: Sequence[int] = (),
    ) -> None:
        """bindings: types of the arrays of a call, inputs first, outputs from `first_output`.
        saying: those that say sizes by their values."""
        self.threads = threads
        self._runner = runner
        words = zeroed(Word.SLOTS + SLOT_WORDS * threads)
        self.address = words.ctypes.data
        status = self.address + 8 * Word.STATUS
        checks = check_rows(runner, bindings[:first_output], status) if check_finite else []
        tables = Tables(words, bindings, [*checks, *rows], threads, saying)
        self.checks = len(checks)
        self._tables = tables
        tables.fill(first_output, len(checks))
        self.call: Callable[..., int] | None = runner.bound_call(self.address, "call")
        self.call_in_turn = runner.bound_call(self.address, "call_in_turn")
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._started = self._closed = False
        self._turn = threading.Lock()  # held in `in_turn` and `close`
        _programs.add(self)
        self._release = weakref.finalize(self, _stop, tables, runner, self._threads)

    # -- life --------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the workers unless they run, or the program is closed.

        ConfigError where the system has no more threads.  Whatever fails closes the program.
        """
        with self._lock:
            if self._started or self._closed:
                return
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

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Stop the workers; later calls return Outcome.IS_BUSY.  ConfigError while a call is running."""
        with self._lock:
            running = ConfigError("an execution context cannot be closed while it runs")
            if self._turn.locked():
                raise running
            with self._turn:
                if self._started and not self._closed and self._runner.acquire(self.address):
                    raise running
                self._closed = True
                self._release()

    def _forget_workers(self) -> None:
        """In a forked child: the workers and whoever was in a call stayed behind."""
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._threads.clear()
        self._started = False
        self._tables.words[Word.BUSY] = IN_CALL

    # -- running -----------------------------------------------------------------------------

    def in_turn(self, action: Callable[[], int]) -> int:
        """What `action` returns, with the program claimed for it from its first to its last line: it
        may set sizes, then `call_in_turn` or `enter`.  IS_BUSY if the program is in use or closed.

        Passes on what `action` raises.  An exception that comes between two lines here (Ctrl-C)
        leaves Word.BUSY at IN_TURN.  Therefore a lock says whose turn it is, and its next holder takes
        over what is claimed so.  No exception leaves the lock held: `with` takes and frees it without
        handling signals (CPython issue 29988).
        """
        if not self._started:
            self.start()
        if self._turn.locked():
            return Outcome.IS_BUSY
        with self._turn:
            if self._closed or self._runner.acquire(self.address):
                return Outcome.IS_BUSY
            try:
                return action()
            finally:
                self._runner.leave(self.address)

    def enter(self, addresses: Sequence[int], host: Callable[[int], None]) -> int:
        """One call on arrays at these addresses, which the caller has checked, within `in_turn`.

        Calls `host(row)` (rows numbered without checks) for each host step that falls due.
        """
        block = (ctypes.c_int64 * max(1, len(addresses)))(*addresses)
        code = int(self._runner.enter(self.address, ctypes.addressof(block)))
        while code > 0:
            host(code - 1 - self.checks)
            code = int(self._runner.resume(self.address, code))  # the row after the host step
        return code

    def set_fitted(self, on: bool) -> None:
        """Whether the tables fit the sizes of calls; at first they do not, and `call` is refused.  Used
        within `in_turn`, or before the first call."""
        if on:
            self._tables.fit_checks(self.checks)
        self._tables.words[Word.FITTED] = on

    def hold(self, said: Sequence[np.ndarray]) -> None:
        """The values that the tables fit, of each binding that says sizes by its values.  Used within
        `in_turn`."""
        self._tables.hold(said)

    def words(self, targets: Targets) -> tuple[int, np.ndarray]:
        """Address of a table with the words that vary with sizes, and where in it they lie.

        targets: which words, for the rows without checks.
        """
        return self._tables.block.ctypes.data, self._tables.places(targets, self.checks)

    def set_timing(self, on: bool) -> None:
        """Turn time stamps on or off, between calls."""
        self._tables.words[Word.STAMPS] = self._tables.stamps.ctypes.data if on else 0

    def stamps_ns(self) -> np.ndarray:
        """Start of every row, then the end, of the last timed call: int64 nanoseconds [rows+1].

        At a host step there is the time at which the step became due.
        """
        return self._tables.stamps[self.checks :].copy()


# --- threads come to an end -----------------------------------------------------------------


def _stop(tables: Tables, runner: RunnerFunctions, threads: list[threading.Thread]) -> None:
    """Stop a program's workers and wait for them; run when a program is closed or dropped, and at
    interpreter exit.  Refers to the tables, not the program, and so keeps them until the end."""
    tables.words[Word.STOP] = 1
    runner.signal(tables.words.ctypes.data)
    for thread in threads:
        if thread.is_alive() and thread is not threading.current_thread():
            thread.join()


_programs: weakref.WeakSet[LinkedProgram] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for program in list(_programs):
        program._forget_workers()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
