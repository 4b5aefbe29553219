"""Contests: kernels of several layers are made ready together and timed alone, on spare weights."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from camshaft.backends.base import Kernel, KernelSpec, Operand
from camshaft.backends.cpu.processor import host_target
from camshaft.builder.engine_builder import Builder
from camshaft.builder.tuning.bound_candidate import BoundCandidate
from camshaft.builder.tuning.contest import SIDE_BY_SIDE, Contest, Contests, Effort, Offer
from camshaft.builder.tuning.room import Room
from camshaft.builder.tuning.spare import PackedForm, SpareWeights
from camshaft.builder.tuning.timing_cache import TimingCache
from camshaft.builder.tuning.trial import Trial
from camshaft.ir.graph import Graph, GraphBuilder
from camshaft.ir.types import TensorType, f32
from camshaft.machine.backend import backend_of
from camshaft.ops import MATMUL

pytestmark = pytest.mark.codegen


def products(*widths: int) -> Graph:
    b = GraphBuilder("products")
    y = b.input("x", TensorType(f32, (24, 16)))
    for n, width in enumerate(widths):
        w = b.constant(np.ones((y.shape[1], width), np.float32), f"w{n}")  # type: ignore[arg-type]
        y = b.emit(MATMUL, [y, w], {}, name=f"y{n}")
    return b.graph({"y": y})


def builder(**options: Any) -> Builder:
    given = {"level": 3, "threads": 1, "workspace_limit": 1 << 24, **options}
    return Builder(backend_of(host_target()), TimingCache(), **given)


def test_nothing_is_compiled_while_a_kernel_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = builder()
    compiling, lock, seen = [0], threading.Lock(), []
    compile_, time_us = made.backend.compile, BoundCandidate.time_us

    def compiles(source: Any) -> Kernel:
        with lock:
            compiling[0] += 1
        kernel = compile_(source)
        with lock:
            compiling[0] -= 1
        return kernel

    def times(runner: BoundCandidate, seconds: float) -> float:
        seen.append(compiling[0])
        return time_us(runner, seconds)

    monkeypatch.setattr(BoundCandidate, "time_us", times)
    made = builder()
    made = replace(made, backend=replace(made.backend, compile=compiles))
    made.tune(products(24, 40, 56, 72, 88))
    assert len(seen) > 5
    assert set(seen) == {0}


def test_progress_counts_the_layers_that_are_timed() -> None:
    told: list[tuple[str, int, int]] = []
    made = builder(progress=lambda *told_: told.append(told_))
    made.tune(products(24, 24, 40), "tuning")  # the first two differ, the last is another again
    assert told == [("tuning", n, 3) for n in range(4)]
    told.clear()
    made.tune(products(24, 24, 40), "again")
    assert told == [("again", 0, 0)]


def test_batches_hold_what_keeps_every_core_busy() -> None:
    backend = backend_of(host_target())
    contests = Contests(
        backend, Effort(12, 4, 0.001), threads=1, workers=2, deadline=None, room=Room()
    )
    spec = KernelSpec("matmul", (Operand.dense(f32, (8, 8)),), (Operand.dense(f32, (8, 8)),))
    offer: Any = Offer("tactic", None)  # type: ignore[arg-type]
    each = 5
    task: Any = None
    many = [Contest(task, spec, str(n), {}, [offer] * each) for n in range(20)]
    batches = list(contests.batches(many))
    assert [c for batch in batches for c in batch] == many
    assert all(len(batch) * each <= 2 * SIDE_BY_SIDE for batch in batches)
    assert len(batches[0]) == 2 * SIDE_BY_SIDE // each
    huge = KernelSpec("matmul", (Operand.dense(f32, (1 << 14, 1 << 14)),), ())
    alone = [Contest(task, huge, str(n), {}, [offer]) for n in range(3)]
    assert [len(batch) for batch in contests.batches(alone)] == [1, 1, 1]


def test_spare_weights_are_different_memory_and_indices_are_themselves() -> None:
    w, index = np.ones((100, 3), np.float32), np.arange(7)
    form = PackedForm.of([w, index, w[:1]], Kernel(b"", ()))
    assert form.nbytes == 1200 + 56 + 12
    copies = SpareWeights().copies(form, 3)
    assert all((arrays[1] == index).all() for arrays in copies)
    memory = [a for arrays in copies for a in arrays]
    assert [a.nbytes for a in memory] == 3 * [1200, 56, 12]
    ranges = sorted((a.ctypes.data, a.ctypes.data + a.nbytes) for a in memory)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ranges))
    weights = np.concatenate([arrays[0].view(np.float32) for arrays in copies])
    assert np.isfinite(weights).all() and np.abs(weights[weights != 0]).min() > 1e-30


def test_a_result_like_an_accepted_one_needs_no_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (4, 5)
    operand = Operand.dense(f32, shape)
    spec = KernelSpec("softmax", (operand,), (operand,), (("axis", 1),))
    trial: Any = Trial(spec, [], 1, None)  # type: ignore[arg-type]
    right = trial.expected[0].value.copy()
    checks: list[int] = []

    class Want:
        def check(self, got: np.ndarray) -> str:
            checks.append(1)
            return "" if (got == right).all() else "is wrong"

    trial.expected = [Want()]

    class Leaves:
        def __init__(self, value: np.ndarray) -> None:
            self.value = value

        def run(self) -> None:
            trial.results["y0"][:] = self.value.reshape(-1)

    assert trial.check(Leaves(right)) == trial.check(Leaves(right)) == ""
    assert len(checks) == 1
    wrong = right.copy()
    wrong[0, 0] += 1e-7
    assert trial.check(Leaves(wrong)) == "output 0: is wrong"


def test_what_is_left_of_a_graph_is_announced_before_it_is_tuned() -> None:
    told: list[tuple[str, int, int]] = []
    made = builder(progress=lambda *told_: told.append(told_))
    made.announce(products(24, 40), "later")
    made.tune(products(24), "now")
    made.announce(products(24, 40), "later")
    assert told == [("later", 0, 2), ("now", 0, 1), ("now", 1, 1), ("later", 0, 1)]


def test_what_a_graph_shares_with_one_before_it_is_left_to_that() -> None:
    told: list[tuple[str, int, int]] = []
    made = builder(progress=lambda *told_: told.append(told_))
    first, second = products(24, 40), products(24, 56)
    made.announce(second, "second", [first])
    made.tune(first, "first")
    made.tune(second, "second")
    of_second = [(done, total) for stage, done, total in told if stage == "second"]
    assert of_second == [(0, 1), (0, 1), (1, 1)]
