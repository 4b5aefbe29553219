"""Depthwise convolution tactics against the op's reference: windows, tails, views, threads."""

from __future__ import annotations

import numpy as np
import pytest

from camshaft.backends.cpu.conv.depthwise.tactic import ConvDepthwiseI8
from camshaft.backends.cpu.conv.grouped import ConvGrouped
from camshaft.backends.cpu.target import AVX2, AVX512_VNNI, PORTABLE, CpuTarget
from camshaft.ops.contraction import CONV
from grouped_cases import Case, check, depthwise, first_and_last, problem
from kernel_harness import params_of, prepare
from targets import RUNNABLE, each_target

F32 = ConvGrouped()
I8 = ConvDepthwiseI8()

CASES = (
    depthwise((1, 7, 7), 16),
    depthwise((2, 5, 9), 37, epilogue="residual", pitches=(5, 3)),
    depthwise((1, 9, 6), 8, strides=(2, 2), pads=(0, 0, 1, 1), epilogue="none"),
    depthwise((1, 12, 17), 20, kernel=(5, 5), strides=(2, 1), pads=(2, 1, 2, 3), epilogue="gate"),
    depthwise((1, 9, 9), 5, kernel=(7, 7), pads=(3, 3, 3, 3), epilogue="scalar"),
    depthwise((1, 11, 40), 18, dilations=(2, 3), pads=(2, 3, 2, 3)),
    depthwise((1, 3, 3), 33, kernel=(3, 3), pads=(0, 0, 0, 0)),
    depthwise((1, 4, 31), 80, kernel=(1, 3), pads=(0, 1, 0, 1)),
    depthwise((1, 6, 5), 65, kernel=(4, 2), strides=(3, 2), pads=(3, 1, 0, 0)),
    depthwise((3, 2, 2), 3, kernel=(5, 5), pads=(4, 4, 4, 4)),
    depthwise((1, 4, 9), 16, kernel=(2, 17), pads=(1, 8, 0, 8)),
)


@pytest.mark.parametrize("case", CASES, ids=str)
@each_target
def test_f32_equals_reference(target: CpuTarget, case: Case) -> None:
    given = problem(case, integer=False)
    candidates = params_of(F32, given.spec, target, 2)
    check(F32, target, given, candidates[0], threads=1 + case.channels[0] % 3)


def test_every_candidate_gives_the_same_bits_on_any_number_of_workers() -> None:
    given = problem(depthwise((1, 15, 30), 40, strides=(1, 1)), integer=False)
    results = []
    target = RUNNABLE[0]
    for params in params_of(F32, given.spec, target, 1):
        for threads in (1, 3):
            run = prepare(F32, given.spec, params, target, given.arrays, given.consts, threads)
            run.run(parallel=threads > 1)
            run.check_guards()
            results.append(run.outputs()[0])
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_small_layers_have_work_for_several_threads() -> None:
    given = problem(depthwise((1, 7, 7), 96), integer=False)
    kernel = F32.plan(given.spec, AVX512_VNNI, 2)[0]
    assert all(p.items >= 4 for p in kernel.emit().phases)


@pytest.mark.parametrize("target", (AVX2, PORTABLE), ids=lambda t: t.name)
def test_odd_parameters_work(target: CpuTarget) -> None:
    given = problem(depthwise((2, 10, 13), 21, strides=(2, 1), pads=(1, 2, 0, 2)), integer=False)
    for params in first_and_last(params_of(F32, given.spec, target, 1)):
        odd = {**params, "cols": 5, "rows": 3}
        check(F32, target, given, odd, threads=2)


def test_other_convolutions_are_refused() -> None:
    grouped = problem(Case((1, 5, 5), (8, 16), 8), integer=True)
    float32 = problem(depthwise((1, 5, 5), 8), integer=False)
    huge = problem(depthwise((1, 31, 31), 8, kernel=(31, 31)), integer=True)
    for given in (grouped, float32, huge):
        assert not I8.plan(given.spec, AVX512_VNNI, 1)


I8_CASES = (
    depthwise((1, 6, 12), 32, zero_point=4),
    depthwise((1, 5, 16), 16, kernel=(5, 5), pads=(2, 2, 2, 2), zero_point=250),
    depthwise((1, 7, 7), 64, zero_point=3),
    depthwise((2, 5, 9), 85, epilogue="residual", pitches=(5, 3)),
    depthwise((1, 9, 6), 32, strides=(2, 2), pads=(0, 0, 1, 1), epilogue="none", zero_point=200),
    depthwise((1, 12, 17), 20, kernel=(5, 5), strides=(2, 1), pads=(2, 1, 2, 3), epilogue="gate"),
    depthwise((1, 9, 9), 5, kernel=(7, 7), pads=(3, 3, 3, 3), epilogue="scalar", zero_point=1),
    depthwise((1, 11, 21), 70, dilations=(2, 3), pads=(2, 3, 2, 3), epilogue="float", zero_point=9),
    depthwise((1, 3, 3), 144, pads=(0, 0, 0, 0), epilogue="residual", zero_point=7),
    depthwise((1, 4, 31), 129, kernel=(1, 3), pads=(0, 1, 0, 1), zero_point=255),
    depthwise((1, 6, 5), 65, kernel=(4, 2), strides=(3, 2), pads=(3, 1, 0, 0), epilogue="none"),
    depthwise((3, 2, 2), 1, kernel=(5, 5), pads=(4, 4, 4, 4), epilogue="none", zero_point=77),
    depthwise((1, 5, 8), 24, kernel=(1, 1), strides=(2, 3), pads=(0, 0, 0, 0), zero_point=50),
)


@pytest.mark.parametrize("case", I8_CASES, ids=str)
@each_target
def test_i8_equals_reference_to_the_bit(target: CpuTarget, case: Case) -> None:
    given = problem(case, integer=True)
    for params in params_of(I8, given.spec, target, 2):
        check(I8, target, given, params, threads=1 + case.channels[0] % 3)


@pytest.mark.parametrize("epilogue", ("bias", "swish"))
@each_target
def test_i8_broken_scales_follow_the_rules_of_the_cast(target: CpuTarget, epilogue: str) -> None:
    case = depthwise((1, 4, 6), 72, epilogue=epilogue)
    given = problem(case, integer=True)
    (x,), (w, scale, bias) = given.arrays, given.consts
    x[..., 0] = 0
    scale[:4], bias[4:8] = (np.inf, np.nan, -np.inf, 3e38), (np.nan, np.inf, -np.inf, -np.nan)
    attrs = {**dict(given.spec.attrs), "layout": "NHWC"}
    (given.expected,) = CONV.reference([x, w, scale, bias], attrs)
    params = params_of(I8, given.spec, target, 1)[0]
    check(I8, target, given, params)
