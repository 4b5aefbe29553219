"""Direct convolution against an integer or float64 reference, over odd shapes, views, targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.conv.direct import ConvDirect
from camshaft.backends.cpu.conv.problem import ConvProblem
from camshaft.backends.cpu.target import AVX512_VNNI, CpuTarget
from camshaft.errors import BuildError
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.types import DType, f32, i8, i32, u8
from camshaft.ops.contraction import conv_nhwc
from kernel_harness import candidate_with, operand_of, params_of, run_kernel
from targets import RUNNABLE, each_target

pytestmark = pytest.mark.sampled

TACTIC = ConvDirect()


@dataclass(frozen=True)
class Case:
    """One convolution.  size: (n, h, w); channels: (input, output); kernel: (r, s)."""

    size: tuple[int, int, int]
    channels: tuple[int, int]
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1
    zero_point: int = 0
    x_pitch: int = 0
    y_pitch: int = 0
    nchw: bool = False

    @property
    def attrs(self) -> dict[str, Any]:
        return {
            "strides": self.strides,
            "pads": self.pads,
            "dilations": self.dilations,
            "groups": self.groups,
            "x_zero_point": self.zero_point,
        }

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        n, h, w = self.size
        top, left, bottom, right = self.pads
        rows = h + top + bottom - (self.kernel[0] - 1) * self.dilations[0] - 1
        columns = w + left + right - (self.kernel[1] - 1) * self.dilations[1] - 1
        return n, rows // self.strides[0] + 1, columns // self.strides[1] + 1, self.channels[1]


@dataclass
class Data:
    """Arrays, spec and expected result of a case."""

    spec: KernelSpec
    arrays: list[np.ndarray]
    consts: list[np.ndarray]
    wanted: np.ndarray
    tolerance: float


def x_operand(case: Case, dtype: DType) -> Operand:
    (n, h, w), c = case.size, case.channels[0]
    if case.nchw:
        return Operand(dtype, (n, h, w, c), (c * h * w, w, 1, h * w))
    pitch = case.x_pitch or c
    return Operand(dtype, (n, h, w, c), (h * w * pitch, w * pitch, pitch, 1))


def y_operand(case: Case, dtype: DType) -> Operand:
    n, h, w, k = case.out_shape
    pitch = case.y_pitch or k
    return Operand(dtype, (n, h, w, k), (h * w * pitch, w * pitch, pitch, 1))


def expected(case: Case, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The bare sums, exact for integers and in float64 otherwise."""
    wide = (x, w) if x.dtype == np.uint8 else (x.astype(np.float64), w.astype(np.float64))
    return np.asarray(conv_nhwc(*wide, case.attrs))


