"""Grouped convolution tactic against the op's reference: group sizes, windows, tails, views."""

from __future__ import annotations

import pytest

from camshaft.backends.cpu.conv.grouped import ConvGrouped
from camshaft.backends.cpu.target import AVX512_VNNI, PORTABLE, CpuTarget
from grouped_cases import Case, check, problem
from kernel_harness import params_of
from targets import RUNNABLE, each_target

GROUPED = ConvGrouped()

F32_CASES = (
    Case((1, 7, 15), (32, 32), 8),
    Case((2, 5, 9), (36, 36), 9, epilogue="residual", pitches=(4, 3)),
    Case((1, 8, 6), (40, 40), 10, strides=(2, 2), epilogue="none"),
    Case((1, 6, 7), (10, 20), 10, kernel=(5, 3), pads=(2, 1, 2, 1), epilogue="gate"),
    Case((1, 5, 5), (24, 12), 6, dilations=(2, 1), pads=(2, 1, 2, 1), epilogue="scalar"),
    Case((1, 4, 5), (48, 48), 12, pads=(0, 2, 1, 0)),
    Case((1, 9, 4), (12, 12), 6, kernel=(1, 1), pads=(0, 0, 0, 0)),
)

I8_CASES = (
    Case((1, 7, 15), (32, 32), 8, zero_point=5),
    Case((2, 5, 9), (36, 36), 9, epilogue="residual", pitches=(3, 5)),
    Case((1, 8, 6), (40, 40), 10, strides=(2, 2), epilogue="none", zero_point=255),
    Case((1, 6, 7), (24, 24), 6, kernel=(5, 3), pads=(2, 1, 2, 1), epilogue="gate", zero_point=9),
    Case((1, 5, 5), (24, 24), 6, dilations=(2, 1), pads=(2, 3, 2, 1), epilogue="float"),
    Case((1, 4, 5), (48, 48), 12, pads=(0, 2, 1, 0), epilogue="scalar", zero_point=77),
    Case((1, 2, 2), (8, 8), 2, kernel=(5, 5), pads=(4, 4, 4, 4), epilogue="none", zero_point=3),
)


@pytest.mark.parametrize("integer", (False, True), ids=("f32", "i8"))
@pytest.mark.parametrize("number", range(7))
@each_target
def test_equals_reference(target: CpuTarget, number: int, integer: bool) -> None:
    case = (I8_CASES if integer else F32_CASES)[number]
    given = problem(case, integer=integer)
    if not GROUPED.plan(given.spec, target, 1):
        assert target.vector_bits < 512  # wide vectors take them all; here a group is too large
        return
    params = params_of(GROUPED, given.spec, target, 2)[0]
    check(GROUPED, target, given, params, threads=1 + number % 3)


def test_every_candidate_computes() -> None:
    given = problem(Case((1, 9, 30), (64, 64), 16, zero_point=2), integer=True)
    for params in params_of(GROUPED, given.spec, RUNNABLE[0], 1):
        check(GROUPED, RUNNABLE[0], given, params, threads=2)


def test_groups_that_do_not_fill_vectors_are_refused() -> None:
    for case, target in (
        (Case((1, 5, 5), (8, 8), 1), AVX512_VNNI),  # not grouped
        (Case((1, 5, 5), (9, 9), 3), AVX512_VNNI),  # 3 outputs do not divide 16 lanes
        (Case((1, 5, 5), (32, 8), 2), AVX512_VNNI),  # inputs of a vector fill more than two
        (Case((1, 5, 5), (16, 16), 2), PORTABLE),  # 8 outputs, 4 lanes
    ):
        assert not GROUPED.plan(problem(case, integer=False).spec, target, 1)
    odd_channels = problem(Case((1, 5, 5), (8, 8), 4), integer=True)
    assert not GROUPED.plan(odd_channels.spec, AVX512_VNNI, 1)
