"""No two workers meet in memory: happens-before over the row tables of random nets.

A model of the runner that knows nothing of how flags are chosen: it takes a program's finished row
table, gives every worker its share of every row, and orders what they do by vector clocks, which
only barriers and host steps join.  Whatever two workers do to the same bytes, one of them writing,
has to be ordered.  Nothing is compiled: kernels are not run, only their tables are looked at.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from camshaft.backends.base import Kernel, Source
from camshaft.backends.cpu.driver import LinkedKernels
from camshaft.backends.cpu.processor import host_target
from camshaft.backends.cpu.runner.functions import compile_runner
from camshaft.backends.cpu.runner.ir.layout import BARRIER, ROW_WORDS, SERIAL
from camshaft.backends.cpu.runner.tables import row_flags
from camshaft.builder.barriers import elide_barriers
from camshaft.builder.engine_builder import Builder, Tuned
from camshaft.builder.tuning.timing_cache import TimingCache
from camshaft.ir.graph import Graph
from camshaft.ir.types import u8
from camshaft.machine.backend import cpu_backend
from camshaft.passes.pipeline import optimize
from camshaft.program.program import Arena, HostCall, Instruction, Launch, Program, Slot
from camshaft.program.rows import Row
from camshaft.program.view import Buffer, View
from camshaft.runtime.driver import DRIVERS
from camshaft.runtime.engine import Engine
from random_builds import WideNet, meet
from small_nets import NETS

THREADS = (2, 3, 5)


class Access(NamedTuple):
    """Memory that a row reaches into."""

    view: View
    written: bool


class Share(NamedTuple):
    """What one worker does of one row, and what of every worker's work it comes after."""

    row: int
    worker: int
    clock: tuple[int, ...]

    def before(self, other: Share) -> bool:
        return other.clock[self.worker] >= self.clock[self.worker]


# -- the model -------------------------------------------------------------------------------------


