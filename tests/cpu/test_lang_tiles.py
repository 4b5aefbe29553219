"""The kernel language: tiles of extents that are known at run time, and how kernels read extents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.lang import Arg, FunctionBuilder, Module, Scalar
from camshaft.backends.cpu.link import call, pointer_table
from camshaft.backends.cpu.target import AVX2, PORTABLE, CpuTarget
from camshaft.errors import BuildError
from camshaft.ir.extents.extent import ceil_div, extent_of
from camshaft.ir.extents.sizes import evaluate
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import DType, boolean, dtype_of, f32, i64, u8
from targets import each_target, runnable_code

N = extent_of(Symbol("n", 0, 10, 1000))


def run_at(
    target: CpuTarget,
    body: Callable[[FunctionBuilder], None],
    sizes: Sequence[int],
    make: Callable[[int], list[np.ndarray]],
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Compile one phase whose arguments a0, a1, ... are what `make` gives, run it at all sizes of N."""
    module = Module(target)
    args = [Arg(f"a{n}", dtype_of(a)) for n, a in enumerate(make(1))]
    with module.phase("phase", N, args) as k:
        body(k)
    source = module.source()
    library = runnable_code(source, target)
    for size in sizes:
        arrays = make(size)
        dims = np.array([evaluate(e, {"n": size}) for e in source.dims], np.int64)
        table = pointer_table([*(a.ctypes.data for a in arrays), dims.ctypes.data])
        call(library["phase"], table, 0, size)
        yield size, arrays


@each_target
@pytest.mark.parametrize("dtype", [f32, u8, i64, boolean], ids=str)
@pytest.mark.parametrize("stride", [1, 3])
def test_tiles_of_vectors_at_run_time(target: CpuTarget, dtype: DType, stride: int) -> None:
    lanes = target.lanes(dtype)
    step = 4 * lanes

    def body(k: FunctionBuilder) -> None:
        for tile in k.tiles(N, step, lanes=lanes):
            for j, count in enumerate(tile.counts(lanes)):
                at = tile.start + j * lanes
                x = k.load_strided(k.args["a0"].at(k.index(at) * stride), stride, lanes, count)
                k.store_strided(x, k.args["a1"].at(k.index(at) * stride), stride, count)

    def make(n: int) -> list[np.ndarray]:
        x = np.random.default_rng(n).integers(0, 2, n * stride + 1).astype(dtype.numpy)
        return [x, np.full_like(x, 1)]

    for n, (x, y) in run_at(target, body, range(3 * step + 2), make):
        want = np.full_like(x, 1)
        want[: n * stride : stride] = x[: n * stride : stride]
        np.testing.assert_array_equal(y, want)


@each_target
def test_one_masked_tile_and_carried_values_at_run_time(target: CpuTarget) -> None:
    lanes = target.lanes(f32)

    def body(k: FunctionBuilder) -> None:
        total = [k.const(0.0, f32, lanes)]
        for tile in k.tiles(N, 2 * lanes, carry=total):
            for j, count in enumerate(tile.counts(lanes)):
                x = k.load(k.args["a0"].at(k.index(tile.start) + j * lanes), lanes, count)
                total[0] = total[0] + x
        k.store(k.reduce(total[0], k.add), k.args["a1"])

    def make(n: int) -> list[np.ndarray]:
        return [np.arange(1, n + 1, dtype=np.float32), np.zeros(1, np.float32)]

    for n, (_, y) in run_at(target, body, range(6 * lanes + 2), make):
        assert y[0] == n * (n + 1) / 2


@each_target
@pytest.mark.parametrize("step", [1, 2, 3, 6, 8, 14])
def test_tiles_of_rows_at_run_time_halve(target: CpuTarget, step: int) -> None:
    sizes: list[int] = []

    def body(k: FunctionBuilder) -> None:
        place = [k.const(0, i64)]
        for tile in k.tiles(N, step, carry=place, halves=True):
            sizes.append(tile.size)
            for n in range(tile.size):  # numbers of rows in the order in which they come
                at = k.args["a0"].at(place[0] + n)
                k.store(k.index(tile.start) + n, at)
            place[0] = place[0] + tile.size

    def make(n: int) -> list[np.ndarray]:
        return [np.full(n + 1, -1, np.int64)]

    for n, (rows,) in run_at(target, body, range(3 * step + 2), make):
        assert rows.tolist() == [*range(n), -1]
    assert sizes == [step, *(s for s in (8, 4, 2, 1) if s < step)]


