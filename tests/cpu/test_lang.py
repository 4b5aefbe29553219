"""The kernel language: control flow, memory, a whole tactic, and compiling twice."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec, Operand, Source
from camshaft.backends.cpu.abi import constant_numbers, operand_pointer, phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.expr.epilogue import Epilogue
from camshaft.backends.cpu.lang import Arg, FunctionBuilder, Module, Scalar
from camshaft.backends.cpu.link import call, link, pointer_table
from camshaft.backends.cpu.processor import host_target, missing_features
from camshaft.backends.cpu.target import AVX512_VNNI, PORTABLE, TARGETS, CpuTarget, target_named
from camshaft.errors import BuildError
from camshaft.ir import expr as E
from camshaft.ir.types import DType, f16, f32, i16, i32, i64, u8
from camshaft.program.program import Phase
from kernel_harness import operand_of, run_kernel
from lang_phases import run_phase
from targets import each_target, runnable_code

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

    run_phase(target, body, bounds, result)
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

    run_phase(target, body, x, y)
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

        run_phase(target, body, x, y, n)
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

    run_phase(target, body, x, y)
    assert y.tolist() == [7] + [99] * 4 + [7] + [99] * 10


@each_target
@pytest.mark.parametrize("dtype", [u8, i16, f16], ids=str)
def test_narrowing_store_of_few_lanes(target: CpuTarget, dtype: DType) -> None:
    """Vectors shorter than a register: those of 8 lanes of 64 bits, narrowed, took LLVM's process down with AVX-512."""
    for lanes in (2, 4, 8, 16, 32):
        x, y = np.full(lanes, 7, np.float32), np.zeros(lanes, dtype.numpy)
        n = np.array([lanes - 1], np.int64)

        def body(k: FunctionBuilder, lanes: int = lanes) -> None:
            value = k.cast(k.load(k.args["a0"], lanes), dtype)
            k.store(value, k.args["a1"], k.lane_mask(k.load(k.args["a2"]), lanes))

        run_phase(target, body, x, y, n)
        assert y.tolist() == [7] * (lanes - 1) + [0]


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

    run_phase(target, body, x, y, flags, out)
    assert y[:8].tolist() == [0, 0, 3, 0, 6, 0, 0, 0]
    assert out.tolist() == [True, False, True, False]


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


@pytest.mark.usefixtures("compiled_anew")
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