def shares(table: np.ndarray, threads: int) -> Iterator[Share]:
    """Everything that workers do in one run of a row table: int64 [rows, ROW_WORDS]."""
    clocks = np.zeros((threads, threads), np.int64)
    workers = 0  # who takes part in this segment; 0: it starts here
    for r, (code, _, items, flags) in enumerate(table):
        if code == 0:
            clocks[:] = clocks.max(axis=0)
            workers = 0
            continue
        if workers == 0:
            workers = 1 if flags & SERIAL else threads
        if flags & BARRIER:
            clocks[:] = clocks.max(axis=0)
        for w in range(workers):
            begin, end = (-(-int(items) * v // workers) for v in (w, w + 1))
            if begin < end:
                clocks[w, w] += 1
                yield Share(r, w, tuple(int(c) for c in clocks[w]))


def races(
    table: np.ndarray,
    steps: Sequence[int],
    touched: Sequence[Sequence[Access]],
    offsets: Mapping[Buffer, int],
    threads: int,
) -> list[tuple[int, int]]:
    """Pairs of rows in which two workers meet.  steps: each row's step; touched: by step.
    offsets: of buffers in the arena."""
    done: dict[int, list[Share]] = {}
    for share in shares(table, threads):
        done.setdefault(share.row, []).append(share)
    clash = _clashes(touched, offsets)
    return [
        (i, j)
        for j in done
        for i in done
        if i < j and clash[steps[i], steps[j]]
        if any(not a.before(b) for a in done[i] for b in done[j])
    ]


def _clashes(
    touched: Sequence[Sequence[Access]], offsets: Mapping[Buffer, int]
) -> Mapping[tuple[int, int], bool]:
    """Whether two steps meet.  Phases of one step always do: each works on what the last made."""
    return {
        (i, j): i == j
        or any(
            (a.written or b.written) and meet(a.view, b.view, offsets)
            for a in first
            for b in second
        )
        for j, second in enumerate(touched)
        for i, first in enumerate(touched[: j + 1])
    }


# -- tables of built plans -------------------------------------------------------------------------


class _NotRun(LinkedKernels):
    """Kernels that have no code, for contexts that are looked at and never run."""

    def address(self, code: str, symbol: str) -> int:
        return 1

    def call(self, address: int, pointers: Sequence[int], begin: int, end: int) -> None:
        """Constants stay unexpanded."""


class _Driver:
    def missing_features(self, features: Sequence[str]) -> tuple[str, ...]:
        return ()

    def runner_code(self, target: str) -> bytes:
        return compile_runner(host_target())

    def link(self, code: object, symbols: object, runner_code: bytes, imports: object) -> _NotRun:
        return _NotRun({}, runner_code)


@pytest.fixture(autouse=True)
def _driver(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("camshaft_driver_for_tests")
    module.DRIVER = _Driver()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(DRIVERS, "not run", module.__name__)


def planned(graph: Graph) -> tuple[Engine, list[list[Access]]]:
    """An engine whose kernels hold no code, and what each of its steps touches."""

    def no_code(source: Source) -> Kernel:
        return Kernel(b"", source.phases, source.expansions)

    backend = replace(cpu_backend("portable"), compile=no_code)
    builder = Builder(
        backend, TimingCache(), level=1, threads=max(THREADS), workspace_limit=1 << 30
    )
    tuned = builder.tune(graph)
    engine = builder.finish(tuned, replace(backend.fingerprint, driver="not run"))
    return engine, touched_by(tuned, engine.program)


def touched_by(tuned: Tuned, program: Program) -> list[list[Access]]:
    """Operands and scratch of every kernel; host steps, which part everything, are left out."""
    result: list[list[Access]] = []
    for step, task in zip(program.instructions, tuned.tasks, strict=True):
        if isinstance(step, HostCall):
            result.append([])
            continue
        reads = sum(isinstance(v, View) for v in task.inputs)
        operands = reads + len(task.outputs)
        views = [v for v in step.views if v is not None]
        accesses = [Access(v, i >= reads) for i, v in enumerate(views[:operands])]
        scratch = [Access(v, True) for v in views[operands:] if v.buffer.space == "scratch"]
        result.append(accesses + scratch)
    return result


def races_in(graph: Graph, check_finite: bool = True) -> list[str]:
    engine, touched = planned(graph)
    offsets = engine.program.offsets
    found = []
    for threads in THREADS:
        context = engine.create_context(threads, check_finite)
        checks = context._program.checks  # type: ignore[attr-defined]
        table = context._program._tables.rows.reshape(-1, ROW_WORDS)  # type: ignore[attr-defined]
        inputs = [
            Access(View.dense(b, (b.elements,)), False)
            for b in engine.program.buffers
            if b.space == "input" and isinstance(b.elements, int)
        ]
        steps = [0] * checks + [1 + s for s in context._row_owners]
        free = [
            (i, j)
            for i, j in races(table, steps, [inputs, *touched], offsets, threads)
            if j >= checks
        ]
        names = ["check", *(note.name for note in engine.notes)]
        found += [f"{names[steps[i]]} | {names[steps[j]]}, {threads} threads" for i, j in free]
    return found


# -- made-up programs ------------------------------------------------------------------------------


ARENA = Buffer("all", u8, 64)


def random_program(rng: np.random.Generator) -> tuple[list[Row], list[list[Access]]]:
    """Rows of steps that read and write bits of a small arena, waiting where the build says so."""
    touched: list[list[Access]] = []
    steps: list[Instruction] = []
    room = int(rng.integers(4, 40))
    for _ in range(int(rng.integers(2, 14))):
        if rng.random() < 0.08:
            steps.append(HostCall("host", "", "", (), ()))
            touched.append([])
            continue
        steps.append(Launch(0, ()))
        reads, writes = (
            View(ARENA, int(rng.integers(room)), (int(rng.integers(1, 3)),), (1,)) for _ in "rw"
        )
        touched.append([Access(reads, False), Access(writes, True)])
    operands = [
        tuple([a.view for a in t if a.written is w] for w in (False, True)) for t in touched
    ]
    rows = []
    for step in elide_barriers(steps, operands, Arena((Slot(ARENA, 0),))):
        items = int(rng.choice([0, 1, 1, 1, 2, 3, 8]))
        if isinstance(step, HostCall):
            rows.append(Row(0, (), items, True))
        else:
            rows.append(Row(1, (), items, step.waits))
    return rows, touched


def table_of(rows: Sequence[Row], flags: Sequence[int]) -> np.ndarray:
    return np.array([(r.code, 0, r.items, f) for r, f in zip(rows, flags, strict=True)])


def first_row_flags(rows: Sequence[Row], checks: int) -> list[int]:
    """Flags by the rule that once was, and was wrong: rows that do not wait themselves because of a
    barrier before them ran into older rows where that barrier was left out between rows that
    worker 0 does alone."""
    flags = [0] * len(rows)
    pending: list[int] = []
    for i, row in enumerate(rows):
        if row.code == 0:
            pending = []
            continue
        if row.waits and any(max(items, row.items) > 1 for items in pending):
            flags[i], pending = BARRIER, []
        pending.append(row.items)
    return flags


def races_in_programs(choose: Callable[[Sequence[Row], int], list[int]]) -> int:
    """In how many of 1500 programs workers meet when flags are chosen like this."""
    bad = 0
    for seed in range(1500):
        rows, touched = random_program(np.random.default_rng(seed))
        table = table_of(rows, choose(rows, 0))
        bad += any(
            races(table, range(len(rows)), touched, {ARENA: 0}, threads) for threads in THREADS
        )
    return bad


def test_workers_never_meet_in_random_programs() -> None:
    assert races_in_programs(row_flags) == 0


def test_the_model_finds_races() -> None:
    assert races_in_programs(first_row_flags) > 15
    assert races_in_programs(lambda rows, checks: [0] * len(rows)) > 700


# -- built plans -----------------------------------------------------------------------------------


@pytest.mark.parametrize("first", range(7000, 7160, 20))
def test_workers_never_meet_in_random_nets(first: int) -> None:
    for seed in range(first, first + 20):
        graph = optimize(WideNet(seed).grow(6 + seed % 26), level=0 if seed % 4 == 0 else 1)
        assert races_in(graph, check_finite=seed % 2 == 0) == [], seed


@pytest.mark.parametrize("make", NETS, ids=lambda f: f.__name__)
def test_workers_never_meet_in_known_nets(make: Callable[[], Graph]) -> None:
    assert races_in(optimize(make())) == []
