"""Resizes of open extents: tables that graphs compute, the kernel that reads them, iota."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.movement.iota import Iota
from camshaft.backends.cpu.movement.resample import Resample
from camshaft.backends.cpu.pointwise.tactic import Pointwise
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.extents.extent import extent_of
from camshaft.ir.extents.sizes import evaluate
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import DType, f32, f64, i32, i64, row_major_strides, u8
from camshaft.ops import IOTA, RESAMPLE
from camshaft.ops.functional.spatial.sampling import TAP, Axis, Sampling, table_of
from kernel_harness import SymbolicKernel, at_sizes
from targets import each_target

N = extent_of(Symbol("n", 1, 1, 4))
H = extent_of(Symbol("h", 1, 7, 40))
W = extent_of(Symbol("w", 1, 9, 50))
COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
)
SAMPLINGS = (
    *(Sampling("nearest", c, n) for c in COORDINATES for n in ("round_prefer_floor", "simple")),
    *(Sampling("nearest", "half_pixel", n) for n in ("round_prefer_ceil", "floor", "ceil")),
    *(Sampling("linear", c) for c in COORDINATES),
    *(Sampling("cubic", c, exclude_outside=o) for c in COORDINATES for o in (False, True)),
)
AXES = (
    Axis(W, 2 * W, 2.0),
    Axis(W, W * 3 // 5, float(np.float32(0.6))),
    Axis(W, 13, None),
    Axis(7, W, None),
    Axis(W, 3 * H + 1, None),
)


def table_kernel(expr: Expr, axis: Axis, taps: int, dtype: DType, target: CpuTarget) -> Any:
    position = E.cast(E.inp(0), f64)
    inputs = [Operand.dense(i64, (axis.out, 1))]
    if taps > 1:
        inputs.append(Operand.dense(f64, (taps,), True))
    out = Operand.dense(dtype, (axis.out, taps))
    attrs = (("expr", E.substitute(expr, [position, TAP])),)
    spec = KernelSpec("pointwise", tuple(inputs), (out,), attrs)  # type: ignore[arg-type]
    (candidate, *_) = Pointwise().plan(spec, target, 1)
    return SymbolicKernel(candidate, target)


@pytest.mark.parametrize("axis", range(len(AXES)))
@each_target
def test_tables_are_those_of_fixed_extents_to_the_bit(target: CpuTarget, axis: int) -> None:
    chosen = AXES[axis]
    for sampling in SAMPLINGS[axis % 2 :: 2]:
        table = table_of(chosen, sampling)
        kernels = [table_kernel(table.index, chosen, table.taps, i32, target)]
        if table.taps > 1:
            kernels.append(table_kernel(table.weight, chosen, table.taps, f32, target))
        for h, w in ((1, 2), (1, 5), (7, 9), (8, 30), (20, 49), (40, 50)):
            sizes = {"h": h, "w": w}
            size, out = (evaluate(e, sizes) for e in (chosen.size, chosen.out))
            scale = out / size if chosen.scale is None else chosen.scale
            wanted = table_of(Axis(size, out, scale), sampling).arrays(out)
            at = np.arange(out, dtype=np.int64)[:, None]
            taps = [np.arange(table.taps, dtype=np.float64)] if table.taps > 1 else []
            for kernel, want in zip(kernels, wanted, strict=False):
                run = kernel.laid_out(sizes, [at], taps, 1)
                run.run()
                run.check_guards()
                np.testing.assert_array_equal(run.outputs()[0], want, err_msg=f"{sampling} {sizes}")


@each_target
def test_iota(target: CpuTarget) -> None:
    count = extent_of(Symbol("count", 0, 100, 10000))
    spec = KernelSpec("iota", (), (Operand.dense(i64, (count,)),), (("count", count),))
    kernel = SymbolicKernel(Iota().plan(spec, target, 1)[0], target)
    for size in (0, 1, 2, 7, 8, 9, 100, 4095, 4096, 4097, 10000):
        run = kernel.laid_out({"count": size}, [], [], 2)
        run.run()
        run.check_guards()
        (want,) = IOTA.reference([], {"count": size})
        np.testing.assert_array_equal(run.outputs()[0], want)


@pytest.mark.parametrize("dtype,taps", [(f32, 1), (u8, 1), (f32, 2), (u8, 2), (f32, 4)], ids=str)
@each_target
def test_kernel(target: CpuTarget, dtype: DType, taps: int) -> None:
    """Rows by a constant table and columns by a computed one, and the other way round."""
    out = extent_of(Symbol("out", 1, 12, 60))
    h, w = (extent_of(Symbol(name, 4, 9, 50)) for name in "hw")
    for rows_are_open, channels, pitch in ((True, 37, 5), (False, 3, 0)):
        oh, ow = (out, 9) if rows_are_open else (11, 2 * out)
        whole: Any = (N, h, w, channels + pitch)
        x = Operand(dtype, (N, h, w, channels), row_major_strides(whole))
        inputs = [x]
        for extent in (oh, ow):
            const = isinstance(extent, int)
            inputs.append(Operand.dense(i32, (extent, taps), const))
            rows = 1 if channels == 3 else extent  # of weights: one row holds for all
            inputs.append(Operand.dense(f32, (rows, taps), const))
        y = Operand.dense(dtype, (N, oh, ow, channels))
        spec = KernelSpec("resample", tuple(inputs), (y,), (("epilogue", E.inp(0)),))
        (candidate,) = Resample().plan(spec, target, 2)
        kernel = SymbolicKernel(candidate, target)
        rng = np.random.default_rng(0)
        for number, (n, height, width, o) in enumerate(
            ((1, 4, 4, 1), (1, 7, 9, 12), (4, 5, 6, 11), (2, 40, 50, 60), (3, 4, 5, 7))
        ):
            sizes = {"n": n, "h": height, "w": width, "out": o}
            fixed = at_sizes(spec, sizes)
            arrays = [_values(fixed.inputs[0], rng)]
            for place, extent in ((1, height), (3, width)):
                table = fixed.inputs[place]
                shape, bound = table.shape, 4 if table.const else extent
                arrays.append(rng.integers(0, bound, shape).astype(np.int32))
                shape = fixed.inputs[place + 1].shape
                weight = np.random.default_rng(7).random(shape).astype(np.float32)
                arrays.append(weight / weight.sum(1, keepdims=True, dtype=np.float32))
            (want,) = RESAMPLE.reference(arrays, {"layout": "NHWC", "epilogue": E.inp(0)})
            consts = [a for a, o in zip(arrays, fixed.inputs, strict=True) if o.const]
            variable = [a for a, o in zip(arrays, fixed.inputs, strict=True) if not o.const]
            run = kernel.laid_out(sizes, variable, consts, 1 + number % 3)
            run.run()
            run.check_guards()
            if dtype is f32 and taps > 1:
                np.testing.assert_allclose(run.outputs()[0], want, 1e-5, 1e-5)
            else:
                np.testing.assert_array_equal(run.outputs()[0], want)


def _values(operand: Operand, rng: np.random.Generator) -> np.ndarray:
    values = rng.standard_normal(operand.shape) * 60
    return np.asarray(np.abs(values) if operand.dtype is u8 else values, operand.dtype.numpy)
