"""Convolutions of half floats, and of f32 with half weights, against the op's reference: direct, grouped
and depthwise, of fixed and of open sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.conv.direct import ConvDirect
from camshaft.backends.cpu.conv.grouped import ConvGrouped
from camshaft.backends.cpu.conv.problem import ConvProblem
from camshaft.backends.cpu.target import AVX2, AVX512_BF16, PORTABLE, CpuTarget
from camshaft.ir.extents.extent import extent_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import DType, bf16, f16, f32
from grouped_cases import (
    Case,
    assert_expected,
    check,
    depthwise,
    first_and_last,
    open_spec,
    problem,
)
from kernel_harness import SymbolicKernel, params_of
from machine_code import inner_loop, spills
from thinning import every_second

pytestmark = pytest.mark.sampled

DIRECT, GROUPED = ConvDirect(), ConvGrouped()
TYPES = [(bf16, bf16), (f16, f16), (f32, bf16), (f32, f16)]
NONE = (0, 0, 0, 0)

TARGETS = (AVX512_BF16, AVX2, PORTABLE)
SLOW = [
    (PORTABLE, (f16, f16)),
    (PORTABLE, (f32, f16)),
]  # f16 by integer arithmetic: long to compile
QUICK = [(t, pair) for t in TARGETS for pair in TYPES if (t, pair) not in SLOW]

each_quick = pytest.mark.parametrize(
    ("target", "types"), QUICK, ids=lambda x: f"{x[0]}-{x[1]}" if isinstance(x, tuple) else x.name
)


def nchw(spec: KernelSpec) -> KernelSpec:
    """The same images with their channels apart."""
    x = spec.inputs[0]
    _, h, w, c = x.shape
    apart = type(x)(x.dtype, x.shape, (c * h * w, w, 1, h * w))
    return KernelSpec(spec.op, (apart, *spec.inputs[1:]), spec.outputs, spec.attrs)


CASES = {
    "pointwise": Case((1, 5, 7), (20, 37), 1, (1, 1), pads=NONE),
    "pointwise, odd channels, gaps": Case((3, 4, 4), (9, 33), 1, (1, 1), pads=NONE, pitches=(4, 3)),
    "padded": Case((1, 8, 9), (16, 32), 1),
    "odd channels": Case((2, 8, 9), (15, 24), 1, epilogue="residual"),
    "one pixel": Case((1, 1, 1), (12, 40), 1),
    "asymmetric": Case((2, 7, 6), (5, 18), 1, (3, 2), (2, 1), (0, 2, 1, 0)),
    "dilated": Case((1, 11, 12), (8, 8), 1, pads=(2, 4, 3, 2), dilations=(2, 3)),
    "first layer": Case((1, 21, 37), (3, 33), 1, (7, 7), (2, 2), (3, 3, 3, 3)),
    "one channel": Case((1, 9, 9), (1, 6), 1, (5, 5), pads=(2, 2, 2, 2)),
    "groups": Case((1, 6, 7), (24, 60), 3, epilogue="none"),
    "half out": Case((1, 6, 7), (24, 20), 1, epilogue="half"),
    "many weights": Case((1, 3, 5), (130, 200), 1),
}

GROUPS = (
    Case((1, 7, 15), (32, 32), 8),
    Case((2, 5, 9), (36, 36), 9, epilogue="residual", pitches=(4, 3)),
    Case((1, 6, 7), (24, 12), 12, strides=(2, 2), epilogue="half"),
    depthwise((1, 9, 11), 37, kernel=(5, 5), pads=(2, 2, 2, 2)),
    depthwise((2, 7, 8), 24, strides=(2, 1), pads=(1, 0, 2, 1), epilogue="half", pitches=(5, 3)),
    depthwise((1, 6, 9), 64, dilations=(2, 2), pads=(2, 2, 2, 2), epilogue="gate"),
)


@every_second(("name", list(CASES)), ("quick", QUICK))
def test_direct(name: str, quick: tuple[CpuTarget, tuple[DType, DType]]) -> None:
    target, types = quick
    given = problem(CASES[name], integer=False, types=types)
    candidates = first_and_last(params_of(DIRECT, given.spec, target, 2))
    for n, params in enumerate(candidates if target == AVX2 else candidates[:1]):
        check(DIRECT, target, given, params, threads=1 + n)


@pytest.mark.parametrize("name", ["padded", "odd channels", "first layer"])
@each_quick
def test_channels_may_lie_apart(target: CpuTarget, name: str, types: tuple[DType, DType]) -> None:
    given = problem(CASES[name], integer=False, types=types)
    given.spec = nchw(given.spec)
    check(DIRECT, target, given, params_of(DIRECT, given.spec, target, 1)[0], threads=3)


@pytest.mark.parametrize("case", GROUPS, ids=str)
@each_quick
def test_grouped(target: CpuTarget, case: Case, types: tuple[DType, DType]) -> None:
    given = problem(case, integer=False, types=types)
    candidates = params_of(GROUPED, given.spec, target, 2)
    assert candidates or target.vector_bits < 512  # narrow vectors do not hold two of these groups
    for n, params in enumerate(first_and_last(candidates)):
        check(GROUPED, target, given, params, threads=2 + n)


@pytest.mark.parametrize("case", [CASES["padded"], GROUPS[0]], ids=["direct", "grouped"])
@pytest.mark.parametrize("types", [(f16, f16), (f32, f16)], ids=str)
def test_f16_without_instructions_for_it(case: Case, types: tuple[DType, DType]) -> None:
    given = problem(case, integer=False, types=types)
    tactic: Any = DIRECT if case.groups == 1 else GROUPED
    for params in params_of(tactic, given.spec, PORTABLE, 2)[:1]:
        check(tactic, PORTABLE, given, params, threads=2)


N = extent_of(Symbol("n", 1, 1, 5))
H = extent_of(Symbol("h", 5, 14, 40))
W = extent_of(Symbol("w", 5, 24, 70))
OPEN = {
    "pixels": (DIRECT, Case((1, 1, N), (65, 33), 1, (1, 1), pads=NONE)),
    "batch": (DIRECT, Case((N, 9, 11), (8, 24), 1)),
    "all": (DIRECT, Case((N, H, W), (17, 40), 1, pitches=(3, 0))),
    "stride": (DIRECT, Case((1, H, W), (6, 16), 1, (5, 4), (2, 3), (2, 1, 1, 3))),
    "first layer": (DIRECT, Case((N, H, W), (3, 32), 1, strides=(2, 2))),
    "groups": (GROUPED, Case((N, H, W), (16, 16), 8)),
    "depthwise": (GROUPED, depthwise((1, H, W), 20, kernel=(5, 5), pads=(2, 2, 2, 2))),
}


def sizes_of(spec: KernelSpec) -> list[dict[str, int]]:
    rng = np.random.default_rng(0)
    found = [{s.name: s.low for s in spec.symbols}, {s.name: s.typical for s in spec.symbols}]
    for _ in range(5):
        found.append({s.name: int(rng.integers(s.low, (s.high or 0) + 1)) for s in spec.symbols})
    return found


@pytest.mark.parametrize("name", OPEN)
@each_quick
def test_open_sizes(target: CpuTarget, name: str, types: tuple[DType, DType]) -> None:
    tactic: Any
    tactic, case = OPEN[name]
    spec = open_spec(case, integer=False, types=types)
    kernel = SymbolicKernel(tactic.plan(spec, target, 2)[0], target)
    for number, sizes in enumerate(sizes_of(spec)):
        given = problem(case.at(sizes), integer=False, seed=number, types=types)
        run = kernel.laid_out(sizes, given.arrays, given.consts, threads=1 + number % 3)
        run.run()
        run.check_guards()
        assert_expected(run.outputs()[0], given, str(sizes))


@pytest.mark.parametrize("name", ["padded", "pointwise", "many weights"])
def test_avx512_bf16_multiplies_pairs_without_spilling(name: str) -> None:
    """A `vdpbf16ps` for each accumulator in the loop over pairs of channels, and nothing saved to memory."""
    case = CASES[name]
    big = Case((1, 14, 14), (64, 128), 1, case.kernel, pads=case.pads)
    spec = problem(big, integer=False, types=(bf16, bf16)).spec
    for candidate in DIRECT.plan(spec, AVX512_BF16, 1):
        body = inner_loop(CpuCompiler(AVX512_BF16).assembly(candidate.emit()), "vdpbf16ps")
        products = sum("vdpbf16ps" in line for line in body)
        rows, cols = int(candidate.params["rows"]), int(candidate.params["cols"])
        assert products % (rows * cols) == 0 and products >= rows * cols, candidate.params
        assert not spills(body) and not any("vpsll" in line for line in body), candidate.params


def test_weights_of_bf16_lie_in_pairs() -> None:
    given = problem(CASES["odd channels"], integer=False, types=(f32, bf16))
    candidate = DIRECT.plan(given.spec, AVX2, 1)[0]
    packed = candidate.prepack(given.consts)[0]
    assert ConvProblem.of(given.spec).form.group == packed.shape[-1] == 2
    assert packed.dtype == bf16.numpy
    w = given.consts[0]  # [24, 3, 3, 15]
    np.testing.assert_array_equal(packed[0, 1, 8 + 3, :8, 1], w[:8, 1, 1, 7])
    assert (packed[0, :, 7, :, 1].astype(np.float32) == 0).all()  # a 16th channel
