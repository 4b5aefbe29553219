"""Kernels with symbolic extents: one compiled kernel, run at many sizes, against the op's reference.

Every case is compiled once a target and run at the least sizes, at odd ones, at whole vectors, one
off them, and at random ones, with several numbers of threads and every trap of `kernel_harness`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.matmul.tactic import Matmul
from camshaft.backends.cpu.movement.tactics import Gather, Pad
from camshaft.backends.cpu.pointwise.tactic import Pointwise
from camshaft.backends.cpu.pool.whole import PoolGlobal
from camshaft.backends.cpu.pool.window import PoolWindow
from camshaft.backends.cpu.reduce.softmax import Softmax
from camshaft.backends.cpu.reduce.tactic import Reduce
from camshaft.backends.cpu.target import AVX2, AVX512_BF16, PORTABLE, CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.extents.extent import Extent, extent_of
from camshaft.ir.extents.sizes import evaluate
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.op import OpDef
from camshaft.ir.types import DType, bf16, f16, f32, i8, i32, i64, row_major_strides, u8
from camshaft.ops import GATHER, MATMUL, PAD, POINTWISE, POOL, REDUCE, SOFTMAX
from kernel_harness import SymbolicKernel, at_sizes
from targets import each_target

pytestmark = pytest.mark.sampled

X, Y, Z = E.inp(0), E.inp(1), E.inp(2)
N = extent_of(Symbol("n", 1, 4, 70))
L = extent_of(Symbol("length", 1, 40, 600))
MAYBE = extent_of(Symbol("maybe", 0, 3, 40))
WIDE = extent_of(Symbol("wide", 1, 5000, 20000))
SIZES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 70)


@dataclass(frozen=True)
class Case:
    """tolerance: relative and absolute; 0: to the bit."""

    tactic: Any
    op: OpDef
    spec: KernelSpec
    tolerance: float = 0.0
    index: Extent | None = None  # of Gather: how many elements there are to pick from


def dense(dtype: DType, *shape: Extent, const: bool = False, pitch: int = 0) -> Operand:
    """A row-major operand; `pitch` more elements behind each pixel of the last axis."""
    whole: Any = (*shape[:-1], shape[-1] + pitch) if shape else ()
    return Operand(dtype, shape, row_major_strides(whole), const)


def turned(dtype: DType, perm: tuple[int, ...], *shape: Extent) -> Operand:
    """A view of a dense array of `shape`: its axes in the order of `perm`."""
    strides = row_major_strides(shape)
    return Operand(dtype, tuple(shape[p] for p in perm), tuple(strides[p] for p in perm))


def spec_of(op: str, inputs: list[Operand], out: Operand, **attrs: Any) -> KernelSpec:
    return KernelSpec(op, tuple(inputs), (out,), tuple(sorted(attrs.items())))


def values(operand: Operand, rng: np.random.Generator) -> np.ndarray:
    if operand.dtype.is_float:
        return np.asarray(rng.standard_normal(operand.shape) * 3, operand.dtype.numpy)
    low = 0 if operand.dtype.kind == "u" else -100
    return np.asarray(rng.integers(low, 100, operand.shape), operand.dtype.numpy)


def sizes_of(spec: KernelSpec, rng: np.random.Generator) -> Iterator[dict[str, int]]:
    """The interesting sizes of each symbol, the others at random."""

    def between(symbol: Symbol) -> int:
        return int(rng.integers(symbol.low, (symbol.high or 100) + 1) ** rng.random())

    names = {s.name: s for s in spec.symbols}
    yield {n: s.low for n, s in names.items()}
    for size in SIZES:
        for name in names:
            others = {n: max(s.low, between(s)) for n, s in names.items()}
            symbol = names[name]
            yield {**others, name: min(max(size, symbol.low), symbol.high or size)}
    yield {n: s.high or 100 for n, s in names.items()}


def check(case: Case, target: CpuTarget) -> None:
    rng = np.random.default_rng(0)
    candidates = case.tactic.plan(case.spec, target, 2)
    assert candidates and not case.spec.is_static
    for number, candidate in enumerate(candidates):
        kernel = SymbolicKernel(candidate, target)
        every = list(sizes_of(case.spec, rng))
        for round_, sizes in enumerate(every if number == 0 else every[:: 2 + number]):
            spec = at_sizes(case.spec, sizes)
            arrays = [values(o, rng) for o in spec.inputs]
            if case.index is not None:
                most = evaluate(case.index, sizes)
                arrays[1] = rng.integers(-most, most, arrays[1].shape).astype(arrays[1].dtype)
            (want,) = case.op.reference(arrays, case.op.complete(dict(spec.attrs)))
            variable = [a for a, o in zip(arrays, spec.inputs, strict=True) if not o.const]
            consts = [a for a, o in zip(arrays, spec.inputs, strict=True) if o.const]
            run = kernel.laid_out(sizes, variable, consts, threads=1 + round_ % 4)
            run.run()
            run.check_guards()
            (got,) = run.outputs()
            if case.tolerance:
                scale = case.tolerance * max(1.0, float(np.abs(want).max(initial=0)))
                np.testing.assert_allclose(
                    got, want, rtol=case.tolerance, atol=scale, err_msg=str(sizes)
                )
            else:
                np.testing.assert_array_equal(got, want, err_msg=str(sizes))


def pointwise(expr: E.Expr, inputs: list[Operand], out: Operand, tolerance: float = 0.0) -> Case:
    return Case(Pointwise(), POINTWISE, spec_of("pointwise", inputs, out, expr=expr), tolerance)


RELU = E.maximum(X, E.const(0.0))
Q = E.quantize(X, E.const(0.37), 121, u8)

POINTWISES = {
    "dense": pointwise(RELU, [dense(f32, N, 3, 5)], dense(f32, N, 3, 5)),
    "one long axis": pointwise(E.mul(X, X), [dense(f32, WIDE)], dense(f32, WIDE)),
    "bytes": pointwise(X, [dense(u8, WIDE)], dense(u8, WIDE)),
    "rows with a bias": pointwise(
        E.add(X, Y), [dense(f32, N, 37), dense(f32, 37, const=True)], dense(f32, N, 37)
    ),
    "broadcast columns": pointwise(
        E.add(E.mul(X, Y), Z),
        [dense(f32, N, L), dense(f32, L), dense(f32, N, 1)],
        dense(f32, N, L),
        1e-5,
    ),
    "long rows": pointwise(
        E.add(X, Y), [dense(f32, N, WIDE), dense(f32, WIDE)], dense(f32, N, WIDE)
    ),
    "gaps": pointwise(RELU, [dense(f32, N, L, pitch=3)], dense(f32, N, L, pitch=5)),
    "mask": pointwise(E.add(X, Y), [dense(f32, 2, N, L), dense(f32, 2, 1, L)], dense(f32, 2, N, L)),
    "integers": pointwise(E.add(X, Y), [dense(i64, N, L), dense(i64, L)], dense(i64, N, L)),
    "heads out": pointwise(
        X, [turned(f32, (0, 2, 1, 3), 2, L, 4, 16)], dense(f32, 2, 4, L, 16)
    ),
    "transposed": pointwise(X, [turned(f32, (1, 0), L, 48)], dense(f32, 48, L)),
    "transposed back": pointwise(X, [turned(f32, (1, 0), 48, L)], dense(f32, L, 48)),
    "both symbolic": pointwise(X, [turned(u8, (1, 0), N, L)], dense(u8, L, N)),
    "image to pixels": pointwise(
        Q, [turned(f32, (0, 2, 3, 1), 1, 3, N, L)], dense(u8, 1, N, L, 3)
    ),
    "pixels to image": pointwise(X, [turned(f32, (0, 3, 1, 2), 1, N, L, 3)], dense(f32, 1, 3, N, L)),
    "pixels of three": pointwise(
        E.add(E.mul(X, Y), Z), [dense(f32, N, L, 3), dense(f32, 3), dense(f32, 3)],
        dense(f32, N, L, 3), 1e-5,
    ),
    "channels of an image": pointwise(
        X, [turned(f32, (0, 2, 3, 1), 1, 20, N, L)], dense(f32, 1, N, L, 20, pitch=3)
    ),
    "strided along lanes": pointwise(E.mul(X, X), [turned(f32, (1, 0), L, N)], turned(f32, (1, 0), L, N)),
}  # fmt: skip


@each_target
@pytest.mark.parametrize("name", POINTWISES)
def test_pointwise(name: str, target: CpuTarget) -> None:
    check(POINTWISES[name], target)


def reduction(
    kind: str,
    x: Operand,
    axes: tuple[int, ...],
    extra: tuple[Operand, ...] = (),
    out: DType = f32,
    **attrs: Any,
) -> Case:
    kept = [1 if a in axes else d for a, d in enumerate(x.shape)]
    full = {"kind": kind, "axes": axes, "keepdims": True, "prologue": X, "epilogue": X, **attrs}
    exact = kind == "max" or out != f32
    spec = spec_of("reduce", [x, *extra], dense(out, *kept), **full)
    return Case(Reduce(), REDUCE, spec, 0.0 if exact else 1e-5)


SQUARES = {"prologue": E.mul(X, X), "epilogue": E.add(X, Y)}

REDUCTIONS = {
    "rows kept, width fixed": reduction("sum", dense(f32, N, 37), (1,)),
    "rows kept, width symbolic": reduction("sum", dense(f32, N, L), (1,)),
    "long axis": reduction("sum", dense(f32, 3, WIDE), (1,)),
    "long columns": reduction("sum", dense(f32, WIDE, 5), (0,)),
    "columns kept": reduction("max", dense(f32, N, L), (0,)),
    "middle reduced": reduction("sum", dense(f32, 2, N, 37), (1,), (dense(f32, 37),), **SQUARES),
    "middle reduced, all symbolic": reduction("max", dense(f32, N, L, N), (1,)),
    "two axes": reduction("sum", dense(f32, 2, N, L, 20), (1, 2)),
    "two apart": reduction("max", dense(f32, N, 3, L), (0, 2)),
    "everything": reduction("sum", dense(f32, N, L), (0, 1)),
    "gaps": reduction("sum", dense(f32, N, L, pitch=3), (1,)),
    "turned": reduction("sum", turned(f32, (1, 0), L, N), (1,)),
    "lanes apart": reduction("max", turned(f32, (2, 1, 0), N, L, 3), (1,)),
    "bytes": reduction("sum", dense(u8, N, L), (1,), out=i32),
    "bytes of columns": reduction("max", dense(u8, N, 2, L), (0,), out=u8),
    "mean": reduction("sum", dense(f32, 2, N, L, 20), (1, 2), epilogue=E.div(X, E.extent(N * L))),
    "layer norm's mean": reduction(
        "sum", dense(f32, 1, N, 384), (2,), (dense(f32, 1, N, 1),), **SQUARES
    ),
}


@each_target
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduce(name: str, target: CpuTarget) -> None:
    check(REDUCTIONS[name], target)


def softmax(x: Operand, axis: int, *, log: bool = False, out: Operand | None = None) -> Case:
    spec = spec_of("softmax", [x], out or dense(f32, *x.shape), axis=axis, log=log)
    return Case(Softmax(), SOFTMAX, spec, 5e-6)


SOFTMAXES = {
    "rows": softmax(dense(f32, N, 3, 77), -1),
    "long rows": softmax(dense(f32, N, 1000), -1, log=True),
    "axis": softmax(dense(f32, 2, N, L), -1),
    "log of axis": softmax(dense(f32, N, L), -1, log=True),
    "axis with gaps": softmax(dense(f32, N, L, pitch=3), -1, out=dense(f32, N, L, pitch=1)),
    "pairs": softmax(dense(f32, L, 2), -1),
    "short rows": softmax(dense(f32, L, 11), -1, log=True),
    "short rows with gaps": softmax(dense(f32, 1, L, 3, pitch=4), -1),
    "across": softmax(dense(f32, 2, 21, L), 1),
    "across a symbolic axis": softmax(dense(f32, N, L), 0, log=True),
    "across, lanes apart": softmax(turned(f32, (1, 0), L, N), 1),
    "few": softmax(dense(f32, 4, extent_of(Symbol("few", 1, 2, 20))), -1),
    "neither short nor long": softmax(dense(f32, 4, extent_of(Symbol("some", 20, 30, 48))), -1),
}


@each_target
@pytest.mark.parametrize("name", SOFTMAXES)
def test_softmax(name: str, target: CpuTarget) -> None:
    check(SOFTMAXES[name], target)


@each_target
@pytest.mark.parametrize("log", [False, True], ids=["softmax", "log"])
def test_softmax_of_every_length(target: CpuTarget, log: bool) -> None:
    """Rows of 1, 2, 3, 4, up to 6 and up to 8 vectors have code of their own."""
    case = softmax(dense(f32, 3, L, pitch=1), -1, log=log)
    (candidate,) = Softmax().plan(case.spec, target, 2)
    kernel = SymbolicKernel(candidate, target)
    rng = np.random.default_rng(0)
    for length in range(1, 9 * target.lanes(f32) + 2):
        sizes = {"length": length}
        x = rng.standard_normal((3, length)).astype(np.float32) * 8
        run = kernel.laid_out(sizes, [x], [], threads=1 + length % 3)
        run.run()
        run.check_guards()
        (want,) = SOFTMAX.reference([x], SOFTMAX.complete({"axis": -1, "log": log}))
        tolerance = {"rtol": 3e-6, "atol": 3e-6 if log else 1e-9}
        np.testing.assert_allclose(run.outputs()[0], want, **tolerance, err_msg=str(sizes))


def gather(x: Operand, index: Operand, axis: int) -> Case:
    out = dense(x.dtype, *x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
    spec = spec_of("gather", [x, index], out, axis=axis)
    return Case(Gather(), GATHER, spec, index=x.shape[axis])


GATHERS = {
    "embedding": gather(dense(f32, 50, 96, const=True), dense(i64, 1, L), 0),
    "symbolic table": gather(dense(f32, N, 37), dense(i32, 5), 0),
    "symbolic rows": gather(dense(u8, N, 7, L), dense(i64, 3, N), 1),
    "last axis": gather(dense(f32, N, L), dense(i64, 4), 1),
    "gaps": gather(dense(f32, N, L, 5, pitch=2), dense(i64, 3), 1),
    "scalar": gather(dense(f32, N, L), Operand(i64, (), ()), 0),
}


@each_target
@pytest.mark.parametrize("name", GATHERS)
def test_gather(name: str, target: CpuTarget) -> None:
    check(GATHERS[name], target)


def pad(x: Operand, pads: list[tuple[int, int]], mode: str) -> Case:
    shape = [d + b + a for d, (b, a) in zip(x.shape, pads, strict=True)]
    before, after = tuple(b for b, _ in pads), tuple(a for _, a in pads)
    spec = spec_of(
        "pad", [x], dense(x.dtype, *shape), before=before, after=after, mode=mode, value=7.0
    )
    return Case(Pad(), PAD, spec)


FROM_5 = extent_of(Symbol("from5", 6, 9, 90))
ATTACHED = {
    "image": (dense(f32, 1, N, L, 3), [(0, 0), (1, 2), (3, 0), (0, 0)]),
    "rows": (dense(u8, N, L), [(2, 1), (0, 0)]),
    "columns": (dense(f32, N, FROM_5), [(0, 0), (4, 5)]),
    "gaps": (dense(f32, N, FROM_5, 2, pitch=1), [(1, 0), (2, 3), (0, 0)]),
}


@each_target
@pytest.mark.parametrize("name", ATTACHED)
def test_pad(name: str, target: CpuTarget) -> None:
    check(pad(*ATTACHED[name], "constant"), target)
    check(pad(*ATTACHED[name], "edge"), target)


@each_target
@pytest.mark.parametrize("mode", ["reflect", "wrap"])
def test_pad_by_its_own_elements(mode: str, target: CpuTarget) -> None:
    x = dense(f32, FROM_5, FROM_5 * 2, 3)
    check(pad(x, [(2, 4), (5, 1), (0, 0)], mode), target)


def product(a: Operand, b: Operand, *extra: Operand, epilogue: E.Expr = X, **zeros: int) -> Case:
    rank = max(len(a.shape), len(b.shape))
    lead = []
    for axis in range(rank - 2):
        found = [s[axis - rank] for s in (a.shape, b.shape) if len(s) >= rank - axis]
        lead.append(next((d for d in found if d != 1), 1))
    out = dense(a.dtype.accumulator, *lead, a.shape[-2], b.shape[-1])
    spec = spec_of("matmul", [a, b, *extra], out, epilogue=epilogue, **zeros)
    return Case(Matmul(), MATMUL, spec, 1e-4 if a.dtype.is_float else 0.0)


BIAS_RELU = E.maximum(E.add(X, Y), E.const(0.0))
K64 = turned(f32, (0, 1, 3, 2), 2, 3, L, 16)
PRODUCTS = {
    "rows": product(dense(f32, N, 33), dense(f32, 33, 50, const=True)),
    "tokens": product(
        dense(f32, 1, L, 64), dense(f32, 64, 96, const=True), dense(f32, 96), epilogue=BIAS_RELU
    ),
    "batch": product(dense(f32, N, 5, 9), dense(f32, 9, 21, const=True)),
    "one row a batch": product(dense(f32, N, 1, 9), dense(f32, 9, 21)),
    "stack": product(dense(f32, N, 4, 9), dense(f32, N, 9, 20)),
    "scores": product(dense(f32, 2, 3, L, 16), K64, dense(f32, 2, 1, 1, L), epilogue=E.add(X, Y)),
    "context": product(dense(f32, 2, 3, L, L), turned(f32, (0, 2, 1, 3), 2, L, 3, 16)),
    "everything": product(dense(f32, N, L), dense(f32, L, N)),
    "columns": product(dense(f32, 7, 20), dense(f32, 20, L), turned(f32, (1, 0), L, 7), epilogue=E.add(X, Y)),
    "bytes": product(dense(u8, N, 33), dense(i8, 33, 50, const=True), a_zero_point=5, b_zero_point=7),
    "byte scores": product(
        dense(i8, 2, L, 18), turned(i8, (0, 2, 1), 2, L, 18), a_zero_point=-3, b_zero_point=7
    ),
    "bytes of a batch": product(dense(u8, N, 3, 18), dense(i8, N, 18, L), a_zero_point=5),
    "byte context": product(
        dense(u8, 2, L, L), turned(i8, (1, 0, 2), L, 2, 16), a_zero_point=3
    ),
    "signed byte context": product(
        dense(i8, 2, N, L), dense(u8, 2, L, 19), a_zero_point=-3, b_zero_point=130
    ),
    "bytes turned": product(dense(i8, 3, L), turned(i8, (1, 0), 5, L), a_zero_point=9, b_zero_point=-7),
}  # fmt: skip


HALF_PRODUCTS = {
    "rows": product(dense(bf16, N, 33), dense(bf16, 33, 50, const=True)),
    "half weights": product(dense(f32, 1, L, 65), dense(bf16, 65, 40, const=True)),
    "f16": product(dense(f16, N, 9), dense(f16, 9, 21, const=True)),
    "scores": product(dense(bf16, 3, L, 17), turned(bf16, (0, 2, 1), 3, L, 17)),
    "context": product(dense(bf16, 2, L, L), dense(bf16, 2, L, 16)),
    "half values": product(dense(f32, 2, L, L), dense(f16, 2, L, 16)),
}


@pytest.mark.parametrize("target", [AVX512_BF16, AVX2, PORTABLE], ids=lambda t: t.name)
@pytest.mark.parametrize("name", HALF_PRODUCTS)
def test_matmul_of_halves(name: str, target: CpuTarget) -> None:
    check(HALF_PRODUCTS[name], target)


@each_target
@pytest.mark.parametrize("name", PRODUCTS)
def test_matmul(name: str, target: CpuTarget) -> None:
    check(PRODUCTS[name], target)


@each_target
@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("dtype", [f32, u8], ids=str)
def test_pools_of_a_symbolic_batch(kind: str, dtype: DType, target: CpuTarget) -> None:
    x = dense(dtype, N, 7, 6, 21)
    result = dtype if kind == "max" else f32
    more = {} if kind == "max" or dtype == f32 else {"x_zero_point": 3}
    attrs = {"kind": kind, **more, "layout": "NHWC"}
    whole = spec_of("pool", [x], dense(result, N, 1, 1, 21), kernel=(7, 6), **attrs)
    check(Case(PoolGlobal(), POOL, whole, 1e-5), target)
    window = spec_of("pool", [x], dense(result, N, 6, 5, 21), kernel=(2, 2), **attrs)
    check(Case(PoolWindow(), POOL, window, 1e-5), target)


EMPTY = {
    "one run": pointwise(RELU, [dense(f32, MAYBE, 3)], dense(f32, MAYBE, 3)),
    "rows": pointwise(E.add(X, Y), [dense(f32, MAYBE, 7, 9), dense(f32, 7, 1)], dense(f32, MAYBE, 7, 9)),
    "turned": pointwise(X, [turned(f32, (0, 2, 1), MAYBE, N, 6)], dense(f32, MAYBE, 6, N)),
    "inner": pointwise(X, [turned(f32, (1, 0), MAYBE, N)], dense(f32, N, MAYBE)),
    "reduce": reduction("sum", dense(f32, MAYBE, 5, 20), (1,)),
    "softmax": softmax(dense(f32, 3, MAYBE, 50), -1),
    "gather": gather(dense(f32, 20, 6), dense(i64, 2, MAYBE), 0),
    "pad": pad(dense(f32, MAYBE, 4, 6), [(1, 0), (0, 2), (0, 0)], "constant"),
    "matmul": product(dense(f32, MAYBE, 3, 9), dense(f32, 9, 21, const=True)),
    "stack": product(dense(f32, 2, MAYBE, 9), dense(f32, 2, 9, 5)),
}  # fmt: skip


@each_target
@pytest.mark.parametrize("name", EMPTY)
def test_nothing_may_be_there(name: str, target: CpuTarget) -> None:
    check(EMPTY[name], target)
