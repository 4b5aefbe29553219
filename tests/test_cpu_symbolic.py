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
from camshaft.backends.cpu.pointwise.tactic import Pointwise
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.extent import Extent, extent_of
from camshaft.ir.op import OpDef
from camshaft.ir.symbol import Symbol
from camshaft.ir.types import DType, f32, i64, row_major_strides, u8
from camshaft.ops import POINTWISE
from kernel_harness import SymbolicKernel, at_sizes
from targets import each_target

X, Y, Z = E.inp(0), E.inp(1), E.inp(2)
N = extent_of(Symbol("n", 1, 4, 70))
L = extent_of(Symbol("length", 1, 40, 600))
WIDE = extent_of(Symbol("wide", 1, 5000, 20000))
SIZES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 70)


@dataclass(frozen=True)
class Case:
    """tolerance: relative and absolute; 0: to the bit."""

    tactic: Any
    op: OpDef
    spec: KernelSpec
    tolerance: float = 0.0


def dense(dtype: DType, *shape: Extent, const: bool = False, pitch: int = 0) -> Operand:
    """A row-major operand; `pitch` more elements behind each pixel of the last axis."""
    whole: Any = (*shape[:-1], shape[-1] + pitch) if shape else ()
    return Operand(dtype, shape, row_major_strides(whole), const)  # type: ignore[arg-type]


def turned(dtype: DType, perm: tuple[int, ...], *shape: Extent) -> Operand:
    """A view of a dense array of `shape`: its axes in the order of `perm`."""
    strides = row_major_strides(shape)  # type: ignore[arg-type]
    return Operand(dtype, tuple(shape[p] for p in perm), tuple(strides[p] for p in perm))  # type: ignore[misc]


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
    for candidate in case.tactic.plan(case.spec, target, 2):
        kernel = SymbolicKernel(candidate, target)
        assert kernel.kernel.dims
        for round_, sizes in enumerate(sizes_of(case.spec, rng)):
            spec = at_sizes(case.spec, sizes)
            arrays = [values(o, rng) for o in spec.inputs]
            (want,) = case.op.reference(arrays, case.op.complete(dict(spec.attrs)))
            variable = [a for a, o in zip(arrays, spec.inputs, strict=True) if not o.const]
            consts = [a for a, o in zip(arrays, spec.inputs, strict=True) if o.const]
            run = kernel.laid_out(sizes, variable, consts, threads=1 + round_ % 4)
            run.run()
            run.check_guards()
            (got,) = run.outputs()
            if case.tolerance:
                np.testing.assert_allclose(
                    got, want, rtol=case.tolerance, atol=case.tolerance, err_msg=str(sizes)
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