@each_target
@pytest.mark.parametrize("step", [1, 4, 7])
def test_tile_at_a_work_item(target: CpuTarget, step: int) -> None:
    def body(k: FunctionBuilder) -> None:
        tiles = ceil_div(N, step)
        with k.loop(0, tiles) as number:
            for tile in k.tile_at(N, step, number * step, is_full=lambda: number < tiles - 1):
                with k.loop(0, tile.count) as n:
                    k.store(tile.start + n, k.args["a0"].at(tile.start + n))

    def make(n: int) -> list[np.ndarray]:
        return [np.full(n + 1, -1, np.int64)]

    for n, (rows,) in run_at(target, body, range(3 * step + 2), make):
        assert rows.tolist() == [*range(n), -1]


def test_neighbours_at_a_run_time_distance_share_what_is_loaded() -> None:
    module = Module(PORTABLE)
    with module.phase("a", 1, [Arg("x", f32)]) as k:
        for i in range(3):
            for n in range(4):
                k.store(k.const(1.0, f32), k.args["x"].at(N * i + n))
    source = module.source()
    assert source.dims == (N,)
    CpuCompiler(PORTABLE).compile(source)


def test_the_last_tile_of_whole_ones_is_a_whole_one() -> None:
    """Its code is that without masks, asked for with `is_full` or with `is_last`."""

    def body(k: FunctionBuilder) -> None:
        tiles = ceil_div(N, 4)
        with k.loop(0, tiles) as number:
            for tile in k.tile_at(N, 4, number * 4, is_full=lambda: number < tiles - 1):
                kind = 1 if isinstance(tile.count, int) else 2
                k.store(k.index(kind), k.args["a0"].at(number))
            for tile in k.tile_at(N, 4, number * 4, is_last=lambda: k.eq(number, tiles - 1)):
                kind = 1 if isinstance(tile.count, int) else 2
                k.store(k.index(kind), k.args["a0"].at(number + tiles))

    for n, (kinds,) in run_at(AVX2, body, range(1, 13), lambda n: [np.zeros(8, np.int64)]):
        whole, left = divmod(n, 4)
        want = [1] * whole + [2] * (left > 0)
        assert kinds[: 2 * len(want)].tolist() == 2 * want


def test_run_time_extents_are_loaded_once_in_each_function() -> None:
    module = Module(PORTABLE)
    for symbol in ("a", "b"):
        with module.phase(symbol, N, [Arg("x", f32)]) as k:
            for _ in range(3):
                k.store(k.const(1.0, f32), k.args["x"].at(k.index(N * 2) + N))
    source = module.source()
    assert source.dims == (N,)
    assert source.text.count("%dim.0 = load") == 2  # once a phase
    assert "!range !{i64 0, i64 1001}" in source.text
    CpuCompiler(PORTABLE).compile(source)
    with (
        pytest.raises(BuildError, match="no run-time extents are given to expansions, and n is"),
        module.expansion("e", 1, 0, f32, f32, 4) as k,
    ):
        k.extent(N)


@each_target
def test_functions_are_given_run_time_extents(target: CpuTarget) -> None:
    def make(module: Module) -> None:
        with module.function("put", [Arg("x", f32), Scalar("i")]) as g:
            g.store(g.cast(g.index(N) * 2, f32), g.args["x"].at(g.scalars["i"]))
        with module.function("twice", [Arg("x", f32)]) as g:
            for i in range(2):
                g.call("put", g.args["x"], i)
        with module.phase("phase", 1, [Arg("x", f32), Arg("y", f32)]) as k:
            k.call("twice", k.args["x"])  # itself asks for no extent

    x, y = np.zeros(3, np.float32), np.zeros(1, np.float32)
    module = Module(target)
    make(module)
    source = module.source()
    assert source.dims == (N,)
    library = runnable_code(source, target)
    dims = np.array([7], np.int64)
    call(library["phase"], pointer_table([a.ctypes.data for a in (x, y, dims)]), 0, 1)
    assert x.tolist() == [14, 14, 0]
