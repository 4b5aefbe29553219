"""When other processes hold the workers up: who does the work, and when that is judged anew."""

from __future__ import annotations

import numpy as np
import pytest

from camshaft.backends.cpu.runner.ir.layout import (
    LONGEST_SERIAL_NS,
    SLOT_WORDS,
    WINDOW_NS,
    Word,
)
from camshaft.runtime import ExecutionContext
from runtime_programs import chain

X = np.arange(64, dtype=np.float32).reshape(1, 64)


def context(host_at: int | None = None) -> tuple[ExecutionContext, np.ndarray]:
    """A context on two threads that has run, and the words of its program block."""
    ctx = chain(length=6, threads=2, items=16, host_at=host_at).create_context(2)
    ctx.run({"x": X})
    return ctx, ctx._program._tables.words  # type: ignore[attr-defined]


def worker_took_part(ctx: ExecutionContext, words: np.ndarray) -> bool:
    """Run once; whether the other worker met the caller at any barrier."""
    before = int(words[Word.SLOTS + SLOT_WORDS])
    assert np.array_equal(ctx.run({"x": X})["y"], X + 6)
    return int(words[Word.SLOTS + SLOT_WORDS]) != before


def end_window(words: np.ndarray, call_ns: int) -> None:
    """Make the next call the last that is judged, and the others' mean what is given."""
    words[Word.CALLS] = 10**12 // call_ns
    words[Word.SPENT_NS] = 10**12


def test_nobody_watches_while_nothing_is_amiss() -> None:
    ctx, words = context()
    words[Word.CALLS] = words[Word.SPENT_NS] = 0
    for _ in range(20):
        words[Word.STALLS] = 0  # a busy machine may have made some
        assert worker_took_part(ctx, words)
    assert words[Word.CALLS] == words[Word.SPENT_NS] == 0


def test_stalls_start_a_trial_and_its_outcome_decides() -> None:
    ctx, words = context()
    words[Word.STALLS] = 2
    end_window(words, call_ns=5_000_000)
    assert worker_took_part(ctx, words)
    assert words[Word.SERIAL_NOW] == 1
    assert words[Word.PARALLEL_NS] == pytest.approx(5_000_000, rel=0.01)
    for window in (min(WINDOW_NS << i, LONGEST_SERIAL_NS) for i in range(1, 9)):
        end_window(words, call_ns=4_000_000)
        assert not worker_took_part(ctx, words), "the caller works alone"
        assert (words[Word.SERIAL_NOW], words[Word.SERIAL_WINDOW_NS], words[Word.STALLS]) == (
            0,
            window,
            1,
        )
        end_window(words, call_ns=5_000_000)
        words[Word.STALLS] = 2
        assert worker_took_part(ctx, words)
        assert words[Word.SERIAL_NOW] == 1
    end_window(words, call_ns=4_600_000)  # less, but not by enough
    assert not worker_took_part(ctx, words)
    assert (words[Word.SERIAL_NOW], words[Word.SERIAL_WINDOW_NS]) == (0, WINDOW_NS)
    assert words[Word.LAST_PARALLEL_NS] == pytest.approx(5_000_000, rel=0.01)
    for call_ns, alone in ((5_900_000, 0), (6_600_000, 1)):
        words[Word.STALLS] = 9
        end_window(words, call_ns)
        assert worker_took_part(ctx, words)
        assert words[Word.SERIAL_NOW] == alone, "another trial is due only if calls become slower"


def test_one_stall_is_forgotten() -> None:
    outcomes = []
    for _ in range(5):  # a busy machine may add one of its own now and then
        ctx, words = context()
        words[Word.STALLS] = 1
        end_window(words, call_ns=5_000_000)
        assert worker_took_part(ctx, words)
        outcomes.append((words[Word.SERIAL_NOW], words[Word.SPENT_NS], words[Word.CALLS]))
    assert (0, 0, 0) in outcomes


def test_waits_that_are_the_nets_own_cost_one_trial() -> None:
    ctx, words = context()
    trials = 0
    for _ in range(50):
        words[Word.STALLS] = 3
        end_window(words, call_ns=5_000_000)
        if not worker_took_part(ctx, words):
            trials += 1
    assert trials == 1
    words[Word.NEXT_TRIAL] = 0  # much later
    words[Word.STALLS] = 3
    end_window(words, call_ns=5_000_000)
    assert worker_took_part(ctx, words)
    assert words[Word.SERIAL_NOW] == 1


@pytest.mark.parametrize("why", ["host step", "timed"])
def test_who_is_not_watched_never_goes_alone(why: str) -> None:
    """Calls of an engine with host steps are in pieces; a profile is of all workers."""
    ctx, words = context(host_at=3 if why == "host step" else None)
    if why == "timed":
        ctx.set_timing(True)
    words[Word.STALLS] = 5
    end_window(words, call_ns=5_000_000)
    ctx.run({"x": X})
    assert words[Word.SERIAL_NOW] == 0
    assert words[Word.STALLS] >= 5  # judging would reset them; a busy machine may add some
