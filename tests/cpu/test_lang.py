"""The kernel language: memory, control flow, conversions, dot products, and compiling twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec, Operand, Source
from camshaft.backends.cpu.abi import constant_numbers, operand_pointer, phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.expr.epilogue import Epilogue, emit_expr
from camshaft.backends.cpu.lang import Arg, FunctionBuilder, Module, Scalar
from camshaft.backends.cpu.link import call, link, pointer_table
from camshaft.backends.cpu.processor import host_target, missing_features
from camshaft.backends.cpu.target import (
    AVX512_VNNI,
    PORTABLE,
    TARGETS,
    CpuTarget,
    target_named,
)
from camshaft.errors import BuildError
from camshaft.ir import expr as E
from camshaft.ir.extents.extent import ceil_div, extent_of
from camshaft.ir.extents.sizes import evaluate
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import (
    DType,
    bf16,
    boolean,
    dtype_of,
    f16,
    f32,
    f64,
    i8,
    i16,
    i32,
    i64,
    u8,
    u16,
    u32,
)
from camshaft.program.program import Phase
from kernel_harness import operand_of, run_kernel
from targets import each_target, runnable_code


def run(
    target: CpuTarget, body: Callable[[FunctionBuilder], None], *arrays: np.ndarray, items: int = 1
) -> None:
    """Compile one phase whose arguments a0, a1, ... are `arrays`, and run it."""
    module = Module(target)
    args = [Arg(f"a{n}", dtype_of(a)) for n, a in enumerate(arrays)]
    with module.phase("phase", items, args) as k:
        body(k)
    library = runnable_code(module.source(), target)
    call(library["phase"], pointer_table([a.ctypes.data for a in arrays]), 0, items)


# --- control flow ---------------------------------------------------------------------------


@each_target
@pytest.mark.parametrize(("low", "high", "step"), [(0, 7, 1), (2, 11, 3), (5, 5, 1), (6, 2, 1)])
@pytest.mark.parametrize("dynamic", [False, True])
def test_loop_carries_values(
    target: CpuTarget, low: int, high: int, step: int, dynamic: bool
) -> None:
    bounds, result = np.array([low, high], np.int64), np.zeros(2, np.int64)

    def body(k: FunctionBuilder) -> None:
        a, b = (k.load(k.args["a0"].at(n)) if dynamic else (low, high)[n] for n in range(2))
        totals = [[k.const(10, i64)], k.const(0, i64)]
        with k.loop(a, b, step, carry=totals) as i:
            totals[0][0] = totals[0][0] + i
            totals[1] = totals[1] + 1
        k.store(totals[0][0], k.args["a1"])
        k.store(totals[1], k.args["a1"].at(1))

    run(target, body, bounds, result)
    steps = range(low, high, step)
    assert result.tolist() == [10 + sum(steps), len(steps)]


@each_target
def test_branches_merge_values(target: CpuTarget) -> None:
    x, y = np.arange(-3, 4, dtype=np.int64), np.zeros(7, np.int64)

    def body(k: FunctionBuilder) -> None:
        with k.loop(0, 7) as i:
            value = [k.load(k.args["a0"].at(i))]
            with k.if_else(value[0] < 0, carry=value) as branch:
                with branch.then():
                    value[0] = -value[0]
                with branch.otherwise(), k.if_(value[0] > 2, carry=value):
                    value[0] = k.const(100, i64)
            k.store(value[0], k.args["a1"].at(i))

    run(target, body, x, y)
    assert y.tolist() == [3, 2, 1, 0, 1, 2, 100]


def test_carried_values_keep_their_type() -> None:
    module = Module(PORTABLE)
    with (
        pytest.raises(BuildError, match="carried value changed from i64 to float"),
        module.phase("p", 1, []) as k,
    ):
        total = [k.const(0, i64)]
        with k.loop(0, 3, carry=total):
            total[0] = k.const(0.0, f32)


@each_target
def test_functions_are_called_with_pointers_and_indices(target: CpuTarget) -> None:
    x = np.zeros(6, np.float32)
    module = Module(target)
    with module.function("put", [Arg("p", f32), Scalar("n")]) as g:
        g.store(g.cast(g.scalars["n"], f32), g.args["p"].at(g.scalars["n"]))
    with module.phase("phase", 1, [Arg("x", f32)]) as k:
        k.call("put", k.args["x"].at(1), 3)
        with k.loop(0, 2) as i:
            k.call("put", k.args["x"], i)
    library = runnable_code(module.source(), target)
    call(library["phase"], pointer_table([x.ctypes.data]), 0, 1)
    assert x.tolist() == [0, 1, 0, 0, 3, 0]


# --- memory -----------------------------------------------------------------------------------


@each_target
@pytest.mark.parametrize("dtype", [f32, u8, i32, i16], ids=str)
@pytest.mark.parametrize("dynamic", [False, True])
def test_masked_access_stays_inside(target: CpuTarget, dtype: DType, dynamic: bool) -> None:
    lanes = target.lanes(f32)
    for count in range(1, lanes + 1):
        x = np.arange(1, count + 1).astype(dtype.numpy)
        y = np.full(lanes + 8, 99, dtype.numpy)
        n = np.array([count], np.int64)

        def body(k: FunctionBuilder, count: int = count) -> None:
            mask = k.lane_mask(k.load(k.args["a2"]), lanes) if dynamic else count
            k.store(k.load(k.args["a0"], lanes, mask) + 1, k.args["a1"].at(4), mask)

        run(target, body, x, y, n)
        assert y.tolist() == [99] * 4 + list(range(2, count + 2)) + [99] * (lanes + 4 - count)


@each_target
def test_narrowing_store_of_one_lane(target: CpuTarget) -> None:
    """LLVM 22 writes four bytes here if narrowing and masked store are fused."""
    lanes = target.lanes(f32)
    x, y = np.full(lanes, 7, np.float32), np.full(16, 99, np.uint8)

    def body(k: FunctionBuilder) -> None:
        value = k.cast(k.load(k.args["a0"], lanes), u8)
        k.store(value, k.args["a1"], 1)
        folded = k.lane_mask(k.index(1) + 0, lanes)
        k.store(value, k.args["a1"].at(5), folded)

    run(target, body, x, y)
    assert y.tolist() == [7] + [99] * 4 + [7] + [99] * 10


@each_target
def test_strided_access_and_bool_memory(target: CpuTarget) -> None:
    x = np.arange(40, dtype=np.float32)
    y = np.zeros(40, np.float32)
    flags = np.array([0, 1, 0, 2] * 4, np.bool_)
    out = np.zeros(4, np.bool_)

    def body(k: FunctionBuilder) -> None:
        step = k.index(3)
        k.store_strided(k.load_strided(k.args["a0"], step, 4), k.args["a1"], 2, 3)
        k.store(k.not_(k.load(k.args["a2"], 4)), k.args["a3"])

    run(target, body, x, y, flags, out)
    assert y[:8].tolist() == [0, 0, 3, 0, 6, 0, 0, 0]
    assert out.tolist() == [True, False, True, False]


# --- numbers ------------------------------------------------------------------------------------


FLOATS = [0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 127.5, 128, -128.5, -129, 255.5, 256, 1e10, -1e10]
FLOATS += [np.nan, np.inf, -np.inf, 2147483520, 2147483648, -2147483648, 8388609, 33000, 65536]


@each_target
@pytest.mark.usefixtures("quiet_numpy")
@pytest.mark.parametrize(
    "dtype", [u8, i8, u16, i16, i32, u32, i64, boolean, f64, f16, bf16], ids=str
)
def test_cast_from_float(target: CpuTarget, dtype: DType) -> None:
    lanes = target.lanes(f32)
    x = np.resize(np.array(FLOATS, np.float32), 2 * lanes * len(FLOATS))
    y = np.zeros(x.size, dtype.numpy)

    def body(k: FunctionBuilder) -> None:
        with k.loop(0, x.size, lanes) as i:
            k.store(k.cast(k.load(k.args["a0"].at(i), lanes), dtype), k.args["a1"].at(i))

    run(target, body, x, y)
    wanted = E.convert(x, dtype)
    assert ((y == wanted) | ((y != y) & (wanted != wanted))).all()


def cast_all(target: CpuTarget, x: np.ndarray, dtype: DType) -> np.ndarray:
    """`x`, of whole vectors, as the kernel language casts it."""
    lanes = target.lanes(f64)
    y = np.zeros(x.size, dtype.numpy)

    def body(k: FunctionBuilder) -> None:
        with k.loop(0, x.size, lanes) as i:
            k.store(k.cast(k.load(k.args["a0"].at(i), lanes), dtype), k.args["a1"].at(i))

    run(target, body, x, y)
    return y


@pytest.fixture
def quiet_numpy():  # type: ignore[no-untyped-def]
    """No warnings about NaN and overflow, which these tests make on purpose."""
    with np.errstate(over="ignore", invalid="ignore"):
        yield


@each_target
@pytest.mark.usefixtures("quiet_numpy")
@pytest.mark.parametrize("half", [f16, bf16], ids=str)
def test_every_half_is_widened_exactly_and_comes_back(target: CpuTarget, half: DType) -> None:
    x = np.arange(1 << 16, dtype=np.uint16).view(half.numpy)
    for wide in (f32, f64):
        y = cast_all(target, x, wide)
        np.testing.assert_array_equal(y, x.astype(wide.numpy))
        back = cast_all(target, y, half)
        number = ~np.isnan(y)
        assert (back.view(np.uint16)[number] == x.view(np.uint16)[number]).all()
        assert np.isnan(back[~number].astype(np.float32)).all()
    for dtype in (u8, i32, boolean):
        clean = x[np.isfinite(x.astype(np.float32))][: (1 << 16) - 4096]
        np.testing.assert_array_equal(cast_all(target, clean, dtype), E.convert(clean, dtype))


@each_target
@pytest.mark.usefixtures("quiet_numpy")
@pytest.mark.parametrize("half", [f16, bf16], ids=str)
def test_halves_are_rounded_once_and_to_even(target: CpuTarget, half: DType) -> None:
    every = np.arange(1 << 15, dtype=np.uint16).view(half.numpy).astype(np.float64)
    every = every[np.isfinite(every)]
    middle = (every[:-1] + every[1:]) / 2  # ties; and beside them, closer than an f32 can tell
    x = np.concatenate([middle, np.nextafter(middle, 0), np.nextafter(middle, np.inf), [1e300]])
    x = np.resize(np.concatenate([x, -x]), -(-2 * x.size // 64) * 64)
    for source in (x, x.astype(np.float32)):
        wanted = half_of(source, half)
        np.testing.assert_array_equal(cast_all(target, source, half).view(np.uint16), wanted)


def half_of(x: np.ndarray, half: DType) -> np.ndarray:
    """Bits of the nearest `half`, of two equally near ones the even, by searching them all."""
    every = np.arange(1 << 15, dtype=np.uint16).view(half.numpy).astype(np.float64)
    count = int(np.isfinite(every).sum())
    step = every[count - 1] - every[count - 2]
    values = np.append(every[:count], every[count - 1] + step)  # infinity, as if it were a number
    at = np.clip(np.searchsorted(values, np.abs(x.astype(np.float64))), 1, count)
    below, above = np.abs(x) - values[at - 1], values[at] - np.abs(x)
    up = (above < below) | ((above == below) & (at % 2 == 0))
    return (np.where(up, at, at - 1) | np.where(np.signbit(x), 1 << 15, 0)).astype(np.uint16)


@each_target
@pytest.mark.usefixtures("quiet_numpy")
@pytest.mark.parametrize("source", [u8, i8, i32, i64], ids=str)
@pytest.mark.parametrize("dtype", [u8, i8, i32, f32, boolean, f16, bf16], ids=str)
def test_cast_from_integer(target: CpuTarget, source: DType, dtype: DType) -> None:
    lanes = target.lanes(f32)
    low, high = source.range
    x = np.resize(np.array([low, high, 0, 1, high // 3], source.numpy), 5 * lanes)
    y = np.zeros(x.size, dtype.numpy)

    def body(k: FunctionBuilder) -> None:
        with k.loop(0, x.size, lanes) as i:
            k.store(k.cast(k.load(k.args["a0"].at(i), lanes), dtype), k.args["a1"].at(i))

    run(target, body, x, y)
    assert (y == E.convert(x, dtype)).all()


@each_target
def test_dot4_is_exact(target: CpuTarget) -> None:
    lanes = target.lanes(i32)
    rng = np.random.default_rng(1)
    u = rng.integers(0, 256, (64, lanes, 4)).astype(np.uint8)
    s = rng.integers(-128, 128, (64, lanes, 4)).astype(np.int8)
    u[0], s[0], u[1], s[1] = 255, -128, 255, 127
    acc = rng.integers(-(1 << 31), 1 << 31, (64, lanes)).astype(np.int32)
    y = np.zeros((64, lanes), np.int32)

    def body(k: FunctionBuilder) -> None:
        with k.loop(0, 64 * lanes, lanes) as i:
            a, b = (k.load(k.args[name].as_type(i32).at(i), lanes) for name in ("a0", "a1"))
            k.store(k.dot4(a, b, k.load(k.args["a2"].at(i), lanes)), k.args["a3"].at(i))

    run(target, body, u, s, acc, y)
    exact = acc.astype(np.int64) + (u.astype(np.int64) * s).sum(axis=2)
    assert (y == exact.astype(np.int32)).all()


BINARY_TYPES = [(op, dtype) for op in E.BINARY if op not in ("pow", "mod") for dtype in (f32, i32)]


@each_target
@pytest.mark.parametrize(("op", "dtype"), [*BINARY_TYPES, ("mod", i32)], ids=str)
def test_binary_expressions(target: CpuTarget, op: str, dtype: DType) -> None:
    values = [-7, -3, -1, 0, 1, 2, 5, 7] + ([np.nan, np.inf, 0.5] if dtype.is_float else [])
    grid = np.array([(a, b) for a in values for b in values], dtype.numpy)
    if dtype == i32:
        grid = np.concatenate([grid, [(-(1 << 31), -1), ((1 << 31) - 1, -3)]]).astype(np.int32)
    lanes = target.lanes(f32)
    count = -(-len(grid) // lanes) * lanes
    grid = np.resize(grid, (count, 2))
    a, b = (np.ascontiguousarray(grid[:count, n]) for n in range(2))
    expr = E.binary(op, E.inp(0), E.inp(1))
    wanted = E.evaluate(expr, [a, b])
    y = np.zeros(count, wanted.dtype)

    def body(k: FunctionBuilder) -> None:
        with k.loop(0, count, lanes) as i:
            pair = [k.load(k.args[name].at(i), lanes) for name in ("a0", "a1")]
            k.store(emit_expr(k, expr, pair), k.args["a2"].at(i))

    run(target, body, a, b, y)
    np.testing.assert_array_equal(y, wanted)


@each_target
@pytest.mark.parametrize("op", ["neg", "abs", "sign", "not", "isnan", "isinf", "reciprocal"])
def test_unary_expressions(target: CpuTarget, op: str) -> None:
    lanes = target.lanes(f32)
    x = np.resize(np.array([-2.5, -0.0, 0.0, 1.5, np.nan, np.inf, -np.inf], np.float32), 7 * lanes)
    expr = E.unary(op, E.inp(0))
    wanted = E.evaluate(expr, [x])
    y = np.zeros(x.size, wanted.dtype)

    def body(k: FunctionBuilder) -> None:
        with k.loop(0, x.size, lanes) as i:
            k.store(emit_expr(k, expr, [k.load(k.args["a0"].at(i), lanes)]), k.args["a1"].at(i))

    run(target, body, x, y)
    np.testing.assert_array_equal(y, wanted)


# --- tiles --------------------------------------------------------------------------------------

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


# --- a whole tactic -----------------------------------------------------------------------------


class Scale:
    """Smallest possible tactic: an epilogue applied to x [rows, columns]."""

    name, version = "scale", 1

    def plan(self, spec: KernelSpec, target: CpuTarget, threads: int) -> list[ScaleCandidate]:
        return [ScaleCandidate(spec, target, None)] if spec.op == "scale" else []


class ScaleCandidate(CpuCandidate[None]):
    def emit(self) -> Source:
        spec, target = self.spec, self.target
        rows, columns = spec.outputs[0].shape
        lanes = target.lanes(f32)
        numbers = constant_numbers(spec, first=1)
        packed = {n: place for place, n in enumerate(numbers)}
        module = Module(target)
        args = phase_args(spec, [spec.inputs[n].dtype for n in numbers])
        with module.phase("scale", rows, args) as k:
            pointers = [operand_pointer(k, spec, n, packed) for n in range(1, len(spec.inputs))]
            expr = spec.attr("epilogue")
            assert isinstance(expr, E.Expr)
            out = k.args["out0"]
            whole = Epilogue(k, expr, spec.inputs[1:], pointers, spec.outputs[0], out)
            with k.loop(k.begin, k.end) as row:
                here = whole.at((row, 0))
                for c in range(0, columns, lanes):
                    count = min(lanes, columns - c)
                    x = k.args["in0"].at(row * spec.inputs[0].strides[0]).at(c)
                    here.store(k.load(x, lanes, count), (0, c), count)
        return module.source()


@each_target
@pytest.mark.parametrize("columns", [1, 5, 16, 37])
def test_epilogue_operands_broadcast(target: CpuTarget, columns: int) -> None:
    rng = np.random.default_rng(columns)
    x = rng.standard_normal((6, columns)).astype(np.float32)
    bias = rng.standard_normal(columns).astype(np.float32)
    residual = rng.integers(0, 256, (6, columns)).astype(np.uint8)
    per_row = rng.standard_normal((6, 1)).astype(np.float32)
    total = E.add(E.mul(E.inp(0), E.const(16.0)), E.inp(1))
    total = E.add(total, E.add(E.cast(E.inp(2), f32), E.inp(3)))
    expr = E.cast(total, u8)
    inputs = (
        operand_of(x, pitch=columns + 3),
        operand_of(bias, const=True),
        operand_of(residual, pitch=columns + 1),
        operand_of(per_row),
    )
    output = Operand(u8, (6, columns), (columns + 2, 1))
    spec = KernelSpec("scale", inputs, (output,), (("epilogue", expr),))
    wanted = E.evaluate(expr, [x, bias, residual, per_row]).astype(int)
    for threads in (1, 3):
        arrays = [x, residual, per_row]
        (got,) = run_kernel(Scale(), spec, {}, target, arrays, [bias], threads, parallel=True)
        assert np.abs(got - wanted).max() <= 1  # fma rounds once
    assert prod(got.shape) == 6 * columns


# --- targets, compiling, errors -------------------------------------------------------------------


def test_equal_sources_give_equal_bytes() -> None:
    def source() -> Source:
        module = Module(AVX512_VNNI)
        with module.phase("p", 1, [Arg("x", f32)]) as k:
            k.store(k.load(k.args["x"], 16) * 2.0, k.args["x"])
        return module.source()

    first, second = (CpuCompiler(AVX512_VNNI).compile(source()) for _ in range(2))
    assert first.code == second.code
    assert first.phases == second.phases


def test_host_runs_its_own_target() -> None:
    assert not missing_features(host_target())
    assert host_target().name in [t.name for t in TARGETS]
    assert target_named("portable") is PORTABLE


def test_errors_name_the_culprit() -> None:
    with pytest.raises(BuildError, match=r"unknown CPU target 'mmx'.*avx2"):
        target_named("mmx")
    with pytest.raises(BuildError, match="kernel nonsense: invalid LLVM IR"):
        CpuCompiler(PORTABLE).compile(Source("define ?", (Phase("nonsense", 1),)))
    code = CpuCompiler(PORTABLE).compile(Source("define void @f() { ret void }", ())).code
    with pytest.raises(BuildError, match="cannot link kernel code \\(missing\\)"):
        link(code, ["missing"])
    module = Module(PORTABLE)
    with (
        pytest.raises(BuildError, match="operands have types float"),
        module.phase("p", 1, []) as k,
    ):
        k.const(1.0, f32) + k.const(1, i32)
