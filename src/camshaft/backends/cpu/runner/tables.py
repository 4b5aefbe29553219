"""The tables of a linked program in memory, as the generated code of `runner.ir` reads them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from camshaft.backends.cpu.runner.functions import (
    ALIGNED,
    C_CONTIGUOUS,
    WRITEABLE,
    RunnerFunctions,
    array_layout,
)
from camshaft.backends.cpu.runner.ir.layout import (
    BARRIER,
    CHECK_CHUNK,
    EXPECTED_WORDS,
    IN_CALL,
    MASK_WORDS,
    ROW_WORDS,
    SERIAL,
    WINDOW_NS,
    Word,
)
from camshaft.cpus import available_cpus
from camshaft.ir.extents.sizes import fixed_extent
from camshaft.ir.types import NARROW_FLOATS, TensorType
from camshaft.program.rows import Patch, Row, Targets

SPIN_US, YIELD_US, BARRIER_US, PARK_US = 20, 100, 200, 60
"""Stages of a wait, as `Word` explains them, where every worker can have a core of its own."""
PAIR_WORDS = 16
"""Words of a pair of cache lines."""
CHECK_ARGS = 5
"""Arguments of a row that looks for NaN, see `check_rows`."""
CROWDED_US = 2, 0, 50, 5
"""The same where there are more workers than cores."""


class Tables:
    """The memory of a program, kept alive together.

    The tables with words that vary with sizes lie in one block.
    """

    def __init__(
        self,
        words: np.ndarray,
        bindings: Sequence[TensorType],
        rows: Sequence[Row],
        threads: int,
        saying: Sequence[int],
    ) -> None:
        """saying: bindings that say sizes by their values."""
        self.words = words
        self.bindings, self.rows_in, self.threads = bindings, rows, threads
        patches = sum(isinstance(a, Patch) for r in rows for a in r.args)
        lengths = (
            ROW_WORDS * len(rows),
            sum(len(r.args) for r in rows),
            3 * patches,
            len(bindings),
            sum(b.rank for b in bindings),
        )
        self.starts = [0, *accumulate(-(-n // PAIR_WORDS) * PAIR_WORDS for n in lengths)]
        self.block = zeroed(self.starts[-1])
        self.rows, self.args, self.patches, self.extents, self.shapes = (
            self.block[start : start + n] for start, n in zip(self.starts, lengths, strict=False)
        )
        self.stamps = zeroed(len(rows) + 1)
        self.addresses = zeroed(len(bindings))
        self.expected = zeroed(EXPECTED_WORDS * len(bindings))
        self.held = [np.zeros(0, np.uint8) for _ in saying]  # their values when sizes were set
        self.said = np.array([(i, 0, 0) for i in saying], np.int64).reshape(-1)
        self.dtypes = [np.dtype(b.dtype.numpy) for b in bindings]  # kept: `expected` holds ids

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
        words[Word.SAID] = self.said.ctypes.data
        words[Word.SAID_COUNT] = len(self.held)
        words[Word.BUSY] = IN_CALL  # until start()
        crowded = self.threads > available_cpus()
        stages = CROWDED_US if crowded else (SPIN_US, YIELD_US, BARRIER_US, PARK_US)
        where = (Word.SPIN_NS, Word.YIELD_NS, Word.BARRIER_NS, Word.PARK_NS)
        for word, microseconds in zip(where, stages, strict=True):
            words[word] = 1000 * microseconds
        has_host_steps = any(row.code == 0 for row in self.rows_in)  # which divide a call
        words[Word.WATCH] = self.threads > 1 and not has_host_steps
        words[Word.SERIAL_WINDOW_NS] = WINDOW_NS
        if hasattr(os, "sched_getaffinity") and not crowded:
            words[Word.PLACE] = 1
            mask = sum(1 << cpu for cpu in os.sched_getaffinity(0) if cpu < 64 * MASK_WORDS)
            words[Word.MASK : Word.MASK + MASK_WORDS] = np.frombuffer(
                mask.to_bytes(8 * MASK_WORDS, "little"), np.int64
            )
        self._fill_bindings(first_output)
        self._fill_rows(checks)

    def places(self, targets: Targets, checks: int) -> np.ndarray:
        """Where words that vary lie in `block`, in the order of the fields of `targets`: int64 [n].
        checks: rows before those of `targets`."""
        rows, args, patches, extents, shapes, _ = self.starts
        return np.concatenate(
            (
                targets.items * ROW_WORDS + (rows + ROW_WORDS * checks + 2),
                targets.args + (args + CHECK_ARGS * checks),
                targets.patches * 3 + (patches + 3 * checks + 2),
                targets.nbytes + extents,
                targets.shapes + shapes,
            )
        )

    def hold(self, said: Sequence[np.ndarray]) -> None:
        """Keep the values of bindings that say sizes, in their order: a call with others is refused."""
        for n, array in enumerate(said):
            flat = array.reshape(-1).view(np.uint8)
            if self.held[n].nbytes != flat.nbytes:
                self.held[n] = np.empty(flat.nbytes, np.uint8)
                self.said[3 * n + 1 : 3 * n + 3] = self.held[n].ctypes.data, flat.nbytes
            self.held[n][:] = flat

    def fit_checks(self, checks: int) -> None:
        """Make the first rows, which look at inputs for NaN, fit the inputs' sizes."""
        for row in range(checks):
            nbytes = self.extents[self.patches[3 * row + 1]]
            self.args[CHECK_ARGS * row + 2] = nbytes
            self.rows[ROW_WORDS * row + 2] = -(-nbytes // CHECK_CHUNK)

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


def zeroed(words: int) -> np.ndarray:
    """Zeroed int64 words on a 128-byte boundary (a pair of cache lines, which prefetch as one)."""
    room = np.zeros(words + PAIR_WORDS, np.int64)
    start = (-room.ctypes.data % 128) // 8
    return room[start : start + words]


def row_flags(rows: Sequence[Row], checks: int) -> list[int]:
    """Flags of every row; the first `checks` rows only read inputs, so nobody waits for them.

    A barrier is left out where `waits` asks for it but worker 0 alone has done everything since
    the last one and does this row too (a row of one item is worker 0's).  Later rows that do not
    wait relied on that barrier, so the first of them in which other workers take part gets it.
    """
    flags = [0] * len(rows)
    pending: list[int] = []  # items of the rows since the last barrier
    deferred = False  # whether a barrier was left out since then
    for i, row in enumerate(rows):
        if row.code == 0:
            pending, deferred = [], False
            continue
        if (row.waits or deferred) and any(max(items, row.items) > 1 for items in pending):
            flags[i] |= BARRIER
            pending, deferred = [], False
        deferred |= row.waits and bool(pending)
        if i >= checks:
            pending.append(row.items)
    serial = True
    for i in reversed(range(len(rows))):
        serial = rows[i].code == 0 or (serial and rows[i].items <= 1)
        flags[i] |= SERIAL if serial else 0
    return flags


def check_rows(runner: RunnerFunctions, inputs: Sequence[TensorType], status: int) -> list[Row]:
    """Rows that write to `status` if an input holds NaN or infinity; inputs: at any sizes.  (Floats of at
    most 8 bits have a code of their own for NaN each, and are left to the context.)"""
    rows = []
    for i, b in enumerate(inputs):
        nbytes = fixed_extent(b.nbytes, "bytes of an input")
        if b.dtype.is_float and b.dtype not in NARROW_FLOATS and nbytes:
            code = runner.addresses[f"finite{b.dtype.bits}"]
            args = (Patch(i, 0), status, nbytes, 1 + i, b.dtype.infinity)
            rows.append(Row(code, args, items=-(-nbytes // CHECK_CHUNK), waits=False))
    return rows