def float_case(case: Case, rng: np.random.Generator, residual: bool = False) -> Data:
    """relu(conv + bias), or relu(conv + bias + residual)."""
    (n, h, w), (c, k) = case.size, case.channels
    x = rng.standard_normal((n, h, w, c)).astype(np.float32)
    weights = rng.standard_normal((k, *case.kernel, c // case.groups)).astype(np.float32)
    bias = rng.standard_normal(k).astype(np.float32)
    total = E.add(E.inp(0), E.inp(1))
    inputs = [x_operand(case, f32), operand_of(weights, const=True), operand_of(bias, const=True)]
    arrays, values = [x], [bias]
    if residual:
        total = E.add(total, E.inp(2))
        arrays.append(rng.standard_normal(case.out_shape).astype(np.float32))
        values.append(arrays[1])
        inputs.append(y_operand(case, f32))
    expr = E.maximum(total, E.const(0.0))
    wanted = E.evaluate(expr, [expected(case, x, weights), *values])
    bound = 1e-5 * np.sqrt(weights[0].size) * 3
    return Data(spec_of(case, inputs, f32, expr), arrays, [weights, bias], wanted, bound)


def integer_case(case: Case, rng: np.random.Generator, out: DType = i32) -> Data:
    """The bare i32 sums, or requantized to `out` with a power of two (exact), bias and residual."""
    (n, h, w), (c, k) = case.size, case.channels
    x = rng.integers(0, 256, (n, h, w, c)).astype(np.uint8)
    weights = rng.integers(-128, 128, (k, *case.kernel, c // case.groups)).astype(np.int8)
    inputs = [x_operand(case, u8), operand_of(weights, const=True)]
    sums = expected(case, x, weights)
    if out == i32:
        expr: Expr = E.inp(0)
        spec = spec_of(case, inputs, i32, expr)
        return Data(spec, [x], [weights], sums, 0)
    bias = rng.integers(-500, 500, k).astype(np.int32)
    residual = rng.integers(0, 256, case.out_shape).astype(np.uint8)
    inputs += [operand_of(bias, const=True), operand_of(residual)]
    scaled = E.mul(E.cast(E.add(E.inp(0), E.inp(1)), f32), E.const(2.0**-9))
    expr = E.cast(E.add(scaled, E.cast(E.inp(2), f32)), out)
    if out == f32:
        expr = E.add(scaled, E.cast(E.inp(2), f32))
    wanted = E.evaluate(expr, [sums, bias, residual])
    return Data(spec_of(case, inputs, out, expr), [x, residual], [weights, bias], wanted, 0)


def spec_of(case: Case, inputs: Sequence[Operand], out: DType, epilogue: Expr) -> KernelSpec:
    attrs = tuple(sorted({**case.attrs, "epilogue": epilogue}.items()))
    return KernelSpec("conv", tuple(inputs), (y_operand(case, out),), attrs)


def check(data: Data, target: CpuTarget, threads: int = 1, limit: int = 2) -> None:
    """The first `limit` candidates give the expected result."""
    for params in list(params_of(TACTIC, data.spec, target, threads))[:limit]:
        (got,) = run_kernel(TACTIC, data.spec, params, target, data.arrays, data.consts, threads)
        assert got.dtype == data.spec.outputs[0].dtype.numpy
        if data.tolerance == 0:
            np.testing.assert_array_equal(got, data.wanted, err_msg=str(params))
        else:
            error = np.abs(got - data.wanted).max()
            assert error <= data.tolerance, f"{params}: {error} > {data.tolerance}"


CASES = {
    "pointwise": Case((1, 5, 7), (20, 37), (1, 1)),
    "pointwise batch": Case((3, 4, 4), (9, 33), (1, 1)),
    "pointwise stride": Case((2, 9, 7), (8, 16), (1, 1), strides=(2, 2)),
    "padded": Case((1, 8, 9), (16, 32), pads=(1, 1, 1, 1)),
    "one pixel": Case((1, 1, 1), (12, 40), pads=(1, 1, 1, 1)),
    "fully connected": Case((4, 1, 1), (30, 10), (1, 1)),
    "asymmetric": Case((2, 7, 6), (5, 18), (3, 2), (2, 1), (0, 2, 1, 0)),
    "dilated": Case((1, 11, 12), (8, 8), pads=(2, 4, 3, 2), dilations=(2, 3)),
    "row": Case((1, 6, 19), (7, 17), (1, 7), pads=(0, 3, 0, 3)),
    "column": Case((1, 19, 6), (7, 17), (7, 1), pads=(3, 0, 3, 0)),
    "first layer": Case((1, 21, 37), (3, 33), (7, 7), (2, 2), (3, 3, 3, 3)),
    "first layer 3x3": Case((2, 13, 17), (3, 16), (3, 3), (2, 2), (0, 0, 1, 1)),
    "one channel": Case((1, 9, 9), (1, 6), (5, 5), pads=(2, 2, 2, 2)),
    "two channels": Case((1, 6, 31), (2, 20), (3, 3), pads=(1, 1, 1, 1)),
    "nchw input": Case((2, 9, 10), (3, 16), pads=(1, 1, 1, 1), nchw=True),
    "nchw many": Case((1, 5, 6), (10, 16), pads=(1, 1, 1, 1), nchw=True),
    "groups": Case((1, 6, 7), (24, 60), pads=(1, 1, 1, 1), groups=3),
    "small groups": Case((1, 5, 5), (16, 8), pads=(1, 1, 1, 1), groups=4),
    "odd groups": Case((1, 5, 5), (14, 22), (1, 1), groups=2),
    "views": Case((2, 6, 7), (10, 18), pads=(1, 1, 1, 1), x_pitch=13, y_pitch=50),
    "pointwise views": Case((2, 3, 5), (6, 20), (1, 1), x_pitch=9, y_pitch=21),
    "pitch four": Case((1, 8, 9), (3, 16), pads=(1, 1, 1, 1), x_pitch=4),
    "window over image": Case((1, 3, 4), (8, 16), (5, 5), pads=(4, 4, 4, 4)),
    "stride over taps": Case((1, 9, 10), (8, 16), (1, 1), (3, 3), (1, 1, 1, 1)),
    "wide": Case((1, 3, 61), (4, 16), pads=(1, 1, 1, 1)),
}


@each_target
@pytest.mark.parametrize("name", CASES)
def test_float(name: str, target: CpuTarget) -> None:
    check(float_case(CASES[name], np.random.default_rng(1)), target, limit=1)


@each_target
@pytest.mark.parametrize("zero_point", [0, 113])
@pytest.mark.parametrize("name", CASES)
def test_integer(name: str, zero_point: int, target: CpuTarget) -> None:
    case = Case(**{**vars(CASES[name]), "zero_point": zero_point})
    check(integer_case(case, np.random.default_rng(2)), target, limit=1)


@each_target
@pytest.mark.parametrize("out", [u8, i8, f32], ids=str)
def test_requantized_output_to_the_bit(out: DType, target: CpuTarget) -> None:
    case = Case((1, 6, 9), (12, 35), pads=(1, 1, 1, 1), zero_point=7)
    check(integer_case(case, np.random.default_rng(3), out), target)


@each_target
@pytest.mark.parametrize("name", ["pointwise views", "asymmetric"])
def test_residual(name: str, target: CpuTarget) -> None:
    check(float_case(CASES[name], np.random.default_rng(4), residual=True), target)


@each_target
@pytest.mark.parametrize("name", ["padded", "pointwise batch", "groups"])
def test_every_candidate_and_thread_count(name: str, target: CpuTarget) -> None:
    data = integer_case(CASES[name], np.random.default_rng(5))
    for threads in (2, 3):
        check(data, target, threads, limit=12)


@each_target
@pytest.mark.parametrize("seed", range(12))
def test_random_shapes(seed: int, target: CpuTarget) -> None:
    rng = np.random.default_rng(100 + seed)
    r, s = (int(v) for v in rng.integers(1, 5, 2))
    dilations = tuple(int(v) for v in rng.integers(1, 3, 2))
    groups = int(rng.choice([1, 1, 1, 2, 3]))
    c, k = (groups * int(v) for v in rng.integers(1, 24, 2))
    extents = [int(v) for v in rng.integers(1, 12, 2)]
    spans = ((r - 1) * dilations[0] + 1, (s - 1) * dilations[1] + 1)
    pads = [int(v) for v in rng.integers(0, 3, 4)]
    for axis in range(2):
        pads[axis] += max(0, spans[axis] - extents[axis] - pads[axis] - pads[axis + 2])
    case = Case(
        size=(int(rng.integers(1, 3)), extents[0], extents[1]),
        channels=(c, k),
        kernel=(r, s),
        strides=(int(rng.integers(1, 4)), int(rng.integers(1, 4))),
        pads=(pads[0], pads[1], pads[2], pads[3]),
        dilations=(dilations[0], dilations[1]),
        groups=groups,
        zero_point=int(rng.choice([0, 128])),
        x_pitch=c + int(rng.integers(0, 3)),
        y_pitch=k + int(rng.integers(0, 5)),
    )
    check(integer_case(case, rng), target, threads=2, limit=1)
    check(float_case(Case(**{**vars(case), "zero_point": 0}), rng), target, limit=1)


def test_parallel_workers_give_the_same_bits() -> None:
    data = float_case(CASES["padded"], np.random.default_rng(6))
    params = params_of(TACTIC, data.spec, RUNNABLE[0], 2)[0]
    args = (TACTIC, data.spec, params, RUNNABLE[0], data.arrays, data.consts)
    one = run_kernel(*args, 1)[0]
    for threads in (2, 3):
        assert (run_kernel(*args, threads, parallel=True)[0] == one).all()


def test_compensation_wraps_like_the_sums() -> None:
    """All weights -128 over many channels: sums near the i32 limit are still exact."""
    case = Case((1, 2, 3), (3000, 3), (1, 1), zero_point=255)
    data = integer_case(case, np.random.default_rng(7))
    data.consts[0][:] = -128
    data.wanted = expected(case, data.arrays[0], data.consts[0])
    check(data, RUNNABLE[0])


# --- plans ------------------------------------------------------------------------------------


def plan_for(case: Case, rows: int, cols: int = 1) -> Any:
    data = float_case(case, np.random.default_rng(0))
    params = {"rows": rows, "cols": cols, "block": 1, "order": "panel"}
    return candidate_with(TACTIC, data.spec, params, AVX512_VNNI).tiling


def test_pixel_axes_merge_only_where_they_may() -> None:
    def problem(case: Case, residual: bool = False) -> ConvProblem:
        return ConvProblem.of(float_case(case, np.random.default_rng(0), residual).spec)

    merged = problem(CASES["pointwise views"], residual=True)
    assert (merged.n, merged.oh, merged.ow) == (1, 1, 30)
    assert merged.operands[0].strides[-1] == 1  # the bias is broadcast over pixels
    assert problem(CASES["padded"]).ow == 9
    assert problem(CASES["pointwise stride"]).ow == 4


def test_tiles_share_code_between_borders() -> None:
    plan = plan_for(Case((1, 8, 56), (16, 16), pads=(1, 1, 1, 1)), rows=14)
    assert [(s.first, s.count) for s in plan.segments] == [(0, 1), (1, 2), (3, 1)]
    left, interior, _ = plan.segments
    assert left.windows[0] == (1, 3)
    assert set(interior.windows) == {(0, 3)}
    assert [(run.first, run.count) for run in left.runs(3)] == [(0, 1), (1, 2)]


def test_work_items_cover_small_layers() -> None:
    """A 7x7 layer has work for several threads."""
    data = float_case(Case((1, 7, 7), (64, 64), pads=(1, 1, 1, 1)), np.random.default_rng(0))
    for params in params_of(TACTIC, data.spec, AVX512_VNNI, 2):
        assert candidate_with(TACTIC, data.spec, params, AVX512_VNNI).tiling.items >= 4


def test_wrong_output_is_named() -> None:
    spec = float_case(CASES["padded"], np.random.default_rng(0)).spec
    wrong = KernelSpec(spec.op, spec.inputs, (Operand.dense(f32, (1, 8, 8, 32)),), spec.attrs)
    with pytest.raises(BuildError, match=r"gives \[1, 8, 9, 32\], not f32\[1, 8, 8, 32\]"):
        ConvProblem.of(wrong)


def test_unsupported_specs_are_declined() -> None:
    spec = float_case(CASES["padded"], np.random.default_rng(0)).spec
    x, w, bias = spec.inputs
    variable = Operand(w.dtype, w.shape, w.strides)
    assert not TACTIC.plan(
        KernelSpec("conv", (x, variable, bias), spec.outputs, spec.attrs), AVX512_VNNI, 1
    )
    signed = Operand(i8, x.shape, x.strides)
    assert not TACTIC.plan(
        KernelSpec("conv", (signed, w, bias), spec.outputs, spec.attrs), AVX512_VNNI, 1
    )
