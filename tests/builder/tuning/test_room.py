"""Memory of tuning: checks wait for room, a layer that does not fit is named, a budget is kept to."""

from __future__ import annotations

import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from camshaft.backends.cpu.processor import host_target
from camshaft.builder.engine_builder import Builder
from camshaft.builder.tuning.error_bounds import Interval
from camshaft.builder.tuning.mismatch import BLOCK, _blocks, mismatch
from camshaft.builder.tuning.room import Room
from camshaft.builder.tuning.timing_cache import TimingCache
from camshaft.errors import BuildError
from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, GraphBuilder
from camshaft.ir.types import TensorType, f32
from camshaft.machine.backend import backend_of
from camshaft.ops import POINTWISE


def test_as_many_checks_run_side_by_side_as_fit_and_a_large_one_alone() -> None:
    room, lock = Room(1000), threading.Lock()
    now, most = [0], [0]

    def check(need: int) -> None:
        with room.take(need):
            with lock:
                now[0] += need
                most[0] = max(most[0], now[0] if now[0] != 900 else 0)
            threading.Event().wait(0.002)
            with lock:
                now[0] -= need

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(check, [200, 900, 250, 250, 900, 100, 300, 200, 450]))
    assert now == [0] and most[0] <= 500


def wide(*widths: int) -> Graph:
    b = GraphBuilder("wide")
    outputs = {}
    for n, width in enumerate(widths):
        x = b.input(f"x{n}", TensorType(f32, (width,)))
        e = E.add(E.unary("exp", E.inp(0)), E.const(1.0 + n))
        outputs[f"y{n}"] = b.emit(POINTWISE, [x], {"expr": e}, name=f"layer{n}")
    return b.graph(outputs)


def builder(memory: int | None) -> Builder:
    options = {"level": 3, "threads": 1, "workspace_limit": 1 << 24}
    return Builder(backend_of(host_target()), TimingCache(), **options, memory=memory)  # type: ignore[arg-type]


@pytest.mark.codegen
def test_a_layer_that_does_not_fit_is_named_with_what_it_needs() -> None:
    with pytest.raises(
        BuildError, match=r"layer 'layer1' .*takes about 32 MiB.*leaves 18 MiB"
    ) as e:
        builder(24 << 20).tune(wide(1000, 1 << 18))
    wanted = int(str(e.value).split("give ")[1].split(" MiB")[0])
    builder(wanted << 20).tune(wide(1000, 1 << 18))


@pytest.mark.codegen
def test_tuning_keeps_to_its_budget() -> None:
    budget = 120 << 20
    tracemalloc.start()
    try:
        builder(budget).tune(wide(*(500_000 + 1000 * n for n in range(8))))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < budget


@pytest.mark.parametrize(
    "shape", [(), (7,), (3, 0, 2), (BLOCK + 5,), (3, BLOCK // 2, 3), (2, 3, BLOCK)]
)
def test_blocks_cover_an_array_once(shape: tuple[int, ...]) -> None:
    seen = np.zeros(shape, np.int8)
    for block in _blocks(shape):
        assert seen[block].size <= BLOCK
        seen[block] += 1
    assert (seen == 1).all()


def test_what_is_off_is_found_in_any_block_and_its_place_is_said() -> None:
    value = np.zeros((3, BLOCK // 2, 3), np.float32)
    value[0, 0, 0] = 1.0
    got = value.copy()
    got[2, 5, 1] = got[2, 9, 0] = 0.25
    said = mismatch(got, value, E.inp(0), [Interval.around(value, 1e-3)])
    assert said.startswith(
        f"2 of {value.size} elements are off, the first at [2,5,1]: 0.25 is not in"
    )
    assert mismatch(value + np.float32(5e-4), value, E.inp(0), [Interval.around(value, 1e-3)]) == ""
